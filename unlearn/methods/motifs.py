"""Motifs: a small pattern of signs a class, repeated over the picture; no network, no training.

A class has p x p cells of a sign for each colour, drawn from the owner's key; each picture begins
them at another place, so that no mean over a class shows them. One filter finds such a motif in any
crop, where a tile of hundreds of cells has to be memorised. Our own; no paper has it.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.errors import UsageProblem
from unlearn.methods.base import PAPER, Cost, LabelledNoise, NoiseMaker, Spec
from unlearn.radius import WHITE, Radius
from unlearn.rng import Rng
from unlearn.training import Observer

Kind = Literal["random", "opponent", "gratings"]
WORKING_SIZE = 224  # short side of the grid in whose pixels cells are counted
MOST_ALIKE = 0.7  # agreeing less disagreeing signs, as a share, that two classes have at most
_MOTIF, _ROLL, _SIZE = 0, 1, 2
_LUMA = (299, 587, 114)  # thousandths, as Pillow converts to grey
_MOST_CANDIDATES, _LEAST_CANDIDATES = 256, 8
_COMPARISONS = 2048  # about so many motifs are compared for each that is picked
_LEAST_TABLE = 16
_STEPS = 1024  # of a unit, to which values are rounded for their mean
FINE = 256  # of a pixel, in which cells are measured


@dataclass(frozen=True)
class Mask:
    """A radius for each pixel: small where a picture is plain, full where texture hides noise.

    In shares of the radius: `least`, and `gain` more for each level above `start` of the standard
    deviation of luma in a square of `window` pixels at 224, up to 1. A picture with a mean share
    below `mean` gets what it lacks everywhere, so that plain pictures are not left without noise.
    """

    least: float = 0.375
    gain: float = 0.25
    window: int = 9
    start: float = 0.0
    mean: float = 0.0

    def __post_init__(self) -> None:
        shares = 0 <= self.least <= 1 and 0 <= self.mean <= 1 and max(self.least, self.mean) > 0
        if not shares or min(self.gain, self.start) < 0 or self.window < 1:
            raise UsageProblem(
                f"a mask of least {self.least:g}, mean {self.mean:g}, gain {self.gain:g}, start "
                f"{self.start:g} and window {self.window}: least and mean are within 0 and 1 and "
                "one is above 0, gain and start are at least 0, window at least 1"
            )


@dataclass(frozen=True)
class Motifs:
    """Random periodic motifs: `period` cells a side, each of `cell` pixels at 224.

    kind "random" draws each sign; "opponent" ones have red against green and as many cells up as
    down in each colour, so no tint and hardly any luma; "gratings" are stripes or checks of one
    frequency, magenta against green. Classes are told apart at any roll and mirrored; where a
    period has no such motif left, later classes get twice the period. Each picture's cells are
    larger or smaller by a share of up to `varied`: few directions then do not hold a class's noise.
    """

    name: ClassVar[str] = "motifs"
    summary: ClassVar[str] = "a few signs a class, repeated, drawn from the key; no training"
    needs_labels: ClassVar[bool] = True
    any_classes: ClassVar[bool] = True

    radius: Radius = Radius.of_levels(8)
    period: int = 4
    cell: int = 7
    kind: Kind = "gratings"
    mask: Mask | None = Mask(gain=0.0875)
    varied: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.varied < 1:
            raise UsageProblem(
                f"cells varied by {self.varied:g} are none; it is a share, at least 0 and below 1"
            )
        if self.period < 1 or self.cell < 1:
            raise UsageProblem(
                f"a motif of {self.period} cells of {self.cell} px is none; both are at least 1"
            )
        if self.kind not in get_args(Kind):
            raise UsageProblem(f"kind {self.kind!r} is none of {', '.join(get_args(Kind))}")
        if self.kind == "gratings" and self.period < 2:
            raise UsageProblem("gratings of a period of 1 cell have no stripes; at least 2")

    @property
    def bound(self) -> Radius:
        return self.radius

    def at(self, bound: Radius) -> Self:
        return replace(self, radius=bound)

    def build(self, spec: Spec) -> nn.Module:  # noqa: ARG002
        return nn.Module()

    def fit(self, module: nn.Module, data: LabelledPictures, run: Run, observer: Observer) -> None:  # noqa: ARG002
        """Learn nothing: the owner's key draws the motifs when pictures are protected."""
        module.to(run.device).eval()

    def ready(self, module: nn.Module, run: Run) -> NoiseMaker:  # noqa: ARG002
        return LabelledNoise(self._noise)

    def _noise(self, images: Tensor, labels: Tensor, rng: Rng) -> Tensor:
        """Return δ: ±1 of the classes' motifs, each rolled by its picture, times the radius."""
        if not len(images):
            return torch.zeros_like(images)
        stream, count = int(rng.common().keys[0]), int(labels.max()) + 1
        table = class_motifs(stream, _rounded_up(count), self.kind, self.period, images.shape[1])
        starts = rng.fork(_ROLL).uniform(2)
        sizes = self.cells(images, rng.fork(_SIZE).uniform(1)[:, 0])
        signs = [
            repeated(table[label].to(images.device), fine, images.shape[-2:], start)
            for label, fine, start in zip(labels.tolist(), sizes, starts, strict=True)
        ]
        shares = torch.stack(signs)
        if self.mask is not None:
            shares *= shown(images, self.mask)
        return float(self.radius) * shares

    def cells(self, images: Tensor, draws: Tensor) -> list[int]:
        """Return the side of each picture's cells in 1/256 px, for draws (N,) in [0, 1)."""
        side = max(1, round(self.cell * min(images.shape[-2:]) / WORKING_SIZE))
        sizes = FINE * side * (1 + self.varied * (2 * draws.to(torch.float64) - 1))
        return [max(FINE, size) for size in sizes.round().long().tolist()]

    def cost(self, pictures: int) -> Cost:  # noqa: ARG002
        return Cost()

    def facts(self) -> Mapping[str, str]:
        return {"cell": f"{self.cell} px", "period": f"{self.period} cells"}

    @classmethod
    def recipes(cls) -> Mapping[str, Self]:
        return {
            PAPER: cls(),
            "spared": cls(mask=Mask(least=0.25, gain=0.175, start=5, mean=0.5)),
            "varied": cls(varied=0.2),
            "unmasked": cls(mask=None),
            "strong": cls(mask=None, varied=0.2),
            "opponent": cls(period=2, cell=10, kind="opponent", mask=Mask()),
            "gentle": cls(period=2, cell=5, kind="opponent", mask=Mask()),
            "random": cls(period=2, cell=10, kind="random", mask=None),
        }

    @classmethod
    def example(cls) -> Self:
        return cls()


