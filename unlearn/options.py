"""How an option is described: once, on the field that it fills.

An options dataclass gives its fields types such as `Annotated[int, Option("Seed of the noise.")]`.
The command line, the settings file and docs/cli.md are derived from them by `cli/derived`. Here are
also the options that several packages have. Nothing here or in a module named `options` loads
PyTorch, NumPy or Pillow.
"""

import re
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from unlearn.errors import UsageProblem
from unlearn.radius import Radius

INPUT: Final = "Input"
NOISE: Final = "Noise"
VICTIMS: Final = "Victims"
OUTPUT: Final = "Output"
RUN: Final = "Run"

DEFAULT_RHO: Final = Radius.of_levels(8)
DEFAULT_GENERATOR: Final = "base"

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class Option:
    """What people read of an option, and which values it takes besides what its type says.

    Help, panel and metavar are for `--help`; `details` are further sentences for docs/cli.md.
    """

    help: str
    _: KW_ONLY
    panel: str = RUN
    details: str = ""
    flag: str | None = None  # None: the field's name with dashes
    short: str | None = None
    metavar: str | None = None  # None: the choices of a Literal, nothing for a switch
    positional: bool = False
    minimum: float | None = None
    maximum: float | None = None
    read: Callable[[str], object] | None = None  # raises UsageProblem; None: by the type
    commas: bool = False  # several values in one text instead of the option given several times
    variable: str | None = None  # of the environment, with a default for this machine
    default_text: str | None = None  # where the default is no value to print, or decided later
    in_file: bool = True  # whether a file of settings may set it


def read_bound(text: str) -> Radius:
    """Read the radius of noise, which must leave room for at least one 8-bit step."""
    radius = Radius.parse(text)
    if radius.levels < 1:
        raise UsageProblem(
            f"{radius} is less than one step of an 8-bit colour value, so nothing could change; "
            "use at least 1/255"
        )
    return radius


_DURATION: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)min)?(?:(\d+)s)?")


def read_duration(text: str) -> float:
    """Read a duration such as "8h", "1h30min" or "2d" in seconds; raises UsageProblem."""
    found = _DURATION.fullmatch(text.replace(" ", "").lower())
    numbers = [int(number or 0) for number in found.groups()] if found else []
    seconds = sum(n * unit for n, unit in zip(numbers, (86_400, 3600, 60, 1), strict=False))
    if not seconds:
        raise UsageProblem(f"{text!r} is no duration; write 8h, 1h30min or 2d")
    return float(seconds)


def read_device(text: str) -> str:
    """Read a device name without asking PyTorch; whether the machine has it is found out later."""
    name = text.strip().lower()
    if not _DEVICE.fullmatch(name):
        raise UsageProblem(f"{text!r} is not a device; use auto, cpu, cuda, cuda:N or mps")
    return name


GeneratorOption = Annotated[
    str,
    Option(
        "Noise generator: a name from 'unlearn generators list' or a .safetensors file.",
        details="Pickles are refused.",
        panel=NOISE,
        short="-g",
        metavar="NAME|FILE",
    ),
]
RhoOption = Annotated[
    Radius,
    Option(
        "Largest change of any colour value, as a share of its range.",
        details="It is exact: '8/255', '1.6/255' or '0.03'. Whole steps are counted down, so that "
        "the bound is never exceeded. '8' is refused: it would be eight times the whole range.",
        panel=NOISE,
        short="-r",
        metavar="FRACTION",
        read=read_bound,
    ),
]
LabelsOption = Annotated[
    str,
    Option(
        "Where classes come from: folders, one (all alike), csv:FILE with paths and labels, or "
        "auto: a data set's own table, else folders if there are at least two, else one.",
        details="See [Labels](#labels).",
        panel=INPUT,
        metavar="SOURCE",
    ),
]
KeyOption = Annotated[
    Path | None,
    Option(
        "Secret key file; without it your own, made on first use, is taken.",
        details="It holds 32 bytes. The same key gives the same noise.",
        panel=NOISE,
        metavar="FILE",
    ),
]
DeviceOption = Annotated[
    str,
    Option(
        "auto, cpu, cuda, cuda:N or mps.",
        short="-d",
        metavar="NAME",
        read=read_device,
        variable="UNLEARN_DEVICE",
    ),
]
PrecisionOption = Annotated[
    Literal["auto", "fp32", "bf16"], Option("auto is bf16 where the hardware multiplies it.")
]
CompileOption = Annotated[
    bool,
    Option(
        "Generate code for the attacks' passes, which takes up to minutes at first. Meant for "
        "CUDA; not measured there yet.",
        details="Numbers differ in the last bits, so noise differs in single pixels. It needs a "
        "C++ compiler, for CUDA also Triton; on a CPU it is hardly worth it.",
        flag="--compile",
    ),
]


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Whether to say what a run costs instead of running; raises UsageProblem for half of it."""

    plan: Annotated[
        bool,
        Option(
            "Only say what it costs: passes, time here and on an H100. Writes nothing.",
            details="Time here is that of earlier runs, or of a short trial, whose rate is kept. "
            "See [scale.md](scale.md#what-it-costs).",
            in_file=False,
        ),
    ] = False
    deadline: Annotated[
        float | None,
        Option(
            "With --plan: how many machines it takes to be done in 8h, 1h30min or 2d.",
            metavar="DURATION",
            read=read_duration,
            in_file=False,
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.deadline is not None and not self.plan:
            raise UsageProblem(
                "--deadline belongs to --plan, which says how many machines it takes"
            )
