"""`unlearn audit`: train the copier's models and report what they learned."""

import os
import shlex
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from unlearn import __version__
from unlearn.cli.console import Output
from unlearn.cli.meter import Meter, duration_text
from unlearn.cli.options import (
    DEFAULT_GENERATOR,
    INPUT,
    NOISE,
    OUTPUT,
    RUN,
    CompileFlag,
    DebugFlag,
    DeviceOption,
    GeneratorOption,
    JsonFlag,
    KeyOption,
    OfflineFlag,
    QuietFlag,
    VerboseFlag,
    parse_bound,
    parse_radius,
)
from unlearn.errors import UsageProblem
from unlearn.radius import Radius, parse_fraction

if TYPE_CHECKING:
    from unlearn.audits.report import AuditReport
    from unlearn.audits.run import AuditOptions, Ready
    from unlearn.audits.runner import CellsProgress
    from unlearn.protection.events import Event

VICTIMS: Final = "Victims"
DEFAULT_RHO_A: Final = (Radius.of_levels(0), Radius.of_levels(4))


def parse_share(text: str | Fraction) -> Fraction:
    """Read a share in (0, 1], "1/2" or "0.5"; anything else becomes a usage error."""
    if isinstance(text, Fraction):
        return text
    try:
        share = parse_fraction(text)
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(f"{text!r} is no share; write 1/2 or 0.5") from None
    if not 0 < share <= 1:
        raise typer.BadParameter(f"{text} is not above 0 and at most 1")
    return share


def parse_accuracy(text: str | float) -> float:
    """Read an accuracy: "0.4", "2/5" or "40%"."""
    if isinstance(text, float):
        return text
    whole = text.strip()
    try:
        value = parse_fraction(whole.removesuffix("%")) / (100 if whole.endswith("%") else 1)
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(f"{text!r} is no accuracy; write 0.4 or 40%") from None
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"{text} is not between 0 and 1; did you mean {text}%?")
    return float(value)


def parse_held_out(text: str | Path | Fraction) -> Path | Fraction:
    """Read --test: a folder, or a share below 1 of the pictures to hold out."""
    if not isinstance(text, str):
        return text
    if Path(text).is_dir():
        return Path(text)
    try:
        share = parse_fraction(text)
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(f"there is no folder {text!r}, and it is no share") from None
    if not 0 < share < 1:
        raise typer.BadParameter(f"{text} of the pictures cannot be held out; write 1/5 or 0.2")
    return share


