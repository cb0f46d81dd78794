"""AR: noise in which each value is a weighted sum of its neighbours, by the weights of a class.

"Autoregressive Perturbations for Data Poisoning" (Sandoval-Segura et al., 2022); no network. A
convolution knows a class by its weights. Deviations from the authors' code: pictures larger than
the 32 pixels that processes are tried on get one start for each tile of that side, since most
processes grow without end; and where no process answers as the code asks, the best one is taken.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.errors import UsageProblem
from unlearn.methods.base import PAPER, Cost, LabelledNoise, NoiseMaker, Spec
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.training import Observer

_PROCESSES = "processes"
_TILE, _CROP = 32, 4  # the first rows and columns, which are mostly the start, are cropped
_TRIALS, _LARGEST_NORM = 3, 50  # of a process that does not grow, as the authors' finder tries it
_DRAWN = 256  # processes of one channel that are tried together; about a quarter stays


@dataclass(frozen=True)
class Ar:
    """Autoregressive processes; norm and response are published for ten classes of CIFAR.

    norm is the ℓ2 norm of the noise at 32 x 32, and grows with the side. response is what filters
    of earlier classes answer to a class's noise at least; of `candidates` processes that do not
    grow the first that reaches it is taken, or the one that comes nearest. The noise keeps no ℓ∞
    ball (18/255 is usual); with ball it is scaled to that.
    """

    name: ClassVar[str] = "ar"
    summary: ClassVar[str] = "noise that a small filter of the class predicts; no training"
    needs_labels: ClassVar[bool] = True
    any_classes: ClassVar[bool] = False

    norm: float = 1.0
    response: float = 10.0
    candidates: int = 1024
    ball: Radius | None = None

    def __post_init__(self) -> None:
        if self.norm <= 0 or self.candidates < 1:
            raise UsageProblem(
                f"noise of norm {self.norm:g} from {self.candidates} candidates is none: norm is "
                "above 0, candidates at least 1"
            )

    @property
    def bound(self) -> Radius | None:
        return self.ball

    def at(self, bound: Radius) -> Self:
        return replace(self, ball=bound)

    def build(self, spec: Spec) -> nn.Module:
        module = nn.Module()
        module.register_buffer(_PROCESSES, torch.zeros(spec.classes, 3, 3, 3))
        return module

    def fit(self, module: nn.Module, data: LabelledPictures, run: Run, observer: Observer) -> None:  # noqa: ARG002
        """Find each class's process from the run's seed; the data teach nothing."""
        processes = module.get_buffer(_PROCESSES)
        rng = Rng.for_images(run.seed, torch.zeros(1, dtype=torch.int64))
        processes.copy_(find(len(processes), self.response, self.candidates, rng))
        module.to(run.device).eval()

    def ready(self, module: nn.Module, run: Run) -> NoiseMaker:  # noqa: ARG002
        processes = module.get_buffer(_PROCESSES).clone()

        def make(images: Tensor, labels: Tensor, rng: Rng) -> Tensor:
            pattern = tiled(processes[labels, : images.shape[1]], images, rng)
            if self.ball is not None:
                return sized(pattern, float(self.ball), math.inf)
            share = pattern[0].numel() / (3 * _TILE**2)
            return sized(pattern, self.norm * math.sqrt(share), 2)

        return LabelledNoise(make)

    def cost(self, pictures: int) -> Cost:  # noqa: ARG002
        return Cost()

    def facts(self) -> Mapping[str, str]:
        return {"norm": f"{self.norm:g} (ℓ2 at {_TILE} px)"}

    @classmethod
    def recipes(cls) -> Mapping[str, Self]:
        return {PAPER: cls()}

    @classmethod
    def example(cls) -> Self:
        return cls(candidates=4)


def find(count: int, response: float, most: int, rng: Rng) -> Tensor:
    """Return processes (count, 3, 3, 3), one a class, found from a single stream.

    Each is the first of the steady ones whose noise the filters of all before answer by `response`.
    Where `most` hold none, it is the one of them that they answer most.
    """
    pool = [part[:most] for part in steady(rng.fork(0))]
    chosen: list[Tensor] = []
    least = torch.full((len(pool[0]),), torch.inf)  # the lowest answer to each of the pool so far
    drawn = 1
    while len(chosen) < count:
        if float(least.max()) < response and len(pool[0]) < most:
            more, drawn = steady(rng.fork(drawn)), drawn + 1
            low = torch.stack([answers(process, more[1]) for process in chosen]).amin(dim=0)
            pool = [torch.cat(parts)[:most] for parts in zip(pool, more, strict=True)]
            least = torch.cat([least, low])[:most]
            continue
        reached = (least >= response).nonzero()
        best = int(reached[0] if len(reached) else least.argmax())
        chosen.append(pool[0][best])
        least = torch.minimum(least, answers(chosen[-1], pool[1]))
        least[best] = -1
    return torch.stack(chosen)


def steady(rng: Rng) -> tuple[Tensor, Tensor]:
    """Draw processes (N, 3, 3, 3) that do not grow, and a pattern (N, 3, 32, 32) of each.

    Channels are tried alone first: what stays is distributed as if whole processes were tried.
    """
    weights = rng.normal(_DRAWN, 9)[0]
    weights[:, 8] = 0
    weights = (weights / weights.sum(dim=1, keepdim=True)).view(-1, 3, 3)
    start = edges(rng, _DRAWN, _TRIALS, _TILE + _CROP, _TILE + _CROP)[0]
    patterns = rolled(start, weights[:, None])[..., _CROP:, _CROP:]
    steady = (patterns.flatten(2).norm(dim=2) <= _LARGEST_NORM).all(dim=1).nonzero()[:, 0]
    triples = steady[: len(steady) // 3 * 3].view(-1, 3)
    processes, patterns = weights[triples], patterns[triples].transpose(1, 2)
    kept = (patterns.flatten(2).norm(dim=2) <= _LARGEST_NORM).all(dim=1)
    return processes[kept], sized(patterns[kept, -1], 1.0, 2)


def answers(process: Tensor, patterns: Tensor) -> Tensor:
    """Return how much the filter of a process (3, 3, 3) answers to patterns (N, 3, H, W).

    The filter subtracts each value from what the process makes of its neighbours.
    """
    weights = process.clone()
    weights[:, 2, 2] = -1
    answer: Tensor = F.conv2d(patterns, weights[None]).relu().sum(dim=(1, 2, 3))
    return answer


def tiled(processes: Tensor, images: Tensor, rng: Rng) -> Tensor:
    """Return the processes' (N, C, 3, 3) patterns, of any norm, for images (N, C, H, W)."""
    count, channels, *size = images.shape
    height, width = (min(side, _TILE) for side in size)
    down, across = -(-size[0] // height), -(-size[1] // width)
    start = edges(rng, down, across, channels, height + _CROP, width + _CROP)
    tiles = rolled(start, processes[:, None, None])[..., _CROP:, _CROP:]
    whole = tiles.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, down * height, across * width)
    return whole[..., : size[0], : size[1]]


