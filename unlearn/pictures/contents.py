"""The bytes of one source: small files in memory, large ones mapped and read twice.

Beside its pixels a large file would nearly double the memory of a run. What is mapped may change
while it is used, so its hash is taken before and after.
"""

import hashlib
import mmap
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import BinaryIO

from unlearn.errors import PictureError
from unlearn.files.tars import opened, status
from unlearn.pictures.kinds import HEAD_BYTES, Data, Kind, identify

LARGE_FILE = 64 << 20  # bytes
_CHANGED = "the file changed while it was being read; run again"


@dataclass(frozen=True)
class Contents:
    """One file: its kind, SHA-256, bytes by index, and the same as a file to decode from."""

    kind: Kind
    sha256: str
    data: Data
    file: BinaryIO


@contextmanager
def contents(path: Path, max_pixels: int) -> Iterator[Contents]:
    """Open a regular file that is a picture by its first bytes.

    Raises PictureError for any other, for one too large for `max_pixels`, and for one that cannot
    be read or changes meanwhile.
    """
    try:
        facts = status(path)
        if not stat.S_ISREG(facts.st_mode):
            raise PictureError("not a regular file")
        file = opened(path)
    except OSError as problem:
        raise _unreadable(problem) from problem
    with file:
        kind = identify(_read(file, HEAD_BYTES))
        if facts.st_size > 8 * max_pixels + LARGE_FILE:
            raise PictureError(f"file is too large for {max_pixels:,} pixels (--max-pixels)")
        if facts.st_size <= LARGE_FILE:
            with held(_read(file)) as small:
                yield small
            return
        if not path.is_file():
            raise PictureError("larger than 64 MB in a tar; protect it as a file of its own")
        before = _digest(file)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield Contents(kind, before, mapped, file)
        if _digest(file) != before:
            raise PictureError(_CHANGED)


@contextmanager
def held(data: bytes) -> Iterator[Contents]:
    """Open a file whose bytes are in memory; raises PictureError if they begin no picture."""
    with BytesIO(data) as file:
        yield Contents(identify(data[:HEAD_BYTES]), hashlib.sha256(data).hexdigest(), data, file)


def _read(file: BufferedReader, size: int = -1) -> bytes:
    """Return what the file begins with, all of it unless `size` is given."""
    try:
        file.seek(0)
        return file.read(size)
    except OSError as problem:
        raise _unreadable(problem) from problem


def _digest(file: BufferedReader) -> str:
    """Return the SHA-256 of an open file, and go back to its start."""
    try:
        file.seek(0)
        found = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
    except OSError as problem:
        raise _unreadable(problem) from problem
    return found


def _unreadable(problem: OSError) -> PictureError:
    """Return the words for a file that the system does not give."""
    return PictureError(f"cannot be read ({problem.strerror or problem})")