def audit(
    clean: Annotated[
        Path,
        typer.Argument(
            metavar="CLEAN",
            help="Clean pictures in one folder per class, or a CIFAR-10/100 python archive.",
            rich_help_panel=INPUT,
        ),
    ],
    protected: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PROTECTED]",
            help="Their protected copies; without it copies are made for the audit.",
            show_default=False,
            rich_help_panel=INPUT,
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(
            "--test",
            parser=parse_held_out,
            metavar="DIR|SHARE",
            show_default="an archive's own test pictures, else 1/5",
            help="Clean pictures to try victims on: a folder with the same classes, or the share "
            "of CLEAN to hold out, chosen by content.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    pictures: Annotated[
        int | None,
        typer.Option(
            "--pictures",
            min=2,
            metavar="N",
            show_default="by budget",
            help="Train on N pictures, evenly from the classes.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    budget: Annotated[
        Literal["quick", "standard", "thorough", "paper"],
        typer.Option(
            "--budget",
            help="What it may cost: minutes on a CPU, an hour or a day on a GPU, or the authors' "
            "schedule. The other options override parts of it.",
            rich_help_panel=VICTIMS,
        ),
    ] = "quick",
    rho_a: Annotated[
        list[Radius] | None,
        typer.Option(
            "--rho-a",
            parser=parse_radius,
            metavar="FRACTION",
            show_default="0 and 4/255",
            help="Radius of the victims' adversarial training, 0 for ordinary; repeatable.",
            rich_help_panel=VICTIMS,
        ),
    ] = None,
    arch: Annotated[
        list[str] | None,
        typer.Option(
            "--arch",
            metavar="NAME",
            show_default="by budget",
            help="Network: resnet18, resnet50, vgg16, densenet121, wrn-34-10, vit, resnet-small, "
            "each also with -imagenet for photos where it has that form; torchvision:NAME; "
            "finetune:NAME or probe:NAME for pretrained ones; repeatable.",
            rich_help_panel=VICTIMS,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            metavar="FILE",
            show_default="torchvision's download",
            help="Pretrained weights for finetune: and probe:.",
            rich_help_panel=VICTIMS,
        ),
    ] = None,
    countermeasures: Annotated[
        str | None,
        typer.Option(
            "--countermeasures",
            metavar="LIST",
            show_default="by budget",
            help="What the copier tries, by commas: none, grey, jpeg75, jpeg10, bits2, resize256, "
            "blur, median, gaussian-noise, cutout, mixup, cutmix, randaugment, ueraser, "
            "projection, label-noise, early-stopping, diffusion; or all.",
            rich_help_panel=VICTIMS,
        ),
    ] = None,
    purifier: Annotated[
        Path | None,
        typer.Option(
            "--purifier",
            metavar="FOLDER",
            show_default=False,
            help="The diffusion model for diffusion, see docs/purification.md.",
            rich_help_panel=VICTIMS,
        ),
    ] = None,
    fraction: Annotated[
        list[Fraction] | None,
        typer.Option(
            "--fraction",
            parser=parse_share,
            metavar="SHARE",
            show_default="1",
            help="Share of the training pictures that is protected; below 1 the clean rest alone "
            "is a control; repeatable.",
            rich_help_panel=VICTIMS,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            min=1,
            max=100,
            metavar="N",
            show_default="by budget",
            help="Victims of each kind.",
            rich_help_panel=VICTIMS,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            min=1,
            metavar="N",
            show_default="by budget",
            help="Passes over the training pictures.",
            rich_help_panel=VICTIMS,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            min=1,
            metavar="N",
            show_default=False,
            help="Training steps, instead of --epochs.",
            rich_help_panel=VICTIMS,
        ),
    ] = None,
    pgd_steps: Annotated[
        int | None,
        typer.Option(
            "--pgd-steps",
            min=1,
            metavar="N",
            show_default="by budget",
            help="Steps of the victims' adversary, each 2/N of its radius.",
            rich_help_panel=VICTIMS,
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            "--image-size",
            min=8,
            max=512,
            metavar="N",
            show_default="by budget and pictures",
            help="Side of what the networks see, in pixels.",
            rich_help_panel=VICTIMS,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            min=1,
            metavar="N",
            show_default="by budget",
            help="Pictures a step.",
            rich_help_panel=VICTIMS,
        ),
    ] = None,
    placebo: Annotated[
        bool,
        typer.Option(
            "--placebo/--no-placebo",
            metavar="",
            help="Also train on random noise of the same strength.",
            rich_help_panel=VICTIMS,
        ),
    ] = True,
    rho: Annotated[
        Radius | None,
        typer.Option(
            "--rho",
            "-r",
            parser=parse_bound,
            metavar="FRACTION",
            show_default="the manifest's, else 8/255",
            help="Bound that copies are held to, and the radius of copies made here.",
            rich_help_panel=NOISE,
        ),
    ] = None,
    generator: GeneratorOption = DEFAULT_GENERATOR,
    method: Annotated[
        Literal["min-max-min", "error-minimising"] | None,
        typer.Option(
            "--method",
            show_default=False,
            help="Train a generator on these very pictures instead of taking --generator.",
            rich_help_panel=NOISE,
        ),
    ] = None,
    key: KeyOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            show_default="audit-YYYYMMDD-HHMM",
            help="Folder for the report, the journal and what the audit works with.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    fail_above: Annotated[
        float | None,
        typer.Option(
            "--fail-above",
            parser=parse_accuracy,
            metavar="ACCURACY",
            show_default=False,
            help="Exit with 1 if a victim trained on protected pictures does better, such as 40%.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--no-resume",
            metavar="",
            help="Go on where a killed audit of the same line stopped.",
            rich_help_panel=RUN,
        ),
    ] = True,
    device: DeviceOption = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        typer.Option(
            "--precision",
            help="auto is bf16 where the hardware multiplies it.",
            rich_help_panel=RUN,
        ),
    ] = "auto",
    compiled: CompileFlag = False,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=0,
            metavar="N",
            show_default="cores",
            help="Victims trained at a time on the CPU, one thread each; changes no number.",
            rich_help_panel=RUN,
        ),
    ] = None,
    offline: OfflineFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    debug: DebugFlag = False,
) -> int:
    """Train the copier's models on clean and on protected pictures, and report what they learned.

    unlearn audit ./photos ./protected

    unlearn audit ./photos --generator mine.safetensors --rho-a 4/255 --seeds 3 --out report

    Clean and placebo controls are trained beside. The report says how well each victim tells clean
    held-out pictures apart, which is what a copier wants: lower is better protection.
    """
    output = Output(as_json=as_json, quiet=quiet, verbose=verbose, debug=debug)
    from unlearn.audits.run import AuditOptions

    if protected is not None and method is not None:
        raise UsageProblem(f"--method makes copies of its own; leave out {protected}, or --method")
    options = AuditOptions(
        clean=clean,
        protected=protected,
        out=out or Path(time.strftime("audit-%Y%m%d-%H%M")),
        budget=budget,
        rho_a=tuple(dict.fromkeys(rho_a or DEFAULT_RHO_A)),
        architectures=tuple(dict.fromkeys(arch)) if arch else None,
        countermeasures=_names(countermeasures),
        fractions=tuple(dict.fromkeys(fraction or [Fraction(1)])),
        epochs=epochs,
        steps=steps,
        seeds=seeds,
        pgd_steps=pgd_steps,
        image_size=image_size,
        batch_size=batch_size,
        pictures=pictures,
        test=test,
        placebo=placebo,
        rho=rho,
        generator=generator,
        method=method,
        weights=weights,
        purifier=purifier,
        offline=offline,
        device=device,
        precision=precision,
        compiled=compiled,
        workers=(os.cpu_count() or 1) if workers is None else workers,
        resume=resume,
        key=key,
        command=shlex.join(["unlearn", *sys.argv[1:]]),
    )
    return _run(options, output, fail_above)


