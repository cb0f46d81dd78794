"""The working grid: pictures brought to the size noise is made at, and the noise brought back.

Upsampling is bilinear, in convex combinations of neighbours, so that it never exceeds what it is
given; bicubic would turn a bound of 8 levels into 13.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlearn.pictures.decoded import DEEP, Picture, Pixels, eight_bit

WHITE = 255
LONGEST_GRID = 4  # the long side of the grid is at most so many working sizes
_STRIP_VALUES = 1 << 18  # a strip of float32 that stays in the processor's cache


def grid_size(width: int, height: int, working_size: int) -> tuple[int, int]:
    """Return (width, height) of the grid: short side at most `working_size`, aspect kept."""
    short = min(width, height)
    scale = min(short, working_size) / short
    longest = LONGEST_GRID * working_size
    return (
        max(1, min(longest, round(width * scale))),
        max(1, min(longest, round(height * scale))),
    )


def to_grid(pixels: Pixels, working_size: int) -> NDArray[np.uint8]:
    """Return the picture (H, W, C) at grid size and in 8 bits, antialiased.

    A picture of 8 bits that has the size already is returned itself.
    """
    height, width, channels = pixels.shape
    size = grid_size(width, height, working_size)
    pixels = eight_bit(pixels)
    if size == (width, height):
        return pixels
    grid = np.empty((size[1], size[0], channels), np.uint8)
    for channel in range(channels):
        plane = Image.fromarray(np.ascontiguousarray(pixels[..., channel]))
        grid[..., channel] = np.asarray(plane.resize(size, Image.Resampling.BILINEAR))
    return grid


def picture_grid(picture: Picture, working_size: int) -> NDArray[np.uint8]:
    """Return the colours (h, w, C) of a picture as to_grid does, without its arrays if it can."""
    size = grid_size(*picture.size, working_size)
    if size == picture.size or picture.deep:
        return to_grid(picture.pixels, working_size)
    small = [
        picture.image.getchannel(channel).resize(size, Image.Resampling.BILINEAR)
        for channel in range(picture.channels)
    ]
    return np.stack([np.asarray(plane) for plane in small], axis=2)


def moved(pixels: Pixels, levels: NDArray[np.int16]) -> Pixels:
    """Return clip(pixels + levels, 0, 255), both (H, W, C); with 16 bits a level is 257 steps."""
    result = np.empty_like(pixels)
    rows = max(1, _STRIP_VALUES // max(1, pixels[0].size))
    for top in range(0, len(pixels), rows):
        part = slice(top, top + rows)
        if pixels.dtype == np.uint16:
            wide = levels[part].astype(np.int32) * DEEP + pixels[part]
            result[part] = np.clip(wide, 0, WHITE * DEEP, out=wide)
        else:
            strip = levels[part] + pixels[part].astype(np.int16)
            result[part] = np.clip(strip, 0, WHITE, out=strip)
    return result


def add_noise(pixels: Pixels, delta: NDArray[np.float32], levels: int, gain: float) -> Pixels:
    """Return pixels (H, W, C) with the upsampled noise added, without ever holding all of it."""
    height, width, _ = pixels.shape
    result = np.empty_like(pixels)
    upsampling = Upsampling(delta, (width, height), levels, gain)
    for top, bottom in upsampling.strips():
        result[top:bottom] = upsampling.added(top, pixels[top:bottom])
    return result


class Upsampling:
    """Rows of the noise (h, w, C), in units of [0, 1], as whole steps of a picture of `size`.

    n = clip(round(255 * gain * delta), -levels, levels) after bilinear upsampling with the pixel
    centres of torch's `align_corners=False`; a row depends on its number alone. `size` is (width,
    height).
    """

    def __init__(
        self, delta: NDArray[np.float32], size: tuple[int, int], levels: int, gain: float
    ) -> None:
        self.width, self.height = size
        scaled = np.asarray(delta, np.float32) * np.float32(WHITE * gain)
        self.channels = scaled.shape[2]
        extremes = (round(float(scaled.min())), round(float(scaled.max())))
        self.low, self.high = (max(-levels, min(levels, extreme)) for extreme in extremes)
        left, right, share = _neighbours(scaled.shape[1], self.width)
        wide = scaled[:, left] * (1 - share)[None, :, None]
        wide += scaled[:, right] * share[None, :, None]
        self.wide = wide.reshape(len(scaled), -1)
        self.above, self.below, self.share = _neighbours(len(scaled), self.height)

    def added(self, top: int, pixels: Pixels) -> Pixels:
        """Return the rows of a picture from `top` on, (rows, W, C), with the noise added."""
        return moved(pixels, self.rows(top, top + len(pixels)))

    def strips(self) -> list[tuple[int, int]]:
        """Return (top, bottom) of strips that cover the picture."""
        rows = max(1, _STRIP_VALUES // self.wide.shape[1])
        return [(top, min(self.height, top + rows)) for top in range(0, self.height, rows)]

    def rows(self, top: int, bottom: int) -> NDArray[np.int16]:
        """Return the rows from `top` up to `bottom` as (rows, W, C)."""
        share = self.share[top:bottom, None]
        strip = self.wide[self.above[top:bottom]] * (1 - share)
        strip += self.wide[self.below[top:bottom]] * share
        np.rint(strip, out=strip)
        np.clip(strip, self.low, self.high, out=strip)
        return strip.astype(np.int16).reshape(-1, self.width, self.channels)


def _neighbours(
    few: int, many: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return the two neighbours among `few` of each of `many` places, and the second's share."""
    centre = np.clip((np.arange(many) + 0.5) * (few / many) - 0.5, 0, few - 1)
    first = np.floor(centre).astype(np.intp)
    return first, np.minimum(first + 1, few - 1), (centre - first).astype(np.float32)
