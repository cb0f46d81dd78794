"""Where a run keeps what became of its pictures: in the manifest, or nowhere."""

from collections.abc import Collection
from typing import Protocol

from unlearn.files.text import printable
from unlearn.protection.events import Notice, Report
from unlearn.protection.manifest import ManifestWriter, PictureRecord
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
    """Writes into the manifest; an outdated output goes as soon as its picture is done again."""

    def __init__(
        self, plan: Plan, outdated: Collection[str], writer: ManifestWriter, report: Report
    ) -> None:
        self._plan = plan
        self._outdated = frozenset(outdated)
        self._writer = writer
        self._report = report

    def begin(self, picture: PlannedPicture) -> None:
        for out in picture.outs:
            self._writer.begin(picture.name, out, picture.origin)

    def record(self, picture: PlannedPicture, record: PictureRecord) -> None:
        if record.status == "ok":
            for out in self._outdated.intersection(picture.claims.removable) - {record.out}:
                (self._plan.out / out).unlink(missing_ok=True)
        else:
            self._name_what_stays(picture)
        self._writer.record(record)

    def _name_what_stays(self, picture: PlannedPicture) -> None:
        """Say what is left in the place of a failed picture."""
        for out in sorted({*picture.outs, *picture.claims.removable}):
            path = self._plan.out / out
            if path.exists():
                claims = picture.claims
                whose = "from another folder" if out in claims.shows else "not from unlearn"
                whose = "from an earlier run" if out in claims.removable else whose
                self._report(Notice(f"{printable(path)} is {whose} and was left as it is"))
