"""EntF: noise that moves a picture's features among those of other classes, made on a robust net.

"Is Adversarial Training Really a Silver Bullet for Mitigating Data Poisoning?" (Wen et al., 2023).
Deviations from the authors' code: a picture's own class is no goal of pull at any distance (the
code counts it as distance 1), and a start is moved into [0, 1] before its first gradient.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar, Literal, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.attack import Losses, Pgd
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.errors import UsageProblem
from unlearn.methods.base import PAPER, Cost, LabelledNoise, NoiseMaker, Spec
from unlearn.methods.supervised import all_features, supervised
from unlearn.methods.tap import seen_through
from unlearn.models import build_classifier
from unlearn.models.classifier import Classifier
from unlearn.models.folding import settled
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.training import Observer, Schedule, train
from unlearn.views import SmoothViews, Views

Direction = Literal["pull", "push"]
_CENTROIDS = "centroids"
_DROPS = (Fraction(3, 4), Fraction(9, 10))


@dataclass(frozen=True)
class EntF:
    """Entangled features; the defaults are those of the authors' code.

    direction is towards the nearest centroid of another class ("pull"), or away from the own one's
    ("push").
    """

    name: ClassVar[str] = "entf"
    summary: ClassVar[str] = (
        "noise that moves a robust network's features to those of other classes"
    )
    needs_labels: ClassVar[bool] = True
    any_classes: ClassVar[bool] = False

    attack: Pgd = Pgd(Radius.of_levels(8), Radius.of_levels(0.4), steps=300)
    direction: Direction = "pull"
    adversary: Pgd = Pgd(Radius.of_levels(4), Radius.of_levels(2), steps=10)  # of the surrogate
    seen: SmoothViews = SmoothViews(fill=0.0)  # by the attack; their network does not normalise
    views: Views = Views()  # by the surrogate in training
    # 100 epochs of 50,000 pictures, a tenth of the rate after 3/4 and again after 9/10
    schedule: Schedule = Schedule(steps=39_063, drops=_DROPS)

    @property
    def bound(self) -> Radius:
        return self.attack.radius

    def at(self, bound: Radius) -> Self:
        return replace(self, attack=self.attack.within(bound))

    def build(self, spec: Spec) -> nn.Module:
        if spec.classes < 2:
            raise UsageProblem("entf moves pictures among classes; it needs at least 2")
        network = build_classifier(spec.architecture, spec.classes)
        centroids = torch.zeros(spec.classes, network.head.in_features)
        network.register_buffer(_CENTROIDS, centroids)
        return network

    def fit(self, module: nn.Module, data: LabelledPictures, run: Run, observer: Observer) -> None:
        """Train the surrogate against its adversary, then take the centre of each class."""
        losses = supervised(run, self.views, self.adversary if self.adversary.steps else None)
        train(module, losses, data, self.schedule, run, observer)
        features, labels = all_features(module, data, run), data.labels.to(run.device)
        module.get_buffer(_CENTROIDS).copy_(class_means(features, labels, len(data.classes)))

    def ready(self, module: nn.Module, run: Run) -> NoiseMaker:
        network = settled(cast(Classifier, module), run.precision, compiled=run.compiled)
        centroids = module.get_buffer(_CENTROIDS).clone()

        def make(images: Tensor, labels: Tensor, rng: Rng) -> Tensor:
            losses = entangling_losses(network.features, centroids, labels, self.direction)
            return seen_through(self.seen, losses, images, self.attack, rng)

        return LabelledNoise(make)

    def cost(self, pictures: int) -> Cost:
        training = (self.schedule, 1 + self.adversary.passes)
        return Cost.of(pictures, self.attack.passes, training)

    def facts(self) -> Mapping[str, str]:
        return {"rho-a": str(self.adversary.radius), "direction": self.direction}

    @classmethod
    def recipes(cls) -> Mapping[str, Self]:
        quick = cls(
            attack=Pgd(Radius.of_levels(8), Radius.of_levels(0.8), steps=30),
            adversary=Pgd(Radius.of_levels(4), Radius.of_levels(2), steps=3),
            schedule=Schedule(steps=600, drops=_DROPS),
        )
        return {PAPER: cls(), "quick": quick}

    @classmethod
    def example(cls) -> Self:
        return cls(
            attack=Pgd(Radius.of_levels(8), Radius.of_levels(4), steps=3),
            adversary=Pgd(Radius.of_levels(4), Radius.of_levels(2), steps=2),
            seen=SmoothViews(shift=1.0, flip=False, fill=0.0),
            views=Views(flip=False, pad=1),
            schedule=Schedule(steps=3, batch_size=4, learning_rate=0.05),
        )


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the mean features (K, F) of each class; raises UsageProblem for one without pictures.

    The sums are a product of matrices, which adds up in the same order on every run.
    """
    members = F.one_hot(labels, classes).to(features.dtype).T
    counts = members.sum(dim=1, keepdim=True)
    if not counts.all():
        empty = int(counts.flatten().argmin())
        raise UsageProblem(f"class {empty} of {classes} has no pictures to take its centre from")
    return members @ features / counts


def feature_distances(features: Tensor, centroids: Tensor) -> Tensor:
    """Return the mean squared differences (N, K) of features (N, F) to centroids (K, F)."""
    return (features[:, None] - centroids).square().mean(dim=2)


def entangling_losses(
    features: Callable[[Tensor], Tensor], centroids: Tensor, labels: Tensor, direction: Direction
) -> Losses:
    """Return the objective that noise minimises (Eqs. 3 and 4 of the paper: push, pull).

    The goal of pull is chosen anew from the features of every step.
    """
    own = F.one_hot(labels, len(centroids)).bool()

    def losses(images: Tensor) -> Tensor:
        distances = feature_distances(features(images), centroids)
        if direction == "push":
            return -distances[own]
        return distances.masked_fill(own, torch.inf).min(dim=1).values

    return losses
