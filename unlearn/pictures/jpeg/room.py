"""What the planes of a JPEG may become within the bound, cut into blocks.

`Scene` holds a picture, its protected version and what the source decodes to. Units, the smallest
parts that all components share, are taken by row and column. Colour is limited so that brightness
has room left at every pixel; brightness is limited exactly, since decoders add a whole number to
it that depends on the colour alone.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from unlearn.pictures.jpeg.coefficients import BLOCK, Coding
from unlearn.pictures.jpeg.rounding import Blocks

WHITE: Final = 255
STRIP_PIXELS: Final = 1 << 18  # what stays in the processor's cache
_MIDDLE: Final = 128
_FREE: Final = 4096  # a limit that binds nothing
_ROOM: Final = 1.75  # levels of spread among channels that colour may use, for each of the bound
_SHARPENINGS: Final = 6  # each halves at least what enlarging smoothed away

# ITU-R BT.601 as JFIF has it: brightness, and what a colour difference adds to it.
_LIGHT: Final = (0.299, 0.587, 0.114)
_RED, _GREEN_RED, _GREEN_BLUE, _BLUE = 1.402, 0.714136, 0.344136, 1.772
_FIXED_BITS: Final = 16  # behind the point in libjpeg's conversion

Units = tuple[NDArray[np.intp], NDArray[np.intp]]  # rows and columns


@dataclass(frozen=True)
class Scene:
    """Pixels (H, W, C) before and after protection, and the source's planes (H, W, C), as stored.

    All are uint8.
    """

    pixels: NDArray[np.uint8]
    protected: NDArray[np.uint8]
    planes: NDArray[np.uint8]
    coding: Coding
    levels: int

    def strips(self) -> list[Units]:
        """Return all units in groups of whole rows."""
        down, across = self.coding.units
        rows = max(1, STRIP_PIXELS // (self.coding.unit[0] * self.coding.size[0]))
        parts = (np.arange(top, min(down, top + rows)) for top in range(0, down, rows))
        return [(part.repeat(across), np.tile(np.arange(across), len(part))) for part in parts]

    def cut(self, values: NDArray[np.uint8], units: Units) -> NDArray[np.int16]:
        """Return units as (C, n, h, w), filled up at the edges of the picture."""
        high, wide = self.coding.unit
        (top, left), (bottom, right) = ([int(f(k)) for k in units] for f in (np.min, np.max))
        whole = values[top * high : (bottom + 1) * high, left * wide : (right + 1) * wide]
        missing = (0, -whole.shape[0] % high), (0, -whole.shape[1] % wide), (0, 0)
        if len(units[0]) == (bottom + 1 - top) * (right + 1 - left):
            whole = np.pad(whole, missing, mode="edge")
            parts = whole.reshape(bottom + 1 - top, high, right + 1 - left, wide, -1)
            part = parts.transpose(4, 0, 2, 1, 3).astype(np.int16, order="C")
            return part.reshape(len(part), -1, high, wide)
        rows = (units[0] - top)[:, None] * high + np.arange(high)
        columns = (units[1] - left)[:, None] * wide + np.arange(wide)
        np.minimum(rows, whole.shape[0] - 1, out=rows)
        np.minimum(columns, whole.shape[1] - 1, out=columns)
        single: NDArray[np.uint8] = whole[rows[:, :, None], columns[:, None, :]]
        return np.moveaxis(single, 3, 0).astype(np.int16, order="C")

    def _unseen(self, units: Units) -> NDArray[np.bool_]:
        """Tell which values of units, (n, h, w), lie outside the picture, where all is allowed."""
        (high, wide), (width, height) = self.coding.unit, self.coding.size
        below = (units[0] * high)[:, None] + np.arange(high) >= height
        beside = (units[1] * wide)[:, None] + np.arange(wide) >= width
        return np.asarray(below[:, :, None] | beside[:, None, :])

    def colours(self) -> list[NDArray[np.float16]]:
        """Return the wanted change of both colour differences at their own size, in whole units."""
        changes = [
            np.empty(
                tuple(u * f * BLOCK for u, f in zip(self.coding.units, pair, strict=True)),
                np.float16,
            )
            for pair in self.coding.sampling[1:]
        ]
        down = self.coding.units[0]
        rows = max(1, STRIP_PIXELS // (self.coding.unit[0] * self.coding.size[0]))
        for top in range(0, down if changes else 0, rows):
            first, bottom = max(0, top - 1), min(down, top + rows)
            noise = self._noise(first, min(down, bottom + 1))
            for number, channel in ((1, 2), (2, 0)):
                found = _colour_change(noise, channel, self.coding.steps(number))
                high = BLOCK * self.coding.sampling[number][0]
                inner = found[(top - first) * high : (bottom - first) * high]
                changes[number - 1][top * high : bottom * high] = inner
        return changes

    def _noise(self, top: int, bottom: int) -> NDArray[np.int16]:
        """Return the change of pixels in rows of units as (C, h, w), with a unit on either side."""
        (high, wide), (width, height) = self.coding.unit, self.coding.size
        rows = slice(top * high, min(height, bottom * high))
        noise = self.protected[rows].astype(np.int16) - self.pixels[rows]
        missing = bottom * high - rows.stop if bottom * high > height else 0
        noise = np.pad(noise, ((0, missing), (0, -width % wide), (0, 0)), mode="edge")
        return np.ascontiguousarray(np.moveaxis(noise, 2, 0))

    def light(
        self, units: Units, decoded: NDArray[np.uint8] | None
    ) -> tuple[Blocks, Blocks, Blocks]:
        """Return the wanted change of brightness, and the lowest and highest values it may have.

        `decoded` holds the planes of the file as far as it is made, None the source's own. The
        highest is below the lowest where no brightness is within the bound.
        """
        pixels = self.cut(self.pixels, units)
        change = (self.cut(self.protected, units) - pixels).sum(axis=0, dtype=np.int16)
        levels = np.int16(self.levels)
        low = np.where(pixels <= levels, np.int16(-_FREE), pixels - levels)
        high = np.where(pixels >= WHITE - levels, np.int16(_FREE), pixels + levels)
        if len(pixels) > 1:
            before = offsets(self.cut(self.planes, units))
            after = before if decoded is None else offsets(self.cut(decoded, units))
            change += (before - after).sum(axis=0, dtype=np.int16)
            low, high = low - after, high - after
        lowest, highest = low.max(axis=0), high.min(axis=0)
        unseen = self._unseen(units)
        lowest[(lowest <= 0) | unseen], highest[(highest >= WHITE) | unseen] = -_FREE, _FREE
        return (
            to_blocks(change) / np.float32(len(pixels)),
            to_blocks(lowest - np.int16(_MIDDLE)),
            to_blocks(highest - np.int16(_MIDDLE)),
        )


def blue_limit(levels: int) -> np.float32:
    """Return how far blue may change so that red can at least stay."""
    return np.float32(_ROOM * levels / (_BLUE + _GREEN_BLUE))


def red_limits(blue: Blocks, levels: int) -> tuple[Blocks, Blocks]:
    """Return how far red may change, given blue's change, until the channels spread too far."""
    room = np.float32(_ROOM * levels)
    low, high = np.full_like(blue, -np.inf), np.full_like(blue, np.inf)
    # Spread between red and blue, red and green, blue and green: |factor red + part blue| <= room.
    for factor, part in (
        (_RED, -_BLUE),
        (_RED + _GREEN_RED, _GREEN_BLUE),
        (_GREEN_RED, _BLUE + _GREEN_BLUE),
    ):
        middle, reach = np.float32(-part / factor) * blue, room / np.float32(factor)
        low, high = np.maximum(low, middle - reach), np.minimum(high, middle + reach)
    return np.minimum(low, high), np.maximum(low, high)


