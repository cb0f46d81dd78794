"""Fetch a generator into the user's data folder: the one module that opens connections.

pooch brings a file and proves its hash. What it does not promise is here: https alone, redirects
included, a limit of size, nothing when offline, and no name before the file loaded as a generator.
"""

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final
from urllib.parse import unquote, urljoin, urlsplit

import pooch
import requests
from pooch.downloaders import doi_to_repository

from unlearn import __version__
from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.files.homes import NO_HOME
from unlearn.files.names import windows_problem
from unlearn.files.replace import file_sha256, replace_file
from unlearn.files.text import printable
from unlearn.generators.catalogue import (
    SUFFIX,
    bundled_names,
    entry_of,
    is_name,
    pulled_folder,
    resolve,
)
from unlearn.generators.header import LARGEST_ARTEFACT
from unlearn.generators.index import INDEX, Remote
from unlearn.generators.options import PullRequest

Progress = Callable[[int, int | None], None]  # bytes that are here, bytes in all if that is known

STALL_SECONDS: Final = 30.0  # without a single byte
_CHUNK: Final = 1 << 16
_DOI: Final = re.compile(r"doi:(10\.[0-9.]+/[!-.0-~]+)/([!-~]+)")
_EXAMPLE: Final = f"unlearn generators pull https://HOST/NAME{SUFFIX} --sha256 HEX"


@dataclass(frozen=True)
class Pulled:
    """One generator that is here; state is "pulled" or "already here"."""

    name: str
    path: Path
    url: str
    sha256: str
    size_bytes: int
    state: str


