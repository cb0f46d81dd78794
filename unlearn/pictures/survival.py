"""How much of the noise is left after what websites and scrapers do to files.

With x the clean and y the protected pixels, n = y - x is the noise, T a transformation applied to
both alike, and d = T(y) - T(x) what is left between them. R is what T does to n before anything is
lost: the shrinking, calculated in floats, or nothing at all where T only encodes. Then

    strength     rms(d) / rms(n)                      all that is left, in whatever pattern
    correlation  <d, R n> / (|d| |R n|)               how much of that has the noise's own pattern
    share        <d, R n> / (|R n| rms(n) sqrt(N))    their product; N values in d

For a T that only encodes, share is the coefficient of the least-squares fit of d by n, <d, n> /
<n, n>. For one that shrinks it is that of the fit by R n times rms(R n) / rms(n), so that noise
which shrinking averages away counts as lost. The share is the one to read. The strength also counts
what the encoder did differently to two files, which is no noise of ours: it goes above 1, and
pixel-sized noise has 0.6 of its strength in a JPEG of quality 75 where 0.17 of it is left (see
docs/results/survival.md). All this is about how strong the noise still is, and not about what a
model learns from it.
"""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlearn.errors import PictureError
from unlearn.pictures.compare import OPAQUE, WHITE, mismatch
from unlearn.pictures.decoded import Picture, eight_bit
from unlearn.pictures.pillow import decoding

_STRIP_VALUES: Final = 1 << 18
_LONGEST: Final = {"JPEG": 65_500, "WEBP": 16_383}  # pixels a side that a file can have

Plane = NDArray[np.int16] | NDArray[np.float32]


@dataclass(frozen=True)
class Transformation:
    """What is done to a file: shrunk to `longest` pixels on its long side, encoded, and decoded.

    Nothing is enlarged. `title` is what people read.
    """

    title: str
    format: str
    options: Mapping[str, Any] = field(default_factory=dict)
    longest: int | None = None

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height of the new file."""
        side = max(width, height)
        if self.longest is None or side <= self.longest:
            return width, height
        share = self.longest / side
        return max(1, round(width * share)), max(1, round(height * share))

    def possible(self, width: int, height: int) -> bool:
        """Tell whether the format can hold a picture of this size."""
        return max(self.size(width, height)) <= _LONGEST[self.format]

    def applied(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return pixels (H, W, C), C = 1 or 3, as they come back, (h, w, C)."""
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        size, mode, file = self.size(*image.size), image.mode, io.BytesIO()
        if size != image.size:
            image = image.resize(size, Image.Resampling.BOX)
        image.save(file, self.format, **self.options)
        with decoding(self.format, size[0] * size[1]), Image.open(file) as decoded:
            values = np.asarray(decoded.convert(mode))
        return values.reshape(size[1], size[0], -1)

    def expected(self, noise: NDArray[np.int16]) -> Plane:
        """Return the noise (H, W, C) as it is after the shrinking alone, (h, w, C)."""
        height, width, channels = noise.shape
        size = self.size(width, height)
        if size == (width, height):
            return noise
        shrunk = np.empty((size[1], size[0], channels), np.float32)
        for channel in range(channels):
            plane = Image.fromarray(noise[..., channel].astype(np.float32))
            shrunk[..., channel] = np.asarray(plane.resize(size, Image.Resampling.BOX))
        return shrunk


# The second is what img2dataset does unless told otherwise: a box of 256 pixels, the mean of areas,
# quality 95 with colour at half resolution; the others are defaults of much software for the web.
TRANSFORMATIONS: Final[Mapping[str, Transformation]] = {
    "jpeg75": Transformation(
        "JPEG of quality 75, colour at half resolution",
        "JPEG",
        {"quality": 75, "subsampling": "4:2:0"},
    ),
    "box256-jpeg95": Transformation(
        "shrinking to 256 pixels, JPEG of quality 95",
        "JPEG",
        {"quality": 95, "subsampling": "4:2:0"},
        longest=256,
    ),
    "webp80": Transformation("WebP of quality 80", "WEBP", {"quality": 80}),
}


