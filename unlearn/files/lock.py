"""The lock: one run at a time writes an output folder, and a second one learns which."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from unlearn.errors import EnvironmentProblem
from unlearn.files.text import printable

LOCK_NAME: Final = "lock"
_NO_LOCKS: Final = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)
_PID_NAME: Final = "pid"  # apart, since some systems let nobody read a locked file


class Busy(EnvironmentProblem):
    """Another run is writing the folder."""


@contextlib.contextmanager
def locked(
    out: Path, records: Path, mark: str = "", *, patience_seconds: float = 0
) -> Iterator[None]:
    """Hold the lock of an output folder, made in its folder of records; a mark is for a part of it.

    Raises Busy if another run holds it for longer than the patience, and EnvironmentProblem if the
    folder of records cannot be made.
    """
    own_pid = records / f"{_PID_NAME}{mark}"
    try:
        records.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentProblem(
            f"Cannot make {printable(records)} ({error.strerror}); choose another --out"
        ) from error
    lock = FileLock(records / f"{LOCK_NAME}{mark}")
    try:
        lock.acquire(timeout=patience_seconds)
    except Timeout:
        raise Busy(_busy(out, own_pid)) from None
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        # This file system knows no locks: better without one than not at all.
    try:
        own_pid.write_text(f"{os.getpid()}\n", encoding="ascii")
        yield
    finally:
        own_pid.unlink(missing_ok=True)
        lock.release()


def refuse_if_locked(out: Path, records: Path, mark: str = "") -> None:
    """Raise Busy if another run holds the lock; makes nothing where there is none."""
    if (records / f"{LOCK_NAME}{mark}").exists():
        with locked(out, records, mark):
            pass


def _busy(out: Path, own_pid: Path) -> str:
    """Return the sentence for a folder that another run is writing."""
    try:
        pid = int(own_pid.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return f"Another unlearn run is writing {printable(out)}."
    return f"Another unlearn run is writing {printable(out)} (pid {pid})."
