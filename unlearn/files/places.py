"""Places: whether a destination can be written, how two folders lie, what is free."""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.files.replace import TEMPORARY_PREFIX
from unlearn.files.text import printable, size_text


def existing_part(path: Path) -> Path:
    """Return the path itself if it exists, otherwise the nearest folder above that does."""
    return next(p for p in (path, *path.parents) if os.path.lexists(p))


def check_destination(out: Path, records: Path) -> None:
    """Raise UsageProblem if a path is a file, EnvironmentProblem if it cannot be written."""
    for path in (out, records):
        existing = existing_part(path)
        if not existing.is_dir():
            raise UsageProblem(f"{printable(existing)} is not a folder; choose another --out")
        if not os.access(existing, os.W_OK | os.X_OK):
            place = printable(existing.absolute())
            read_only = sys.platform != "win32" and os.statvfs(existing).f_flag & os.ST_RDONLY
            why = "read-only file system" if read_only else "permission denied"
            raise EnvironmentProblem(f"Cannot write into {place} ({why}); choose another --out")


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
            f"{printable(mount)}. Use --max-side 2048, or another --out."
        )


def remove_leftovers(out: Path) -> int:
    """Remove temporary files that a killed run left in the output; return how many.

    Only for the one run that holds the lock: another's temporary files look the same.
    """
    leftovers = list(_leftovers(out))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


def remove_empty(out: Path, names: Iterable[str]) -> None:
    """Remove the folders under the output that these files would lie in and that hold nothing."""
    direct = {PurePosixPath(text) for text in {name.rpartition("/")[0] for name in names}}
    folders = {folder for one in direct for folder in (one, *one.parents) if folder.parts}
    for folder in sorted(folders, key=lambda path: -len(path.parts)):
        with contextlib.suppress(OSError):
            (out / folder).rmdir()


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
