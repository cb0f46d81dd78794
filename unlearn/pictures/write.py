"""Writing a protected picture so that the file on disk, not the array in memory, keeps the bound.

The file is encoded beside its target, decoded again as every reader of pictures here does, compared
with its source, and only then given its name. A lossless file must hold exactly the values whose
distance from the source was measured; of any other the decoded values are measured.
"""

import errno
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from unlearn.errors import EnvironmentProblem, PictureError
from unlearn.files.replace import replacing
from unlearn.pictures.choices import MetadataChoice
from unlearn.pictures.compare import Difference, Tally, difference, mismatch
from unlearn.pictures.decoded import DEEP, Picture, Pixels, Preparation
from unlearn.pictures.digests import Prints
from unlearn.pictures.encode import ENCODERS
from unlearn.pictures.read import open_picture, prepare
from unlearn.pictures.visibility import PlainAreas, Visibility

Rows = Callable[[int, Pixels], Pixels]
_DISK_PROBLEMS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)


@dataclass(frozen=True)
class Written:
    """One file on disk: its hash and size, how far from its source it is, and how visibly."""

    sha256: str
    size_bytes: int
    linf: int
    mean_abs: float
    psnr: float
    visibility: Visibility


def write_rows(
    source: Picture,
    rows: Rows,
    target: Path,
    *,
    format: str,
    metadata: MetadataChoice,
    levels: int,
) -> Written:
    """Write a picture without loss if its decoded file is within `levels` of `source`.

    `rows` takes the number of a strip's first row and its colours (h, W, C), and returns what they
    become; pixels whose alpha is 0 stay as they are. `source` is used up: its memory is needed for
    the file's. Raises PictureError, and leaves no file, when the file is over the bound, unchanged
    or not what was meant; EnvironmentProblem when the disk is full or read-only.
    """
    size, plain = source.size, PlainAreas(source)
    found, meant = _replace(source, rows)
    _refuse(found, levels)
    visibility = plain.compared(source)
    dressed = replace(source, metadata=source.metadata.chosen(metadata, size))

    def check(temporary: Path) -> str:
        """Compare the decoded file with what was meant, and return its hash."""
        source.image.close()
        decoded = open_picture(temporary, Preparation(max_pixels=math.prod(size)))
        if decoded.size != size:
            raise PictureError("the written file did not keep the size")
        meant.compare(Prints.of(decoded, meant.channels))
        return decoded.sha256

    placed = _place(target, lambda file: ENCODERS[format](dressed, file), check)
    return Written(*placed, found.linf, found.mean_abs, found.psnr, visibility)


def write_data(picture: Picture, data: bytes, target: Path, *, levels: int) -> Written:
    """Write a file's bytes as `target` if they decode within `levels` of `picture`.

    Raises as write_rows does.
    """
    measured: list[tuple[Difference, Visibility]] = []

    def check(temporary: Path) -> str:
        """Measure the decoded file and return its hash."""
        decoded = prepare(temporary, Preparation(max_pixels=math.prod(picture.size)))
        problem = mismatch(picture, decoded)
        if problem:
            raise PictureError(f"the written file did not keep the {problem}")
        found = difference(picture, decoded)
        _refuse(found, levels)
        measured.append((found, PlainAreas(picture).compared(decoded)))
        return decoded.sha256

    placed = _place(target, lambda file: file.write(data), check)
    found, visibility = measured[0]
    return Written(*placed, found.linf, found.mean_abs, found.psnr, visibility)


def _replace(source: Picture, rows: Rows) -> tuple[Difference, Prints]:
    """Replace the colours of a picture; return how far that is, and what its file must hold."""
    tally = Tally(DEEP if source.deep else 1)
    meant = Prints(source.channels)
    for top, pixels, alpha in source.strips():
        protected = rows(top, pixels)
        if (protected.shape, protected.dtype) != (pixels.shape, pixels.dtype):
            raise ValueError(f"protected is {protected.dtype} {protected.shape}, not the picture's")
        if alpha is not None:
            protected = np.where(alpha[..., None] == 0, pixels, protected)
        tally.add(pixels, protected, alpha, top)
        meant.add(protected, alpha)
        source.put(top, protected, alpha)
    return tally.difference(), meant


def _refuse(found: Difference, levels: int) -> None:
    """Raise PictureError for a picture that does not keep the promise."""
    if found.linf > levels:
        raise PictureError(f"over the bound after writing: {found.linf}, allowed {levels} levels")
    if found.hidden:
        raise PictureError("transparent pixels were changed")
    if not found.linf:
        raise PictureError("nothing changed: the noise is invisible to this picture")


def _place(
    target: Path, fill: Callable[[BinaryIO], object], check: Callable[[Path], str]
) -> tuple[str, int]:
    """Fill a temporary file, check it, and only then give it its name; return hash and size."""
    with placing(target) as temporary:
        with temporary.open("r+b") as file:
            fill(file)
        return check(temporary), temporary.stat().st_size


@contextmanager
def placing(target: Path) -> Iterator[Path]:
    """Yield what replacing does; raises EnvironmentProblem for the disk, else PictureError."""
    try:
        with replacing(target) as temporary:
            yield temporary
    except OSError as problem:
        reason = problem.strerror or str(problem)
        if problem.errno in _DISK_PROBLEMS:
            raise EnvironmentProblem(f"{target.parent}: {reason}") from problem
        raise PictureError(f"cannot be written ({reason})") from problem
