"""The batch: the steps of one run's pictures, and the account of what became of each."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import ClassVar, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from unlearn.data.key import Key, stream_seed
from unlearn.data.manifest import Manifest, ManifestWriter, PictureRecord
from unlearn.data.naming import shown
from unlearn.data.plan import Plan
from unlearn.data.sniff import picture_size
from unlearn.errors import EnvironmentProblem, PictureError
from unlearn.radius import Radius
from unlearn.workflows import tasks
from unlearn.workflows.outcome import Notice, Progress, ProtectResult, Report
from unlearn.workflows.resume import Work
from unlearn.workflows.settings import ProtectOptions, Settings
from unlearn.workflows.tasks import Failure, PreviewJob, Reading, ReadJob, WriteJob, Writing

# Enlarging noise bilinearly flattens it; this much more brings its mean strength back. Applied only
# where the grid is smaller than the picture, and clipped to the bound like everything else.
GAIN: Final = 1.5
_UNSTATED_PIXELS: Final = 50_000_000
_CAPTION_STEM: Final = 40  # characters of a name in a preview's file name


class Noise(Protocol):
    """What a run needs of a loaded generator; see NoiseGenerator."""

    def noise_for_picture(
        self,
        pixels: NDArray[np.uint8],
        target: int,
        stream_seed: int,
        content_sha256: str,
        radius: Radius | None = None,
    ) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Groundwork:
    """Everything that is known before the first picture is decoded."""

    options: ProtectOptions
    plan: Plan
    manifest: Manifest
    settings: Settings
    targets: tuple[int, ...]  # the generator's class for each picture; zeros without a key
    fingerprints: tuple[str | None, ...]
    work: Work
    needed_bytes: int


class Batch:
    """Steps that only read, as a dry run takes them; RealBatch adds noise and writing."""

    read: Callable[[ReadJob], Reading | Failure] = staticmethod(tasks.read)
    write: Callable[[WriteJob], Writing | Failure] = staticmethod(tasks.write)
    dry: ClassVar[bool] = True

    def __init__(self, ground: Groundwork, report: Report) -> None:
        self.ground = ground
        self.stop = False
        self.disk_full: str | None = None
        self._report = report
        self._records: dict[int, PictureRecord] = {}
        self._readings: dict[int, str] = {}
        self._began: dict[int, float] = {}
        self._pixels: dict[int, int] = {}
        self._written_bytes = 0
        self.refused = tuple(
            PictureRecord(refusal.name, "failed", refusal.reason) for refusal in ground.plan.refused
        )

    def pixels(self, number: int) -> int:
        """Return how many pixels the header of a picture states, or a guess; it is read once."""
        if number not in self._pixels:
            size = picture_size(self.ground.plan.pictures[number].source)
            self._pixels[number] = math.prod(size) if size else _UNSTATED_PIXELS
        return self._pixels[number]

    def read_job(self, number: int) -> ReadJob:
        """Return what is to be read."""
        self._began[number] = time.monotonic()
        ground = self.ground
        source = ground.plan.pictures[number].source
        return ReadJob(
            source, ground.settings.grid, ground.options.preparation, self.pixels(number)
        )

    def make_noise(self, number: int, reading: Reading) -> NDArray[np.float32] | None:
        """Make none."""

    def write_job(
        self, number: int, reading: Reading, _noise: NDArray[np.float32] | None
    ) -> WriteJob | None:
        """Take note that the picture would be written."""
        picture = self.ground.plan.pictures[number]
        spare = picture.fallback and f"or {picture.fallback}, if it cannot stay {picture.format}"
        record = PictureRecord(
            picture.name,
            "ok",
            out=picture.out,
            size=reading.size,
            label=picture.label,
            notices=(spare,) if spare else (),
        )
        self._note(number, record)
        return None

    def finish(self, number: int, outcome: Writing | Failure) -> None:
        """Take note of what became of a picture."""
        picture = self.ground.plan.pictures[number]
        sha256 = self._readings.pop(number, None)
        if isinstance(outcome, Failure):
            record = PictureRecord(
                picture.name, "failed", outcome.reason, sha256, label=picture.label
            )
            self.disk_full = outcome.reason if outcome.disk_full else self.disk_full
            self.stop = self.stop or outcome.disk_full or self.ground.options.fail_fast
        else:
            record = self._success(number, outcome, sha256)
        self._note(number, record)

    def _success(self, number: int, outcome: Writing, sha256: str | None) -> PictureRecord:
        """Return the record of a picture that was written."""
        picture, kept = self.ground.plan.pictures[number], outcome.keeping
        written = outcome.written
        record = PictureRecord(
            picture.name,
            "ok",
            None,
            sha256,
            picture.outs[-1] if outcome.fell_back else picture.out,
            written.sha256,
            outcome.size,
            outcome.mode,
            picture.label,
            self.ground.fingerprints[number],
            written.linf,
            round(written.mean_abs, 4),
            round(written.psnr, 2),
            written.size_bytes,
            outcome.dropped,
            outcome.notices,
            round(1000 * (time.monotonic() - self._began[number])),
        )
        if kept is None:
            return record
        return replace(
            record,
            passes=kept.passes,
            correlation=round(kept.correlation, 4),
            energy=round(kept.energy, 4),
            size_ratio=round(written.size_bytes / max(1, outcome.source_bytes), 4),
        )

    def result(
        self, *, interrupted: bool = False, previews: tuple[Path, ...] = ()
    ) -> ProtectResult:
        """Return the account of the whole run."""
        plan, work, options = self.ground.plan, self.ground.work, self.ground.options
        records = dict(sorted({**work.finished, **self._records}.items()))
        failed = [record for record in records.values() if record.status != "ok"]
        return ProtectResult(
            out=plan.out,
            records=plan.records,
            inputs=plan.inputs,
            protected=tuple(record for record in records.values() if record.status == "ok"),
            failed=(*self.refused, *failed),
            earlier=len(work.finished),
            left=len(plan.pictures) - len(records),
            skipped=plan.skipped,
            outdated=work.outdated,
            labels=plan.labelling.mode,
            classes=len(plan.labelling.classes),
            rho=str(options.rho),
            previews=previews,
            needed_bytes=self.ground.needed_bytes,
            interrupted=interrupted,
            dry_run=self.dry,
        )

    def _note(self, number: int, record: PictureRecord) -> None:
        """Keep a record and say that one more picture is finished."""
        self._records[number] = record
        self._written_bytes += record.bytes or 0
        total = len(self.ground.work.pending)
        self._report(Progress(record, len(self._records), total, self._written_bytes))


class RealBatch(Batch):
    """Steps that make noise, write, and record in the manifest."""

    dry = False

    def __init__(
        self,
        ground: Groundwork,
        report: Report,
        generator: Noise,
        key: Key,
        manifest: ManifestWriter,
    ) -> None:
        super().__init__(ground, report)
        self._generator = generator
        self._stream_seed = stream_seed(key, ground.options.seed)
        self._manifest = manifest

    def make_noise(self, number: int, reading: Reading) -> NDArray[np.float32]:
        """Make the noise of a picture; raises PictureError if the generator returns none."""
        self._readings[number] = reading.sha256
        delta = self._generator.noise_for_picture(
            reading.pixels,
            self.ground.targets[number],
            self._stream_seed,
            reading.sha256,
            self.ground.options.rho,
        )
        if delta.shape != reading.pixels.shape or not np.isfinite(delta).all():
            raise PictureError("the generator made no usable noise for it")
        return delta

    def write_job(
        self, number: int, reading: Reading, noise: NDArray[np.float32] | None
    ) -> WriteJob:
        """Note in the manifest that the picture is about to be written."""
        options, picture = self.ground.options, self.ground.plan.pictures[number]
        if noise is None:
            raise ValueError("there is nothing to write without noise")
        for out in picture.outs:
            self._manifest.begin(picture.name, out)
        return WriteJob(
            picture.source,
            reading.sha256,
            self.ground.plan.out / picture.out,
            noise,
            options.rho.levels,
            GAIN,
            picture.format,
            options.metadata,
            options.preparation,
            self.pixels(number),
            None if picture.fallback is None else self.ground.plan.out / picture.fallback,
        )

    def record_refused(self) -> None:
        """Write down what was known to fail before the start."""
        for record in self.refused:
            self._manifest.record(record)

    def preview_jobs(self) -> list[PreviewJob]:
        """Return the sheets to draw: of the first pictures of the plan that are protected."""
        ground = self.ground
        records = {**ground.work.finished, **self._records}
        chosen = [
            number
            for number in sorted(records)
            if records[number].status == "ok" and self.pixels(number) <= tasks.MOST_SHOWN_PIXELS
        ]
        jobs = []
        for place, number in enumerate(chosen[: ground.options.preview], 1):
            picture, name = ground.plan.pictures[number], str(records[number].out)
            stem = PurePosixPath(name).stem[:_CAPTION_STEM]
            target = ground.plan.records / "preview" / f"{place}-{stem}.png"
            out = ground.plan.out / name
            jobs.append(
                PreviewJob(
                    picture.source,
                    out,
                    target,
                    shown(picture.name),
                    ground.options.preparation,
                    self.pixels(number),
                )
            )
        return jobs

    def raise_if_full(self) -> None:
        """Raise EnvironmentProblem if the run stopped because the disk is full."""
        if self.disk_full is not None:
            done = sum(record.status == "ok" for record in self._records.values())
            raise EnvironmentProblem(
                f"{self.disk_full}; {done} of {len(self.ground.work.pending)} pictures are done. "
                "Free some space and run the same line again to continue"
            )

    def _note(self, number: int, record: PictureRecord) -> None:
        """Keep a record in the manifest too; a failed picture must leave no output behind."""
        if record.status != "ok":
            for out in self.ground.plan.pictures[number].outs:
                self._withdraw(out)
        try:
            self._manifest.record(record)
        except EnvironmentProblem as error:  # the others under way are still to be finished
            self.disk_full, self.stop = str(error), True
        super()._note(number, record)

    def _withdraw(self, out: str) -> None:
        """Remove the output of an earlier run; what unlearn did not write is only named."""
        path = self.ground.plan.out / out
        if out in self.ground.manifest.outputs:
            path.unlink(missing_ok=True)
        elif path.exists():
            self._report(Notice(f"{shown(path)} is not from unlearn and was left as it is"))