def offsets(planes: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return what libjpeg adds to brightness for red, green and blue, of planes (3, ...)."""
    blue, red = planes[1], planes[2]
    found = np.empty(planes.shape, np.int16)
    found[0], found[2] = _TO_RED[red], _TO_BLUE[blue]
    found[1] = (_RED_TO_GREEN[red] + _BLUE_TO_GREEN[blue]) >> _FIXED_BITS
    return found


def _fixed(weight: float, half: bool = True) -> NDArray[np.int32]:  # noqa: FBT001, FBT002
    """Return a colour difference's values times a weight in libjpeg's fixed point."""
    values = np.arange(WHITE + 1, dtype=np.int32) - _MIDDLE
    return round(weight * (1 << _FIXED_BITS)) * values + (half << (_FIXED_BITS - 1))


_TO_RED: Final = (_fixed(_RED) >> _FIXED_BITS).astype(np.int16)
_TO_BLUE: Final = (_fixed(_BLUE) >> _FIXED_BITS).astype(np.int16)
_RED_TO_GREEN: Final = -_fixed(_GREEN_RED, half=False)
_BLUE_TO_GREEN: Final = _fixed(-_GREEN_BLUE)


def _colour_change(
    noise: NDArray[np.int16], channel: int, steps: tuple[int, int]
) -> NDArray[np.float32]:
    """Return the change of a colour difference that decoders enlarge to the noise's."""
    small = [_pooled(part, steps) for part in noise]
    light = sum(part * np.float32(weight) for part, weight in zip(small, _LIGHT, strict=True))
    change = (small[channel] - light) * np.float32(0.5 / (1 - _LIGHT[channel]))
    return _sharpened(change, steps)


def _pooled(values: NDArray[np.int16], steps: tuple[int, int]) -> NDArray[np.float32]:
    """Return the means over rectangles of (down, across) pixels of (h, w)."""
    down, across = steps
    high, wide = values.shape[0] // down, values.shape[1] // across
    cells = values.reshape(high, down, wide, across)
    total: NDArray[np.float32] = cells.sum(axis=(1, 3), dtype=np.float32)
    return total / np.float32(down * across)


def _sharpened(plane: NDArray[np.float32], steps: tuple[int, int]) -> NDArray[np.float32]:
    """Return the plane whose enlargement by a decoder has these means.

    Decoders enlarge twofold in weights of 3/4 and 1/4; the mean of two such pixels is 6/8 of their
    own value and 1/8 of either neighbour. Other factors are plain repetition.
    """
    for axis in (0, 1):
        if steps[axis] != 2 or plane.shape[axis] < 3:
            continue
        goal = np.moveaxis(plane, axis, 0)
        found = goal
        for _ in range(_SHARPENINGS):
            near = found * np.float32(-6 / 8)
            near[1:] -= found[:-1] / 8
            near[:-1] -= found[1:] / 8
            near[0] -= found[0] / 8
            near[-1] -= found[-1] / 8
            found = near + goal + found
        plane = np.moveaxis(found, 0, axis)
    return plane


def to_blocks(units: NDArray[np.generic]) -> Blocks:
    """Return units (n, h, w) as (64, blocks)."""
    count, height, width = units.shape
    parts = units.reshape(count, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return parts.transpose(2, 4, 0, 1, 3).astype(np.float32, order="C").reshape(BLOCK**2, -1)


def cut(plane: NDArray[np.float16], units: Units, sampling: tuple[int, int]) -> NDArray[np.float16]:
    """Return units (n, h, w) of a plane at its own size."""
    high, wide = (BLOCK * factor for factor in sampling)
    rows = units[0][:, None] * high + np.arange(high)
    columns = units[1][:, None] * wide + np.arange(wide)
    part: NDArray[np.float16] = plane[rows[:, :, None], columns[:, None, :]]
    return part
