"""Downloads: the one place of unlearn that opens a connection.

A file is fetched over https (plain http: from this very machine only) into a partial file that a
later call continues. What arrived is not to be trusted before its hash was compared.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO, Final, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import (
    BaseHandler,
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from unlearn import __version__
from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.files.text import shown
from unlearn.generators.urls import check_url, place

Progress = Callable[[int, int | None], None]  # bytes that are here, bytes in all if that is known

_CHUNK: Final = 1 << 16
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TEMPORARY: Final = frozenset({408, 429, 500, 502, 503, 504})
_NOT_THAT_RANGE: Final = 416
_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")


@dataclass(frozen=True)
class Limits:
    """How much a download may bring, and how long and how often it is tried."""

    largest_bytes: int
    stall_seconds: float = 30.0  # without a single byte
    attempts: int = 5
    pause_seconds: float = 1.0  # between two attempts
    redirects: int = 5


class TooLarge(EnvironmentProblem):
    """The server has or sends more than the limit."""


class _Cut(Exception):
    """The connection ended or stalled before the file was whole; the text says how."""


def download(url: str, partial: Path, limits: Limits, progress: Progress) -> None:
    """Bring the bytes of a URL that the partial file does not have yet, until it is whole.

    A connection that is cut or stalls is tried again from where it ended. Raises UsageProblem for
    a URL that is not fetched, EnvironmentProblem for what the server, the network or the disk does;
    the partial file then stays, to go on from, unless the file is too large.
    """
    url, why = check_url(url), ""
    for attempt in range(limits.attempts):
        if attempt:
            time.sleep(limits.pause_seconds)
        try:
            _fetch(url, partial, limits, progress)
        except _Cut as cut:
            why = str(cut)
        except TooLarge:
            partial.unlink(missing_ok=True)
            raise
        else:
            return
    kept = _size(partial)
    raise EnvironmentProblem(
        f"{place(url)}: {why}, {limits.attempts} times; "
        + (f"{kept:,} bytes are kept, run the same line again to go on" if kept else "try later")
    )


def _fetch(url: str, partial: Path, limits: Limits, progress: Progress) -> None:
    """Bring what is missing over one connection; raises _Cut if it ends too early."""
    start = _size(partial)
    with _response(url, start, partial, limits) as response:
        start = _start(response, start, partial)
        total = None if response.length is None else start + response.length
        if (total or 0) > limits.largest_bytes:
            raise _too_large(url, limits)
        try:
            with partial.open("ab" if start else "wb") as file:
                done = _copy(response, file, (start, total), url, limits, progress)
        except OSError as error:
            raise EnvironmentProblem(f"{partial}: cannot be written ({error.strerror})") from error
    if total is not None and done < total:
        raise _Cut(f"the connection ended after {done:,} of {total:,} bytes")


def _copy(
    response: HTTPResponse,
    file: BinaryIO,
    reach: tuple[int, int | None],
    url: str,
    limits: Limits,
    progress: Progress,
) -> int:
    """Write the body behind what is there; return how many bytes are there now.

    `reach` is where the body starts in the file and, if known, where it ends.
    """
    done, total = reach
    while chunk := _read(response, limits):
        done += len(chunk)
        if done > limits.largest_bytes:
            raise _too_large(url, limits)
        file.write(chunk)
        progress(done, total)
    return done


def _read(response: HTTPResponse, limits: Limits) -> bytes:
    """Return what came next, b"" at the end; never waits for a whole chunk."""
    try:
        return response.read1(_CHUNK)
    except TimeoutError:
        raise _Cut(f"nothing came for {limits.stall_seconds:g} s") from None
    except (OSError, HTTPException) as error:
        raise _Cut(f"the connection was cut ({type(error).__name__})") from error


def _start(response: HTTPResponse, asked: int, partial: Path) -> int:
    """Return where the body starts: 0 where the server does not know ranges."""
    if response.status != 206:
        return 0
    found = _RANGE.match(response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != asked:
        partial.unlink(missing_ok=True)
        raise _Cut("the server sent another part than was asked for")
    return asked


def _response(url: str, start: int, partial: Path, limits: Limits) -> HTTPResponse:
    """Ask for the bytes from `start` on and follow redirects; the answer is 2xx."""
    here = url
    for _ in range(limits.redirects + 1):
        try:
            return _ask(here, start, limits)
        except HTTPError as answer:
            with answer:
                if answer.code == _NOT_THAT_RANGE and start:
                    partial.unlink(missing_ok=True)
                    raise _Cut("the server has less than was already here") from None
                here = _target(here, answer)
        except TimeoutError:
            raise _Cut(f"nothing came for {limits.stall_seconds:g} s") from None
        except URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise _Cut(f"no connection within {limits.stall_seconds:g} s") from None
            raise _unreachable(here, error) from error
        except (OSError, HTTPException) as error:
            raise _Cut(f"the server gave no proper answer ({type(error).__name__})") from error
    raise EnvironmentProblem(f"{place(url)}: redirected more than {limits.redirects} times")


def _ask(url: str, start: int, limits: Limits) -> HTTPResponse:
    """Send one request; whatever is not 2xx raises HTTPError, redirects included."""
    headers = {"User-Agent": f"unlearn/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    asked = Request(url, headers=headers)
    return cast(HTTPResponse, _opener(url).open(asked, timeout=limits.stall_seconds))


def _opener(url: str) -> OpenerDirector:
    """Return an opener that speaks http and https only, through the usual proxies.

    This machine itself is asked directly: plain http must not go to a proxy elsewhere.
    """
    opener = OpenerDirector()
    handlers: tuple[BaseHandler, ...] = (
        ProxyHandler(None if url.lower().startswith("https:") else {}),
        HTTPHandler(),
        HTTPSHandler(),
        HTTPErrorProcessor(),
        HTTPDefaultErrorHandler(),
        UnknownHandler(),
    )
    for handler in handlers:
        opener.add_handler(handler)
    return opener


def _target(url: str, answer: HTTPError) -> str:
    """Return where a redirect leads, in the scheme it came from; anything else is an error."""
    location = answer.headers.get("Location")
    if answer.code in _TEMPORARY:
        raise _Cut(f"the server answers {answer.code}")
    if answer.code not in _REDIRECTS or not location:
        reason = shown(answer.reason)[:60]
        raise EnvironmentProblem(f"{place(url)}: the server answers {answer.code} {reason}")
    try:
        there = check_url(urljoin(url, location))
    except (UsageProblem, ValueError) as error:
        raise EnvironmentProblem(f"{place(url)}: redirect refused: {error}") from None
    if urlsplit(there).scheme != urlsplit(url).scheme:
        raise EnvironmentProblem(f"{place(url)}: redirect to another scheme refused")
    return there


def _unreachable(url: str, error: URLError) -> EnvironmentProblem:
    """Return the line for a server that cannot be reached at all."""
    reason = getattr(error.reason, "strerror", None) or error.reason
    return EnvironmentProblem(
        f"{place(url)}: cannot be reached ({shown(reason)}); is this machine online?"
    )


def _too_large(url: str, limits: Limits) -> TooLarge:
    """Return the refusal of a file over the limit."""
    return TooLarge(f"{place(url)}: more than {limits.largest_bytes:,} bytes; refused")


def _size(path: Path) -> int:
    """Return how many bytes of a file are there, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0
