"""What worker processes do with one picture: read it, write it, draw it, measure it.

Importing this must stay free of torch: every worker imports it before its first picture.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from unlearn.errors import EnvironmentProblem, PictureError
from unlearn.files.tars import status
from unlearn.pictures.choices import MetadataChoice
from unlearn.pictures.contents import contents, held
from unlearn.pictures.decoded import Picture
from unlearn.pictures.grid import Upsampling, add_noise, picture_grid
from unlearn.pictures.jpeg.ending import ended
from unlearn.pictures.jpeg.within import LEAST_ENERGY, Demands, keep_jpeg, refuse_large
from unlearn.pictures.metadata.left_out import PRIVATE_DATA, REGIONS, XMP
from unlearn.pictures.preview import Shown, show
from unlearn.pictures.read import Preparation, decoded, open_picture, prepare
from unlearn.pictures.survival import Survival, picture_survival
from unlearn.pictures.visibility import Visibility
from unlearn.pictures.write import Written, write_data, write_rows
from unlearn.protection.manifest import PictureRecord
from unlearn.protection.noise import gain_for
from unlearn.protection.plan import PlannedPicture
from unlearn.workers.limits import limits

MOST_SHOWN_PIXELS: Final = 50_000_000  # previews and survival hold both pictures in memory
SAYS_PLACE: Final = "where it was taken is kept (--metadata no-location leaves it out)"
WRITTEN_AS_PNG: Final = "written as PNG: "
T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """Why one picture is not protected; `disk_full` means no other would be either."""

    reason: str
    disk_full: bool = False


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What all pictures of a run have in common; a worker gets it once, when it starts."""

    out: Path
    staged: Path = Path()  # the same for what goes into a tar
    preparation: Preparation
    grid: int
    levels: int
    bounded: bool = True
    metadata: MetadataChoice
    keep_times: bool = False

    def place(self, picture: PlannedPicture, out: str) -> Path:
        """Return where an output of a picture is written."""
        return (self.staged if picture.tar else self.out) / out


@dataclass(frozen=True)
class Job:
    """A picture to read or, with its hash and its noise, to write.

    `delta` is float32 (h, w, C) on the grid, in shares of the colour range.
    """

    picture: PlannedPicture
    sha256: str = ""
    delta: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0, 0), np.float32))

    @property
    def source(self) -> Path:
        """The file."""
        return self.picture.source

    @property
    def pixels(self) -> int:
        """How many pixels its header states; they decide how long it may take."""
        return self.picture.pixels


