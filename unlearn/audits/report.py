"""The report of an audit: settings, results, flags and surroundings, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from unlearn.audits.plan import Arm, AuditPlan, Cell


@dataclass(frozen=True)
class Point:
    """A victim after one epoch: accuracies in 0…1 on clean held-out and on its own pictures."""

    epoch: int
    accuracy: float
    train_accuracy: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one victim learned; accuracies in 0…1.

    last is the end of training (with early stopping: the epoch that the copier's own clean pictures
    chose), best the best epoch on the held-out pictures, which no copier could know. train_accuracy
    is on the pictures of the last epoch as they were trained on, adversary and countermeasure
    included. trained and tested count pictures. A diverged victim stopped early, its loss no longer
    a number.
    """

    cell: Cell
    accuracy_last: float
    accuracy_best: float
    best_epoch: int
    train_accuracy: float
    trained: int
    tested: int
    curve: tuple[Point, ...]
    seconds: float
    diverged: bool = False


@dataclass(frozen=True)
class Visible:
    """How visible the noise of an arm is: CIEDE2000 on the plain third of each picture.

    ciede2000 and ciede2000_p95 are mean and 95th percentile over pictures; seen are the same of
    pictures blurred as by the eye, None where they are too small to be looked at as they are.
    `shown` says whether files or stored squares were measured.
    """

    arm: Arm
    shown: str
    pictures: int
    ciede2000: float
    ciede2000_p95: float
    seen: float | None
    seen_p95: float | None


@dataclass(frozen=True)
class Flag:
    """A reason to doubt a result: its name is its heading in docs/audit-flags.md."""

    name: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What was audited: data set, split, and the protection, in numbers and hashes.

    mean_change and largest_change are in 8-bit levels on the files (or arrays) that were checked;
    verified counts pairs whose bound was proved before the audit. rho is the bound, "8/255".
    """

    clean: str
    protected: str
    classes: tuple[str, ...]
    trained: int
    tested: int
    fingerprint: str
    rho: str
    largest_change: int
    mean_change: float
    verified: int
    protection: str  # "generator base (sha256 3f9c…)", "method min-max-min", "pictures as given"
    duplicates: int = 0  # held-out pictures whose contents are also in the training set
    unreadable: tuple[tuple[str, str], ...] = ()
    class_counts: dict[str, int] = field(default_factory=dict)  # training pictures of each
    smallest_class: int | None = None  # its training pictures; None: all classes have about as many
    largest_share: float = 0.0  # of one class among the held-out pictures; 0: all have as many

    @property
    def chance(self) -> float:
        """The accuracy of guessing, in 0…1: one class, the largest, is named for all pictures."""
        return max(self.largest_share, 1 / max(1, len(self.classes)))


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """All that an audit found; renderers turn it into text.

    previews are PNG files (clean, protected, noise), each with the name of its picture.
    """

    plan: AuditPlan
    budget: str
    subject: Subject
    results: tuple[Result, ...]
    flags: tuple[Flag, ...]
    environment: Mapping[str, str]  # tool, torch, device, threads, command, … in order of showing
    previews: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    visibility: tuple[Visible, ...] = ()

    @property
    def chance(self) -> float:
        """The accuracy of guessing, in 0…1."""
        return self.subject.chance
