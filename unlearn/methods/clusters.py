"""Clusters: one pattern for each group of like pictures, so that nobody needs to name classes.

After "Unlearnable Clusters" (Zhang et al., 2023). A group's pattern moves the features of its
pictures to the centre of the next group. Deviations from the authors' code: the surrogate is no
pretrained network but one trained to tell apart groups of like pixels; a pattern is learned itself,
not through a network that draws it from fixed noise, and is ε tanh, where their tanh cut at ε has
no gradient in 86 % of values; and it learns from its own group's pictures, not from all of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.attack import frozen
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.errors import UsageProblem
from unlearn.methods.base import PAPER, Cost, NoiseMaker, Spec
from unlearn.methods.entf import feature_distances
from unlearn.methods.supervised import all_features, supervised
from unlearn.methods.tap import in_colour
from unlearn.models import build_classifier
from unlearn.models.classifier import Classifier
from unlearn.models.folding import settled
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import stretched, to_images
from unlearn.training import Batch, Observer, Schedule, Stage, StepLosses, train
from unlearn.views import Views

_LOOKS, _CENTRES, _PATTERNS = "looks", "centres", "patterns"
_THUMBNAIL = 8  # pixels a side, by which pictures are grouped at first
_ROUNDS = 100
_TOGETHER = 512
_START = 0.1  # deviation of the patterns before tanh


@dataclass(frozen=True)
class Clusters:
    """Patterns for groups of pictures without labels; radius, groups and offset as published.

    offset is how many groups further the centre lies that a pattern moves pictures to. The other
    settings are our own: schedule trains the surrogate, pattern_schedule the patterns.
    """

    name: ClassVar[str] = "clusters"
    summary: ClassVar[str] = "one pattern for each group of like pictures, whatever their classes"
    needs_labels: ClassVar[bool] = False
    any_classes: ClassVar[bool] = True

    radius: Radius = Radius.of_levels(16)
    groups: int = 10
    offset: int = 1
    views: Views = Views()
    schedule: Schedule = Schedule()
    pattern_schedule: Schedule = Schedule(
        steps=1000, learning_rate=0.05, weight_decay=0.0, shape="cosine", optimiser="adam"
    )

    def __post_init__(self) -> None:
        if self.groups < 2 or not self.offset % self.groups:
            raise UsageProblem(
                f"an offset of {self.offset} leads each of {self.groups} groups to itself"
            )

    @property
    def bound(self) -> Radius:
        return self.radius

    def at(self, bound: Radius) -> Self:
        return replace(self, radius=bound)

    def build(self, spec: Spec) -> nn.Module:
        network = build_classifier(spec.architecture, self.groups)
        network.register_buffer(_LOOKS, torch.zeros(self.groups, 3 * _THUMBNAIL**2))
        network.register_buffer(_CENTRES, torch.zeros(self.groups, network.head.in_features))
        patterns = torch.zeros(self.groups, 3, spec.size, spec.size)
        network.register_parameter(_PATTERNS, nn.Parameter(patterns))
        return network

    def fit(self, module: nn.Module, data: LabelledPictures, run: Run, observer: Observer) -> None:
        """Group the pictures, train the surrogate, group what it sees, learn the patterns."""
        rng = Rng.for_images(run.seed, torch.zeros(1, dtype=torch.int64))
        seen = torch.cat([looks(to_images(part)) for part in data.pixels.split(_TOGETHER)])
        alike = kmeans(seen, self.groups, rng.fork(0))
        names = tuple(f"group {number}" for number in range(self.groups))
        groups = LabelledPictures(data.pixels, nearest(seen, alike), names, data.ids)
        train(module, supervised(run, self.views), groups, self.schedule, run, observer)
        centres, patterns = module.get_buffer(_CENTRES), module.get_parameter(_PATTERNS)
        with torch.no_grad():
            centres.copy_(kmeans(all_features(module, data, run).cpu(), self.groups, rng.fork(1)))
            patterns.copy_(_START * rng.fork(2).normal(*patterns.shape)[0])
        last = Stage(observer, 1)
        train(module, self._pattern_step(run), data, self.pattern_schedule, run, last)

    def _pattern_step(self, run: Run) -> StepLosses:
        """Return the losses of a step that trains the patterns and leaves the network alone."""

        def losses(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
            centres, images = model.get_buffer(_CENTRES), to_images(batch.pixels)
            patterns = bounded(model.get_parameter(_PATTERNS), self.radius)
            with frozen(model, run.precision, compiled=run.compiled) as network:
                features = cast(Classifier, network).features
                with torch.no_grad():
                    groups = nearest(features(images), centres)
                goals = centres[(groups + self.offset) % self.groups]
                errors = pattern_losses(
                    features, self.views(images, batch.rng), patterns[groups], goals
                )
            return {"loss": errors.mean()}

        return losses

    def ready(self, module: nn.Module, run: Run) -> NoiseMaker:
        network = settled(cast(Classifier, module), run.precision, compiled=run.compiled)
        patterns = bounded(module.get_parameter(_PATTERNS).detach(), self.radius)
        return GroupNoise(network.features, module.get_buffer(_CENTRES).clone(), patterns)

    def cost(self, pictures: int) -> Cost:
        return Cost.of(pictures, 1, (self.schedule, 1), (self.pattern_schedule, 2))

    def facts(self) -> Mapping[str, str]:
        return {"groups": str(self.groups)}

    @classmethod
    def recipes(cls) -> Mapping[str, Self]:
        paper = cls()
        patterns = replace(paper.pattern_schedule, steps=300)
        quick = replace(paper, schedule=Schedule(steps=600), pattern_schedule=patterns)
        return {PAPER: paper, "quick": quick}

    @classmethod
    def example(cls) -> Self:
        return cls(
            groups=3,
            views=Views(flip=False, pad=1),
            schedule=Schedule(steps=3, batch_size=4, learning_rate=0.05),
            # All pictures in each step: a group that no step saw would have next to no noise.
            pattern_schedule=Schedule(steps=2, batch_size=64, learning_rate=1.0, optimiser="adam"),
        )


@dataclass(frozen=True)
class GroupNoise:
    """The NoiseMaker whose places are groups: each picture's is that of the nearest centre."""

    features: Callable[[Tensor], Tensor]
    centres: Tensor
    patterns: Tensor

    @torch.no_grad()
    def targets(self, images: Tensor, labels: Tensor | None, rng: Rng) -> Tensor:  # noqa: ARG002
        """Return the groups (N,) that the pictures belong to, whatever their labels are."""
        return nearest(self.features(in_colour(images)), self.centres)

    def __call__(self, images: Tensor, targets: Tensor, rng: Rng) -> Tensor:  # noqa: ARG002
        delta = stretched(self.patterns[targets], *images.shape[-2:])
        return delta if images.shape[1] == 3 else delta.mean(dim=1, keepdim=True)


