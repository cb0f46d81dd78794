"""`unlearn train-generator`: train a noise generator from labelled pictures."""

import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from unlearn import __version__
from unlearn.cli.console import Output
from unlearn.cli.meter import Meter, duration_text
from unlearn.generators.options import MethodOptions, TrainOptions
from unlearn.options import PlanOptions

if TYPE_CHECKING:
    from unlearn.generators.train import Resumed, Started, Stepped, TrainReport

_FIRST_STEPS: Final = 5  # steps to wait for before the time is estimated
_TERMS: Final = {
    "cross_entropy": "error",
    "clean_test_accuracy": "clean accuracy",
    "clean_train_accuracy": "clean accuracy",
    "average_prediction_randomness": "R_p",
}


def train_generator(
    options: TrainOptions, wanted: MethodOptions, planning: PlanOptions, output: Output
) -> int:
    """Train a noise generator from labelled pictures.

    unlearn train-generator ./photos --out gen.safetensors

    unlearn train-generator cifar-10-batches-py --out gen.safetensors --recipe paper

    ResNet-18 and thousands of steps are made for a GPU. On two CPU cores try
    --arch resnet-small --batch-size 32 --steps 1600 first.
    """
    from unlearn.generators.recipes import method_of
    from unlearn.generators.train import train_generator as work
    from unlearn.workers.ranks import helps, rank_here

    if helps():
        if planning.plan:
            return 0
        output = Output(quiet=True, debug=output.debug)
    if planning.plan:
        return _plan(replace(options, method=method_of(wanted)), planning.deadline, output)
    command = shlex.join(["unlearn", *sys.argv[1:]])
    options = replace(options, method=method_of(wanted), command=command)
    with _stoppable(output) as stop, output.meter("Training", None, "steps") as meter:
        teller = _Teller(output, meter, options)
        trained = work(options, teller, stop)
    if rank_here() is None:
        teller.remember()
    _show(output, trained, options.data, options.out)
    return 0


def _plan(options: TrainOptions, deadline: float | None, output: Output) -> int:
    """Say what the training costs."""
    from unlearn.cli.forecast_text import print_forecast
    from unlearn.generators.forecast import forecast

    print_forecast("train-generator", forecast(options), deadline, output)
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

    def __init__(self, output: Output, meter: Meter, options: TrainOptions) -> None:
        self.output = output
        self.meter = meter
        self.options = options
        self.first = 0
        self.last = ""
        self.began = time.monotonic()
        self.kind, self.passes = "", 0
        self.steps: list[tuple[int, float]] = []  # the first and the last, with their times

    def remember(self) -> None:
        """Keep how long a pass took, for the forecast of the next training like this."""
        from unlearn.files.pace import remember

        if self.passes and len(self.steps) > 1:
            (first, began), (last, ended) = self.steps
            remember(self.kind, (ended - began) / (last - first) / self.passes)

    def __call__(self, event: "Started | Resumed | Stepped") -> None:
        """Tell one event."""
        from unlearn.generators.train import Resumed, Started

        if isinstance(event, Started):
            self._started(event)
        elif isinstance(event, Resumed):
            self.first = event.step
            self.output.notice(f"Going on after step {self.first:,}")
        else:
            self._stepped(event)

    def _started(self, event: "Started") -> None:
        """Say what is trained and what it costs."""
        from unlearn.generators.forecast import pace_kind

        architecture = self.options.architecture
        self.kind = pace_kind(event.method, architecture, event.data.size, event.run)
        self.passes = event.cost.training // max(1, event.cost.steps)  # a step
        data, method, cost = event.data, event.method, event.cost
        bound = "no bound of its own" if method.bound is None else f"rho {method.bound}"
        facts = [f"{name} {value}" for name, value in method.facts().items()]
        network = [self.options.architecture] if cost.a_picture else []
        self.output.notice(
            " · ".join(
                [
                    f"unlearn {__version__}",
                    method.name,
                    bound,
                    *facts,
                    *network,
                    f"device {event.run.words}",
                ]
            )
        )
        classes = f" in {len(data.classes)} classes" if method.needs_labels else ""
        tests = f", {len(event.test):,} clean test pictures" if event.test else ""
        self.output.notice(f"{len(data):,} pictures of {data.size} px{classes}{tests}")
        for line in event.said:
            self.output.notice(line)
        if event.unreadable:
            name, reason = event.unreadable[0]
            many = len(event.unreadable)
            left_out = f"{many} files are left out, the first:" if many > 1 else "Left out:"
            self.output.notice(f"{left_out} {name} ({reason})")
        self.output.notice(
            f"Cost: {cost.steps:,} steps, {cost.training:,} forward+backward passes; with its "
            f"final noise {cost.a_picture:,} for each picture"
            if cost.a_picture
            else "Cost: none, it uses no network"
        )
        self.began = time.monotonic()

    def _stepped(self, event: "Stepped") -> None:
        """Move the bar; estimate the time from the first steps."""
        self.steps = [*self.steps[:1], (event.step, time.monotonic())]
        taken = event.step - self.first
        if taken == _FIRST_STEPS and event.step < event.steps:
            left = (time.monotonic() - self.began) / taken * (event.steps - event.step)
            self.output.notice(
                f"About {duration_text(max(1, left))} left, measured on the first {taken} steps"
            )
        note = "  ".join(f"{_TERMS.get(n, n)} {v:.3f}" for n, v in event.metrics.items())
        self.last = note or self.last
        self.meter.update(event.step, self.last, event.steps)
        if event.metrics:
            self.output.detail(f"step {event.step}/{event.steps}  {note}")


def _show(output: Output, trained: "TrainReport", data: Path, out: Path) -> None:
    """Print the result, as text or JSON."""
    from unlearn.datasets.cifar import find_cifar
    from unlearn.files.text import beside

    curve = trained.header.curve
    reached = {
        name: values[-1]
        for name, values in curve.items()
        if name != "step" and values and values[-1] is not None
    }
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
    generator = ("--generator", out)
    if trained.header.classes:
        output.next_step("audit", data, *generator)
    if find_cifar(data) is None:
        unbounded = () if trained.header.rho else ("--allow-unbounded",)
        output.next_step(
            "protect", data, "--out", beside(data, "-protected"), *generator, *unbounded
        )
