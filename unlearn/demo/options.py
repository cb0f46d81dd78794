"""The options of drawing a demo folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from unlearn.options import INPUT, OUTPUT, Option


@dataclass(frozen=True)
class DemoOptions:
    """Where to draw and how many pictures a class, and the seed of what is drawn."""

    folder: Annotated[
        Path, Option("Folder to draw into: new, or empty.", positional=True, metavar="FOLDER")
    ]
    seed: Annotated[
        int,
        Option("Another seed draws other pictures.", panel=INPUT, metavar="N", minimum=0),
    ] = 0
    per_class: Annotated[
        int,
        Option(
            "Pictures in each of the four classes.",
            panel=INPUT,
            metavar="N",
            minimum=1,
            maximum=1000,
        ),
    ] = 24
    force: Annotated[
        bool,
        Option(
            "Draw into a folder that holds something already; other files in it stay.",
            panel=OUTPUT,
        ),
    ] = False
