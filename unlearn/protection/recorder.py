"""The steps of a run that makes noise and writes: what it asks of workers and of the record."""

from pathlib import PurePosixPath
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from unlearn.errors import EnvironmentProblem, PictureError
from unlearn.files.text import shown
from unlearn.protection import worker
from unlearn.protection.events import Notice, Report
from unlearn.protection.key import Key, stream_seed
from unlearn.protection.manifest import ManifestWriter, PictureRecord
from unlearn.protection.steps import Batch, Groundwork
from unlearn.protection.worker import PreviewJob, Reading, WriteJob
from unlearn.radius import Radius

# Enlarging noise bilinearly flattens it; this much more brings its mean strength back. Applied only
# where the grid is smaller than the picture, and clipped to the bound like everything else; noise
# that keeps no bound has the strength that it has.
GAIN: Final = 1.5
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
            self.ground.options.rho if self.ground.settings.bounded else None,
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
            GAIN if self.ground.settings.bounded else 1.0,
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
            if records[number].status == "ok" and self.pixels(number) <= worker.MOST_SHOWN_PIXELS
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
