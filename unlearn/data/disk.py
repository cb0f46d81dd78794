"""Disk: whether a destination can be written, what the pictures will take, what is free."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from unlearn.data.naming import shown
from unlearn.data.sniff import picture_size
from unlearn.data.writer import TEMPORARY_PREFIX
from unlearn.errors import EnvironmentProblem, UsageProblem

# Measured on protected pictures of 224 pixels, whose noise hardly compresses; photos take less.
_BYTES_PER_PIXEL: Final[Mapping[str, float]] = {"PNG": 1.75, "WEBP": 1.6, "TIFF": 2.1, "BMP": 3.0}
EITHER: Final = "JPEG or PNG"  # for a JPEG that becomes PNG if too little noise fits
_SMALL_SIDE: Final = 512  # below it too little fits: the grid is about as fine as a JPEG's colours
_JPEG_GROWTH: Final = 1.15  # of a JPEG source that stays one; see docs/results/keep.md
_SAMPLE: Final = 512  # headers read for the estimate; more would only cost time


def size_text(size: float) -> str:
    """Return a number of bytes as people write it: "13 GB", "4.1 GB", "820 kB"."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            break
        size /= 1000
    return f"{size:.1f} {unit}" if size < 9.95 and unit != "bytes" else f"{size:.0f} {unit}"


def existing_part(path: Path) -> Path:
    """Return the path itself if it exists, otherwise the nearest folder above that does."""
    return next(p for p in (path, *path.parents) if os.path.lexists(p))


def check_destination(out: Path, records: Path) -> None:
    """Raise UsageProblem if a path is a file, EnvironmentProblem if it cannot be written."""
    for path in (out, records):
        existing = existing_part(path)
        if not existing.is_dir():
            raise UsageProblem(f"{shown(existing)} is not a folder; choose another --out")
        if not os.access(existing, os.W_OK | os.X_OK):
            place = shown(existing.absolute())
            raise EnvironmentProblem(
                f"Cannot write into {place} (permission denied); choose another --out"
            )


def overlaps(one: Path, other: Path) -> str | None:
    """Return how `one` lies to `other` ("is", "is inside", "contains"), or None if they are apart.

    Links, and file systems that ignore case, are seen through.
    """
    first, second = Path(os.path.realpath(one)), Path(os.path.realpath(other))
    if first == second or _same(first, second):
        return "is"
    if any(_same(parent, second) for parent in first.parents):
        return "is inside"
    return "contains" if any(_same(parent, first) for parent in second.parents) else None


def estimate_bytes(pictures: Sequence[tuple[Path, str]], max_side: int | None = None) -> int:
    """Return about how many bytes the outputs of (source, output format) take, by their headers."""
    step = max(1, len(pictures) // _SAMPLE)
    sample = pictures[::step]
    total = sum(_bytes(path, kind, max_side) for path, kind in sample)
    return round(total * len(pictures) / len(sample)) if sample else 0


def free_bytes(out: Path) -> int:
    """Return how much can still be written where the output will be."""
    return shutil.disk_usage(existing_part(out)).free


def check_space(needed: int, out: Path) -> None:
    """Raise EnvironmentProblem if the destination has less room than needed."""
    free = free_bytes(out)
    if needed > free:
        place = existing_part(out).resolve()
        mount = next(p for p in (place, *place.parents) if p.is_mount() or p == p.parent)
        raise EnvironmentProblem(
            f"Not enough disk: about {size_text(needed)} needed, {size_text(free)} free on "
            f"{shown(mount)}. Use --max-side 2048, or another --out."
        )


def remove_leftovers(out: Path) -> int:
    """Remove temporary files that a killed run left in the output; return how many.

    Only for the one run that holds the lock: another's temporary files look the same.
    """
    leftovers = list(_leftovers(out))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


def _leftovers(out: Path) -> Iterator[Path]:
    """Yield the temporary files under the folder; folder links are not followed."""
    for folder, _, names in os.walk(out):
        for name in names:
            if name.startswith(TEMPORARY_PREFIX):
                yield Path(folder) / name


def _same(one: Path, other: Path) -> bool:
    """Tell whether both exist and are the same folder or file."""
    try:
        return one.samefile(other)
    except OSError:
        return False


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
