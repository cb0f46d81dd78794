"""The options of previews."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

from unlearn.errors import UsageProblem
from unlearn.options import OUTPUT, Option

KINDS: Final = (".png", ".html")
_MOST_WORKERS: Final = 4


@dataclass(frozen=True, kw_only=True)
class PreviewOptions:
    """What the person asked for; raises UsageProblem for a file that is neither PNG nor HTML."""

    to: Annotated[
        Path | None,
        Option(
            "A sheet (.png) or a page with a slider (.html), outside of both folders.",
            details="Without it both are written to 'OUT.unlearn/preview/'.",
            panel=OUTPUT,
            metavar="FILE",
            default_text="both, beside OUT",
        ),
    ] = None
    force: Annotated[bool, Option("Replace FILE if it is there.", panel=OUTPUT)] = False
    pictures: Annotated[
        int,
        Option(
            "How many: those in which the noise is seen most, first one of each class.",
            metavar="N",
            minimum=1,
        ),
    ] = 6
    max_pixels: int = 50_000_000  # both pictures are held in memory
    workers: int = field(default_factory=lambda: min(_MOST_WORKERS, os.cpu_count() or 1))

    def __post_init__(self) -> None:
        if self.to is not None and self.to.suffix.lower() not in KINDS:
            raise UsageProblem(f"{self.to}: a preview is a .png or an .html file")
