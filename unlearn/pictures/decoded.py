"""What one decoded file is: its pixels, its transparency, and what travels with it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unlearn.pictures.metadata.kept import Metadata

STRIP_PIXELS = 1 << 17  # a strip's copies stay in the processor's cache and in memory in use
DEEP = 257  # steps of 16 bits in one of 8: 255 * 257 is 65535
Pixels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Preparation:
    """How pictures are prepared: longest side after shrinking, and how many pixels are too many."""

    max_side: int | None = None
    max_pixels: int = 512_000_000


@dataclass(frozen=True)
class Picture:
    """One decoded file.

    `pixels` is uint8 (H, W, C) with C = 1 for grey or 3, upright, or uint16 (H, W, 1) for 16-bit
    grey; `alpha` is uint8 (H, W) or None; `format` is told by content; `lossless` says whether the
    file's coding kept every value; `dropped` names the embedded clean copies that are left out;
    `orientation` (1 to 8, as in EXIF) is how the file was stored.
    """

    pixels: Pixels
    alpha: NDArray[np.uint8] | None
    format: str
    sha256: str
    metadata: Metadata
    dropped: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    lossless: bool = True
    orientation: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def mode(self) -> str:
        """The colour mode in Pillow's words: L, LA, RGB, RGBA or I;16."""
        if self.pixels.dtype == np.uint16:
            return "I;16"
        colour = "L" if self.pixels.shape[2] == 1 else "RGB"
        return colour if self.alpha is None else f"{colour}A"


def level_steps(pixels: Pixels) -> int:
    """Return how many steps of the values one level of 8 bits is: 1, or 257 for 16 bits."""
    return DEEP if pixels.dtype == np.uint16 else 1


def eight_bit(pixels: Pixels) -> NDArray[np.uint8]:
    """Return the pixels as uint8, 16 bits rounded to the nearest level."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return ((pixels.astype(np.uint32) + DEEP // 2) // DEEP).astype(np.uint8)