def _names(text: str | None) -> tuple[str, ...] | None:
    """Return the countermeasures of a comma list; "all" is every one that needs no file."""
    if text is None:
        return None
    if text.strip() == "all":
        from unlearn.countermeasures import COUNTERMEASURES

        return tuple(COUNTERMEASURES)
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _run(options: "AuditOptions", output: Output, fail_above: float | None) -> int:
    """Run the workflow with progress on standard error, and print its account."""
    from unlearn.audits import run as workflow
    from unlearn.audits.render import as_object
    from unlearn.cli.audit_text import print_report

    with output.meter("Auditing", None) as meter:
        done = workflow.audit(options, _Teller(output, meter).hear)
    if done.report is None:
        output.notice("Stopped; the same line with the same --out goes on with what is left")
        return 130
    output.emit(as_object(done.report))
    print_report(done.report, output)
    output.result(f"Report       {options.out / 'report.html'}  (also .json, .csv)")
    return _verdict(done.report, fail_above, output)


def _verdict(report: "AuditReport", fail_above: float | None, output: Output) -> int:
    """Return 1 if a victim did better than allowed, and name it."""
    if fail_above is None:
        return 0
    victims = [r for r in report.results if r.cell.arm == "protected"]
    best = max(victims, key=lambda result: result.accuracy_last, default=None)
    if best is None or best.accuracy_last <= fail_above:
        return 0
    output.complain(
        f"a victim trained on protected pictures reached {best.accuracy_last:.1%} "
        f"({best.cell.words}), above --fail-above {fail_above:.1%}"
    )
    return 1


class _Teller:
    """Turns the events of an audit into lines and a progress bar."""

    def __init__(self, output: Output, meter: Meter) -> None:
        self.output = output
        self.meter = meter

    def hear(self, event: "Event | Ready | CellsProgress") -> None:
        """Tell one event."""
        from unlearn.audits.run import Ready
        from unlearn.audits.runner import CellsProgress
        from unlearn.protection.events import Notice, Progress, Started

        if isinstance(event, Ready):
            self._ready(event)
        elif isinstance(event, CellsProgress):
            self._cells(event)
        elif isinstance(event, Progress):
            self.meter.update(event.done, event.record.src, event.total)
        elif isinstance(event, Started):
            self.meter.begin("Protecting", "pictures")
        elif isinstance(event, Notice):
            self.output.notice(event.text)

    def _ready(self, event: "Ready") -> None:
        """Say what is trained and what it costs."""
        from unlearn.audits.render.words import count, radius_text

        plan, subject = event.plan, event.subject
        cells = plan.cells()
        self.output.notice(
            f"unlearn {__version__} · audit of {subject.protection} · rho {subject.rho} · "
            f"device {event.run.words}"
        )
        self.output.notice(
            f"{subject.trained:,} training and {subject.tested:,} held-out pictures of "
            f"{plan.training.image_size} px in {len(subject.classes)} classes; all "
            f"{subject.verified:,} copies verified, largest change {subject.largest_change}/255"
        )
        going_on = f", {event.finished} of them finished before" if event.finished else ""
        self.output.notice(
            f"{count(len(cells), 'victim')}{going_on}: {', '.join(plan.architectures)}; "
            f"rho-a {', '.join(map(radius_text, plan.rho_a))}; "
            f"countermeasures {', '.join(plan.countermeasures)}; {count(len(plan.seeds), 'seed')}"
        )
        self.output.notice(
            f"Cost: {event.costs.passes:,} forward+backward passes, about "
            f"{duration_text(event.costs.seconds(event.workers))} with {max(1, event.workers)} "
            "victims at a time, judged by a short trial"
        )
        self.meter.begin("Training victims", "victims")

    def _cells(self, event: "CellsProgress") -> None:
        """Move the bar; print finished victims if details were asked for."""
        self.meter.update(event.share * event.total, event.news, event.total)
        if event.finished is not None:
            self.output.detail(f"finished {event.news}")
