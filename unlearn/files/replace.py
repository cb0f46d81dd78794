"""Writing whole files or nothing: a temporary file beside the target, flushed, then renamed."""

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from unlearn.errors import EnvironmentProblem
from unlearn.files.tars import opened

TEMPORARY_PREFIX: Final = ".unlearn-tmp-"
# What a failing disk says; any other answer means that folders cannot be synchronised there.
_FAILED: Final = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.EROFS)

_NAME_TAKEN: Final = (errno.EEXIST, errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTSUP)


def file_sha256(path: Path) -> str | None:
    """Return the SHA-256 of a file's bytes, or None if it cannot be read."""
    try:
        with opened(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a new empty file in the target's folder that takes its name once the block is done.

    By then the disk has it. Whatever else happens it is gone; raises OSError.
    """
    path = target.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{target.suffix}")
    try:
        path.open("xb").close()  # permissions follow the umask
        yield path
        with path.open("r+b") as file:
            os.fsync(file.fileno())
        _rename(path, target)
        _sync_folder(target.parent)
    finally:
        with contextlib.suppress(OSError):  # a name that cannot be made cannot be removed either
            path.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; raises EnvironmentProblem."""
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot be written ({error.strerror})") from error


def _rename(path: Path, target: Path) -> None:
    """Give a file its name, also where the file system gives no name that is taken."""
    try:
        path.replace(target)
    except OSError as error:
        if error.errno not in _NAME_TAKEN or not target.is_file():
            raise
        aside = path.with_name(f"{path.name}-old")
        target.rename(aside)
        try:
            path.rename(target)
        except OSError:
            aside.rename(target)
            raise
        aside.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a new name durable where folders can be synchronised (not on Windows)."""
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno in _FAILED:
            raise
