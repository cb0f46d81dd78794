"""TUE: noise that is alike within a class and apart between them, and plain to contrastive nets.

"Transferable Unlearnable Examples" (Ren et al., 2023), with SimCLR (Chen et al., 2020) as the
surrogate. Their code keeps the noise of each picture through the training; here that is how the
centres of the classes' noise are found, and a picture to protect starts anew, is drawn to its
centre, and contrasted with noisy pictures whose projections the artefact holds. Deviations from
their code: the projection is linear; views change no colours but to grey, and move the noise along
with its picture; and noise keeps pictures in [0, 1].
"""

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
from unlearn.methods.entf import class_means
from unlearn.methods.held import keep, with_room
from unlearn.methods.kept_noise import KeptNoise, with_sweeps
from unlearn.methods.tap import in_colour
from unlearn.models import build_classifier
from unlearn.models.classifier import Classifier
from unlearn.models.folding import settled
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import stretched, to_images
from unlearn.training import Batch, Observer, Schedule
from unlearn.views import Views

_CENTRES = "centres"
_PROJECTED = 128
_NEAR = 1e-5  # added to distances, as in the authors' code


@dataclass(frozen=True)
class Tue:
    """Class-wise separable noise; the defaults are those of the authors' command for SimCLR.

    But for the weights of the two terms, contrast and separability: that command has 0 and 0.1, so
    that no network has a say; the 1 and 1 here are those of their command for MoCo. reference takes
    the spread of a class's noise for a constant, as the code does by mistake. together is how many
    pictures meet in a sweep, and how many the artefact holds.
    """

    name: ClassVar[str] = "tue"
    summary: ClassVar[str] = "noise alike within a class and apart between them, easy to contrast"
    needs_labels: ClassVar[bool] = True
    any_classes: ClassVar[bool] = False

    attack: Pgd = Pgd(Radius.of_levels(8), Radius.of_levels(0.8), steps=20)
    contrast: float = 1.0
    separability: float = 1.0
    temperature: float = 0.5
    reference: bool = False
    together: int = 512
    sweeps: int = 200  # one after each 20 batches of 512 of 50,000 pictures, for 40 epochs
    views: Views = Views(smallest_crop=0.08, grey=0.2)
    schedule: Schedule = Schedule(
        steps=3920,
        batch_size=512,
        learning_rate=1e-3,
        weight_decay=1e-6,
        decay=1.0,
        optimiser="adam",
    )

    def __post_init__(self) -> None:
        if min(self.sweeps, self.together) < 1 or not self.temperature > 0:
            raise UsageProblem(
                f"{self.sweeps} sweeps over {self.together} pictures at a temperature of "
                f"{self.temperature} separate nothing; all must be above 0"
            )
        if min(self.contrast, self.separability) < 0 or not self.contrast + self.separability:
            raise UsageProblem(
                f"weights of {self.contrast} and {self.separability} leave nothing to lower"
            )

    @property
    def bound(self) -> Radius:
        return self.attack.radius

    def at(self, bound: Radius) -> Self:
        return replace(self, attack=self.attack.within(bound))

    def build(self, spec: Spec) -> nn.Module:
        if spec.classes < 2:
            raise UsageProblem("tue separates the noise of classes; it needs at least 2")
        # Another width than there are classes: a projection is no guess at a class.
        width = _PROJECTED + (spec.classes == _PROJECTED)
        network = build_classifier(spec.architecture, width)
        with_room(network, bank=torch.empty(0, width))
        shape = spec.classes, 3, spec.size, spec.size
        network.register_buffer(_CENTRES, torch.zeros(shape))  # in shares of the radius
        return network

    def fit(self, module: nn.Module, data: LabelledPictures, run: Run, observer: Observer) -> None:
        """Train the surrogate on noisy pictures; then hold centres of noise and projections."""
        held, data = pick_evenly(data, self.together, run.seed), data.to(run.device)
        start = Rng.for_images(run.seed, data.ids).fork(-1)
        ball = float(self.bound)
        noise = start.uniform(*data.pixels.shape[1:], low=-ball, high=ball)
        classes = len(module.get_buffer(_CENTRES))
        class_means(noise.flatten(1), data.labels, classes)  # refuses empty classes at once
        kept = KeptNoise(data, noise, self.sweeps, self.together, run)

        def losses(model: nn.Module, noisy: Tensor, batch: Batch) -> Tensor:
            with run.autocast():
                one, two = model(self._two_views(noisy, batch.rng)).float().chunk(2)
            return simclr(one, two, self.temperature)

        kept.train(module, losses, self._improved, self.schedule, observer)
        means = class_means(noise.flatten(1), data.labels, classes)
        centres = module.get_buffer(_CENTRES)
        centres.copy_(means.view_as(centres) / max(ball, torch.finfo(means.dtype).tiny))
        with torch.no_grad(), frozen(module, run.precision) as network:
            parts = [network(to_images(data.pixels[n]) + noise[n]) for n in held.split(64)]
        keep(module, bank=torch.cat(parts))

    def _two_views(self, images: Tensor, rng: Rng) -> Tensor:
        return torch.cat([self.views(images, rng), self.views(images, rng)])

    def _improved(self, network: nn.Module, group: Batch, noise: Tensor) -> Tensor:
        images, labels = to_images(group.pixels), group.labels

        def losses(noisy: Tensor) -> Tensor:
            apart = discriminant(noisy - images, labels, detached=self.reference)
            if not self.contrast:
                return apart
            one, two = network(self._two_views(noisy, group.rng)).chunk(2)
            alike = simclr(one, two, self.temperature).mean()
            return self.contrast * alike + self.separability * apart

        return pgd(losses, images, self.attack, "minimise", group.rng, noise)

    def ready(self, module: nn.Module, run: Run) -> NoiseMaker:
        network = settled(cast(Classifier, module), run.precision, compiled=run.compiled)
        bank, centres = module.get_buffer("bank").clone(), module.get_buffer(_CENTRES).clone()
        centres *= float(self.bound)
        # As in a sweep: a class is in two of the K (K - 1) ordered pairs with each other one.
        pulls = 2 * self.separability * nearness(centres.flatten(1))

        def make(images: Tensor, labels: Tensor, rng: Rng) -> Tensor:
            goals = stretched(centres[labels], *images.shape[-2:])
            if images.shape[1] == 1:
                goals = goals.mean(dim=1, keepdim=True)

            def losses(noisy: Tensor) -> Tensor:
                away: Tensor = (noisy - images - goals).flatten(1).norm(dim=1)
                if not self.contrast:
                    return away
                one, two = network(self._two_views(in_colour(noisy), rng)).chunk(2)
                alike = contrasted(one, two, bank, self.temperature)
                loss: Tensor = self.contrast * alike + pulls[labels] * away
                return loss

            return pgd(losses, images, self.attack, "minimise", rng)

        return LabelledNoise(make)

    def cost(self, pictures: int) -> Cost:
        passes = 2 * self.attack.passes if self.contrast else 0
        cost = Cost.of(pictures, passes, (self.schedule, 2))
        return with_sweeps(cost, pictures, self.sweeps * passes)

    def facts(self) -> Mapping[str, str]:
        return {"holds": f"projections of up to {self.together} of its pictures"}

    @classmethod
    def recipes(cls) -> Mapping[str, Self]:
        paper = cls()
        quick = replace(
            paper, sweeps=6, schedule=replace(paper.schedule, steps=200, batch_size=128)
        )
        return {PAPER: paper, "quick": quick}

    @classmethod
    def example(cls) -> Self:
        return cls(
            attack=Pgd(Radius.of_levels(8), Radius.of_levels(4), steps=3),
            together=6,
            sweeps=2,
            views=Views(flip=False, pad=1),
            schedule=Schedule(steps=3, batch_size=4, learning_rate=0.01, optimiser="adam"),
        )


