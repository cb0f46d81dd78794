"""The options of training a noise generator, and of fetching one."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from unlearn.options import (
    INPUT,
    NOISE,
    OUTPUT,
    CompileOption,
    DeviceOption,
    LabelsOption,
    Option,
    PrecisionOption,
)

if TYPE_CHECKING:
    from unlearn.methods import MinMaxMin


def _published() -> "MinMaxMin":
    """Return the method as published; loaded late, since help needs no PyTorch."""
    from unlearn.methods import MinMaxMin

    return MinMaxMin()


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What to train, on what, and where to keep it.

    image_size None fits the pictures; epochs, passes over the data, take the place of the steps.
    """

    data: Annotated[
        Path,
        Option(
            "Folder of class folders, or a CIFAR-10/100 python archive folder.",
            details="Parts such as train and val may lie above the class folders.",
            positional=True,
            metavar="DATA",
        ),
    ]
    out: Annotated[
        Path,
        Option(
            "The .safetensors file to write; a model card goes beside it.",
            panel=OUTPUT,
            short="-o",
            metavar="FILE",
        ),
    ]
    method: "MinMaxMin" = field(default_factory=_published)
    architecture: str = "resnet18"
    test: Annotated[
        Path | None,
        Option(
            "Clean test pictures, in the same class folders: logs Figure 1's curve.",
            panel=INPUT,
            metavar="DIR",
            default_text="the data's own parts",
        ),
    ] = None
    labels: LabelsOption = "auto"
    pictures: Annotated[
        int | None,
        Option("Use N pictures, evenly from the classes.", panel=INPUT, metavar="N", minimum=1),
    ] = None
    image_size: Annotated[
        int | None,
        Option(
            "Side of the training pictures in pixels.",
            panel=INPUT,
            metavar="N",
            minimum=8,
            maximum=512,
            default_text="32 or 64 by the pictures",
        ),
    ] = None
    working_size: Annotated[
        int | None,
        Option(
            "Short side of the grid on which pictures get their noise.",
            panel=NOISE,
            metavar="N",
            minimum=8,
            maximum=1024,
            default_text="--image-size",
        ),
    ] = None
    epochs: Annotated[
        float | None, Option("Passes over the data, instead of --steps.", metavar="N")
    ] = None
    seed: Annotated[
        int,
        Option(
            "Seed of the weights, the order of the pictures and the noise.",
            panel=NOISE,
            metavar="N",
            minimum=0,
        ),
    ] = 0
    device: DeviceOption = "auto"
    precision: PrecisionOption = "auto"
    compiled: CompileOption = False
    resume: Annotated[bool, Option("Go on where a killed run of the same line stopped.")] = True
    save_every_minutes: Annotated[
        float,
        Option(
            "How often the state is saved.", flag="--save-every", metavar="MINUTES", minimum=0.0
        ),
    ] = 10.0
    name: Annotated[str | None, Option("Name in the artefact.", panel=OUTPUT, metavar="TEXT")] = (
        None
    )
    licence: Annotated[str, Option("Licence in the artefact.", panel=OUTPUT, metavar="TEXT")] = (
        "unstated"
    )
    force: Annotated[bool, Option("Replace the file if it exists.", panel=OUTPUT)] = False
    command: str = ""


@dataclass(frozen=True)
class PullRequest:
    """What to fetch: a name of the index, or a URL or DOI with the hash of what it must hold."""

    source: Annotated[
        str,
        Option(
            "A name that 'unlearn generators list' shows as available, a URL, or a DOI.",
            positional=True,
            metavar="NAME|URL",
        ),
    ]
    sha256: Annotated[
        str | None,
        Option("SHA-256 that the file must have; required for a URL.", panel=INPUT, metavar="HEX"),
    ] = None
    name: Annotated[
        str | None,
        Option(
            "Name of the generator here.",
            details="Letters, digits, dots, dashes and underscores.",
            panel=OUTPUT,
            metavar="NAME",
            default_text="the URL's last part",
        ),
    ] = None
    force: Annotated[bool, Option("Replace another file of the same name.", panel=OUTPUT)] = False
    offline: Annotated[
        bool,
        Option(
            "Download nothing.",
            details="Exit code 4 unless the file is here already.",
            variable="UNLEARN_OFFLINE",
        ),
    ] = False
