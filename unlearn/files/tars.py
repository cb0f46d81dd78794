"""Tars of samples, as WebDataset names them, and paths that lead into one: `shards/0.tar/7.jpg`.

Only plain tars are read: there a member is a part of the file, found and read by itself.
"""

import functools
import io
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO, Final

from unlearn.errors import PictureError
from unlearn.files.text import printable

_TAR: Final = re.compile(r".+\.(tar(\.(gz|bz2|xz|zst|lz4|z))?|tgz|tbz2?|txz)", re.I | re.S)
_CHUNK_BYTES: Final = 1 << 20
_KEPT: Final = 8  # tars whose members are remembered


def is_tar(name: str) -> bool:
    """Tell whether a file is called like a tar, compressed or not."""
    return _TAR.fullmatch(name) is not None


def sample_of(name: str) -> str:
    """Return the key of the sample that a member belongs to: its path up to the first dot."""
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0] or base}"


def plain_name(name: str) -> str:
    """Return a member's name as part of a path, without the `./` that some tars begin with."""
    return str(PurePosixPath(name))


def tar_path(member: Path, name: str, tar: str) -> Path:
    """Return the tar that a member's path leads into, by the names of both."""
    return member.parents[name.removeprefix(tar).count("/") - 1]


def read_tar(path: Path) -> list[tarfile.TarInfo]:
    """Return the members of a whole tar; raises PictureError for what is none or could do harm."""
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            members = list(_forward(tar))
            whole = _ends(file, tar.offset)
    except OSError as error:
        raise PictureError(f"cannot be read ({error.strerror or error})") from error
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        reason = "unpack it first" if _is_compressed(path) else f"damaged or no tar: {error}"
        raise PictureError(f"only plain tars are read; {reason}") from error
    if not whole:
        raise PictureError("the tar is damaged or cut off: it does not end as tars do")
    for problem in _problems(members):
        raise PictureError(problem)
    return members


def opened(path: Path) -> io.BufferedReader:
    """Open a file, or a member of a tar, to be read; raises OSError."""
    try:
        return path.open("rb")
    except NotADirectoryError:
        tar, start, size = _place(path)
        return io.BufferedReader(_Part(tar.open("rb", buffering=0), start, size))


def status(path: Path) -> os.stat_result:
    """Return the facts of a file; those of a member are its tar's, but for the size."""
    try:
        return path.stat()
    except NotADirectoryError:
        tar, _, size = _place(path)
        facts = tar.stat()
        exact = {name: getattr(facts, name) for name in ("st_mtime_ns", "st_ctime_ns")}
        return os.stat_result((*facts[:6], size, *facts[7:10]), exact)


def same_bytes(one: BinaryIO, other: BinaryIO, size: int) -> bool:
    """Tell whether two open files go on with the same bytes."""
    while size > 0:
        count = min(size, _CHUNK_BYTES)
        first = one.read(count)
        if len(first) < count or first != other.read(count):
            return False
        size -= count
    return True


class _Part(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, file: io.FileIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        self._file.seek(self._start + self._at)
        count = self._file.readinto(memoryview(buffer)[: max(0, self._size - self._at)]) or 0
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _place(path: Path) -> tuple[Path, int, int]:
    """Return the tar that a path leads into, and where in it the member lies; raises OSError."""
    tar = next((parent for parent in path.parents if parent.is_file()), None)
    if tar is None:
        raise NotADirectoryError(f"{path}: not a folder")
    facts = tar.stat()
    found = _index(tar, facts.st_mtime_ns, facts.st_size).get(path.relative_to(tar).as_posix())
    if found is None:
        raise FileNotFoundError(2, "there is no such member", str(path))
    return tar, *found


@functools.lru_cache(_KEPT)
def _index(tar: Path, _changed: int, _size: int) -> dict[str, tuple[int, int]]:
    """Return where each file of a tar lies, with its size; raises OSError if it is none."""
    try:
        members = read_tar(tar)
    except PictureError as error:
        raise NotADirectoryError(20, str(error), str(tar)) from error
    return {plain_name(m.name): (m.offset_data, m.size) for m in members if m.isreg()}


def _forward(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a tar; raises TarError for one that would lead back, without an end."""
    for member in tar:
        if member.size < 0:
            raise tarfile.ReadError("a member of negative size")
        yield member


def _ends(file: BinaryIO, offset: int) -> bool:
    """Tell whether nothing but the end of a tar follows: zeros, a block of them at least."""
    file.seek(offset)
    first = file.read(tarfile.BLOCKSIZE)
    rest = iter(lambda: file.read(_CHUNK_BYTES), b"")
    return len(first) == tarfile.BLOCKSIZE and not any(
        block.strip(b"\0") for block in (first, *rest)
    )


def _is_compressed(path: Path) -> bool:
    """Tell whether a file begins like the compressed files that tars are found in."""
    with path.open("rb") as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"))


def _problems(members: Sequence[tarfile.TarInfo]) -> Iterator[str]:
    """Yield why the members of a tar cannot be taken as files."""
    names = set[str]()
    for member in members:
        name, path = printable(member.name), PurePosixPath(member.name)
        if PureWindowsPath(member.name).anchor or ".." in path.parts:
            yield f"its member {name} leads outside"
        elif member.issparse():
            yield f"its member {name} is a sparse file; make the tar without --sparse"
        elif not member.isreg() and not member.isdir():
            what = "a link" if member.issym() or member.islnk() else "no file"
            yield f"its member {name} is {what}; tars of files and folders are read"
        elif member.isreg() and str(path) in names:
            yield f"two of its members are called {name}"
        if member.isreg():
            names.add(str(path))
