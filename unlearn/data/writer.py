"""Writing a protected picture so that the file on disk, not the array in memory, keeps the bound.

The file is encoded beside its target, decoded again by `prepare`, compared value by value, and only
then given its name.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from unlearn.data.compare import Difference, difference, mismatch
from unlearn.data.encode import ENCODERS, Canvas
from unlearn.data.metadata import MetadataChoice
from unlearn.data.picture import Picture, Pixels, Preparation
from unlearn.data.prepare import prepare
from unlearn.errors import EnvironmentProblem, PictureError

FormatChoice = Literal["auto", "png", "webp", "tiff"]
TEMPORARY_PREFIX = ".unlearn-tmp-"
FORMATS: dict[str, str] = {"PNG": ".png", "WEBP": ".webp", "TIFF": ".tif"}
_DISK_PROBLEMS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

__all__ = [
    "FORMATS",
    "TEMPORARY_PREFIX",
    "Difference",
    "FormatChoice",
    "Written",
    "difference",
    "mismatch",
    "output_format",
    "temporary_beside",
    "write_picture",
]


@dataclass(frozen=True)
class Written:
    """One file on disk: its hash and size, and its measured distance from the prepared source."""

    sha256: str
    size_bytes: int
    linf: int
    mean_abs: float
    psnr: float


def output_format(picture: Picture, choice: FormatChoice) -> tuple[str, str]:
    """Return (format, suffix) of the output: always lossless, the source's own where that is."""
    name = choice.upper()
    if choice == "auto":
        name = picture.format if picture.format in FORMATS and picture.lossless else "PNG"
    return name, FORMATS[name]


def write_picture(
    picture: Picture,
    protected: Pixels,
    target: Path,
    *,
    format: str,
    metadata: MetadataChoice,
    levels: int,
) -> Written:
    """Write `protected` (H, W, C) as `target` if the decoded file is within `levels` of `picture`.

    Pixels whose alpha is 0 are written as they were. Raises PictureError, and leaves no file, when
    the file is over the bound or unchanged; EnvironmentProblem when the disk is full or read-only.
    """
    if (protected.shape, protected.dtype) != (picture.pixels.shape, picture.pixels.dtype):
        raise ValueError(f"protected is {protected.dtype} {protected.shape}, not the picture's")
    if picture.alpha is not None:
        protected = np.where(picture.alpha[..., None] == 0, picture.pixels, protected)
    canvas = Canvas(protected, picture.alpha, picture.metadata.chosen(metadata, picture.size))
    del protected
    with temporary_beside(target) as temporary:
        with temporary.open("r+b") as file:
            ENCODERS[format](canvas, file)
            del canvas  # checking needs the room
            file.flush()
            os.fsync(file.fileno())
        written = _check(picture, temporary, levels)
        temporary.replace(target)
        _sync_folder(target.parent)
    return written


def _check(picture: Picture, temporary: Path, levels: int) -> Written:
    """Decode the file and return its numbers; raises PictureError unless it keeps the promise."""
    width, height = picture.size
    decoded = prepare(temporary, Preparation(max_pixels=width * height))
    problem = mismatch(picture, decoded)
    if problem:
        raise PictureError(f"the written file did not keep the {problem}")
    found = difference(picture, decoded)
    if found.linf > levels:
        raise PictureError(f"over the bound after writing: {found.linf}, allowed {levels} levels")
    if found.hidden:
        raise PictureError("transparent pixels were changed by writing")
    if not found.linf:
        raise PictureError("nothing changed: the noise is invisible to this picture")
    size_bytes = temporary.stat().st_size
    return Written(decoded.sha256, size_bytes, found.linf, found.mean_abs, found.psnr)


@contextmanager
def temporary_beside(target: Path) -> Iterator[Path]:
    """Yield a new empty file in the target's folder that is gone afterwards, whatever happens."""
    suffix = target.suffix
    path = target.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{suffix}")
    try:
        path.open("xb").close()  # permissions follow the umask
        yield path
    except OSError as problem:
        reason = problem.strerror or str(problem)
        if problem.errno in _DISK_PROBLEMS:
            raise EnvironmentProblem(f"{target.parent}: {reason}") from problem
        raise PictureError(f"cannot be written ({reason})") from problem
    finally:
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the new name durable where folders can be synchronised (not on Windows)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
