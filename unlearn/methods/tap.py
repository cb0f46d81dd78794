"""TAP: noise that makes each picture look like another class to a plainly trained network.

"Adversarial Examples Make Strong Poisons" (Fowl et al., 2021). Deviations from the authors' code:
of the restarts the best is kept for each picture, not for the whole set, since noise belongs to its
picture alone; and a start is moved into [0, 1] before its first gradient, not after it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar, Self, cast

import torch
from torch import Tensor, nn

from unlearn.attack import Losses, Pgd, gaussian_start, pgd
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.errors import UsageProblem
from unlearn.methods.base import PAPER, Cost, LabelledNoise, NoiseMaker, Spec
from unlearn.methods.supervised import supervised
from unlearn.models import build_classifier
from unlearn.models.classifier import Classifier
from unlearn.models.folding import settled
from unlearn.objectives import cross_entropy
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.training import Observer, Schedule, train
from unlearn.views import SmoothViews, Views

_DROPS = (Fraction(3, 8), Fraction(5, 8), Fraction(7, 8))


@dataclass(frozen=True)
class Tap:
    """Targeted or untargeted adversarial poisons; the defaults are those of the authors' code.

    offset is how many classes further the class lies that the noise moves a picture towards; with 0
    it moves it away from its own class. Raises UsageProblem without restarts.
    """

    name: ClassVar[str] = "tap"
    summary: ClassVar[str] = "noise that makes a picture another class to a plainly trained network"
    needs_labels: ClassVar[bool] = True
    any_classes: ClassVar[bool] = False

    attack: Pgd = Pgd(Radius.of_levels(8), Radius.of_levels(0.4), steps=250)
    restarts: int = 8
    offset: int = 1
    seen: SmoothViews = SmoothViews()  # by the attack
    views: Views = Views()  # by the surrogate in training
    schedule: Schedule = Schedule(steps=15_625, drops=_DROPS)  # 40 epochs of 50,000 pictures

    def __post_init__(self) -> None:
        if self.restarts < 1:
            raise UsageProblem(f"{self.restarts} restarts make no noise; at least 1")

    @property
    def bound(self) -> Radius:
        return self.attack.radius

    def at(self, bound: Radius) -> Self:
        return replace(self, attack=self.attack.within(bound))

    def build(self, spec: Spec) -> nn.Module:
        if self.offset and not self.offset % spec.classes:
            raise UsageProblem(
                f"an offset of {self.offset} leads each of {spec.classes} classes to itself"
            )
        return build_classifier(spec.architecture, spec.classes)

    def fit(self, module: nn.Module, data: LabelledPictures, run: Run, observer: Observer) -> None:
        train(module, supervised(run, self.views), data, self.schedule, run, observer)

    def ready(self, module: nn.Module, run: Run) -> NoiseMaker:
        network = settled(cast(Classifier, module), run.precision, compiled=run.compiled)
        return LabelledNoise(lambda images, labels, rng: self.noise(network, images, labels, rng))

    def noise(self, network: nn.Module, images: Tensor, labels: Tensor, rng: Rng) -> Tensor:
        """Return δ, each picture's own best of the restarts."""
        losses = poison_losses(network, labels, self.offset)
        candidates = (
            seen_through(self.seen, losses, images, self.attack, rng) for _ in range(self.restarts)
        )
        return least(lambda x: losses(in_colour(x)), images, candidates)

    def cost(self, pictures: int) -> Cost:
        return Cost.of(pictures, self.attack.passes * self.restarts, (self.schedule, 1))

    def facts(self) -> Mapping[str, str]:
        return {"surrogate": "trained plainly"}

    @classmethod
    def recipes(cls) -> Mapping[str, Self]:
        quick = Pgd(Radius.of_levels(8), Radius.of_levels(0.8), steps=30)
        return {
            PAPER: cls(),
            "quick": cls(quick, restarts=1, schedule=Schedule(steps=600, drops=_DROPS)),
        }

    @classmethod
    def example(cls) -> Self:
        return cls(
            attack=Pgd(Radius.of_levels(8), Radius.of_levels(4), steps=3),
            restarts=2,
            seen=SmoothViews(shift=1.0, flip=False),
            views=Views(flip=False, pad=1),
            schedule=Schedule(steps=3, batch_size=4, learning_rate=0.05),
        )


def poison_losses(network: Callable[[Tensor], Tensor], labels: Tensor, offset: int) -> Losses:
    """Return the objective that noise minimises: of another class, or with 0 less that of its own.

    Equation 2 (untargeted) and its targeted form with the map y -> y + offset of the K classes.
    """

    def losses(images: Tensor) -> Tensor:
        logits = network(images)
        errors = cross_entropy(logits, (labels + offset) % logits.shape[1])
        return errors if offset else -errors

    return losses


def seen_through(
    views: SmoothViews, losses: Losses, images: Tensor, attack: Pgd, rng: Rng
) -> Tensor:
    """Return δ that lowers losses of views of images in colour; a random start is normal."""
    start = torch.zeros_like(images)
    if attack.random_start:
        start = gaussian_start(images, attack.radius, rng)
    return pgd(lambda x: losses(views(in_colour(x), rng)), images, attack, "minimise", rng, start)


@torch.no_grad()
def least(losses: Losses, images: Tensor, candidates: Iterable[Tensor]) -> Tensor:
    """Return of several δ the one with the least loss, picture by picture; of equals the first."""
    best = torch.zeros_like(images)
    record = torch.full_like(images[:, 0, 0, 0], torch.inf)
    for delta in candidates:
        found = losses(images + delta)
        better = found < record
        best = torch.where(better[:, None, None, None], delta, best)
        record = torch.where(better, found, record)
    return best


def in_colour(images: Tensor) -> Tensor:
    """Return images (N, C, H, W), C = 1 or 3, in three channels, as networks take them."""
    return images.expand(-1, 3, -1, -1)
