"""`unlearn audit`: train the copier's models and report what they learned."""

import shlex
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final

from unlearn import __version__
from unlearn.audits.options import AuditOptions
from unlearn.cli.console import Output
from unlearn.cli.meter import Meter, duration_text
from unlearn.errors import UsageProblem
from unlearn.options import NOISE, OUTPUT, VICTIMS, Option, PlanOptions
from unlearn.radius import parse_fraction

if TYPE_CHECKING:
    from unlearn.audits.comparison.values import Part
    from unlearn.audits.report import AuditReport
    from unlearn.audits.runner import CellsProgress
    from unlearn.audits.study import Study
    from unlearn.protection.events import Event

NOT_JUDGED: Final = 5  # the exit code of an audit that cannot tell
_STOPPED = "Stopped. The same line with the same --out goes on with what is left."


def read_accuracy(text: str) -> float:
    """Read an accuracy: "0.4", "2/5" or "40%"; raises UsageProblem for anything else."""
    whole = text.strip()
    try:
        value = parse_fraction(whole.removesuffix("%")) / (100 if whole.endswith("%") else 1)
    except (ValueError, ZeroDivisionError):
        raise UsageProblem(f"{text!r} is no accuracy; write 0.4 or 40%") from None
    if not 0 <= value <= 1:
        raise UsageProblem(f"{text} is not between 0 and 1; did you mean {text}%?")
    return float(value)


FailAboveOption = Annotated[
    float | None,
    Option(
        "Exit with 1 if a victim trained on protected pictures does better, such as 40%; with 5 if "
        "one diverged, or its clean control learned nothing.",
        panel=OUTPUT,
        metavar="ACCURACY",
        read=read_accuracy,
    ),
]

CompareOption = Annotated[
    tuple[str, ...] | None,
    Option(
        "Compare methods, by commas, NAME or NAME:RECIPE: each trains a generator on these "
        "pictures and is tried by the same copiers.",
        details="See [Comparing methods](#comparing-methods).",
        panel=NOISE,
        metavar="LIST",
        commas=True,
    ),
]

EstimateOption = Annotated[
    bool,
    Option(
        "Train nothing: say in seconds how much of what tells the classes apart in the noise is "
        "left at copiers' views.",
        details="It needs PROTECTED, and takes none of the other options but '--labels'. A share "
        "near guessing refutes class-wise noise for that copier; a large one proves nothing.",
        panel=VICTIMS,
        in_file=False,
    ),
]


def audit(
    options: AuditOptions,
    *,
    compare: CompareOption = None,
    fail_above: FailAboveOption = None,
    estimate: EstimateOption = False,
    planning: PlanOptions,
    output: Output,
) -> int:
    """Train the copier's models on clean and on protected pictures, and report what they learned.

    unlearn audit ./photos ./protected

    unlearn audit ./photos ./protected --estimate

    unlearn audit ./photos --generator mine.safetensors --rho-a 4/255 --seeds 3 --out report

    Clean and placebo controls are trained beside. The report says how well each victim tells clean
    held-out pictures apart, which is what a copier wants: lower is better protection.
    """
    from unlearn.workers.ranks import helps

    if (planning.plan or estimate) and helps():
        return 0
    if planning.plan:
        if compare is not None or estimate:
            raise UsageProblem("--plan is for one audit; leave out --compare and --estimate")
        return _plan(options, planning.deadline, output)
    if estimate:
        return _estimate(options, output)
    options = replace(options, command=shlex.join(["unlearn", *sys.argv[1:]]))
    if compare is not None and (fail_above is not None or options.protected or options.method):
        raise UsageProblem(
            "--compare makes copies with methods of its own; leave out PROTECTED, --method and "
            "--fail-above"
        )
    return _train(options, compare, fail_above, output)


def _train(
    options: AuditOptions,
    compare: tuple[str, ...] | None,
    fail_above: float | None,
    output: Output,
) -> int:
    """Audit or compare, as one process or as one of several, of which the first speaks for all."""
    from unlearn.workers.ranks import FirstEnded, helps

    other = helps()
    if other:
        output, fail_above = Output(quiet=True, debug=output.debug), None
    try:
        if compare is None:
            code = _run(options, output, fail_above)
        else:
            code = _compare(options, compare, output)
    except FirstEnded:  # which has said why; another code would end it before
        return 0
    return 0 if other else code


def _plan(options: AuditOptions, deadline: float | None, output: Output) -> int:
    """Say what the victims cost."""
    from unlearn.audits.forecast import forecast
    from unlearn.cli.forecast_text import print_forecast

    besides = "" if options.protected else "making the copies; see protect --plan"
    if options.method is not None:
        besides = "the generator and the copies; see train-generator --plan and protect --plan"
    print_forecast("audit", forecast(options), deadline, output, besides)
    return 0


def _estimate(options: AuditOptions, output: Output) -> int:
    """Say what is left of the noise at copiers' views."""
    from unlearn.audits.estimate import estimate
    from unlearn.cli.estimate_text import as_plain, print_estimate

    if options.protected is None:
        raise UsageProblem("--estimate compares pictures with protected copies; name both folders")
    found = estimate(options.clean, options.protected, options.labels)
    output.emit(as_plain(found))
    print_estimate(found, output)
    return 0


