"""The batch: the steps of one run's pictures, and the account of what became of each."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from unlearn.pictures.sniff import picture_size
from unlearn.protection import worker
from unlearn.protection.events import Progress, ProtectResult, Report
from unlearn.protection.manifest import Manifest, PictureRecord
from unlearn.protection.options import ProtectOptions
from unlearn.protection.plan import Plan
from unlearn.protection.resume import Work
from unlearn.protection.settings import Settings
from unlearn.protection.worker import Failure, Reading, ReadJob, WriteJob, Writing

_UNSTATED_PIXELS: Final = 50_000_000


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
    """Steps that only read, as a dry run takes them; see real_batch for noise and writing."""

    read: Callable[[ReadJob], Reading | Failure] = staticmethod(worker.read)
    write: Callable[[WriteJob], Writing | Failure] = staticmethod(worker.write)
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
        plan, work = self.ground.plan, self.ground.work
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
            rho=self.ground.settings.rho,
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
