"""The options of training a noise generator, and of fetching one."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from unlearn.options import (
    INPUT,
    NOISE,
    OUTPUT,
    CompileOption,
    DeviceOption,
    LabelsOption,
    Option,
    PrecisionOption,
    read_bound,
)
from unlearn.radius import Radius

if TYPE_CHECKING:
    from unlearn.methods import Method

DEFAULT_METHOD: Final = "min-max-min"
RECIPE: Final = "the recipe's"


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """What a person asks of a method; None is what the recipe has."""

    method: Annotated[
        str,
        Option("How noise is made; see 'unlearn generators methods'.", panel=NOISE, metavar="NAME"),
    ] = DEFAULT_METHOD
    recipe: Annotated[
        str | None,
        Option(
            "Where the settings come from that --set does not name; paper is as published.",
            panel=NOISE,
            metavar="NAME",
            default_text="fast where the method has it, else paper",
        ),
    ] = None
    rho: Annotated[
        Radius | None,
        Option(
            "Largest change of any colour value; noise without a bound gets this one.",
            details="It is an exact share of its range, as for protect. An adversary that is as "
            "strong is made half as strong.",
            panel=NOISE,
            short="-r",
            metavar="FRACTION",
            read=read_bound,
            default_text=RECIPE,
        ),
    ] = None
    settings: Annotated[
        tuple[str, ...],
        Option(
            "Any setting of the method, see 'unlearn generators methods NAME'; repeatable.",
            details="It is stronger than an option that means the same.",
            panel=NOISE,
            flag="--set",
            metavar="NAME=VALUE",
        ),
    ] = ()
    steps: Annotated[
        int | None, Option("Training steps.", metavar="N", minimum=1, default_text=RECIPE)
    ] = None
    batch_size: Annotated[
        int | None, Option("Pictures a step.", metavar="N", minimum=1, default_text=RECIPE)
    ] = None


def _published() -> "Method":
    """Return the usual method as published; loaded late, since help needs no PyTorch."""
    from unlearn.methods import METHODS

    return METHODS[DEFAULT_METHOD]()


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What to train, on what, and where to keep it.

    image_size None fits the pictures; epochs, passes over the data, take the place of the steps.
    """

    data: Annotated[
        Path,
        Option(
            "Folder of class folders, or a CIFAR-10/100 python archive folder.",
            details="Parts such as train and val may lie above the class folders. For methods that "
            "need no labels any folder of pictures will do.",
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
    method: "Method" = field(default_factory=_published)
    architecture: Annotated[
        str,
        Option(
            "Network of the surrogate, if the method has one: resnet18, resnet18-thin, "
            "resnet-small or any other of 'unlearn audit --arch'.",
            details="Pretrained ones will not do; resnet18-thin and resnet-small are made for "
            "CPUs.",
            panel=NOISE,
            flag="--arch",
            metavar="NAME",
        ),
    ] = "resnet18"
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
