"""A JPEG of a protected picture whose decoded pixels are all within the bound.

Noise that is saved as JPEG like any picture leaves its bound by far. Here it is fitted to what the
source's own tables and sampling can store: the colours first, then brightness within the room they
leave, pixel by pixel (see `planes` and `lattice`). The file is decoded, and where a pixel still
leaves the bound the noise around it is weakened and fitted again, until none does.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlearn.errors import PictureError
from unlearn.pictures.choices import MetadataChoice
from unlearn.pictures.decoded import Picture, Pixels, eight_bit
from unlearn.pictures.jpeg.coefficients import BLOCK, Coding, Table, read_coefficients
from unlearn.pictures.jpeg.fitting import RESIZED, Fit, decoded_planes, working_bytes
from unlearn.pictures.jpeg.room import Scene, cut, to_blocks
from unlearn.pictures.jpeg.rounding import forward
from unlearn.pictures.jpeg.segments import dressed

LEAST_CORRELATION: Final = 0.85  # of the noise in the file with the wanted one, on the grid
# Of the noise's energy, for a JPEG that may also become PNG, as that protects far better; see
# docs/results.md.
LEAST_ENERGY: Final = 0.55
MOST_BYTES: Final = 1_500_000_000  # 56 megapixels at 4:2:0, 38 at 4:4:4

_LARGEST_STEPS: Final = (65_535, 8, 4, 2)  # where noise is carried; one after another
_MOST_GAINED: Final = 0.02  # of energy and correlation, by passes after the first (seen: 0.012)
_CARRIED: Final = 0.95  # share of the noise's energy in the coefficients that count as carrying it
_SAMPLED: Final = 8  # strips


@dataclass(frozen=True)
class Keeping:
    """How a JPEG within the bound came about, and how much of the noise is in it.

    `passes` counts fittings until every pixel was within the bound, `largest_step` is what steps
    that carry noise were limited to. The rest is measured on the grid the noise was made on:
    `correlation` of the change in the file with the wanted one, `share` of the wanted change that
    is in it, and its `energy` over the wanted one's.
    """

    passes: int
    largest_step: int
    correlation: float
    share: float
    energy: float


@dataclass(frozen=True)
class Demands:
    """What a JPEG must keep: all values within `levels`, `least` of the noise's energy."""

    levels: int
    least: float = 0.0


def keep_jpeg(
    picture: Picture,
    protected: Pixels,
    source: bytes,
    *,
    grid: tuple[int, int],
    demands: Demands,
    metadata: MetadataChoice,
) -> tuple[bytes, Keeping]:
    """Return a JPEG that decodes as demanded, and near `protected` (H, W, C).

    `source` is the picture's own file, `grid` (width, height) the size that the noise was made at.
    The file is stored and says its orientation as the source does. Raises PictureError with the
    reason if there is no such file.
    """
    if np.array_equal(protected, picture.pixels):
        raise PictureError("nothing changed: the noise is invisible to this picture")
    before, after = (
        stored(eight_bit(pixels), picture.orientation) for pixels in (picture.pixels, protected)
    )
    across = picture.orientation > 4
    grid = grid[::-1] if across else grid
    data, keeping = encode_within(before, after, source, grid, demands)
    kept = picture.metadata.chosen(metadata, before.shape[1::-1], as_stored=True)
    return dressed(data, kept, picture.orientation), keeping


def refuse_large(source: bytes) -> None:
    """Raise PictureError for a JPEG that needs too much memory, before any is taken."""
    if working_bytes(source) > MOST_BYTES:
        raise PictureError(f"it is so large that fitting takes over {MOST_BYTES / 1e9:.1f} GB")


