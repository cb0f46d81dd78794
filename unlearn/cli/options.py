"""Option types that several commands share, each an Annotated alias, with texts and defaults."""

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from unlearn.errors import UsageProblem
from unlearn.radius import Radius

INPUT: Final = "Input"
NOISE: Final = "Noise"
OUTPUT: Final = "Output"
RUN: Final = "Run"

DEFAULT_RHO: Final = Radius.of_levels(8)
DEFAULT_GENERATOR: Final = "base"

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def parse_radius(text: str | Radius) -> Radius:
    """Read a radius option; a value that is not one becomes a usage error with a suggestion."""
    try:
        return text if isinstance(text, Radius) else Radius.parse(text)
    except UsageProblem as error:
        raise typer.BadParameter(str(error)) from error


def parse_bound(text: str | Radius) -> Radius:
    """Read the radius of the noise, which must leave room for at least one 8-bit step."""
    radius = parse_radius(text)
    if radius.levels < 1:
        raise typer.BadParameter(
            f"{radius} is less than one step of an 8-bit colour value, so nothing could change; "
            "use at least 1/255"
        )
    return radius


def parse_device(text: str) -> str:
    """Read a device name without asking PyTorch; whether the machine has it is found out later."""
    name = text.strip().lower()
    if not _DEVICE.fullmatch(name):
        raise typer.BadParameter(f"{text!r} is not a device; use auto, cpu, cuda, cuda:N or mps")
    return name


GeneratorOption = Annotated[
    str,
    typer.Option(
        "--generator",
        "-g",
        metavar="NAME|FILE",
        help="Noise generator: a name from 'unlearn generators list' or a .safetensors file.",
        rich_help_panel=NOISE,
    ),
]
RhoOption = Annotated[
    Radius,
    typer.Option(
        "--rho",
        "-r",
        parser=parse_bound,
        metavar="FRACTION",
        help="Largest change of any colour value, as a share of its range.",
        rich_help_panel=NOISE,
    ),
]
SeedOption = Annotated[
    int,
    typer.Option(
        "--seed",
        min=0,
        metavar="N",
        help="Seed of the noise; the same seed gives the same bytes.",
        rich_help_panel=NOISE,
    ),
]
KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="FILE",
        help="Secret key file; without it your own, made on first use, is taken.",
        rich_help_panel=NOISE,
    ),
]
ForceFlag = Annotated[
    bool,
    typer.Option(
        "--force", metavar="", help="Redo and replace what is there.", rich_help_panel=OUTPUT
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        "-d",
        parser=parse_device,
        metavar="NAME",
        envvar="UNLEARN_DEVICE",
        help="auto, cpu, cuda, cuda:N or mps.",
        rich_help_panel=RUN,
    ),
]
CompileFlag = Annotated[
    bool,
    typer.Option(
        "--compile",
        metavar="",
        help="Generate code for the attacks' passes, which takes up to minutes at first. Meant for "
        "CUDA; not measured there yet.",
        rich_help_panel=RUN,
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        metavar="N",
        show_default="cores, at most 8",
        help="Processes for files, and threads for noise on a CPU; 0 does it all in one.",
        rich_help_panel=RUN,
    ),
]
DryRunFlag = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        "-n",
        metavar="",
        help="Check and count everything, write nothing.",
        rich_help_panel=RUN,
    ),
]
OfflineFlag = Annotated[
    bool,
    typer.Option(
        "--offline",
        metavar="",
        envvar="UNLEARN_OFFLINE",
        help="Download nothing.",
        rich_help_panel=RUN,
    ),
]
JsonFlag = Annotated[
    bool,
    typer.Option(
        "--json", metavar="", help="Write one JSON object to standard output.", rich_help_panel=RUN
    ),
]
QuietFlag = Annotated[
    bool, typer.Option("--quiet", "-q", metavar="", help="Print errors only.", rich_help_panel=RUN)
]
VerboseFlag = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        metavar="",
        help="Print details: every file, every step.",
        rich_help_panel=RUN,
    ),
]
DebugFlag = Annotated[
    bool,
    typer.Option(
        "--debug", metavar="", help="Print the traceback of an error.", rich_help_panel=RUN
    ),
]