def pull(request: PullRequest, progress: Progress) -> Pulled:
    """Fetch a generator, prove its hash, load it without trust, and only then give it its name.

    Raises UsageProblem for a request that makes no sense or a name that is taken, and
    EnvironmentProblem for what network, server, disk or the file itself do not allow.
    """
    name, remote = _wanted(request)
    path = resolve(name) if name in bundled_names() else _kept(name)
    here = file_sha256(path) == remote.sha256
    if not here:
        if os.path.lexists(path) and not request.force:
            raise UsageProblem(
                f"{printable(path)} is another file; choose a name with --name, or --force to "
                "replace "
                "it"
            )
        if request.offline:
            raise EnvironmentProblem(
                f"{name} is not here, and nothing may be downloaded: "
                "--offline or UNLEARN_OFFLINE is set"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentProblem(f"{path.parent}: cannot be made ({error.strerror})") from error
        replace_file(path, _fetched(path.name, remote, progress))
    state, size = "already here" if here else "pulled", path.stat().st_size
    return Pulled(name, path, remote.url, remote.sha256, size, state)


def _kept(name: str) -> Path:
    """Return the file that a pulled generator gets; raises EnvironmentProblem without a home."""
    folder = pulled_folder()
    if folder is None:
        raise EnvironmentProblem(f"{NO_HOME} to keep generators in; set HOME or XDG_DATA_HOME")
    return folder / f"{name}{SUFFIX}"


def _wanted(request: PullRequest) -> tuple[str, Remote]:
    """Return the name and source of what is asked for; raises UsageProblem for nonsense."""
    source, pinned = request.source, (request.sha256 or "").strip().lower()
    if request.sha256 is not None and not re.fullmatch("[0-9a-f]{64}", pinned):
        raise UsageProblem(f"--sha256 {printable(pinned)}: a SHA-256 has 64 hexadecimal digits")
    if ":" not in source:
        remote = _known(source)
        if request.name is not None or pinned not in ("", remote.sha256):
            raise UsageProblem(
                f"{source} keeps its name and has the SHA-256 {remote.sha256}; "
                f"another one needs its URL: {_EXAMPLE}"
            )
        return source, remote
    url = source if _DOI.fullmatch(source) else _https(source)
    if not pinned:
        raise UsageProblem(
            f"{_place(url)}: a URL needs --sha256 HEX, as its publisher states it; without it "
            "nothing tells the right file from another"
        )
    return _name(request.name, url), Remote(url, pinned, LARGEST_ARTEFACT)


def _known(name: str) -> Remote:
    """Return a generator that came with unlearn or that the index names."""
    if name in bundled_names():
        entry = entry_of(resolve(name))
        return Remote("", entry.sha256, entry.size_bytes)
    if name not in INDEX:
        raise UsageProblem(
            f'no generator "{printable(name)}" can be pulled by its name '
            f"(published: {', '.join(sorted(INDEX)) or 'none yet'}); from elsewhere: {_EXAMPLE}"
        )
    return INDEX[name]


def _name(chosen: str | None, url: str) -> str:
    """Return the name that was chosen, or that the last part of a URL gives."""
    last = unquote(urlsplit(url).path.rpartition("/")[2])
    if chosen is None and not last.endswith(SUFFIX):
        raise UsageProblem(
            f"{_place(url)} does not end in {SUFFIX}, the only kind that is accepted: pickles can "
            "run code. If it is one all the same, name it: --name NAME"
        )
    name = (last if chosen is None else chosen).removesuffix(SUFFIX)
    taken = name.lower() in map(str.lower, bundled_names())
    if taken or not is_name(name) or windows_problem(name):
        why = "came with unlearn" if taken else "cannot be the name of a generator"
        raise UsageProblem(
            f"'{printable(name)}' {why}; choose another with --name: up to 100 letters, digits, "
            "dots, "
            "dashes and underscores, not what Windows reserves"
        )
    return name


def _https(url: str) -> str:
    """Return a URL that may be fetched; raises UsageProblem for others."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UsageProblem(f"{_place(url)} is no URL; write https://HOST/PATH") from None
    if parts.username is not None:
        raise UsageProblem("a URL with a user name or password in it is not fetched")
    if parts.scheme != "https" or not host or not url.isascii() or re.search(r"[\0-\x20\x7f]", url):
        raise UsageProblem(f"{_place(url)}: only https://HOST/PATH is fetched, spaces as %20")
    return url


def _place(url: str) -> str:
    """Return a URL as it is shown: without its query, which may hold a secret."""
    return printable(url.partition("#")[0].partition("?")[0])


def _fetched(file: str, remote: Remote, progress: Progress) -> bytes:
    """Return what a remote has, after its hash was right and it could be loaded."""
    from unlearn.device import select_run
    from unlearn.generators.artefact import NoiseGenerator

    def bring(url: str, output: str, _: object) -> None:
        """Write what a URL has to a file."""
        with Path(output).open("wb") as opened:
            _download(url, _Watched(opened, remote.size_bytes, progress))

    pooch.get_logger().setLevel(logging.WARNING)  # it would print the URL with its secrets
    with TemporaryDirectory(prefix="unlearn-", ignore_cleanup_errors=True) as folder:
        brought = Path(folder) / file
        try:
            pooch.retrieve(remote.url, remote.sha256, file, folder, downloader=bring)
            NoiseGenerator.load(brought, select_run("cpu"))
            return brought.read_bytes()
        except ValueError as error:  # the hash
            raise EnvironmentProblem(
                f"{error} Run the same line again; if it repeats, a proxy alters downloads, or "
                "--sha256 means another file."
            ) from error
        except EnvironmentProblem as error:
            raise EnvironmentProblem(str(error).replace(str(brought), file)) from error
        except OSError as error:
            raise EnvironmentProblem(f"{folder}: cannot be written ({error.strerror})") from error


def _download(url: str, watched: "_Watched") -> None:
    """Write what a URL or DOI has into a file; raises EnvironmentProblem for what goes wrong."""
    options = {
        "headers": {"User-Agent": f"unlearn/{__version__}", "Accept-Encoding": "identity"},
        "timeout": STALL_SECONDS,
        "hooks": {"response": _check_redirect},
    }
    try:
        archived = _DOI.fullmatch(url)
        if archived:
            found = doi_to_repository(archived[1], **options).download_url(archived[2])
            url = _https(str(found))
        pooch.HTTPDownloader(watched, _CHUNK, **options)(url, watched, None)
    except requests.HTTPError as error:
        answer = printable(str(error).partition(" for url")[0])
        raise EnvironmentProblem(f"{_place(url)}: the server answers {answer:.60}") from error
    except requests.RequestException as error:
        raise EnvironmentProblem(
            f"{_place(url)}: cannot be fetched ({type(error).__name__}); is this machine online? "
            "Run the same line again to start over"
        ) from error
    except (ValueError, LookupError, TypeError, UsageProblem) as error:  # of archives, of headers
        raise EnvironmentProblem(
            f"{_place(url)}: is not there as expected ({printable(error)})"
        ) from error


def _check_redirect(response: requests.Response, **_: object) -> None:
    """Raise EnvironmentProblem for a redirect to anything but https, before it is followed."""
    if response.is_redirect:
        response.close()  # its body, however long, is nobody's
        try:
            _https(urljoin(response.url, response.headers["Location"]))
        except (UsageProblem, ValueError) as error:
            raise EnvironmentProblem(f"{_place(response.url)}: redirect refused: {error}") from None


class _Watched:
    """A file under a limit that reports its progress; pooch takes it for its progress bar, too."""

    total = 0  # bytes in all as pooch learns, 0 if nobody says

    def __init__(self, file: BinaryIO, largest_bytes: int, progress: Progress) -> None:
        self._file, self._largest, self._progress = file, largest_bytes, progress
        self._done = 0

    def write(self, chunk: bytes) -> None:
        """Add what came next; raises EnvironmentProblem once it is known to become too much."""
        self._done += len(chunk)
        if max(self._done, self.total) > self._largest:
            raise EnvironmentProblem(f"The file has more than {self._largest:,} bytes; refused")
        self._file.write(chunk)
        self._progress(self._done, self.total or None)

    def flush(self, *_: object) -> None:
        """Do nothing; neither do the names below, by which pooch would move a bar."""

    update = reset = close = flush
