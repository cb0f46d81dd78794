"""The protocol of a method: what is learned, how noise is made, and which bound it keeps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor, nn

from unlearn.datasets.labelled import Data
from unlearn.device import Run
from unlearn.errors import UsageProblem
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.training import Observer


@dataclass(frozen=True)
class Spec:
    """What a method builds for: the network's name, its classes, and the pictures' side."""

    architecture: str
    classes: int
    size: int = 32


class Method(Protocol):
    """A way to make noise: a frozen dataclass whose fields are its whole configuration."""

    name: ClassVar[str]

    @property
    def radius(self) -> Radius | None:
        """The ℓ∞ bound its noise keeps, or None if it keeps none."""

    def build(self, spec: Spec) -> nn.Module:
        """Return a fresh module that holds whatever fit learns, as parameters or buffers."""

    def fit(self, module: nn.Module, data: Data, run: Run, observer: Observer) -> None:
        """Learn from labelled pictures, in place."""

    def noise(
        self, module: nn.Module, images: Tensor, labels: Tensor, run: Run, rng: Rng
    ) -> Tensor:
        """Return δ for float images [0, 1] (N, C, H, W), C = 1 or 3, each picture alone."""


@dataclass(frozen=True)
class Cost:
    """Training steps, and forward+backward passes: for a picture of a step, for its final noise."""

    steps: int = 0
    passes_a_step: int = 0
    passes_a_picture: int = 0


class NoiseMaker(Protocol):
    """A trained method that makes noise; frozen, and threads may share it."""

    def targets(self, images: Tensor, labels: Tensor | None, rng: Rng) -> Tensor:
        """Return int64 (N,), the place of each picture among what the method knows."""

    def __call__(self, images: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        """Return δ for float images [0, 1] (N, C, H, W), C = 1 or 3, each picture alone."""


@dataclass(frozen=True)
class LabelledNoise:
    """The NoiseMaker of a method whose places are classes."""

    make: Callable[[Tensor, Tensor, Rng], Tensor]

    def targets(self, images: Tensor, labels: Tensor | None, rng: Rng) -> Tensor:  # noqa: ARG002
        """Return the labels; raises UsageProblem without any."""
        if labels is None:
            raise UsageProblem("this method needs a class for each picture")
        return labels

    def __call__(self, images: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        return self.make(images, targets, rng)