@dataclass(frozen=True)
class Survival:
    """What one transformation left of the noise of one picture; 1 is all of it."""

    share: float
    correlation: float
    strength: float


def survival(
    source: NDArray[np.uint8],
    protected: NDArray[np.uint8],
    transformations: Mapping[str, Transformation] = TRANSFORMATIONS,
) -> dict[str, Survival | None]:
    """Measure what each transformation leaves of the noise between two pictures (H, W, C).

    None stands for a transformation whose format cannot hold a picture of this size. Raises
    PictureError if the pictures are equal, so that there is nothing to measure.
    """
    if source.shape != protected.shape:
        raise ValueError(f"pictures of shapes {source.shape} and {protected.shape}")
    noise = np.subtract(protected, source, dtype=np.int16)
    if not noise.any():
        raise PictureError("it is as it was; there is no noise to measure")
    height, width, _ = source.shape
    return {
        name: _measured(transformation, source, protected, noise)
        if transformation.possible(width, height)
        else None
        for name, transformation in transformations.items()
    }


def picture_survival(source: Picture, protected: Picture) -> dict[str, Survival | None]:
    """Measure two decoded files as `survival` does, transparency over white.

    Raises PictureError if they are no pair, or if there is nothing to measure.
    """
    problem = mismatch(source, protected)
    if problem:
        raise PictureError(f"source and output differ in {problem}")
    first, second = _on_white(source), _on_white(protected)
    channels = max(first.shape[2], second.shape[2])
    shape = (*first.shape[:2], channels)
    wide = [np.ascontiguousarray(np.broadcast_to(one, shape)) for one in (first, second)]
    return survival(wide[0], wide[1])


@dataclass(frozen=True)
class Summary:
    """What one transformation left of the noise of several pictures."""

    pictures: int
    mean_share: float
    worst_share: float
    worst_picture: str
    mean_correlation: float
    mean_strength: float


def summary(found: Sequence[tuple[str, Survival]]) -> Summary:
    """Sum up what was found for named pictures, at least one."""
    worst, least = min(found, key=lambda pair: pair[1].share)
    columns = zip(*(asdict(one).values() for _, one in found), strict=True)
    share, correlation, strength = (sum(column) / len(found) for column in columns)
    return Summary(len(found), share, least.share, worst, correlation, strength)


def _measured(
    transformation: Transformation,
    source: NDArray[np.uint8],
    protected: NDArray[np.uint8],
    noise: NDArray[np.int16],
) -> Survival:
    """Measure one transformation."""
    clean, noisy = (transformation.applied(pixels) for pixels in (source, protected))
    left = np.subtract(noisy, clean, dtype=np.int16)
    expected = transformation.expected(noise)
    before = math.sqrt(_mean_product(noise, noise))
    after, own = (math.sqrt(_mean_product(one, one)) for one in (left, expected))
    both = _mean_product(left, expected)
    return Survival(
        share=both / (own * before) if own else 0.0,
        correlation=both / (own * after) if own and after else 0.0,
        strength=after / before,
    )


def _mean_product(one: Plane, other: Plane) -> float:
    """Return the mean of the product of two arrays of one shape, summed in strips as float64."""
    first, second = one.reshape(-1), other.reshape(-1)
    total = 0.0
    for start in range(0, first.size, _STRIP_VALUES):
        strip = slice(start, start + _STRIP_VALUES)
        total += float(np.dot(first[strip].astype(np.float64), second[strip].astype(np.float64)))
    return total / first.size


def _on_white(picture: Picture) -> NDArray[np.uint8]:
    """Return the colours (H, W, C) over white, as scrapers flatten what is transparent."""
    pixels = eight_bit(picture.pixels)
    if picture.alpha is None or (picture.alpha == OPAQUE).all():
        return pixels
    share = picture.alpha[..., None].astype(np.uint32)
    mixed = (pixels * share + WHITE * (OPAQUE - share) + OPAQUE // 2) // OPAQUE
    return mixed.astype(np.uint8)
