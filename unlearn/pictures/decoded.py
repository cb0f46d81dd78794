"""What one decoded file is: its pixels, its transparency, and what travels with it.

A picture is held by Pillow and read and replaced strip by strip, because arrays of a whole picture
beside Pillow's own copy would double the memory of a run.
"""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlearn.pictures.metadata.kept import Metadata

STRIP_PIXELS = 1 << 17  # a strip's copies stay in the processor's cache and in memory in use
DEEP = 257  # steps of 16 bits in one of 8: 255 * 257 is 65535
Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Alpha = NDArray[np.uint8] | None
Box = tuple[int, int, int, int]  # left, top, right, bottom


@dataclass(frozen=True)
class Preparation:
    """How pictures are prepared: longest side after shrinking, and how many pixels are too many."""

    max_side: int | None = None
    max_pixels: int = 512_000_000


@dataclass(frozen=True, eq=False)
class Picture:
    """One decoded file, upright, of mode L, LA, RGB, RGBA or I;16; `image` has no info of its own.

    `format` is told by content; `dropped` names the embedded clean copies that are left out;
    `lossless` says whether the file's coding kept every value; `orientation` (1 to 8, as in EXIF)
    is how the file was stored.
    """

    image: Image.Image
    _: KW_ONLY
    format: str = "PNG"
    sha256: str = ""
    metadata: Metadata = Metadata()
    dropped: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    lossless: bool = True
    orientation: int = 1

    @cached_property
    def arrays(self) -> tuple[Pixels, Alpha]:
        """Its `pixels` and `alpha`, made when they are first asked for."""
        width, height = self.size
        pixels: Pixels = np.empty((height, width, self.channels), np.uint8)
        if self.deep:
            pixels = np.empty((height, width, self.channels), np.uint16)
        whole = np.empty((height, width), np.uint8) if self.has_alpha else None
        for top, strip, alpha in self.strips():
            pixels[top : top + len(strip)] = strip
            if whole is not None and alpha is not None:
                whole[top : top + len(strip)] = alpha
        return pixels, whole

    @property
    def pixels(self) -> Pixels:
        """The colours, uint8 (H, W, C) with C = 1 for grey or 3, or uint16 (H, W, 1)."""
        return self.arrays[0]

    @property
    def alpha(self) -> Alpha:
        """The alpha (H, W), or None."""
        return self.arrays[1]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.image.size

    @property
    def bands(self) -> int:
        """How many values a pixel has, alpha included."""
        return len(self.image.getbands())

    @property
    def channels(self) -> int:
        """How many of them are colours, 1 or 3."""
        return 1 if self.bands <= 2 else 3

    @property
    def has_alpha(self) -> bool:
        """Whether the last of its values is alpha."""
        return self.bands > self.channels

    @property
    def mode(self) -> str:
        """The colour mode in Pillow's words: L, LA, RGB, RGBA or I;16."""
        return self.image.mode

    @property
    def deep(self) -> bool:
        """Whether it is 16-bit grey."""
        return self.mode == "I;16"

    @property
    def invisible(self) -> bool:
        """Whether every pixel is fully transparent."""
        return self.has_alpha and not self.image.getchannel("A").getextrema()[1]

    def strips(self) -> Iterator[tuple[int, Pixels, Alpha]]:
        """Yield first row, colours (h, W, C) and alpha (h, W) or None of strips from the top."""
        width, height = self.size
        rows = max(1, STRIP_PIXELS // width)
        for top in range(0, height, rows):
            yield top, *self._cut((0, top, width, min(height, top + rows)))

    def crop(self, box: Box) -> tuple[Pixels, Alpha]:
        """Return the colours (h, w, C) and the alpha (h, w) or None inside a box."""
        if "arrays" not in self.__dict__:
            return self._cut(box)
        left, top, right, bottom = box
        part = np.s_[top:bottom, left:right]
        return self.pixels[part], None if self.alpha is None else self.alpha[part]

    def _cut(self, box: Box) -> tuple[Pixels, Alpha]:
        """Return what crop does, from Pillow's copy."""
        part = np.asarray(self.image.crop(box)).reshape(box[3] - box[1], -1, self.bands)
        return part[..., : self.channels], part[..., self.channels] if self.has_alpha else None

    def put(self, top: int, pixels: Pixels, alpha: Alpha) -> None:
        """Replace the rows from `top` on by colours (h, W, C) and alpha (h, W)."""
        self.image.paste(to_image(pixels, alpha), (0, top))

    def in_arrays(self) -> "Picture":
        """Return the picture with its arrays made and Pillow's copy given up."""
        _ = self.arrays
        self.image.close()
        return self


def to_image(pixels: Pixels, alpha: Alpha = None) -> Image.Image:
    """Return colours (h, W, C) and alpha (h, W) as a Pillow picture."""
    samples = pixels if alpha is None else np.concatenate([pixels, alpha[..., None]], axis=2)
    return Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)


def level_steps(pixels: Pixels) -> int:
    """Return how many steps of the values one level of 8 bits is: 1, or 257 for 16 bits."""
    return DEEP if pixels.dtype == np.uint16 else 1


def eight_bit(pixels: Pixels) -> NDArray[np.uint8]:
    """Return the pixels as uint8, 16 bits rounded to the nearest level."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return ((pixels.astype(np.uint32) + DEEP // 2) // DEEP).astype(np.uint8)