def stored(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return upright pixels (H, W, C) as a file of this EXIF orientation stores them."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 6, 7):
        pixels = pixels[::-1]
    if orientation in (2, 3, 7, 8):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def encode_within(
    pixels: NDArray[np.uint8],
    protected: NDArray[np.uint8],
    source: bytes,
    grid: tuple[int, int],
    demands: Demands,
) -> tuple[bytes, Keeping]:
    """Return a JPEG that decodes as demanded of `pixels`, and near `protected`.

    Both are (H, W, C) as the JPEG `source` stores them, before its orientation; `grid` (width,
    height) is the size that the noise was made at. The result carries no metadata. Raises
    PictureError with the reason if there is no such file, soon where it cannot hold enough noise.
    """
    refuse_large(source)
    planes = decoded_planes(source, pixels.shape)
    coding, coefficients = read_coefficients(source)
    if coding.size != pixels.shape[1::-1] or len(coding.tables) != pixels.shape[2]:
        raise PictureError(RESIZED)
    scene = Scene(pixels, protected, planes, coding, demands.levels)
    colours = scene.colours()
    carrying = _carrying(scene, colours)
    found = (0.0, 0.0, 0.0)
    for most in _LARGEST_STEPS:
        fit, passes = Fit(scene, colours, coefficients, _tables(coding, carrying, most)), 0
        for number, done in enumerate(fit.passes(), 1):
            passes = number if done else 0
            if done or (number == 1 and demands.least):
                found = _measured(scene, fit.decoded, grid)
                if found[0] < LEAST_CORRELATION - (0 if done else _MOST_GAINED):
                    break
                _refuse_weak(found[2], demands.least - (0 if done else _MOST_GAINED))
        else:
            if not passes:
                raise PictureError(
                    "some of its pixels leave the bound in whatever way they are stored"
                )
            return fit.data(final=True), Keeping(passes, most, *found)
    cut = math.floor(100 * found[0]) / 100  # 0.849 is not 0.85
    raise PictureError(
        f"the noise that fits into it correlates {cut:.2f} with the wanted one, "
        f"less than {LEAST_CORRELATION}"
    )


def _refuse_weak(energy: float, least: float) -> None:
    """Raise PictureError for a JPEG with less than a share of the noise's energy."""
    if energy < least:
        raise PictureError(f"only {energy:.0%} of the noise's energy fits into it")


def _carrying(scene: Scene, colours: list[NDArray[np.float16]]) -> list[NDArray[np.bool_]]:
    """Return for each component which coefficients hold most of the noise."""
    parts = scene.strips()
    energies = [np.zeros(BLOCK**2) for _ in scene.coding.tables]
    for units in parts[:: -(-len(parts) // _SAMPLED)]:
        changes = [scene.light(units, None)[0]]
        pairs = zip(colours, scene.coding.sampling[1:], strict=True)
        changes += [to_blocks(cut(colour, units, pair)) for colour, pair in pairs]
        for number, change in enumerate(changes):
            energies[number] += (forward(change).astype(np.float64) ** 2).sum(axis=1)
    return [_largest(energy) for energy in energies]


def _largest(energy: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which of the coefficients together hold most of the energy."""
    order = np.argsort(-energy, kind="stable")
    sums = np.cumsum(energy[order])
    found = np.zeros(len(energy), bool)
    found[order[: int(np.searchsorted(sums, _CARRIED * sums[-1])) + 1]] = True
    return found


def _tables(coding: Coding, carrying: list[NDArray[np.bool_]], most: int) -> tuple[Table, ...]:
    """Return the source's tables, finer where they would lose noise.

    They are whole parts of the source's steps, which store what it does without change.
    """
    return tuple(
        np.where(marked, np.array([_part(int(step), most) for step in table], np.int32), table)
        for table, marked in zip(coding.tables, carrying, strict=True)
    )


def _part(step: int, most: int) -> int:
    """Return the largest whole part of a step that is at most `most`."""
    return next(step // k for k in range(1, step + 1) if step % k == 0 and step // k <= most)


def _measured(
    scene: Scene, decoded: NDArray[np.uint8], grid: tuple[int, int]
) -> tuple[float, float, float]:
    """Return correlation, share and energy of the change in a decoded file, on the grid."""
    products = np.zeros(3)
    for channel in range(decoded.shape[2]):
        before = scene.pixels[..., channel]
        made = _on_grid(decoded[..., channel], before, grid)
        asked = _on_grid(scene.protected[..., channel], before, grid)
        products += [(made * asked).sum(), (asked * asked).sum(), (made * made).sum()]
    both, asked_square, made_square = products
    if not asked_square or not made_square:
        return 0.0, 0.0, 0.0
    correlation = both / np.sqrt(asked_square * made_square)
    return float(correlation), float(both / asked_square), float(made_square / asked_square)


def _on_grid(
    after: NDArray[np.uint8], before: NDArray[np.uint8], grid: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the difference of two channels at the size of the grid, antialiased."""
    change = Image.fromarray(np.subtract(after, before, dtype=np.float32))
    return np.asarray(change.resize(grid, Image.Resampling.BILINEAR), np.float64)
