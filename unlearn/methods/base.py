"""The seam: what a method offers to training, artefacts, protection, audits and the command line.

Each method is a file of its own and one entry in METHODS; nothing else knows its name or fields.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

from torch import Tensor, nn

from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.errors import UsageProblem
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.training import Observer, Schedule

PAPER = "paper"  # the recipe that every method has: its published settings


@dataclass(frozen=True)
class Spec:
    """What a method builds for: the network's name, its classes, and the pictures' side."""

    architecture: str
    classes: int
    size: int = 32


@dataclass(frozen=True)
class Cost:
    """What a method costs, in forward+backward passes of one picture through a network.

    training counts all pictures of all steps, final is one picture's published noise, and a_picture
    is both for one picture: its share of the training, rounded up, and its noise.
    """

    steps: int = 0
    training: int = 0
    final: int = 0
    a_picture: int = 0

    @classmethod
    def of(
        cls, pictures: int, final: int, *trainings: tuple[Schedule, int], besides: int = 0
    ) -> "Cost":
        """Return the cost of schedules, each with the passes that a picture takes in its steps.

        besides counts what other passes there are, of all pictures together.
        """
        training = besides + sum(
            schedule.steps * min(schedule.batch_size, pictures) * passes
            for schedule, passes in trainings
        )
        share = math.ceil(training / max(1, pictures))
        return cls(sum(one.steps for one, _ in trainings), training, final, share + final)


class NoiseMaker(Protocol):
    """A fitted method that makes noise: frozen, and threads may share it.

    rng holds a stream of its own for each picture; rng.common() are streams that all pictures of
    one key share, for what the owner's key decides.
    """

    def targets(self, images: Tensor, labels: Tensor | None, rng: Rng) -> Tensor:
        """Return int64 (N,): which of its targets each picture gets, from its class or looks."""

    def __call__(self, images: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """Return δ for float images [0, 1] (N, C, H, W), C = 1 or 3, each picture alone."""


@dataclass(frozen=True)
class LabelledNoise:
    """The NoiseMaker of a method whose targets are classes."""

    make: Callable[[Tensor, Tensor, Rng], Tensor]

    def targets(self, images: Tensor, labels: Tensor | None, rng: Rng) -> Tensor:  # noqa: ARG002
        """Return the labels; raises UsageProblem without any."""
        if labels is None:
            raise UsageProblem("this method needs a class for each picture")
        return labels

    def __call__(self, images: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        return self.make(images, targets, rng)


class Method(Protocol):
    """A way to make noise: a frozen dataclass whose fields are its whole configuration.

    One that trains keeps the length of it in a field `schedule`, where --steps, --epochs and
    --batch-size look for it. A field with the metadata {"like": "path.of.another"} is None where
    that other one is to be taken, and only the published noise depends on it.
    """

    name: ClassVar[str]
    summary: ClassVar[str]  # its idea in a line
    needs_labels: ClassVar[bool]  # else it takes pictures of no or any classes
    any_classes: ClassVar[bool]  # else it tells apart as many as it was built for

    @property
    def bound(self) -> Radius | None:
        """The ℓ∞ bound that its noise keeps, or None if it keeps none."""

    def at(self, bound: Radius) -> Self:
        """Return the same method for noise in another ball."""

    def build(self, spec: Spec) -> nn.Module:
        """Return a fresh module that holds whatever fit learns, as parameters or buffers."""

    def fit(self, module: nn.Module, data: LabelledPictures, run: Run, observer: Observer) -> None:
        """Learn from pictures, in place; the observer sees every training step, if there is one."""

    def ready(self, module: nn.Module, run: Run) -> NoiseMaker:
        """Return what makes noise with a fitted module as it is now."""

    def cost(self, pictures: int) -> Cost:
        """Return what training on so many pictures and their noise cost."""

    def facts(self) -> Mapping[str, str]:
        """Return what a person should see of its settings: rows of headers, cards and lists."""

    @classmethod
    def recipes(cls) -> Mapping[str, Self]:
        """Return settings by name: "paper", and "quick" where that is too long for two cores."""

    @classmethod
    def example(cls) -> Self:
        """Return its smallest setting, which trains on a few 8 x 8 pictures in a second."""
