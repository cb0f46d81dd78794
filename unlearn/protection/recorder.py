"""Where a run keeps what became of its pictures: in the manifest, or nowhere."""

from typing import Protocol

from unlearn.files.text import printable
from unlearn.protection.events import Notice, Report
from unlearn.protection.manifest import Manifest, ManifestWriter, PictureRecord
from unlearn.protection.plan import Plan, PlannedPicture


class Recorder(Protocol):
    """Keeps what the steps of a run find out."""

    def begin(self, picture: PlannedPicture) -> None:
        """Note that a picture is about to be written."""

    def record(self, picture: PlannedPicture, record: PictureRecord) -> None:
        """Keep what became of it; raises EnvironmentProblem if that cannot be."""


class DryRecorder:
    """Keeps nothing: a dry run leaves the disk as it is."""

    def begin(self, picture: PlannedPicture) -> None: ...

    def record(self, picture: PlannedPicture, record: PictureRecord) -> None: ...


class ManifestRecorder:
    """Writes into the manifest, and sees to it that a failed picture leaves no output behind."""

    def __init__(
        self, plan: Plan, earlier: Manifest, writer: ManifestWriter, report: Report
    ) -> None:
        self._plan = plan
        self._earlier = earlier
        self._writer = writer
        self._report = report

    def begin(self, picture: PlannedPicture) -> None:
        for out in picture.outs:
            self._writer.begin(picture.name, out)

    def record(self, picture: PlannedPicture, record: PictureRecord) -> None:
        if record.status != "ok":
            for out in picture.outs:
                self._withdraw(out)
        self._writer.record(record)

    def _withdraw(self, out: str) -> None:
        """Remove the output of an earlier run; what unlearn did not write is only named."""
        path = self._plan.out / out
        if out in self._earlier.outputs:
            path.unlink(missing_ok=True)
        elif path.exists():
            self._report(Notice(f"{printable(path)} is not from unlearn and was left as it is"))