def edges(rng: Rng, *shape: int) -> Tensor:
    """Draw starts (N, *shape) with normal first rows and columns, two each; others are replaced."""
    rows, columns = rng.normal(*shape[:-2], 2, shape[-1]), rng.normal(*shape[:-1], 2)
    start = rows.new_zeros(len(rows), *shape)
    start[..., :2], start[..., :2, :] = columns, rows
    return start


def rolled(start: Tensor, processes: Tensor) -> Tensor:
    """Return start (..., H, W) with each value but the first two rows and columns replaced.

    It becomes the sum of its 3 x 3 neighbours above and to the left, by the weights (..., 3, 3).
    Values on one diagonal need none of each other, so they are taken at once.
    """
    height, width = start.shape[-2:]
    row, column = (
        torch.arange(height, device=start.device),
        torch.arange(width, device=start.device),
    )
    diagonals = start.new_zeros(*start.shape[:-2], height + width - 1, height)
    places = row[:, None] + column, row[:, None].expand(height, width)
    diagonals[..., places[0], places[1]] = start
    lags = [(down, across) for down in range(3) for across in range(3) if down or across]
    for number in range(4, height + width - 1):
        first, end = max(2, number - width + 1), min(height, number - 1)
        diagonals[..., number, first:end] = sum(
            processes[..., 2 - down, 2 - across, None]
            * diagonals[..., number - down - across, first - down : end - down]
            for down, across in lags
        )
    return diagonals[..., places[0], places[1]]


def sized(patterns: Tensor, size: float, order: float) -> Tensor:
    """Return patterns (N, C, H, W) of a norm of an order, 2 or infinity, over all values."""
    norms: Tensor = patterns.flatten(1).norm(order, dim=1)[:, None, None, None]
    return patterns * (size / norms)