def bounded(raw: Tensor, radius: Radius) -> Tensor:
    """Return noise inside the ball for any numbers, with a gradient everywhere."""
    return float(radius) * raw.tanh()


def pattern_losses(
    features: Callable[[Tensor], Tensor], images: Tensor, patterns: Tensor, goals: Tensor
) -> Tensor:
    """Return how far the features of noisy images are from their goals (N, F): one loss each.

    The divergence of softmax(features) from softmax(goals) (Eq. 4 of the paper).
    """
    seen = features((images + patterns).clamp(0, 1))
    wanted = goals.log_softmax(dim=1)
    return (wanted.exp() * (wanted - seen.log_softmax(dim=1))).sum(dim=1)


def looks(images: Tensor) -> Tensor:
    """Return thumbnails (N, 192) of images (N, 3, H, W), by which pictures are first grouped."""
    return F.adaptive_avg_pool2d(images, _THUMBNAIL).flatten(1)


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """Return int64 (N,), which of the centres (K, F) each of the points (N, F) lies nearest to."""
    parts = points.split(_TOGETHER)
    return torch.cat([feature_distances(part, centres).argmin(dim=1) for part in parts])


def kmeans(points: Tensor, count: int, rng: Rng) -> Tensor:
    """Return the centres (count, F) of groups of points (N, F), found from a single stream.

    Lloyd's rounds from the start of k-means++ (Arthur and Vassilvitskii, 2007). By hand: it is
    thirty lines, and scikit-learn would bring SciPy along and its own random numbers.
    """
    if len(points) < count:
        raise UsageProblem(f"{len(points)} pictures cannot form {count} groups")
    centres = _spread(points, count, rng)
    groups = nearest(points, centres)
    for _ in range(_ROUNDS):
        centres = _means(points, groups, centres)
        before, groups = groups, nearest(points, centres)
        if torch.equal(before, groups):
            break
    return centres


def _spread(points: Tensor, count: int, rng: Rng) -> Tensor:
    """Draw points as first centres, each with a chance that grows with its squared distance."""
    draws = rng.uniform(count)[0].to(torch.float64)
    chosen = [int(draws[0] * len(points))]
    gaps = torch.full((len(points),), torch.inf, dtype=torch.float64)
    for draw in draws[1:]:
        apart = (points - points[chosen[-1]]).to(torch.float64).square().sum(dim=1)
        gaps = gaps.minimum(apart)
        sums = gaps.cumsum(dim=0)
        place = torch.searchsorted(sums, draw * sums[-1], right=True)
        chosen.append(min(int(place), len(points) - 1))
    return points[chosen]


def _means(points: Tensor, groups: Tensor, centres: Tensor) -> Tensor:
    """Return the mean of each group; an empty one takes a point that lies farthest from its own."""
    members = F.one_hot(groups, len(centres)).to(points.dtype).T
    counts = members.sum(dim=1)
    means = members @ points / counts.clamp(min=1)[:, None]
    distances = (points - centres[groups]).square().sum(dim=1)
    empty = (counts == 0).nonzero().flatten()
    means[empty] = points[distances.argsort(descending=True, stable=True)[: len(empty)]]
    return means
