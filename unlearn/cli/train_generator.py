"""`unlearn train-generator`: train a noise generator from labelled pictures."""

import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from unlearn import __version__
from unlearn.cli.console import Output
from unlearn.cli.meter import Meter, duration_text
from unlearn.cli.options import (
    DEFAULT_RHO,
    INPUT,
    NOISE,
    OUTPUT,
    RUN,
    CompileFlag,
    DebugFlag,
    DeviceOption,
    ForceFlag,
    JsonFlag,
    QuietFlag,
    RhoOption,
    SeedOption,
    VerboseFlag,
    parse_radius,
)
from unlearn.radius import Radius

if TYPE_CHECKING:
    from unlearn.generators.train import Started, Stepped, Trained, TrainOptions

RECIPE: Final = "the recipe's"
_FIRST_STEPS: Final = 5  # steps to wait for before the time is estimated
_TERMS: Final = {
    "cross_entropy": "error",
    "clean_test_accuracy": "clean accuracy",
    "clean_train_accuracy": "clean accuracy",
    "average_prediction_randomness": "R_p",
}

Steps = Annotated[
    int | None,
    typer.Option(
        "--steps",
        min=1,
        metavar="N",
        show_default=RECIPE,
        help="Training steps.",
        rich_help_panel=RUN,
    ),
]
RhoA = Annotated[
    Radius | None,
    typer.Option(
        "--rho-a",
        parser=parse_radius,
        metavar="FRACTION",
        show_default=RECIPE,
        help="Radius of the adversary in training; must be below --rho.",
        rich_help_panel=NOISE,
    ),
]


