"""Limits on what one picture may cost a worker process: decoders hang, and headers lie."""

import contextlib
import faulthandler
import multiprocessing
import os
from collections.abc import Iterator
from typing import Final

_SECONDS: Final = 120.0
_SECONDS_PER_MEGAPIXEL: Final = 6.0  # a hundred times what a slow processor needs
_SPARE_BYTES: Final = 1 << 30  # the interpreter, its libraries, and buffers of decoders
_BYTES_PER_PIXEL: Final = 8  # a picture as Pillow holds it and as an array


def seconds_for(pixels: int) -> float:
    """Return how long one step of a picture of so many pixels may take."""
    return _SECONDS + _SECONDS_PER_MEGAPIXEL * pixels / 1e6


@contextlib.contextmanager
def limits(pixels: int, max_pixels: int) -> Iterator[None]:
    """Bound time by `pixels` and memory by `max_pixels`, in worker processes only.

    Too much memory raises MemoryError (where the system can limit it). Too much time ends the
    process, whatever it is doing: no exception gets through to a decoder that hangs.
    """
    if multiprocessing.parent_process() is None:
        yield
        return
    _limit_memory(_SPARE_BYTES + _BYTES_PER_PIXEL * max_pixels)
    faulthandler.dump_traceback_later(seconds_for(pixels), exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def why_ended(codes: list[int | None]) -> str:
    """Return in words why a worker ended, from the exit codes of all; -15 is our own doing."""
    for code in codes:
        if code == -9:
            return "the system ended it, probably for want of memory"
        if code is not None and code < 0 and code != -15:
            return "a decoder crashed"
        if code == 1:
            return "it took longer than its time limit"
    return "not enough memory, or a damaged file"


def _limit_memory(size: int) -> None:
    """Let this process have so many bytes of addresses; silently nothing where that is unknown."""
    if os.name != "posix":
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = size if most == resource.RLIM_INFINITY else min(size, most)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (wanted, most))