def simclr(one: Tensor, two: Tensor, temperature: float) -> Tensor:
    """Return the contrastive loss (2N,) of two views' projections (N, F), of both in turn.

    Each has to tell its other view from all views of other pictures.
    """
    both = F.normalize(torch.cat([one, two]))
    likeness = both @ both.T / temperature
    itself = torch.eye(len(both), dtype=torch.bool, device=both.device)
    return F.cross_entropy(
        likeness.masked_fill(itself, -torch.inf),
        torch.arange(len(both), device=both.device).roll(len(one)),
        reduction="none",
    )


def contrasted(one: Tensor, two: Tensor, others: Tensor, temperature: float) -> Tensor:
    """Return the contrastive loss (N,) of pictures that each meet the same others (M, F)."""
    one, two, others = F.normalize(one), F.normalize(two), F.normalize(others)
    own = (one * two).sum(dim=1, keepdim=True)
    likeness = torch.stack([torch.cat([own, view @ others.T], dim=1) for view in (one, two)])
    likeness = likeness / temperature
    return (likeness.logsumexp(dim=2) - likeness[:, :, 0]).mean(dim=0)


def discriminant(noise: Tensor, labels: Tensor, *, detached: bool = False) -> Tensor:
    """Return how little the noise (N, ...) of classes is apart for how much it spreads (CSD).

    The mean over pairs of classes of their summed spreads by the distance of their centres, a
    spread being the mean distance to the centre; 0 for a single class. Detached, spreads have no
    gradient, as in the authors' code.
    """
    flat = noise.flatten(1)
    members = F.one_hot(labels).to(flat.dtype).T
    counts = members.sum(dim=1)
    shares = members / counts.clamp(min=1)[:, None]
    centres = shares @ flat
    spreads = shares @ (flat - centres[labels]).norm(dim=1)
    if detached:
        spreads = spreads.detach()
    one, two = torch.triu_indices(len(counts), len(counts), 1, device=flat.device)
    there = (counts[one] * counts[two] > 0).to(flat.dtype)
    ratios = (spreads[one] + spreads[two] + _NEAR) / (torch.pdist(centres) + _NEAR)
    mean: Tensor = (ratios * there).sum() / there.sum().clamp(min=1)
    return mean


def nearness(centres: Tensor) -> Tensor:
    """Return the mean inverse distance (K,) of each of the centres (K, F) to the others."""
    apart = torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist") + _NEAR
    inverse = (1 / apart).fill_diagonal_(0)
    return inverse.sum(dim=1) / max(1, len(centres) - 1)
