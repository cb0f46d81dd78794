"""Casts: each class has a colour cast, over the whole picture or its busy, bright or fine parts.

Most noise tells a copier nothing before it has learned a filter for it, and an adversary keeps it
from learning one. The mean colour of a picture's parts needs no filter: the first gradient already
shows it, under an attack too, and crops and mirrors keep it. Our own; no paper has it. The
parts are the picture's own, so no mean over a class shows a cast that lies on busy or bright ones.
"""

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.errors import UsageProblem
from unlearn.methods.base import PAPER, Cost, LabelledNoise, NoiseMaker, Spec
from unlearn.methods.motifs import WORKING_SIZE, luma_levels, steady_mean, summed
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.training import Observer

Code = tuple[tuple[int, int], ...]  # for each channel: the number of its map, and a sign

# Magenta against green, blue against yellow, red against cyan: photos vary least along the first.
_COLOURS = ((1, -1, 1), (-1, -1, 1), (1, -1, -1))
_MAPS = 8  # all, busy, bright, fine, and their products, see `map_of`
_RANKS = (0, 1, 2, 4, 3, 5, 6, 7)  # of the maps: what copiers found soonest first
_TOGETHER = 4  # so many codes of one rank change places by the key
_RATIO, _TONE, _DETAIL = 16.0, 4.0, 2.0  # how sharply parts are told apart; in levels but the first


@dataclass(frozen=True)
class Casts:
    """A cast a class, of ± the radius in each colour; parts are seen in squares of `window` pixels.

    window is in pixels at 224.
    """

    name: ClassVar[str] = "casts"
    summary: ClassVar[str] = "a colour cast a class, on parts of the picture; no training"
    needs_labels: ClassVar[bool] = True
    any_classes: ClassVar[bool] = True

    radius: Radius = Radius.of_levels(8)
    window: int = 15

    def __post_init__(self) -> None:
        if self.window < 1:
            raise UsageProblem(f"a window of {self.window} pixels shows nothing; at least 1")

    @property
    def bound(self) -> Radius:
        return self.radius

    def at(self, bound: Radius) -> Self:
        return replace(self, radius=bound)

    def build(self, spec: Spec) -> nn.Module:  # noqa: ARG002
        return nn.Module()

    def fit(self, module: nn.Module, data: LabelledPictures, run: Run, observer: Observer) -> None:  # noqa: ARG002
        """Learn nothing: the owner's key deals the casts when pictures are protected."""
        module.to(run.device).eval()

    def ready(self, module: nn.Module, run: Run) -> NoiseMaker:  # noqa: ARG002
        return LabelledNoise(self._noise)

    def _noise(self, images: Tensor, labels: Tensor, rng: Rng) -> Tensor:
        """Return δ: in each channel the class's sign and map of the picture, times the radius."""
        codes = dealt(int(rng.common().keys[0]), images.shape[1])
        shares, told = torch.empty_like(images), parts(images, self.window)
        for n, label in enumerate(labels.tolist()):
            for channel, (number, sign) in enumerate(codes[label % len(codes)]):
                shares[n, channel] = sign * map_of(told[n], number)
        return float(self.radius) * shares

    def cost(self, pictures: int) -> Cost:  # noqa: ARG002
        return Cost()

    def facts(self) -> Mapping[str, str]:
        return {"window": f"{self.window} px"}

    @classmethod
    def recipes(cls) -> Mapping[str, Self]:
        return {PAPER: cls()}

    @classmethod
    def example(cls) -> Self:
        return cls()


def every_code(channels: int) -> tuple[Code, ...]:
    """Return all codes for pictures of 1 or 3 channels, the strongest first.

    First the casts of one colour on one map, then those whose channels lie on maps of their own.
    """
    if channels == 1:
        return tuple(((number, sign),) for number in _by_rank() for sign in (1, -1))
    order = sorted(
        itertools.product(range(_MAPS), range(len(_COLOURS))),
        key=lambda pair: (_RANKS[pair[0]] + pair[1], pair[1]),
    )
    single = [
        tuple((number, side * sign) for sign in _COLOURS[colour])
        for number, colour in order
        for side in (1, -1)
    ]
    one = tuple(itertools.product(_by_rank(), (1, -1)))
    mixed = (code for code in itertools.product(one, repeat=3) if len({k for k, _ in code}) > 1)
    return (*single, *mixed)


def _by_rank() -> list[int]:
    return sorted(range(_MAPS), key=lambda number: _RANKS[number])


@functools.lru_cache(maxsize=16)
def dealt(stream: int, channels: int) -> tuple[Code, ...]:
    """Return the codes in the order in which a key's stream gives them to classes.

    Codes change places within fours, so that the first classes have the strongest ones.
    """
    codes = every_code(channels)
    draws = Rng(torch.tensor([stream])).uniform(len(codes))[0]
    fours = torch.arange(len(codes)) // _TOGETHER
    return tuple(codes[number] for number in (fours + draws.double()).argsort(stable=True).tolist())


def parts(images: Tensor, window: int) -> Tensor:
    """Return maps float64 (N, 3, H, W) within ±1 of images (N, C, H, W): where parts are.

    The first tells busy from plain, the second bright from dark, the third what is finer than its
    surroundings from what is darker. Busy is meant against the picture's own geometric mean, bright
    against its mean. Where a picture has no such parts, their map is 1 everywhere. Sums are of
    whole numbers, so that equal pictures get equal maps in any batch.
    """
    levels = luma_levels(images)
    half = max(1, round(window * min(images.shape[-2:]) / WORKING_SIZE) // 2)
    count = (2 * half + 1) ** 2
    total, squares = summed(levels, half), summed(levels.square(), half)
    spread = (count * squares - total.square()).clamp(min=0).sqrt() / count
    middle = steady_mean((spread + 1).log()).exp() - 1
    busy = _RATIO * (spread - middle - 0.25) / (spread + middle + 1)
    near = summed(levels, 1) / 9
    bright = (near - levels.mean(dim=(1, 2, 3), keepdim=True)) / _TONE
    fine = (near - total / count) / _DETAIL
    return torch.cat([_parted(values) for values in (busy, bright, fine)], dim=1)


def map_of(told: Tensor, number: int) -> Tensor:
    """Return the map (H, W) of a number: of a picture's parts (3, H, W) the product of its bits."""
    product = torch.ones_like(told[0])
    for bit, values in enumerate(told):
        if number >> bit & 1:
            product = values * product
    return product


def _parted(values: Tensor) -> Tensor:
    """Return values cut to ±1, or 1 everywhere for a picture in which none gets there."""
    told = (values.abs() >= 1).flatten(1).any(dim=1)[:, None, None, None]
    return torch.where(told, values.clamp(-1, 1), torch.ones_like(values))
