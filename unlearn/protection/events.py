"""What a protect run says while it works, and what it returns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from unlearn.pictures.survival import TRANSFORMATIONS, Summary, Survival, summary
from unlearn.protection.manifest import PictureRecord
from unlearn.protection.plan import Plan, PlannedPicture
from unlearn.protection.shards import Shard
from unlearn.protection.worker import WRITTEN_AS_PNG


@dataclass(frozen=True)
class Notice:
    """Something the person should know, in one line."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Started:
    """The plan stands and the pictures are about to be read."""

    plan: Plan
    generator: str
    generator_sha256: str
    rho: str
    device: str  # empty where nothing is computed
    todo: tuple[PlannedPicture, ...]
    needed_bytes: int
    free_bytes: int
    by_class: bool = False  # whether noise goes by class, as far as is known

    @property
    def pending(self) -> int:
        """How many pictures are to be read."""
        return len(self.todo)


@dataclass(frozen=True)
class Progress:
    """One picture is finished, well or not."""

    record: PictureRecord
    done: int
    total: int
    written_bytes: int


Event = Notice | Started | Progress
Report = Callable[[Event], None]


@dataclass(frozen=True)
class SurvivalReport:
    """What each transformation left of the noise of a sample of the `protected` pictures.

    None stands for a transformation that cannot be done to a picture, such as a WebP of its size.
    """

    protected: int
    found: tuple[tuple[PictureRecord, Mapping[str, Survival | None]], ...]

    @property
    def summaries(self) -> dict[str, Summary]:
        """The sums by transformation; without those that could be done to no picture."""
        by_name = {
            name: [(record.src, one) for record, found in self.found if (one := found[name])]
            for name in TRANSFORMATIONS
        }
        return {name: summary(pairs) for name, pairs in by_name.items() if pairs}


@dataclass(frozen=True, kw_only=True)
class ProtectReport:
    """What became of every picture; `protected` includes the `earlier` ones, found finished."""

    out: Path
    records: Path
    inputs: tuple[Path, ...]
    protected: tuple[PictureRecord, ...]
    failed: tuple[PictureRecord, ...]
    earlier: int
    left: int
    skipped: Mapping[str, int]
    outdated: tuple[str, ...]
    labels: str
    classes: int
    rho: str
    generator_sha256: str = ""
    previews: tuple[Path, ...] = ()
    needed_bytes: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    dry_run: bool = False
    survival: SurvivalReport | None = None
    class_counts: Mapping[str, int] = field(default_factory=dict)  # pictures of each class
    shard: Shard | None = None
    awaited: bool = False  # another process of the run gives the account of the whole

    @property
    def exit_code(self) -> int:
        """0 if all is protected, 1 if something is not, 130 if the run was interrupted."""
        if self.awaited:  # a code of 1 would end the others
            return 0
        return 130 if self.interrupted else 1 if self.failed else 0

    @property
    def written_bytes(self) -> int:
        """How many bytes all protected pictures take."""
        return sum(record.bytes or 0 for record in self.protected)

    @property
    def largest_change(self) -> int:
        """The largest change of any colour value, in 8-bit steps."""
        return max((record.linf or 0 for record in self.protected), default=0)

    @property
    def kept(self) -> tuple[PictureRecord, ...]:
        """The pictures whose JPEG was fitted into the bound."""
        return tuple(record for record in self.protected if record.passes is not None)

    @property
    def fallbacks(self) -> tuple[PictureRecord, ...]:
        """The pictures that are PNG since their own format could not be."""
        return tuple(
            record
            for record in self.protected
            if any(notice.startswith(WRITTEN_AS_PNG) for notice in record.notices)
        )

    @property
    def left_jpeg(self) -> tuple[PictureRecord, ...]:
        """The pictures that were JPEG and are of another format now."""
        kept = set(map(id, self.kept))
        return tuple(
            record
            for record in self.protected
            if record.source_format == "JPEG" and id(record) not in kept
        )

    @property
    def most_visible(self) -> tuple[PictureRecord, ...]:
        """The protected pictures whose visibility is known, the most visible first."""
        known = [record for record in self.protected if record.visible is not None]
        return tuple(sorted(known, key=lambda record: -(record.visible or 0)))

    @property
    def mean_psnr(self) -> float | None:
        """The mean PSNR in dB, or None without pictures."""
        values = [record.psnr for record in self.protected if record.psnr is not None]
        return sum(values) / len(values) if values else None
