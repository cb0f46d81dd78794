"""The options of verifying."""

import os
from dataclasses import dataclass, field
from typing import Annotated

from unlearn.options import NOISE, Option, read_bound
from unlearn.radius import Radius

_MOST_WORKERS = 4


@dataclass(frozen=True)
class VerifyOptions:
    """What the person asked for; without a radius the manifest's is taken, else 8/255."""

    radius: Annotated[
        Radius | None,
        Option(
            "Largest change of any colour value that is allowed.",
            panel=NOISE,
            flag="--rho",
            short="-r",
            metavar="FRACTION",
            read=read_bound,
            default_text="the manifest's, else 8/255",
        ),
    ] = None
    sample: Annotated[
        int | None,
        Option(
            "Compare the pixels of so many pairs only, chosen at random.",
            metavar="N",
            minimum=1,
            default_text="all",
        ),
    ] = None
    max_pixels: int = 512_000_000
    workers: int = field(default_factory=lambda: min(_MOST_WORKERS, os.cpu_count() or 1))
