"""One decoded picture as Pillow holds it, read and replaced strip by strip.

Arrays of a whole picture beside Pillow's own copy would double the memory of a run.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlearn.pictures.decoded import STRIP_PIXELS, Picture, Pixels
from unlearn.pictures.grid import grid_size, to_grid
from unlearn.pictures.metadata.kept import Metadata

Alpha = NDArray[np.uint8] | None


@dataclass(frozen=True)
class Upright:
    """A decoded file whose `image` is upright, of mode L, LA, RGB, RGBA or I;16, with no info.

    The other fields are those of Picture.
    """

    image: Image.Image
    format: str
    sha256: str
    metadata: Metadata
    dropped: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    lossless: bool = True
    orientation: int = 1

    @classmethod
    def of(cls, picture: Picture) -> "Upright":
        """Return a picture as Pillow holds it."""
        samples: Pixels = picture.pixels
        if picture.alpha is not None:
            samples = np.concatenate([picture.pixels, picture.alpha[..., None]], axis=2)
        return cls(
            _image(samples),
            picture.format,
            picture.sha256,
            picture.metadata,
            picture.dropped,
            picture.notices,
            picture.lossless,
            picture.orientation,
        )

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
        return self.bands > self.channels and not self.image.getchannel("A").getextrema()[1]

    def strips(self) -> Iterator[tuple[int, Pixels, Alpha]]:
        """Yield first row, colours (h, W, C) and alpha (h, W) or None of strips from the top."""
        width, height = self.size
        rows = max(1, STRIP_PIXELS // width)
        for top in range(0, height, rows):
            box = (0, top, width, min(height, top + rows))
            strip = np.asarray(self.image.crop(box)).reshape(-1, width, self.bands)
            alpha = strip[..., self.channels] if self.bands > self.channels else None
            yield top, strip[..., : self.channels], alpha

    def put(self, top: int, pixels: Pixels, alpha: Alpha) -> None:
        """Replace the rows from `top` on by colours (h, W, C) and alpha (h, W)."""
        samples = pixels if alpha is None else np.concatenate([pixels, alpha[..., None]], axis=2)
        self.image.paste(_image(samples), (0, top))

    def grid(self, working_size: int) -> NDArray[np.uint8]:
        """Return the colours (h, w, C) at grid size and in 8 bits, as grid.to_grid makes them."""
        size = grid_size(*self.size, working_size)
        if size == self.size or self.deep:
            return to_grid(self.picture().pixels, working_size)
        small = [
            self.image.getchannel(channel).resize(size, Image.Resampling.BILINEAR)
            for channel in range(self.channels)
        ]
        return np.stack([np.asarray(plane) for plane in small], axis=2)

    def picture(self) -> Picture:
        """Return the same as arrays."""
        width, height = self.size
        pixels: Pixels = np.empty((height, width, self.channels), np.uint8)
        if self.deep:
            pixels = np.empty((height, width, self.channels), np.uint16)
        whole = np.empty((height, width), np.uint8) if self.bands > self.channels else None
        for top, strip, alpha in self.strips():
            pixels[top : top + len(strip)] = strip
            if whole is not None and alpha is not None:
                whole[top : top + len(strip)] = alpha
        return Picture(
            pixels,
            whole,
            self.format,
            self.sha256,
            self.metadata,
            self.dropped,
            self.notices,
            self.lossless,
            self.orientation,
        )


def _image(samples: Pixels) -> Image.Image:
    """Return values (h, W, bands) as a Pillow picture."""
    return Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