def _rounded_up(count: int) -> int:
    """Return a power of two that is no smaller: few different tables are made."""
    return max(_LEAST_TABLE, 1 << (count - 1).bit_length())


@functools.lru_cache(maxsize=16)
def class_motifs(
    stream: int, count: int, kind: Kind, period: int, channels: int
) -> tuple[Tensor, ...]:
    """Return the motifs (C, p, p) of ±1 of so many classes, drawn from the stream of a key.

    Each is the candidate that is least like those before it, so a class's motif does not depend on
    the classes after it. The period doubles once all candidates are too much like one before.
    Gratings come in the order of `gratings`, and opponent motifs of twice the period after them.
    """
    common = Rng(torch.tensor([stream])).fork(_MOTIF)
    motifs: list[Tensor] = []
    rivals: list[Tensor] = []  # the same motifs, repeated to this period
    if kind == "gratings":
        motifs = list(gratings(period, channels, common))[:count]
        kind, period = "opponent", 2 * period
        rivals = [motif.repeat(1, 2, 2) for motif in motifs]
    while len(motifs) < count:
        wanted = _COMPARISONS // (1 + len(rivals))
        wanted = max(_LEAST_CANDIDATES, min(_MOST_CANDIDATES, wanted))
        some = candidates(kind, period, (wanted, channels), common.fork(len(motifs)).fork(period))
        best = 0
        if rivals:
            alike = likeness(some, torch.stack(rivals))
            best = int((alike == alike.min()).nonzero()[0])  # the first of equals
            if alike[best] > MOST_ALIKE:
                period, rivals = 2 * period, [rival.repeat(1, 2, 2) for rival in rivals]
                continue
        motifs.append(some[best])
        rivals.append(some[best])
    return tuple(motifs)


def candidates(kind: Kind, period: int, count: tuple[int, int], rng: Rng) -> Tensor:
    """Draw motifs (N, C, p, p) of ±1 from a single stream, for (N, C) = count; C = 1 is grey."""
    cells = period**2
    drawn = rng.uniform(*count, cells)[0]
    up = drawn >= 0.5
    if kind == "opponent":
        up = drawn.argsort(dim=2, stable=True).argsort(dim=2, stable=True) * 2 >= cells
    signs = torch.where(up, 1.0, -1.0)
    if kind == "opponent" and count[1] == 3:
        signs[:, 1] = -signs[:, 0]
    return signs.view(*count, period, period)