def train_generator(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Folder of class folders, or a CIFAR-10/100 python archive folder.",
            rich_help_panel=INPUT,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="The .safetensors file to write; a model card goes beside it.",
            rich_help_panel=OUTPUT,
        ),
    ],
    test: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Clean test pictures, in the same class folders: logs Figure 1's curve.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    pictures: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Use N pictures, evenly from the classes.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=512,
            metavar="N",
            show_default="32 or 64 by the pictures",
            help="Side of the training pictures in pixels.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    recipe: Annotated[
        Literal["paper", "fast"],
        typer.Option(
            help="Where the settings come from that no other option names: fast shares most of "
            "the noise by class and makes a tenth of the passes of paper, which is as published.",
            rich_help_panel=NOISE,
        ),
    ] = "fast",
    rho: RhoOption = DEFAULT_RHO,
    rho_a: RhoA = None,
    unlearn_steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            show_default=RECIPE,
            help="PGD steps of the noise.",
            rich_help_panel=NOISE,
        ),
    ] = None,
    adversary_steps: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            show_default=RECIPE,
            help="PGD steps of the adversary.",
            rich_help_panel=NOISE,
        ),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            show_default=RECIPE,
            help="Random views summed for a step of the noise.",
            rich_help_panel=NOISE,
        ),
    ] = None,
    final_steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            show_default="the recipe's, or as in training",
            help="PGD steps of the noise to publish.",
            rich_help_panel=NOISE,
        ),
    ] = None,
    final_views: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            show_default="the recipe's, or as in training",
            help="Views summed for a step of the noise to publish.",
            rich_help_panel=NOISE,
        ),
    ] = None,
    final_crop: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=1.0,
            metavar="SHARE",
            show_default="--smallest-crop",
            help="Smallest crop in the views of the noise to publish.",
            rich_help_panel=NOISE,
        ),
    ] = None,
    smallest_crop: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=1.0,
            metavar="SHARE",
            show_default=RECIPE,
            help="Views are random resized crops of at least this share; 1: padded crops.",
            rich_help_panel=NOISE,
        ),
    ] = None,
    grey: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="SHARE",
            show_default=RECIPE,
            help="Share of grey views.",
            rich_help_panel=NOISE,
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            show_default=RECIPE,
            help="Noise averages to nothing over N x N pixels of its grid, so that no larger "
            "area changes its colour (odd; 0: as published).",
            rich_help_panel=NOISE,
        ),
    ] = None,
    randomness: Annotated[
        Literal["norm", "squared", "mse"] | None,
        typer.Option(
            show_default=RECIPE,
            help="Form of the randomness term; mse is Eq. 7 as printed.",
            rich_help_panel=NOISE,
        ),
    ] = None,
    randomness_weight: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="W",
            show_default=RECIPE,
            help="Weight of the randomness term.",
            rich_help_panel=NOISE,
        ),
    ] = None,
    shared: Annotated[
        Radius | None,
        typer.Option(
            "--shared",
            parser=parse_radius,
            metavar="FRACTION",
            show_default=RECIPE,
            help="Radius of a part of the noise that all pictures of a class share; 0: as "
            "published.",
            rich_help_panel=NOISE,
        ),
    ] = None,
    joint: Annotated[
        bool | None,
        typer.Option(
            "--joint/--no-joint",
            metavar="",
            show_default=RECIPE,
            help="Attacked and clean pictures in one forward pass.",
            rich_help_panel=NOISE,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any other setting of the method, see docs/cli.md; repeatable.",
            rich_help_panel=NOISE,
        ),
    ] = None,
    arch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            show_default="resnet18",
            help="resnet18, resnet18-thin, resnet-small or any other, see docs/cli.md; several "
            "are trained in turn.",
            rich_help_panel=NOISE,
        ),
    ] = None,
    working_size: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=1024,
            metavar="N",
            show_default="--image-size",
            help="Short side of the grid on which pictures get their noise.",
            rich_help_panel=NOISE,
        ),
    ] = None,
    steps: Steps = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            metavar="N", help="Passes over the data, instead of --steps.", rich_help_panel=RUN
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            show_default=RECIPE,
            help="Pictures a step.",
            rich_help_panel=RUN,
        ),
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        typer.Option(help="auto is bf16 where the hardware multiplies it.", rich_help_panel=RUN),
    ] = "auto",
    compiled: CompileFlag = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--no-resume",
            metavar="",
            help="Go on where a killed run of the same line stopped.",
            rich_help_panel=RUN,
        ),
    ] = True,
    save_every: Annotated[
        float,
        typer.Option(
            min=0.0, metavar="MINUTES", help="How often the state is saved.", rich_help_panel=RUN
        ),
    ] = 10.0,
    name: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Name in the artefact.", rich_help_panel=OUTPUT),
    ] = None,
    licence: Annotated[
        str, typer.Option(metavar="TEXT", help="Licence in the artefact.", rich_help_panel=OUTPUT)
    ] = "unstated",
    force: ForceFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    debug: DebugFlag = False,
) -> int:
    """Train a noise generator from labelled pictures (min-max-min, CVPR 2024).

    unlearn train-generator ./photos --out gen.safetensors

    unlearn train-generator cifar-10-batches-py --out gen.safetensors --recipe paper

    ResNet-18 and thousands of steps are made for a GPU. On two CPU cores try
    --arch resnet-small --batch-size 32 --steps 1600 first.
    """
    output = Output(as_json, quiet, verbose, debug)
    from unlearn.generators.recipes import Attacks, method_of
    from unlearn.generators.train import TrainOptions
    from unlearn.generators.train import train_generator as work

    first, *others = arch or ["resnet18"]
    named = {
        "randomness": randomness,
        "randomness_weight": randomness_weight,
        "joint": None if joint is None else str(joint).lower(),
        "shared": shared,
        "window": window,
        "views.smallest_crop": smallest_crop,
        "views.grey": grey,
        "final_views.smallest_crop": final_crop,
        "architectures": ",".join(others) or None,
        "schedule.steps": steps,
        "schedule.batch_size": batch_size,
    }
    chosen = [f"{field}={value}" for field, value in named.items() if value is not None]
    attacks = Attacks(rho, rho_a, unlearn_steps, adversary_steps, views, final_steps, final_views)
    method = method_of(recipe, attacks, [*chosen, *(settings or [])])
    options = TrainOptions(
        data=data,
        out=out,
        method=method,
        epochs=epochs,
        architecture=first,
        test=test,
        pictures=pictures,
        image_size=image_size,
        working_size=working_size,
        device=device,
        precision=precision,
        compiled=compiled,
        seed=seed,
        resume=resume,
        save_every_seconds=save_every * 60,
        force=force,
        name=name,
        licence=licence,
        command=shlex.join(["unlearn", *sys.argv[1:]]),
    )
    with (
        _stoppable(output) as stop,
        output.meter("Training", method.schedule.steps, "steps") as meter,
    ):
        trained = work(options, _Teller(output, meter, options), stop)
    _show(output, trained, data, out)
    return 0