def _run(options: AuditOptions, output: Output, fail_above: float | None) -> int:
    """Run the workflow with progress on standard error, and print its account."""
    from unlearn.audits import run as workflow
    from unlearn.audits.forecast import keep_pace
    from unlearn.audits.render import as_object
    from unlearn.cli.audit_text import print_report

    with output.meter("Auditing", None) as meter:
        teller = _Teller(output, meter)
        report = workflow.audit(options, teller.hear)
    if report is None:
        output.notice(_STOPPED)
        return 130
    if teller.study is not None and not teller.study.finished:
        keep_pace(teller.study, report.results)
    output.emit(as_object(report))
    print_report(report, output)
    output.result(f"Report       {options.out / 'report.html'}  (also .json, .csv)")
    return _verdict(report, fail_above, output)


def _compare(options: AuditOptions, methods: tuple[str, ...], output: Output) -> int:
    """Run the comparison with progress on standard error, and print its account."""
    from unlearn.audits.comparison import run as workflow
    from unlearn.audits.comparison.plain import as_object
    from unlearn.cli.comparison_text import print_comparison

    with output.meter("Comparing", None) as meter:
        found = workflow.compare(options, methods, _Teller(output, meter).hear)
    if found is None:
        output.notice(_STOPPED)
        return 130
    output.emit(as_object(found))
    print_comparison(found, output)
    output.result(f"Report       {options.out / 'comparison.html'}  (also .json, .csv)")
    return 0


def _verdict(report: "AuditReport", fail_above: float | None, output: Output) -> int:
    """Return 1 if a victim did better than allowed, 5 if that cannot be told, and say why."""
    from unlearn.audits.flags import unjudged

    if fail_above is None:
        return 0
    victims = [r for r in report.results if r.cell.arm == "protected" and not r.diverged]
    best = max(victims, key=lambda result: result.accuracy_last, default=None)
    if best is None or best.accuracy_last <= fail_above:
        if not (reasons := unjudged(report.plan, report.subject, report.results)):
            return 0
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        output.complain(f"--fail-above {fail_above:.1%} could not be judged: {reasons[0]}{more}")
        return NOT_JUDGED
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
        self.study: Study | None = None

    def hear(self, event: "Event | Study | CellsProgress | Part") -> None:
        """Tell one event."""
        from unlearn.audits.comparison.values import Part
        from unlearn.audits.render.words import count
        from unlearn.audits.runner import CellsProgress
        from unlearn.audits.study import Study
        from unlearn.protection.events import Notice, Progress, Started

        if isinstance(event, Study):
            self._begin(event)
        elif isinstance(event, Part):
            self.output.notice(
                f"{event.name}: {count(event.victims, 'victim')}, about "
                f"{duration_text(max(1, event.seconds))}, estimated from a short trial"
            )
            self.meter.begin("Training victims", "victims", event.victims, event.seconds)
        elif isinstance(event, CellsProgress):
            self._cells(event)
        elif isinstance(event, Progress):
            self.meter.update(event.done, event.record.src)
        elif isinstance(event, Started):
            self.meter.begin("Protecting", "pictures", event.pending)
        elif isinstance(event, Notice):
            self.output.notice(event.text)

    def _begin(self, study: "Study") -> None:
        """Say what is trained and what it costs."""
        from unlearn.audits.render.words import count, radius_text

        self.study, plan, subject = study, study.plan, study.subject
        cells = plan.cells()
        self.output.notice(
            f"unlearn {__version__} · audit of {subject.protection} · rho {subject.rho} · "
            f"device {study.run.words}"
        )
        self.output.notice(
            f"{subject.trained:,} training and {subject.tested:,} held-out pictures of "
            f"{' and '.join(map(str, plan.views))} px in {len(subject.classes)} classes; all "
            f"{subject.verified:,} copies verified, largest change {subject.largest_change}/255"
        )
        left = len(cells) - study.finished
        earlier = f"{study.finished} of them" if left else "all"
        going_on = f", {earlier} finished before" if study.finished else ""
        self.output.notice(
            f"{count(len(cells), 'victim')}{going_on}: {', '.join(plan.architectures)}; "
            f"rho-a {', '.join(map(radius_text, plan.rho_a))}; "
            f"countermeasures {', '.join(plan.countermeasures)}; {count(len(plan.seeds), 'seed')}"
        )
        if not left:
            return
        seconds = study.costs.seconds(study.at_a_time)
        at_a_time = f" with {study.at_a_time} victims at a time" if study.at_a_time > 1 else ""
        self.output.notice(
            f"Cost: {study.costs.passes:,} forward+backward passes, about "
            f"{duration_text(max(1, seconds))}{at_a_time}, estimated from a short trial"
        )
        self.meter.begin("Training victims", "victims", len(cells), expected=seconds)

    def _cells(self, event: "CellsProgress") -> None:
        """Move the bar; print finished victims if details were asked for."""
        self.meter.update(event.done, event.news, share=event.share)
        if event.finished is not None:
            self.output.detail(f"finished {event.news}")
