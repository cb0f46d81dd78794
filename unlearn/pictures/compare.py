"""Two prepared pictures compared value by value, in 8-bit levels whatever their depth is."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unlearn.pictures.decoded import DEEP, STRIP_PIXELS, Picture, Pixels, level_steps

WHITE = 255
OPAQUE = 255
_FEW = 20  # so many passes over bytes take as long as one count of all values


@dataclass(frozen=True)
class Difference:
    """How far two pictures are apart, in 8-bit levels; 16-bit values are 257 steps a level.

    A part of a level counts as a whole one in `linf` and `hidden`: no bound is ever stretched.
    `linf`, `worst` (x, y, channel), `mean_abs` and `psnr` speak of what can be seen, that is of
    colour where alpha is above 0; `hidden` is the largest change where alpha is 0.
    """

    linf: int
    worst: tuple[int, int, int]
    mean_abs: float
    psnr: float
    hidden: int = 0


def mismatch(first: Picture, second: Picture) -> Literal["size", "channels", "alpha"] | None:
    """Return why two pictures cannot be compared, or None when they can.

    Grey stored in three equal channels is grey, and a missing alpha is a fully opaque one.
    """
    if first.pixels.shape[:2] != second.pixels.shape[:2]:
        return "size"
    if _narrow(first, second) is None:
        return "channels"
    if _alpha(first) is None and _alpha(second) is None:
        return None
    opaque = np.broadcast_to(np.uint8(OPAQUE), first.pixels.shape[:2])
    one, two = (opaque if picture.alpha is None else picture.alpha for picture in (first, second))
    return None if np.array_equal(one, two) else "alpha"


def difference(first: Picture, second: Picture) -> Difference:
    """Measure two pictures without mismatch; raises ValueError when they have one."""
    pair = _narrow(first, second)
    if first.pixels.shape[:2] != second.pixels.shape[:2] or pair is None:
        raise ValueError("pictures of different shapes have no difference")
    height, width = first.pixels.shape[:2]
    steps = max(map(level_steps, pair))
    tally = Tally(steps)
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = slice(top, min(height, top + rows))
        one, two = (_stepped(pixels[strip], steps) for pixels in pair)
        tally.add(one, two, None if first.alpha is None else first.alpha[strip], top)
    return tally.difference()


class Tally:
    """Running numbers over the strips of a picture, in steps of its values."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.linf = self.hidden = self.total = self.squares = self.count = 0
        self.worst = (0, 0, 0)

    def add(self, one: Pixels, two: Pixels, alpha: NDArray[np.uint8] | None, top: int) -> None:
        """Add two strips (h, W, C) of one depth that start at row `top`, and their alpha (h, W)."""
        gap = np.maximum(one, two)
        gap -= np.minimum(one, two)
        self.count += gap.size
        if alpha is not None and not alpha.all():
            unseen = alpha == 0
            self.hidden = max(self.hidden, int(gap[unseen].max(initial=0)))
            self.count -= int(unseen.sum()) * gap.shape[2]
            gap[unseen] = 0
        highest = int(gap.max())
        for level, count in enumerate(_counts(gap, highest), 1):
            self.total += count * level
            self.squares += count * level**2
        if highest > self.linf:
            y, x, channel = np.unravel_index(int(gap.argmax()), gap.shape)
            self.linf, self.worst = highest, (int(x), int(y) + top, int(channel))

    def difference(self) -> Difference:
        """Return the numbers of everything added."""
        count = max(1, self.count)
        error = self.squares / count
        psnr = 10 * math.log10((WHITE * self.steps) ** 2 / error) if error else math.inf
        linf, hidden = (-(-gap // self.steps) for gap in (self.linf, self.hidden))
        return Difference(linf, self.worst, self.total / count / self.steps, psnr, hidden)


def _counts(gap: Pixels, highest: int) -> list[int]:
    """Return how often each value from 1 to the highest is there; few values are looked for."""
    if highest > _FEW:
        counted: list[int] = np.bincount(gap.reshape(-1))[1:].tolist()
        return counted
    return [int(np.count_nonzero(gap == level)) for level in range(1, highest + 1)]


def _alpha(picture: Picture) -> NDArray[np.uint8] | None:
    """Return the alpha of a picture that has one which is not opaque everywhere."""
    return None if picture.alpha is None or (picture.alpha == OPAQUE).all() else picture.alpha


def _stepped(pixels: Pixels, steps: int) -> Pixels:
    """Return pixels whose levels are of so many steps; those of 8 bits are widened for 16."""
    if steps == 1 or pixels.dtype == np.uint16:
        return pixels
    return pixels.astype(np.uint16) * np.uint16(DEEP)


def _narrow(first: Picture, second: Picture) -> tuple[Pixels, Pixels] | None:
    """Return both colour arrays with equally many channels, or None when grey meets colour."""
    if first.pixels.shape[2] == second.pixels.shape[2]:
        return first.pixels, second.pixels
    pair = []
    for picture in (first, second):
        pixels = picture.pixels
        if pixels.shape[2] == 3 and not _is_grey(pixels):
            return None
        pair.append(pixels[..., :1])
    return pair[0], pair[1]


def _is_grey(pixels: Pixels) -> bool:
    """Tell whether the three channels are equal everywhere."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    return np.array_equal(red, green) and np.array_equal(red, blue)
