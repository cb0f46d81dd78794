"""The options of protecting: what the person asked of one run."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final

from unlearn.errors import UsageProblem
from unlearn.options import (
    DEFAULT_GENERATOR,
    DEFAULT_RHO,
    INPUT,
    NOISE,
    OUTPUT,
    DeviceOption,
    GeneratorOption,
    KeyOption,
    LabelsOption,
    Option,
    RhoOption,
)
from unlearn.pictures.choices import ArchiveChoice, FormatChoice, MetadataChoice, TimesChoice
from unlearn.protection.shards import Shard
from unlearn.radius import Radius

if TYPE_CHECKING:
    from unlearn.pictures.read import Preparation
    from unlearn.protection.plan import PlanRequest
    from unlearn.sources.scan import Selection

STRENGTHS: Final = MappingProxyType(
    {"subtle": Radius.of_levels(2), "balanced": Radius.of_levels(4), "strong": Radius.of_levels(8)}
)
SMALLEST_GRID: Final = 8
SMALLEST_SIDE: Final = 16
_MOST_WORKERS: Final = 8
_NOWHERE: Final = Path()  # by identity: "." is a place
NOTHING_GIVEN: Final = "give INPUT and --out DIR, or --merge DIR alone"
_REQUIRED: Final = "required, but with --merge"


def usual_workers() -> int:
    """Return how many processes read and write unless told otherwise."""
    return min(_MOST_WORKERS, os.cpu_count() or 1)


@dataclass(frozen=True, kw_only=True)
class ProtectOptions:
    """What the person asked of one run; raises UsageProblem for values that make no sense."""

    inputs: Annotated[
        tuple[str, ...],
        Option(
            "Pictures, folders and patterns, mixed; or tars of samples.",
            positional=True,
            metavar="INPUT",
            default_text=_REQUIRED,
        ),
    ] = ()
    out: Annotated[
        Path,
        Option(
            "Where the protected pictures go; made if absent, apart from the inputs.",
            panel=OUTPUT,
            short="-o",
            metavar="DIR",
            default_text=_REQUIRED,
        ),
    ] = _NOWHERE
    rho: RhoOption = DEFAULT_RHO
    generator: GeneratorOption = DEFAULT_GENERATOR
    labels: LabelsOption = "auto"
    allow_unbounded: Annotated[
        bool,
        Option(
            "Use a generator whose noise keeps no bound; the largest change is then measured and "
            "recorded.",
            details="--rho has no say then, and 'unlearn verify' checks the files against that "
            "record.",
            panel=NOISE,
        ),
    ] = False
    grid: Annotated[
        int | None,
        Option(
            "Short side of the grid that noise is made on.",
            panel=NOISE,
            metavar="N",
            minimum=SMALLEST_GRID,
            default_text="the generator's",
        ),
    ] = None
    seed: Annotated[
        int,
        Option(
            "Seed of the noise; the same seed gives the same bytes.",
            panel=NOISE,
            metavar="N",
            minimum=0,
        ),
    ] = 0
    key: KeyOption = None
    format: Annotated[
        FormatChoice,
        Option(
            "keep: JPEG stays JPEG within the bound, or fails; auto: or becomes PNG. Lossless WebP "
            "and TIFF stay; all else is PNG.",
            details="See [Formats](#formats); what is read: [formats.md](formats.md).",
            panel=OUTPUT,
            short="-f",
        ),
    ] = "auto"
    max_side: Annotated[
        int | None,
        Option(
            "Shrink to this long side first.",
            panel=OUTPUT,
            metavar="PIXELS",
            minimum=SMALLEST_SIDE,
            default_text="as it is",
        ),
    ] = None
    metadata: Annotated[
        MetadataChoice,
        Option(
            "no-location: keep all but where it was taken; copyright: the rights alone, in EXIF, "
            "XMP and IPTC. Colour and resolution always stay; embedded previews always go.",
            details="What each keeps: [formats.md](formats.md#metadata).",
            panel=OUTPUT,
        ),
    ] = "keep"
    times: Annotated[
        TimesChoice,
        Option("keep: each output gets the time of its source.", panel=OUTPUT),
    ] = "now"
    archive_as: Annotated[
        ArchiveChoice,
        Option(
            "Of a CIFAR archive, class folders are protected; archive: and packed again.",
            details="Its pictures as PNG files are in `DIR.unpacked`, which `unlearn verify` takes "
            "as the sources, the archive is in `DIR.archive`.",
            panel=OUTPUT,
        ),
    ] = "archive"
    force: Annotated[
        bool,
        Option("Redo pictures that are finished, also with other settings.", panel=OUTPUT),
    ] = False
    again: Annotated[
        bool,
        Option(
            "Also protect what is protected already; with a second noise it may be over the bound "
            "against the original.",
            panel=INPUT,
        ),
    ] = False
    recursive: Annotated[bool, Option("Look into sub-folders.", panel=INPUT)] = True
    include: Annotated[
        tuple[str, ...], Option("Only these; repeatable.", panel=INPUT, metavar="GLOB")
    ] = ()
    exclude: Annotated[
        tuple[str, ...], Option("Not these; repeatable.", panel=INPUT, metavar="GLOB")
    ] = ()
    follow_symlinks: Annotated[bool, Option("Follow links to folders too.", panel=INPUT)] = False
    max_pixels: Annotated[
        int, Option("Refuse larger pictures.", panel=INPUT, metavar="N", minimum=1)
    ] = 512_000_000
    device: DeviceOption = "auto"
    batch_size: Annotated[
        int | None,
        Option(
            "Pictures under way at a time; does not change their bytes.",
            metavar="N",
            minimum=1,
            default_text="twice --workers",
        ),
    ] = None
    workers: Annotated[
        int,
        Option(
            "Processes for files, and threads for noise on a CPU; 0 does it all in one.",
            metavar="N",
            minimum=0,
            default_text="cores, at most 8",
        ),
    ] = field(default_factory=usual_workers)
    preview: Annotated[
        int,
        Option(
            "Pictures shown before and after on a sheet and a page, beside the output.",
            metavar="N",
            minimum=0,
        ),
    ] = 3
    report_survival: Annotated[
        bool,
        Option(
            "Measure on up to 16 pictures how much of the noise is left after JPEG, shrinking and "
            "WebP.",
            details="See below.",
        ),
    ] = False
    fail_fast: Annotated[bool, Option("Stop at the first picture that fails.")] = False
    shard: Annotated[
        Shard | None,
        Option(
            "Only one of N parts of the pictures, for jobs side by side, on one machine or many.",
            details="See [scale.md](scale.md).",
            metavar="K/N",
            read=Shard.parse,
            in_file=False,
        ),
    ] = None
    merge: Annotated[
        Path | None,
        Option(
            "Join what the shards of an output folder have done; takes no INPUT.",
            metavar="DIR",
            in_file=False,
        ),
    ] = None
    dry_run: Annotated[
        bool,
        Option(
            "Check and count everything, write nothing.",
            details="Names, labels, clashes and disk are checked, and every picture is read. "
            "What it costs in time is said by --plan.",
            short="-n",
            in_file=False,
        ),
    ] = False
    generator_name: str | None = None  # what records call it; None: as it was given
    argv: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.merge is None and self.out is _NOWHERE:
            raise UsageProblem(NOTHING_GIVEN)
        given = self.inputs or self.out is not _NOWHERE or self.shard or self.dry_run
        if self.merge is not None and given:
            raise UsageProblem(
                f"--merge {self.merge} takes no INPUT, --out, --shard or --dry-run: the parts say "
                "what was done"
            )
        if self.rho.levels < 1:
            raise UsageProblem(
                f"rho {self.rho} is less than one step of an 8-bit colour value, so nothing could "
                "change; use at least 1/255"
            )
        if self.grid is not None and self.grid < SMALLEST_GRID:
            raise UsageProblem(f"--grid {self.grid} is too small; use at least {SMALLEST_GRID}")
        if self.max_side is not None and self.max_side < SMALLEST_SIDE:
            raise UsageProblem(
                f"--max-side {self.max_side} is too small; use at least {SMALLEST_SIDE}"
            )

        if self.shard is not None and self.report_survival:
            raise UsageProblem(
                f"--shard {self.shard} sees a part only; ask for --report-survival without --shard "
                "once the parts are merged"
            )

    # What follows from the options is loaded late: help needs the options and nothing else.

    @property
    def selection(self) -> "Selection":
        """The part that decides which files under the inputs are wanted."""
        from unlearn.sources.scan import Selection

        return Selection(self.recursive, self.include, self.exclude, self.follow_symlinks)

    @property
    def request(self) -> "PlanRequest":
        """The part that decides which files are read and written."""
        from unlearn.protection.plan import PlanRequest

        return PlanRequest(
            self.inputs, self.out, self.selection, self.labels, self.format, self.shard
        )

    @property
    def preparation(self) -> "Preparation":
        """The part that decides how a source is decoded."""
        from unlearn.pictures.read import Preparation

        return Preparation(self.max_side, self.max_pixels)

    @property
    def called(self) -> str:
        """What records and messages call the generator."""
        return self.generator if self.generator_name is None else self.generator_name
