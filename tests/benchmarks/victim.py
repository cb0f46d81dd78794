"""A copier's model for the benchmarks: trained on what it is given, tried on clean pictures."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.making import accuracy
from unlearn.attack import Pgd, frozen, pgd
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.models import build_classifier
from unlearn.models.folding import Precision
from unlearn.objectives import cross_entropy
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import to_images
from unlearn.training import Schedule, TrainingState, train
from unlearn.views import Views

Augment = Callable[[Tensor, Rng], Tensor]  # pixels uint8 (N, 3, S, S) -> images (N, 3, s, s)


@dataclass(frozen=True)
class Victim:
    """How a copier trains: network, epochs, and the radius of its own adversary (0: none)."""

    architecture: str = "resnet-small"
    epochs: int = 25
    batch_size: int = 64
    rho_a: Radius = Radius.of_levels(0)
    pgd_steps: int = 10


@dataclass
class Outcome:
    """What one victim learned: accuracies in 0…1, on clean test pictures after each epoch."""

    curve: list[float] = field(default_factory=list)
    train: float = 0.0

    @property
    def last(self) -> float:
        return self.curve[-1]

    @property
    def best(self) -> float:
        return max(self.curve)


def padded_views(pixels: Tensor, rng: Rng) -> Tensor:
    """Flip and crop after padding by 4, as on CIFAR."""
    return Views()(to_images(pixels), rng)


def photo_views(pixels: Tensor, rng: Rng, size: int = 64, smallest: float = 0.25) -> Tensor:
    """Random resized crops with antialiasing, as a copier of photos makes them."""
    side = pixels.shape[-1]
    area, aspect, down, across, flip = rng.uniform(5).unbind(1)
    area = (smallest + (1 - smallest) * area).sqrt()
    root = torch.exp((aspect - 0.5) * math.log(16 / 9)).sqrt()
    heights, widths = ((side * (area * r).clamp(max=1)).int() for r in (1 / root, root))
    views = torch.empty(len(pixels), 3, size, size)
    for n, (height, width) in enumerate(zip(heights.tolist(), widths.tolist(), strict=True)):
        top = int(float(down[n]) * (side - height + 1))
        left = int(float(across[n]) * (side - width + 1))
        views[n] = shrunk(pixels[n : n + 1, :, top : top + height, left : left + width], size)[0]
    views = torch.where((flip < 0.5)[:, None, None, None], views.flip(-1), views)
    return views / 255


def shrunk(pixels: Tensor, size: int) -> Tensor:
    """Bring pixels to a square size with antialiasing: float, 0…255."""
    return F.interpolate(pixels.float(), size=(size, size), mode="bilinear", antialias=True)


@dataclass
class _Watch:
    """Tries the victim on clean pictures after each epoch."""

    test: LabelledPictures
    run: Run
    steps: int
    outcome: Outcome = field(default_factory=Outcome)
    hits: list[float] = field(default_factory=list)

    def started(self, state: TrainingState) -> None:
        pass

    def stepped(self, state: TrainingState, terms: dict[str, Tensor]) -> None:
        self.hits.append(float(terms["accuracy"]))
        if state.finished % self.steps == 0:
            self.outcome.curve.append(accuracy(state.model, self.test, self.run))
            self.outcome.train = sum(self.hits) / len(self.hits)
            self.hits = []


def fit_victim(
    victim: Victim,
    data: LabelledPictures,
    test: LabelledPictures,
    augment: Augment,
    seed: int,
    precision: Precision,
) -> Outcome:
    """Train one victim; test holds clean pictures at the size that augment makes."""
    run = Run(torch.device("cpu"), precision, seed)
    torch.manual_seed(seed)
    model = build_classifier(victim.architecture, len(data.classes))
    adversary = None
    if victim.rho_a.value:
        step = Radius(victim.rho_a.value * 2 / victim.pgd_steps)
        adversary = Pgd(victim.rho_a, step, victim.pgd_steps)

    def losses(module, batch):
        images, labels, rng = augment(batch.pixels, batch.rng), batch.labels, batch.rng
        if adversary:
            with frozen(module, run.precision) as network:
                images = images + pgd(
                    lambda x: cross_entropy(network(x), labels), images, adversary, "maximise", rng
                )
        with run.autocast():
            logits = module(images)
        hits = (logits.argmax(dim=1) == labels).float().mean()
        return {"loss": cross_entropy(logits, labels).mean(), "accuracy": hits}

    steps = max(1, len(data) // victim.batch_size)
    watch = _Watch(test, run, steps)
    schedule = Schedule(steps * victim.epochs, victim.batch_size, shape="cosine")
    train(model, losses, data, schedule, run, watch)
    return watch.outcome