@contextmanager
def _stoppable(output: Output) -> Iterator[threading.Event]:
    """Let the first Ctrl-C ask for a clean stop; a second one interrupts at once."""
    stop = threading.Event()

    def ask(_signal: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        stop.set()
        output.notice("Stopping after this step; press Ctrl-C again to stop at once.")

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


class _Teller:
    """Turns the events of a training into lines and a progress bar."""

    def __init__(self, output: Output, meter: Meter, options: "TrainOptions") -> None:
        self.output = output
        self.meter = meter
        self.options = options
        self.first = 0
        self.last = ""
        self.began = time.monotonic()

    def __call__(self, event: "Started | Stepped") -> None:
        """Tell one event."""
        from unlearn.generators.train import Started

        if isinstance(event, Started):
            self._started(event)
        else:
            self._stepped(event)

    def _started(self, event: "Started") -> None:
        """Say what is trained and what it costs."""
        options, data, method = self.options, event.data, event.method
        self.first = event.resumed_at
        self.began = time.monotonic()
        networks = ", ".join((options.architecture, *method.architectures))
        self.output.notice(
            f"unlearn {__version__} · {method.name} · rho {method.radius} · "
            f"rho-a {method.adversary.radius} · {networks} · "
            f"device {event.run.words}"
        )
        tests = f", {len(event.test):,} clean test pictures" if event.test else ""
        self.output.notice(
            f"{len(data):,} pictures of {data.size} px in {len(data.classes)} classes{tests}"
        )
        if event.unreadable:
            name, reason = event.unreadable[0]
            self.output.notice(
                f"{len(event.unreadable)} files are left out, the first: {name} ({reason})"
            )
        if self.first:
            self.output.notice(f"Going on after step {self.first:,}")
        left = method.schedule.steps - self.first
        self.output.notice(
            f"Cost: {left:,} steps of {method.passes_per_step} passes a picture, "
            f"{event.passes:,} forward+backward passes; with its final noise "
            f"{method.passes_per_image(len(data)):,} for each picture"
        )

    def _stepped(self, event: "Stepped") -> None:
        """Move the bar; estimate the time from the first steps."""
        taken = event.step - self.first
        if taken == min(_FIRST_STEPS, event.steps - self.first):
            left = (time.monotonic() - self.began) / taken * (event.steps - event.step)
            self.output.notice(f"About {duration_text(left)}, judged by the first {taken} steps")
        note = "  ".join(f"{_TERMS.get(n, n)} {v:.3f}" for n, v in event.metrics.items())
        self.last = note or self.last
        self.meter.update(event.step, self.last, event.steps)
        if event.metrics:
            self.output.detail(f"step {event.step}/{event.steps}  {note}")


def _show(output: Output, trained: "Trained", data: Path, out: Path) -> None:
    """Print the result, as text or JSON."""
    curve = trained.header.curve
    reached = {name: values[-1] for name, values in curve.items() if name != "step" and values}
    output.emit(
        {
            "generator": str(trained.path),
            "sha256": trained.sha256,
            "card": str(trained.card),
            "seconds": round(trained.seconds, 1),
            "final": reached,
            "curve": curve,
        }
    )
    output.result(f"Generator    {trained.path}  (SHA-256 {trained.sha256[:12]})")
    output.result(f"Model card   {trained.card}")
    for name, value in reached.items():
        if name.startswith("clean"):
            kind = "unseen" if "test" in name else "its own"
            output.result(f"Surrogate    {value:.1%} accuracy on {kind} clean pictures")
    output.result(f"Time         {duration_text(trained.seconds)}")
    generator = shlex.quote(str(out))
    output.next_step(f"unlearn audit {shlex.quote(str(data))} --generator {generator}")
    output.next_step(f"unlearn protect ./photos --out ./protected --generator {generator}")
