"""Space: what the outputs will take on disk, told by the headers of their sources."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from unlearn.pictures.sniff import picture_size

# Measured on protected pictures of 224 pixels, whose noise hardly compresses; photos take less.
_BYTES_PER_PIXEL: Final[Mapping[str, float]] = {"PNG": 1.75, "WEBP": 1.6, "TIFF": 2.1, "BMP": 3.0}
EITHER: Final = "JPEG or PNG"  # for a JPEG that becomes PNG if too little noise fits
_SMALL_SIDE: Final = 512  # below it too little fits: the grid is about as fine as a JPEG's colours
_JPEG_GROWTH: Final = 1.15  # of a JPEG source that stays one; see docs/results/keep.md
_SAMPLE: Final = 512  # headers read for the estimate; more would only cost time


def estimate_bytes(pictures: Sequence[tuple[Path, str]], max_side: int | None = None) -> int:
    """Return about how many bytes the outputs of (source, output format) take, by their headers."""
    step = max(1, len(pictures) // _SAMPLE)
    sample = pictures[::step]
    total = sum(_bytes(path, kind, max_side) for path, kind in sample)
    return round(total * len(pictures) / len(sample)) if sample else 0


def _bytes(path: Path, kind: str, max_side: int | None) -> float:
    """Return about how many bytes the output of a source will take."""
    size = picture_size(path)
    if size is None:
        return 0  # without a readable header nothing will be written either
    width, height = size
    shrink = min(1.0, max_side / max(width, height, 1)) if max_side else 1.0
    if kind == EITHER:
        kind = "PNG" if min(size) < _SMALL_SIDE else "JPEG"
    if kind == "JPEG" and shrink == 1:
        return path.stat().st_size * _JPEG_GROWTH
    # A JPEG that is shrunk becomes a PNG.
    return width * height * shrink**2 * _BYTES_PER_PIXEL["PNG" if kind == "JPEG" else kind]