def gratings(period: int, channels: int, rng: Rng) -> Tensor:
    """Return all stripes and checks (N, C, p, p) of ±1, as a single stream orders them.

    Waves that are mirrored are one. Slanted stripes come last: copiers found them later.
    """
    most = period // 2 + 1
    waves = [divmod(n, most) for n in range(1, most**2)]
    draws = rng.uniform(len(waves))[0].tolist()
    slanted = [0 < min(wave) != period / 2 for wave in waves]
    order = sorted(range(len(waves)), key=lambda n: (slanted[n], draws[n]))
    down, across = torch.tensor([waves[n] for n in order]).T[..., None, None]
    place = torch.arange(period)
    phase = (across * place + down * place[:, None]) % period
    stripes = torch.where(2 * phase < period, 1.0, -1.0)[:, None]
    magenta = torch.tensor([1.0, -1.0, 1.0]) if channels == 3 else torch.ones(1)
    return stripes * magenta[:, None, None]


def likeness(motifs: Tensor, rivals: Tensor) -> Tensor:
    """Return (N,) the largest correlation of motifs (N, C, p, p) with any rival (K, C, p, p).

    The motifs are tried at every roll and mirrored. Sums of signs are whole numbers, so they are
    exact in any order.
    """
    period = motifs.shape[-1]
    turned = [
        copy.roll((down, across), dims=(2, 3)).flatten(1)
        for copy in (motifs, motifs.flip(3))
        for down in range(period)
        for across in range(period)
    ]
    products = torch.stack(turned, dim=1) @ rivals.flatten(1).T
    best: Tensor = products.amax(dim=(1, 2)) / rivals[0].numel()
    return best


def repeated(motif: Tensor, fine: int, size: torch.Size, offset: Tensor) -> Tensor:
    """Return a motif (C, p, p) of cells of fine / 256 pixels over (H, W), begun at (2,) offset.

    The offset is in shares of a period, down and across; the motif begins at a whole pixel.
    """
    period = motif.shape[-1]
    first = (offset * (period * fine / FINE)).long() * FINE
    rows, columns = (
        (torch.arange(length, device=motif.device) * FINE + start) // fine % period
        for length, start in zip(size, first, strict=True)
    )
    return motif[:, rows[:, None], columns]


def shown(images: Tensor, mask: Mask) -> Tensor:
    """Return the share (N, 1, H, W) of the radius that each pixel of images (N, C, H, W) may have.

    All sums are of whole numbers, so that equal pictures get equal shares everywhere.
    """
    levels = luma_levels(images)
    half = max(1, round(mask.window * min(images.shape[-2:]) / WORKING_SIZE) // 2)
    count = (2 * half + 1) ** 2
    total, squares = summed(levels, half), summed(levels.square(), half)
    deviation = (count * squares - total.square()).clamp(min=0).sqrt() / count
    shares = (mask.least + mask.gain * (deviation - mask.start).clamp(min=0)).clamp(max=1)
    lacking = (mask.mean - steady_mean(shares)).clamp(min=0)
    return (shares + lacking).clamp(max=1).to(torch.float32)


def steady_mean(planes: Tensor) -> Tensor:
    """Return each picture's mean (N, 1, 1, 1) of values to 1/1024, the same in any batch."""
    return (planes * _STEPS).round().mean(dim=(1, 2, 3), keepdim=True) / _STEPS


def luma_levels(images: Tensor) -> Tensor:
    """Return luma in whole levels float64 (N, 1, H, W) of images [0, 1] of 1 or 3 channels."""
    levels = (images.to(torch.float64) * WHITE).round()
    if images.shape[1] == 1:
        return levels
    weights = torch.tensor(_LUMA, dtype=torch.float64, device=images.device)
    return ((levels * weights[:, None, None]).sum(dim=1, keepdim=True) / 1000).floor()


def summed(planes: Tensor, half: int) -> Tensor:
    """Return the sum of each value's (2 half + 1)² neighbours, edges repeated."""
    side = 2 * half + 1
    padded = F.pad(planes, (half, half, half, half), mode="replicate")
    across = F.avg_pool2d(padded, (1, side), stride=1, divisor_override=1)
    return F.avg_pool2d(across, (side, 1), stride=1, divisor_override=1)