@dataclass(frozen=True)
class Reading:
    """A picture on the working grid, uint8 (h, w, C), and what its file was."""

    pixels: NDArray[np.uint8]
    sha256: str
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished picture to measure, or to show before and after under its name."""

    source: Path
    protected: Path
    pixels: int = 0
    name: str = ""


def read(shared: Shared, job: Job) -> Reading | Failure:
    """Prepare a picture and bring it to the working grid."""
    return _guarded(partial(_read, shared, job), job.pixels, shared.preparation)


def write(shared: Shared, job: Job) -> PictureRecord | Failure:
    """Prepare a picture again, add its noise, write it and check the written file.

    The record lacks what only the run knows: its settings, and how long it took.
    """
    return _guarded(partial(_write, shared, job), job.pixels, shared.preparation)


def preview(shared: Shared, job: Finished) -> Shown | Failure:
    """Return what is shown of one finished picture."""
    return _guarded(
        lambda: show(*_both(shared.preparation, job), job.name), job.pixels, shared.preparation
    )


def measure_survival(
    preparation: Preparation, job: Finished
) -> dict[str, Survival | None] | Failure:
    """Measure how much of the noise of one finished picture is left."""
    return _guarded(lambda: picture_survival(*_both(preparation, job)), job.pixels, preparation)


def _read(shared: Shared, job: Job) -> Reading:
    """Read; raises PictureError if the picture cannot be protected."""
    picture = open_picture(job.source, shared.preparation)
    if picture.invisible:
        raise PictureError("fully transparent; there is nothing to change")
    return Reading(picture_grid(picture, shared.grid), picture.sha256, picture.size)


def _write(shared: Shared, job: Job) -> PictureRecord:
    """Write; raises PictureError if the source changed or the written file is out of bounds."""
    planned = job.picture
    source, data = _again(shared, job)
    target, notices = shared.place(planned, planned.out), source.notices
    target.parent.mkdir(parents=True, exist_ok=True)
    out, kept, size_bytes = planned.out, dict[str, Any](), status(job.source).st_size
    try:
        if planned.format == "JPEG":
            written, kept = _keep(shared, job, source, data)
        else:
            written = _lossless(shared, job, source, target, planned.format)
    except PictureError as problem:
        if planned.fallback is None:
            raise
        source.image.close()  # it may be large, and is needed as it was
        notices = (*notices, f"{WRITTEN_AS_PNG}{problem}")
        out, again = planned.fallback, _again(shared, job, data)[0]
        written = _lossless(shared, job, again, shared.place(planned, out), "PNG")
    if shared.keep_times and not planned.tar:
        times = job.source.stat()
        os.utime(shared.out / out, ns=(times.st_atime_ns, times.st_mtime_ns))
    return PictureRecord(
        src=planned.name,
        status="ok",
        origin=planned.origin,
        src_sha256=job.sha256,
        out=out,
        out_sha256=written.sha256,
        size=source.size,
        mode=source.mode,
        label=planned.label,
        linf=written.linf,
        mean_abs=round(written.mean_abs, 4),
        psnr=round(written.psnr, 2),
        bytes=written.size_bytes,
        dropped=_left_out(shared, source, planned.format if out == planned.out else "PNG"),
        notices=(*notices, *_place(shared, source)),
        source_format=source.format,
        size_ratio=round(written.size_bytes / max(1, size_bytes), 4),
        **_visibility(written.visibility),
        **kept,
    )


def _visibility(found: Visibility) -> dict[str, Any]:
    """Return how visible the noise is as a record says it."""
    return {
        "visible": round(found.mean, 2),
        "visible_high": round(found.high, 2),
        "seen": round(found.seen_mean, 2),
        "seen_high": round(found.seen_high, 2),
    }


def _left_out(shared: Shared, source: Picture, format: str) -> tuple[str, ...]:
    """Name what is in the source and, against what was asked for, not in the output."""
    metadata, wanted = source.metadata, shared.metadata
    as_stored = format == "JPEG"
    chosen = metadata.chosen(wanted, source.size, as_stored=as_stored)
    names = [*source.dropped, *chosen.lost(format)]
    if wanted != "none" and metadata.xmp and not chosen.xmp and not metadata.xmp_is_readable:
        names.append(XMP)
    if metadata.moved and not as_stored and wanted in ("keep", "no-location"):
        names += [REGIONS] * metadata.names_regions
        names += [PRIVATE_DATA] * bool(metadata.exif and metadata.exif.geo and wanted == "keep")
    return tuple(dict.fromkeys(names))


def _place(shared: Shared, source: Picture) -> tuple[str, ...]:
    """Say that the output tells where its picture was taken."""
    return (SAYS_PLACE,) if shared.metadata == "keep" and source.metadata.names_place else ()


def _again(shared: Shared, job: Job, data: bytes = b"") -> tuple[Picture, bytes]:
    """Open the source once more, or its bytes; return it and, of a JPEG, its bytes.

    Raises PictureError if it is not the file that was read.
    """
    limit = shared.preparation.max_pixels
    with held(data) if data else contents(job.source, limit) as source:
        if source.sha256 != job.sha256:
            raise PictureError("the file changed while it was being protected; run again")
        picture = decoded(source, shared.preparation)
        return picture, bytes(source.data) if job.picture.format == "JPEG" else b""


def _keep(shared: Shared, job: Job, source: Picture, data: bytes) -> tuple[Written, dict[str, Any]]:
    """Write a JPEG as JPEG and return how; raises PictureError if that cannot be."""
    planned, levels = job.picture, shared.levels
    try:
        refuse_large(data)
        gain = gain_for(job.delta, source.size, bounded=shared.bounded)
        pixels = source.in_arrays().pixels
        made, keeping = keep_jpeg(
            source,
            add_noise(pixels, job.delta, levels, gain),
            ended(data),
            grid=job.delta.shape[1::-1],
            demands=Demands(levels, 0.0 if planned.fallback is None else LEAST_ENERGY),
            metadata=shared.metadata,
        )
        written = write_data(source, made, shared.place(planned, planned.out), levels=levels)
    except PictureError as problem:
        if planned.fallback is None:
            raise PictureError(f"cannot stay JPEG ({problem}); use --format png") from problem
        raise
    return written, {
        "passes": keeping.passes,
        "correlation": round(keeping.correlation, 4),
        "energy": round(keeping.energy, 4),
    }


def _lossless(shared: Shared, job: Job, source: Picture, target: Path, kind: str) -> Written:
    """Write the picture in a format without loss."""
    gain = gain_for(job.delta, source.size, bounded=shared.bounded)
    noise = Upsampling(job.delta, source.size, shared.levels, gain)
    return write_rows(
        source, noise.added, target, format=kind, metadata=shared.metadata, levels=shared.levels
    )


def _both(preparation: Preparation, job: Finished) -> tuple[Picture, Picture]:
    """Return the source as it was prepared, and what was made of it."""
    source = prepare(job.source, preparation)
    return source, prepare(job.protected, Preparation(None, preparation.max_pixels))


def _guarded(work: Callable[[], T], pixels: int, preparation: Preparation) -> T | Failure:
    """Return what the work returns, or a Failure for whatever may go wrong with one picture."""
    try:
        with limits(pixels, preparation.max_pixels):
            return work()
    except PictureError as error:
        return Failure(str(error))
    except EnvironmentProblem as error:
        return Failure(str(error), disk_full=True)
    except OSError as error:
        return Failure(f"{error.strerror or error}".lower())
    except MemoryError:
        return Failure("not enough memory for this picture; use --workers 1 or --max-side")
