"""MI-UE: noise that draws the features of a class together, and those of classes apart.

"Mutual Information Unlearnable Examples" (2026). Their code keeps the noise of each picture through
all epochs of the surrogate; here that is how the surrogate is trained, and a picture to protect
starts at zero and meets features of noisy pictures that the artefact holds: its noise lowers its
own term of the loss. Deviations from their code: a view mirrors the noise along with its picture;
the learning rate falls with each step, not each epoch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.attack import Pgd, frozen, pgd
from unlearn.datasets.folders import pick_evenly
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.errors import UsageProblem
from unlearn.methods.base import PAPER, Cost, LabelledNoise, NoiseMaker, Spec
from unlearn.methods.held import keep, with_room
from unlearn.methods.kept_noise import KeptNoise, with_sweeps
from unlearn.methods.tap import in_colour
from unlearn.models import build_classifier
from unlearn.models.classifier import Classifier
from unlearn.models.folding import settled
from unlearn.objectives import cross_entropy
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import to_images
from unlearn.training import Batch, Observer, Schedule
from unlearn.views import Views

_FLOOR = 1e-8  # of each similarity in nt_xent


@dataclass(frozen=True)
class MiUe:
    """Features gathered by class; the defaults are those of the authors' command.

    attack is that of the first sweep over the pictures; its step grows evenly, to twice itself.
    distance is the weight of the ℓ2 term, zeta in the code. final makes the published noise and is
    our own. together is how many pictures meet in a sweep, and how many the artefact holds.
    """

    name: ClassVar[str] = "mi-ue"
    summary: ClassVar[str] = "noise that draws a class's features together and away from others"
    needs_labels: ClassVar[bool] = True
    any_classes: ClassVar[bool] = False

    attack: Pgd = Pgd(Radius.of_levels(8), Radius.of_levels(0.2), steps=10, random_start=False)
    sweeps: int = 100
    together: int = 512
    temperature: float = 0.1
    distance: float = 0.0
    final: Pgd = Pgd(Radius.of_levels(8), Radius.of_levels(0.4), steps=100, random_start=False)
    views: Views = Views(pad=0)  # by the surrogate in training
    # 100 epochs of 50,000 pictures
    schedule: Schedule = Schedule(steps=39_063, weight_decay=1e-4, shape="cosine")

    def __post_init__(self) -> None:
        if min(self.sweeps, self.together) < 1 or not self.temperature > 0:
            raise UsageProblem(
                f"{self.sweeps} sweeps over {self.together} pictures at a temperature of "
                f"{self.temperature} gather nothing; all must be above 0"
            )

    @property
    def bound(self) -> Radius:
        return self.final.radius

    def at(self, bound: Radius) -> Self:
        return replace(self, attack=self.attack.within(bound), final=self.final.within(bound))

    def build(self, spec: Spec) -> nn.Module:
        network = build_classifier(spec.architecture, spec.classes)
        bank = torch.empty(0, network.head.in_features)
        return with_room(network, bank=bank, bank_labels=torch.empty(0, dtype=torch.int64))

    def fit(self, module: nn.Module, data: LabelledPictures, run: Run, observer: Observer) -> None:
        """Train the surrogate on noisy pictures, then hold the features of some of them."""
        if len(data.labels.unique()) < 2:
            raise UsageProblem("mi-ue draws classes apart; it needs pictures of at least 2")
        held, data = pick_evenly(data, self.together, run.seed), data.to(run.device)
        noise = torch.zeros(data.pixels.shape, device=run.device)
        kept = KeptNoise(data, noise, self.sweeps, self.together, run)

        def losses(model: nn.Module, noisy: Tensor, batch: Batch) -> Tensor:
            with run.autocast():
                logits = model(self.views(noisy, batch.rng))
            return cross_entropy(logits, batch.labels)

        kept.train(module, losses, self._improved, self.schedule, observer)
        with torch.no_grad(), frozen(module, run.precision) as network:
            seen = cast(Classifier, network).features
            parts = [seen(to_images(data.pixels[n]) + noise[n]) for n in held.split(64)]
        keep(module, bank=torch.cat(parts), bank_labels=data.labels[held])

    def step_of(self, sweep: int) -> Pgd:
        """Return the attack of a sweep counted from 0."""
        grown = self.attack.step.value * (self.sweeps + sweep) / self.sweeps
        return replace(self.attack, step=Radius(min(grown, self.attack.radius.value)))

    def _improved(self, network: nn.Module, group: Batch, noise: Tensor) -> Tensor:
        images, attack = to_images(group.pixels), self.step_of(group.step)

        def losses(noisy: Tensor) -> Tensor:
            features = cast(Classifier, network).features(noisy)
            return self.losses(features, features, group.labels[:, None] == group.labels)

        return pgd(losses, images, attack, "minimise", group.rng, noise)

    def losses(
        self, features: Tensor, others: Tensor, same: Tensor, *, alone: bool = False
    ) -> Tensor:
        """Return the loss (N,) of features (N, F) that meet others (M, F), same in class (N, M).

        They are among the others unless they are alone.
        """
        losses = nt_xent(features, others, same, self.temperature, alone=alone)
        if self.distance:
            losses = losses + self.distance * distances(features, others, same)
        return losses

    def ready(self, module: nn.Module, run: Run) -> NoiseMaker:
        network = settled(cast(Classifier, module), run.precision, compiled=run.compiled)
        bank, held = (module.get_buffer(name).clone() for name in ("bank", "bank_labels"))

        def make(images: Tensor, labels: Tensor, rng: Rng) -> Tensor:
            same = labels[:, None] == held

            def losses(noisy: Tensor) -> Tensor:
                return self.losses(network.features(in_colour(noisy)), bank, same, alone=True)

            return pgd(losses, images, self.final, "minimise", rng)

        return LabelledNoise(make)

    def cost(self, pictures: int) -> Cost:
        cost = Cost.of(pictures, self.final.passes, (self.schedule, 1))
        return with_sweeps(cost, pictures, self.sweeps * self.attack.passes)

    def facts(self) -> Mapping[str, str]:
        return {"holds": f"the features of up to {self.together} of its pictures"}

    @classmethod
    def recipes(cls) -> Mapping[str, Self]:
        final = Pgd(Radius.of_levels(8), Radius.of_levels(0.8), steps=30, random_start=False)
        attack = replace(final, steps=4)
        schedule = Schedule(steps=600, weight_decay=1e-4, shape="cosine")
        quick = cls(attack=attack, sweeps=12, final=final, schedule=schedule)
        return {PAPER: cls(), "quick": quick}

    @classmethod
    def example(cls) -> Self:
        attack = Pgd(Radius.of_levels(8), Radius.of_levels(2), steps=2, random_start=False)
        return cls(
            attack=attack,
            sweeps=2,
            together=6,
            final=replace(attack, steps=4),
            views=Views(flip=False, pad=1),
            schedule=Schedule(steps=3, batch_size=4, learning_rate=0.05),
        )


def nt_xent(
    features: Tensor, others: Tensor, same: Tensor, temperature: float, *, alone: bool = False
) -> Tensor:
    """Return how little of its similarity each picture has with its class: (N,).

    The normalised temperature-scaled cross entropy of cosines, in which a picture counts among
    those of its class. Everything is divided by the largest similarity, so that no temperature
    overflows.
    """
    cosines = F.normalize(features) @ F.normalize(others).T
    largest = 1 / temperature
    alike = (cosines * largest - largest).exp() + _FLOOR * math.exp(-largest)
    itself = 1 if alone else 0
    return -((itself + (alike * same).sum(dim=1)) / (itself + alike.sum(dim=1))).log()


def distances(features: Tensor, others: Tensor, same: Tensor) -> Tensor:
    """Return log(1 + summed distances to the others of its class / F) of each picture: (N,)."""
    apart = torch.cdist(features, others, compute_mode="donot_use_mm_for_euclid_dist")
    return torch.log1p((apart * same).sum(dim=1) / features.shape[1])
