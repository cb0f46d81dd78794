"""The steps of one run's pictures, and the account of what became of each."""

import errno
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from unlearn.errors import EnvironmentProblem, PictureError
from unlearn.files.tars import sample_of
from unlearn.files.text import printable
from unlearn.protection import worker
from unlearn.protection.drawing import most_visible
from unlearn.protection.events import Notice, Progress, ProtectReport, Report
from unlearn.protection.manifest import Manifest, PictureRecord
from unlearn.protection.noise import Delta, KeyedNoise
from unlearn.protection.options import ProtectOptions
from unlearn.protection.packing import Layout, pack
from unlearn.protection.plan import Plan, listed
from unlearn.protection.recorder import Recorder
from unlearn.protection.resume import Work
from unlearn.protection.settings import Settings
from unlearn.protection.worker import Failure, Finished, Job, Reading, Shared


@dataclass(frozen=True, kw_only=True)
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

    @property
    def shared(self) -> Shared:
        """What every worker has to know."""
        return Shared(
            out=self.plan.out,
            staged=self.plan.staged,
            preparation=self.options.preparation,
            grid=self.settings.grid,
            levels=self.options.rho.levels,
            bounded=self.settings.bounded,
            metadata=self.options.metadata,
            keep_times=self.options.times == "keep",
        )


