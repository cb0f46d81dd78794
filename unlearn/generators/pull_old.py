"""Fetch a generator into the user's data folder, where its name finds it."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from filelock import FileLock, Timeout

from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.files.names import windows_problem
from unlearn.files.places import existing_part
from unlearn.files.replace import file_sha256
from unlearn.files.text import shown, size_text
from unlearn.generators.catalogue import SUFFIX, bundled_names, is_name, pulled_folder, resolve
from unlearn.generators.download import Limits, Progress, download
from unlearn.generators.header import LARGEST_ARTEFACT
from unlearn.generators.index import INDEX
from unlearn.generators.urls import check_url, place

LIMITS: Final = Limits(LARGEST_ARTEFACT)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_DIGITS: Final = 12  # of a hash, in messages
_EXAMPLE: Final = f"unlearn generators pull https://HOST/NAME{SUFFIX} --sha256 HEX"


@dataclass(frozen=True)
class PullRequest:
    """What to fetch: a name of the index, or a URL with the hash of what it must hold."""

    source: str
    sha256: str | None = None
    name: str | None = None
    force: bool = False
    offline: bool = False


@dataclass(frozen=True)
class Pulled:
    """One generator that is here now; `resumed_bytes` of it an earlier run had brought."""

    name: str
    path: Path
    url: str
    sha256: str
    size_bytes: int
    state: Literal["pulled", "already here"]
    resumed_bytes: int = 0


@dataclass(frozen=True)
class _Wanted:
    """A request that makes sense."""

    name: str
    url: str
    sha256: str
    largest_bytes: int

    @property
    def file(self) -> str:
        """The name of the file."""
        return f"{self.name}{SUFFIX}"


def pull(request: PullRequest, progress: Progress, limits: Limits = LIMITS) -> Pulled:
    """Fetch a generator, prove its hash, load it without trust, and only then give it its name.

    Raises UsageProblem for a request that makes no sense or a name that is taken, and
    EnvironmentProblem for what network, server, disk or the file itself do not allow. A download
    that was cut is continued by the next call with the same hash.
    """
    if request.source in bundled_names():
        return _bundled(request)
    wanted = _wanted(request)
    path = pulled_folder() / wanted.file
    if _is_here(path, wanted, force=request.force):
        size = path.stat().st_size
        return Pulled(wanted.name, path, wanted.url, wanted.sha256, size, "already here")
    if request.offline:
        raise EnvironmentProblem(
            f"{wanted.name} is not here, and nothing may be downloaded: "
            "--offline or UNLEARN_OFFLINE is set"
        )
    with _partial(wanted) as partial:
        resumed = partial.stat().st_size if partial.exists() else 0
        if file_sha256(partial) != wanted.sha256:
            allowed = min(limits.largest_bytes, wanted.largest_bytes)
            _bring(wanted, partial, replace(limits, largest_bytes=allowed), progress)
        _check(wanted, partial)
        size = partial.stat().st_size
        _publish(partial, path)
    return Pulled(wanted.name, path, wanted.url, wanted.sha256, size, "pulled", resumed)


def _bundled(request: PullRequest) -> Pulled:
    """Return the generator that came with unlearn."""
    path = resolve(request.source)
    digest = file_sha256(path) or ""
    if request.sha256 is not None and request.sha256.lower() != digest:
        raise UsageProblem(
            f"{request.source} came with unlearn and has the SHA-256 {digest[:_DIGITS]}…; "
            f"another one needs its URL: {_EXAMPLE}"
        )
    return Pulled(request.source, path, "", digest, path.stat().st_size, "already here")


def _wanted(request: PullRequest) -> _Wanted:
    """Return what is asked for; raises UsageProblem if that makes no sense."""
    pinned = None if request.sha256 is None else request.sha256.strip().lower()
    if pinned is not None and not _SHA256.fullmatch(pinned):
        raise UsageProblem(f"--sha256 {shown(request.sha256)}: a SHA-256 has 64 hexadecimal digits")
    if "://" not in request.source:
        return _of_index(request, pinned)
    url = check_url(request.source)
    if pinned is None:
        raise UsageProblem(
            f"{place(url)}: a URL needs --sha256 HEX, as its publisher states it; without it "
            "nothing tells the right file from another"
        )
    name = _name_in(url) if request.name is None else request.name.removesuffix(SUFFIX)
    _check_name(name)
    return _Wanted(name, url, pinned, LARGEST_ARTEFACT)


def _of_index(request: PullRequest, pinned: str | None) -> _Wanted:
    """Return where a name is fetched from."""
    source = request.source
    remote = INDEX.get(source)
    if remote is None:
        names = f"only {', '.join(sorted(INDEX))}" if INDEX else "none is published yet"
        raise UsageProblem(
            f'no generator "{shown(source)}" can be pulled by its name ({names}); '
            f"from elsewhere: {_EXAMPLE}"
        )
    if request.name is not None:
        raise UsageProblem(f"--name is for URLs; {source} keeps its name")
    if pinned not in (None, remote.sha256):
        raise UsageProblem(f"{source} has the SHA-256 {remote.sha256}, not the one of --sha256")
    return _Wanted(source, check_url(remote.url), remote.sha256, remote.size_bytes)


def _name_in(url: str) -> str:
    """Return the name that the last part of a URL gives."""
    last = unquote(urlsplit(url).path.rpartition("/")[2])
    if not last.endswith(SUFFIX):
        raise UsageProblem(
            f"{place(url)} does not end in {SUFFIX}, the only kind that is accepted: pickles can "
            "run code. If it is one all the same, name it: --name NAME"
        )
    return last.removesuffix(SUFFIX)


def _check_name(name: str) -> None:
    """Raise UsageProblem for a name that no generator can have here."""
    if not is_name(name):
        raise UsageProblem(
            f"'{shown(name)}' cannot be the name of a generator: up to 100 letters, digits, dots, "
            "dashes and underscores; choose one with --name"
        )
    problem = windows_problem(name)
    if problem:
        raise UsageProblem(f"{problem}; choose another with --name")
    if name.lower() in (taken.lower() for taken in bundled_names()):
        raise UsageProblem(f"{name} came with unlearn; choose another name with --name")


def _is_here(path: Path, wanted: _Wanted, *, force: bool) -> bool:
    """Return whether the very file is here; raises UsageProblem if another has its name."""
    if not os.path.lexists(path):
        return False
    if file_sha256(path) == wanted.sha256:
        return True
    if not force:
        raise UsageProblem(
            f"{shown(path)} is another file; choose a name with --name, or --force to replace it"
        )
    return False


@contextmanager
def _partial(wanted: _Wanted) -> Iterator[Path]:
    """Yield where the bytes of this hash are gathered, while no other run does the same."""
    folder = pulled_folder() / ".partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentProblem(f"{folder}: cannot be made ({error.strerror})") from error
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise EnvironmentProblem("another unlearn is pulling a generator; wait for it") from None
    try:
        yield folder / f"{wanted.sha256}.part"
    finally:
        lock.release()


def _bring(wanted: _Wanted, partial: Path, limits: Limits, progress: Progress) -> None:
    """Download with an eye on the disk."""

    def watch(done: int, total: int | None) -> None:
        """Pass progress on; raises EnvironmentProblem as soon as it is known not to fit."""
        free = shutil.disk_usage(existing_part(partial)).free
        if total is not None and total - done > free:
            raise EnvironmentProblem(
                f"Not enough disk: {size_text(total - done)} to come, {size_text(free)} free in "
                f"{shown(partial.parent)}"
            )
        progress(done, total)

    download(wanted.url, partial, limits, watch)


def _check(wanted: _Wanted, partial: Path) -> None:
    """Delete the file and raise EnvironmentProblem unless it is the one wanted and a generator."""
    from unlearn.device import select_run
    from unlearn.generators.artefact import NoiseGenerator

    found = file_sha256(partial) or "unreadable"
    if found != wanted.sha256:
        partial.unlink(missing_ok=True)
        raise EnvironmentProblem(
            f"{wanted.file}: SHA-256 is {found[:_DIGITS]}…, expected {wanted.sha256[:_DIGITS]}…. "
            "Deleted; run the same line again. If it repeats, a proxy may alter downloads, or the "
            "file is not the one that --sha256 means."
        )
    try:
        NoiseGenerator.load(partial, select_run("cpu"))
    except EnvironmentProblem as error:
        partial.unlink(missing_ok=True)
        reason = str(error).replace(str(partial), wanted.file)
        raise EnvironmentProblem(f"{reason}. Deleted.") from error


def _publish(partial: Path, path: Path) -> None:
    """Flush the file to disk and give it its name."""
    try:
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot be written ({error.strerror})") from error
