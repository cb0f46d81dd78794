"""Space: what the outputs will take on disk, told by the headers of their sources."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from unlearn.files.tars import status
from unlearn.options import DEFAULT_RHO
from unlearn.protection.plan import PlannedPicture

# Measured on protected pictures of 224 pixels, whose noise hardly compresses; photos take less.
_BYTES_PER_PIXEL: Final[Mapping[str, float]] = {"PNG": 1.75, "WEBP": 1.6, "TIFF": 2.1, "BMP": 3.0}
_SMALL_SIDE: Final = 512  # below it too little fits: the grid is about as fine as a JPEG's colours
_FULL: Final = DEFAULT_RHO.levels  # below it too little fits into most JPEGs; see docs/results.md
_JPEG_GROWTH: Final = 1.15  # of a JPEG source that stays one; see docs/results/keep.md


def estimate_bytes(
    pictures: Iterable[PlannedPicture], max_side: int | None = None, levels: int = _FULL
) -> int:
    """Return about how many bytes the outputs of the pictures take with noise of so many levels."""
    return round(sum(_bytes(picture, max_side, levels) for picture in pictures))


def _bytes(picture: PlannedPicture, max_side: int | None, levels: int) -> float:
    """Return about how many bytes the output of a source will take."""
    if picture.size is None:
        return 0  # without a readable header nothing will be written either
    width, height = picture.size
    shrink = min(1.0, max_side / max(width, height, 1)) if max_side else 1.0
    kind = picture.format
    small = min(picture.size) < _SMALL_SIDE or levels < _FULL
    if kind == "JPEG" and picture.fallback and small:
        kind = "PNG"  # too little of the noise fits
    if kind == "JPEG" and shrink == 1:
        return _file_bytes(picture.source) * _JPEG_GROWTH
    # A JPEG that is shrunk becomes a PNG.
    return width * height * shrink**2 * _BYTES_PER_PIXEL["PNG" if kind == "JPEG" else kind]


def _file_bytes(path: Path) -> int:
    """Return the size of a file, 0 if it is gone by now."""
    try:
        return status(path).st_size
    except OSError:
        return 0
