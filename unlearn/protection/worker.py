"""What worker processes do with one picture: read it, write it, draw it, measure it.

Importing this must stay free of torch: every worker imports it before its first picture.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from unlearn.errors import EnvironmentProblem, PictureError
from unlearn.pictures.choices import MetadataChoice
from unlearn.pictures.decoded import Picture
from unlearn.pictures.grid import Upsampling, add_noise, picture_grid
from unlearn.pictures.jpeg.within import Keeping, keep_jpeg, refuse_large, refuse_weak
from unlearn.pictures.preview import preview_sheet
from unlearn.pictures.read import Preparation, open_picture, prepare
from unlearn.pictures.survival import Survival, picture_survival
from unlearn.pictures.write import Written, write_data, write_rows
from unlearn.workers.limits import limits

MOST_SHOWN_PIXELS: Final = 50_000_000  # previews and survival hold both pictures in memory
WRITTEN_AS_PNG: Final = "written as PNG: "
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
    pixels: int = 0  # as the header states them; they decide how long it may take


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
    that enlarging it loses, and is not applied where nothing is enlarged. `fallback` is where a PNG
    goes if the file cannot be of its format; without one the picture fails.
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
    pixels: int = 0
    fallback: Path | None = None


@dataclass(frozen=True)
class Writing:
    """A picture that was written and checked.

    `keeping` is of a JPEG that stayed one; `fell_back` says that it was written as a PNG instead.
    """

    written: Written
    size: tuple[int, int]
    mode: str
    dropped: tuple[str, ...]
    notices: tuple[str, ...]
    keeping: Keeping | None = None
    source_bytes: int = 0
    fell_back: bool = False


@dataclass(frozen=True)
class PreviewJob:
    """A finished picture to show before and after."""

    source: Path
    protected: Path
    target: Path
    caption: str
    preparation: Preparation
    pixels: int = 0


@dataclass(frozen=True)
class SurvivalJob:
    """A finished picture whose noise is to be measured after what the web does."""

    source: Path
    protected: Path
    preparation: Preparation
    pixels: int = 0


J = TypeVar("J", ReadJob, WriteJob, PreviewJob, SurvivalJob)


def read(job: ReadJob) -> Reading | Failure:
    """Prepare a picture and bring it to the working grid."""
    return _guarded(_read, job)


def write(job: WriteJob) -> Writing | Failure:
    """Prepare a picture again, add its noise, write it and check the written file."""
    return _guarded(_write, job)


def preview(job: PreviewJob) -> Path | Failure:
    """Draw the sheet of one finished picture."""
    return _guarded(_preview, job)


def measure_survival(job: SurvivalJob) -> dict[str, Survival | None] | Failure:
    """Measure how much of the noise of one finished picture is left."""
    return _guarded(_measure_survival, job)


def _read(job: ReadJob) -> Reading:
    """Read; raises PictureError if the picture cannot be protected."""
    picture = open_picture(job.source, job.preparation)
    if picture.invisible:
        raise PictureError("fully transparent; there is nothing to change")
    return Reading(picture_grid(picture, job.grid), picture.sha256, picture.size)


def _write(job: WriteJob) -> Writing:
    """Write; raises PictureError if the source changed or the written file is out of bounds."""
    source = _again(job)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    notices, fell_back, keeping = source.notices, False, None
    try:
        if job.format == "JPEG":
            written, keeping = _keep(job, source)
        else:
            written = _lossless(job, source, job.target, job.format)
    except PictureError as problem:
        if job.fallback is None:
            raise
        source.image.close()  # it may be large, and is needed as it was
        fell_back, notices = True, (*notices, f"{WRITTEN_AS_PNG}{problem}")
        written = _lossless(job, _again(job), job.fallback, "PNG")
    size_bytes = job.source.stat().st_size
    return Writing(
        written, source.size, source.mode, source.dropped, notices, keeping, size_bytes, fell_back
    )


def _again(job: WriteJob) -> Picture:
    """Open the source once more; raises PictureError if it is not the one that was read."""
    source = open_picture(job.source, job.preparation)
    if source.sha256 != job.sha256:
        raise PictureError("the file changed while it was being protected; run again")
    return source


def _gain(job: WriteJob, size: tuple[int, int]) -> float:
    """Return what the noise is multiplied by: nothing is made up for where nothing is enlarged."""
    return job.gain if job.delta.shape[1::-1] != size else 1.0


def _keep(job: WriteJob, source: Picture) -> tuple[Written, Keeping]:
    """Write a JPEG as JPEG; raises PictureError if that cannot be."""
    data = job.source.read_bytes()
    try:
        refuse_large(data)
        gain = _gain(job, source.size)
        pixels = source.in_arrays().pixels
        protected = add_noise(pixels, job.delta, job.levels, gain)
        data, keeping = keep_jpeg(
            source,
            protected,
            data,
            grid=job.delta.shape[1::-1],
            levels=job.levels,
            metadata=job.metadata,
        )
        if job.fallback is not None:
            refuse_weak(keeping)
        return write_data(source, data, job.target, levels=job.levels), keeping
    except PictureError as problem:
        if job.fallback is None:
            raise PictureError(f"cannot stay JPEG ({problem}); use --format png") from problem
        raise


def _lossless(job: WriteJob, source: Picture, target: Path, kind: str) -> Written:
    """Write the picture in a format without loss."""
    noise = Upsampling(job.delta, source.size, job.levels, _gain(job, source.size))
    return write_rows(
        source, noise.added, target, format=kind, metadata=job.metadata, levels=job.levels
    )


def _preview(job: PreviewJob) -> Path:
    """Draw the sheet from both files and return where it is."""
    source = prepare(job.source, job.preparation)
    protected = prepare(job.protected, Preparation(None, job.preparation.max_pixels))
    preview_sheet(source, protected, job.target, job.caption)
    return job.target


def _measure_survival(job: SurvivalJob) -> dict[str, Survival | None]:
    """Measure from both files."""
    source = prepare(job.source, job.preparation)
    protected = prepare(job.protected, Preparation(None, job.preparation.max_pixels))
    return picture_survival(source, protected)


def _guarded(work: Callable[[J], T], job: J) -> T | Failure:
    """Return what the work returns, or a Failure for whatever may go wrong with one picture."""
    try:
        with limits(job.pixels, job.preparation.max_pixels):
            return work(job)
    except PictureError as error:
        return Failure(str(error))
    except EnvironmentProblem as error:
        return Failure(str(error), disk_full=True)
    except OSError as error:
        return Failure(f"{error.strerror or error}".lower())
    except MemoryError:
        return Failure("not enough memory for this picture; use --workers 1 or --max-side")