class Steps:
    """What is done with each picture, known by its number; without noise only reading.

    `stop` says that no more pictures should be begun.
    """

    read: Callable[[Shared, Job], Reading | Failure] = staticmethod(worker.read)
    write: Callable[[Shared, Job], PictureRecord | Failure] = staticmethod(worker.write)

    def __init__(
        self,
        ground: Groundwork,
        recorder: Recorder,
        report: Report,
        noise: KeyedNoise | None = None,
        device: str | None = None,
    ) -> None:
        self.ground = ground
        self.device = device
        self.stop = False
        self._recorder = recorder
        self._report = report
        self._noise = noise
        self._disk_full: str | None = None
        self._records: dict[int, PictureRecord] = {}
        self._readings: dict[int, Reading] = {}
        self._began: dict[int, float] = {}
        self._written_bytes = 0
        self._unpacked: list[PictureRecord] = []
        self._members: dict[str, list[int]] = defaultdict(list)  # numbers of pictures, by their tar
        for number, picture in enumerate(ground.plan.pictures):
            if picture.tar:
                self._members[picture.tar].append(number)
        self._left = Counter(ground.plan.pictures[number].tar for number in ground.work.pending)

    def pixels(self, number: int) -> int:
        """Return how many pixels a picture will take in memory, as far as is known."""
        return self.ground.plan.pictures[number].pixels

    def read_job(self, number: int) -> Job:
        """Return what is to be read."""
        self._began[number] = time.monotonic()
        return Job(self.ground.plan.pictures[number])

    def make_noise(self, number: int, reading: Reading) -> Delta | None:
        """Make the noise, None if nothing is to be written; in a thread, beside other pictures.

        Raises PictureError if there is none for this picture.
        """
        self._readings[number] = reading
        if self._noise is None:
            return None
        return self._noise.delta(reading.pixels, self.ground.targets[number], reading.sha256)

    def write_job(self, number: int, delta: Delta | None) -> Job | None:
        """Take note of the noise; None if nothing is to be written."""
        picture, reading = self.ground.plan.pictures[number], self._readings[number]
        if delta is not None:
            self._recorder.begin(picture)
            return Job(picture, reading.sha256, delta)
        spare = picture.fallback and f"or {picture.fallback}, if it cannot stay {picture.format}"
        record = PictureRecord(
            src=picture.name,
            status="ok",
            out=picture.out,
            size=reading.size,
            label=picture.label,
            notices=(spare,) if spare else (),
        )
        self._note(number, record)
        return None

    def finish(self, number: int, outcome: PictureRecord | Failure) -> None:
        """Take note of what became of a picture; called once for each that is not only read."""
        reading = self._readings.pop(number, None)
        if not isinstance(outcome, Failure):
            seconds = time.monotonic() - self._began[number]
            record = replace(
                outcome,
                settings=self.ground.fingerprints[number],
                device=self.device,
                ms=round(1000 * seconds),
            )
            self._note(number, record)
            return
        picture = self.ground.plan.pictures[number]
        if outcome.disk_full:
            self._disk_full = outcome.reason
        self.stop = self.stop or outcome.disk_full or self.ground.options.fail_fast
        record = PictureRecord(
            src=picture.name,
            status="failed",
            origin=picture.origin,
            reason=outcome.reason,
            src_sha256=None if reading is None else reading.sha256,
            label=picture.label,
        )
        self._note(number, record)

    def pack(self, tar: str) -> None:
        """Write the copy of a tar whose pictures are all finished; say which samples it lacks."""
        plan, finished, numbers = self.ground.plan, self.ground.work.finished, self._members[tar]
        records = {n: self._records.get(n) or finished[n] for n in numbers}
        done = [(plan.pictures[number], record) for number, record in records.items()]
        done = [(picture, record) for picture, record in done if record.status == "ok"]
        if not done:
            return
        try:
            packed = pack(plan, tar, done, keep_time=self.ground.options.times == "keep")
        except EnvironmentProblem as error:
            self._disk_full, self.stop = str(error), True
        except (PictureError, OSError) as error:
            reason = f"its copy was not written: {error}"
            self._unpacked.append(PictureRecord(src=tar, status="failed", reason=reason))
        else:
            self._report_packed(tar, packed)
            for number in numbers:
                name = plan.pictures[number].name.removeprefix(f"{tar}/")
                if records[number].status == "ok" and sample_of(name) in packed.left_out:
                    self._leave_out(number)

    def _leave_out(self, number: int) -> None:
        """Note that a picture is not in its tar, since another of its sample is not protected."""
        picture = self.ground.plan.pictures[number]
        reason = "left out with its sample, another picture of which is not protected"
        record = PictureRecord(
            src=picture.name,
            status="failed",
            origin=picture.origin,
            reason=reason,
            label=picture.label,
        )
        self._recorder.record(picture, record)
        self._records[number] = record

    def _report_packed(self, tar: str, packed: Layout) -> None:
        """Say what in the copy of a tar is not as it was."""
        renamed = sum(member.name != name for member, name, _ in packed.members)
        if renamed:
            many = f"{renamed} members have" if renamed > 1 else "1 member has"
            self._report(
                Notice(f"{printable(tar)}: {many} another suffix, since their format changed")
            )
        if packed.left_out:
            many = f"{len(packed.left_out)} samples are"
            many = many if len(packed.left_out) > 1 else "1 sample is"
            keys = listed([printable(key) for key in packed.left_out], ", ")
            why = "with a picture that is not protected"
            self._report(Notice(f"{printable(tar)}: {many} left out, {why}: {keys}"))

    def previews(self) -> list[Finished]:
        """Return what to show: of the most visible pictures, first one of each class."""
        ground = self.ground
        records = {**ground.work.finished, **self._records}
        small = {
            record.src: number
            for number, record in sorted(records.items())
            if record.status == "ok" and self.pixels(number) <= worker.MOST_SHOWN_PIXELS
        }
        chosen = most_visible(
            [records[number] for number in small.values()], ground.options.preview
        )
        return [
            Finished(
                source=ground.plan.pictures[small[record.src]].source,
                protected=ground.plan.place(
                    ground.plan.pictures[small[record.src]], str(record.out)
                ),
                pixels=self.pixels(small[record.src]),
                name=printable(record.src),
            )
            for record in chosen
        ]

    def raise_if_full(self) -> None:
        """Raise EnvironmentProblem if the run stopped because the disk is full."""
        if self._disk_full is not None:
            done = sum(record.status == "ok" for record in self._records.values())
            full = any(
                os.strerror(code) in self._disk_full for code in (errno.ENOSPC, errno.EDQUOT)
            )
            advice = "Free some space and run" if full else "See to the disk and run"
            raise EnvironmentProblem(
                f"{self._disk_full}; {done} of {len(self.ground.work.pending)} pictures are done. "
                f"{advice} the same line again to continue"
            )

    def result(
        self, *, interrupted: bool = False, previews: tuple[Path, ...] = ()
    ) -> ProtectReport:
        """Return the account of the whole run."""
        plan, work = self.ground.plan, self.ground.work
        records = dict(sorted({**work.finished, **self._records}.items()))
        failed = [record for record in records.values() if record.status != "ok"]
        return ProtectReport(
            out=plan.out,
            records=plan.records,
            inputs=plan.inputs,
            protected=tuple(record for record in records.values() if record.status == "ok"),
            failed=(*refused_records(plan), *failed, *self._unpacked),
            earlier=len(work.finished),
            left=len(plan.pictures) - len(records),
            skipped=plan.skipped,
            outdated=work.outdated,
            labels=plan.labelling.mode,
            classes=len(plan.labelling.classes),
            class_counts=plan.labelling.counts,
            rho=self.ground.settings.rho,
            generator_sha256=self.ground.settings.generator_sha256,
            previews=previews,
            needed_bytes=self.ground.needed_bytes,
            interrupted=interrupted,
            dry_run=self.ground.options.dry_run,
            shard=self.ground.options.shard,
        )

    def _note(self, number: int, record: PictureRecord) -> None:
        """Keep a record and say that one more picture is finished."""
        try:
            self._recorder.record(self.ground.plan.pictures[number], record)
        except EnvironmentProblem as error:  # the others under way are still to be finished
            self._disk_full, self.stop = str(error), True
        self._records[number] = record
        self._written_bytes += record.bytes or 0
        total = len(self.ground.work.pending)
        self._report(Progress(record, len(self._records), total, self._written_bytes))
        tar = self.ground.plan.pictures[number].tar
        self._left[tar] -= 1
        if tar and not self._left[tar] and self._noise and self._disk_full is None:
            self.pack(tar)


def refused_records(plan: Plan) -> list[PictureRecord]:
    """Return the records of what was known to fail before the start."""
    return [
        PictureRecord(src=refusal.name, status="failed", reason=refusal.reason)
        for refusal in plan.refused
    ]
