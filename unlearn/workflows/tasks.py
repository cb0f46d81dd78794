"""What worker processes do with one picture: read it, write it, draw its preview.

Importing this must stay free of torch: every worker imports it before its first picture.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from unlearn.data.grid import add_noise, to_grid
from unlearn.data.metadata import MetadataChoice
from unlearn.data.prepare import Preparation, prepare
from unlearn.data.preview import preview_sheet
from unlearn.data.writer import Written, write_picture
from unlearn.errors import EnvironmentProblem, PictureError

J = TypeVar("J")
T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """Why one picture is not protected; `disk_full` means no other would be either."""

    reason: str
    disk_full: bool = False


@dataclass(frozen=True)
class ReadJob:
    """A picture to read and bring to the working grid."""

    source: Path
    grid: int
    preparation: Preparation


@dataclass(frozen=True)
class Reading:
    """A picture on the working grid, uint8 (h, w, C), and what its file was."""

    pixels: NDArray[np.uint8]
    sha256: str
    size: tuple[int, int]


@dataclass(frozen=True)
class WriteJob:
    """A picture to write: its source, the noise on the grid, and how to store it.

    `delta` is float32 (h, w, C) in shares of the colour range; `gain` makes up for the contrast
    that enlarging it loses, and is not applied where nothing is enlarged.
    """

    source: Path
    sha256: str
    target: Path
    delta: NDArray[np.float32]
    levels: int
    gain: float
    format: str
    metadata: MetadataChoice
    preparation: Preparation


@dataclass(frozen=True)
class Writing:
    """A picture that was written and checked."""

    written: Written
    size: tuple[int, int]
    mode: str
    dropped: tuple[str, ...]
    notices: tuple[str, ...]


@dataclass(frozen=True)
class PreviewJob:
    """A finished picture to show before and after."""

    source: Path
    protected: Path
    target: Path
    caption: str
    preparation: Preparation


def start_worker() -> None:
    """Leave Ctrl-C and standard error to the main process, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders written in C complain there
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent.join,), daemon=True).start()


def read(job: ReadJob) -> Reading | Failure:
    """Prepare a picture and bring it to the working grid."""
    return _guarded(_read, job)


def write(job: WriteJob) -> Writing | Failure:
    """Prepare a picture again, add its noise, write it and check the written file."""
    return _guarded(_write, job)


def preview(job: PreviewJob) -> Path | Failure:
    """Draw the sheet of one finished picture."""
    return _guarded(_preview, job)


def _read(job: ReadJob) -> Reading:
    """Read; raises PictureError if the picture cannot be protected."""
    picture = prepare(job.source, job.preparation)
    if picture.alpha is not None and not picture.alpha.any():
        raise PictureError("fully transparent; there is nothing to change")
    return Reading(to_grid(picture.pixels, job.grid), picture.sha256, picture.size)


def _write(job: WriteJob) -> Writing:
    """Write; raises PictureError if the source changed or the written file is out of bounds."""
    picture = prepare(job.source, job.preparation)
    if picture.sha256 != job.sha256:
        raise PictureError("the file changed while it was being protected; run again")
    enlarged = job.delta.shape[:2] != picture.pixels.shape[:2]
    gain = job.gain if enlarged else 1.0
    job.target.parent.mkdir(parents=True, exist_ok=True)
    written = write_picture(
        picture,
        add_noise(picture.pixels, job.delta, job.levels, gain),  # without a name: freed early
        job.target,
        format=job.format,
        metadata=job.metadata,
        levels=job.levels,
    )
    return Writing(written, picture.size, picture.mode, picture.dropped, picture.notices)


def _preview(job: PreviewJob) -> Path:
    """Draw the sheet from both files and return where it is."""
    source = prepare(job.source, job.preparation)
    protected = prepare(job.protected, Preparation(None, job.preparation.max_pixels))
    preview_sheet(source, protected.pixels, job.target, job.caption)
    return job.target


def _guarded(work: Callable[[J], T], job: J) -> T | Failure:
    """Return what the work returns, or a Failure for whatever may go wrong with one picture."""
    try:
        return work(job)
    except PictureError as error:
        return Failure(str(error))
    except EnvironmentProblem as error:
        return Failure(str(error), disk_full=True)
    except OSError as error:
        return Failure(f"{error.strerror or error}".lower())
    except MemoryError:
        return Failure("not enough memory for this picture; use --workers 1 or --max-side")


def _leave_with(wait: Callable[[], None]) -> None:
    """End this process once the wait is over; a killed parent would otherwise leave it behind."""
    wait()
    os._exit(1)
