"""Words: how an audit's numbers are written, and the sentences that stand around them."""

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Final

from unlearn.audits.plan import NONE, Arm, AuditPlan, Cell, network_and_view
from unlearn.audits.render.comparison import Row, compare, control_of, main_fraction_rows
from unlearn.audits.report import AuditReport, Subject, Visible
from unlearn.audits.statistics import Estimate
from unlearn.pictures.visibility import EASILY_SEEN, HARDLY_SEEN
from unlearn.radius import WHITE, Radius

DEFINITION: Final = (
    "Protection accuracy: accuracy on held-out clean pictures of a victim trained on protected "
    "pictures; lower is better."
)
ARM_MEANINGS: Final[dict[Arm, str]] = {
    "clean": "the pictures without any noise: what a copier gets from unprotected pictures",
    "placebo": "the pictures with random noise of the same size: what any such noise would do",
    "motif": "the pictures with a random motif for each class, repeated, at the same bound: what "
    "class-wise noise does that nobody trained",
    "remainder": "only the pictures of a partly protected set that are not protected",
    "protected": "the pictures with the protective noise, or the set that they are a part of",
}
TOO_FEW: Final = "Too few pictures to conclude"
NOT_FOUND: Final = "not found"
VISIBLE: Final = (
    "CIEDE2000 on the plain third of each picture: mean over pictures, in brackets the value "
    f"that 95 % stay below; {HARDLY_SEEN:g} is hardly seen, {EASILY_SEEN:g} easily. As seen: "
    "blurred as by the eye, 60 pixels a degree."
)
MINUS: Final = "\N{MINUS SIGN}"


def percent(accuracy: float) -> str:
    """Write an accuracy in 0…1 as "23.4 %"."""
    return f"{100 * accuracy:.1f} %"


def bare(text: str) -> str:
    """Return a number without the sign that its column's title has."""
    return text.replace(" %", "")


def spread_text(estimate: Estimate) -> str:
    """Write a mean with its standard deviation over seeds, if there are several."""
    spread = "" if estimate.spread is None else f" ± {100 * estimate.spread:.1f}"
    return percent(estimate.mean) + spread


def interval_text(estimate: Estimate) -> str:
    """Write the 95 % interval of a mean."""
    return f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f} %"


def found_text(found: Sequence[int | None]) -> str:
    """Write in which epoch noise was found: the mean over seeds, and how many found it."""
    epochs = [epoch for epoch in found if epoch is not None]
    if not epochs:
        return NOT_FOUND if found else ""
    seeds = f" ({len(epochs)} of {len(found)})" if len(epochs) < len(found) else ""
    return f"{fmean(epochs):.3g}{seeds}"


def visible_texts(visible: Visible) -> tuple[str, str]:
    """Write mean and 95th percentile of what is visible, as it is and as seen by the eye."""
    pairs = ((visible.ciede2000, visible.ciede2000_p95), (visible.seen, visible.seen_p95))
    bare, seen = ("" if mean is None else f"{mean:.1f} ({high:.1f})" for mean, high in pairs)
    return bare, seen or "too small"


def points(difference: float) -> str:
    """Write a difference of accuracies in points with its sign."""
    value = f"{100 * difference:+.1f}"
    return "0.0" if value in {"+0.0", "-0.0"} else value.replace("-", MINUS)


def radius_text(radius: Radius) -> str:
    """Write a radius, and no adversary as a plain 0."""
    return str(radius) if radius.value else "0"


def levels_text(radius: Radius) -> str:
    """Write a radius in 255ths, for an axis."""
    return f"{float(radius.value * WHITE):.3g}"


def count(number: int, noun: str, plural: str = "s") -> str:
    """Write a number with its noun."""
    return f"{number:,} {noun}" + ("" if number == 1 else plural)


def countermeasure_text(name: str) -> str:
    """Write a countermeasure inside a sentence."""
    return "no countermeasure" if name == NONE else f"countermeasure {name}"


def guessing_text(subject: Subject) -> str:
    """Return what guessing gets, and what it is where classes are of uneven sizes."""
    uneven = subject.chance * len(subject.classes) > 1
    how = " (the largest class for all)" if uneven else ""
    return f"guessing{how} gets {percent(subject.chance)} of them right"


def subject_text(report: AuditReport) -> str:
    """Return what was audited and how its numbers are written."""
    subject = report.subject
    seeds = len(report.plan.seeds)
    means = (
        f" Numbers are means over {seeds} seeds ± their standard deviation." if seeds > 1 else ""
    )
    return (
        f"Data set {subject.clean}: {count(len(subject.classes), 'class', 'es')}, "
        f"{count(subject.trained, 'training picture')}, "
        f"{count(subject.tested, 'held-out clean picture')}; {guessing_text(subject)}. "
        f"Protection: {subject.protection}, rho "
        f"{subject.rho}. Accuracies are those at the end of training.{means}"
    )


def headline(report: AuditReport) -> tuple[str, ...]:
    """Return the main numbers in plain sentences, each with all that it depends on beside it.

    They are those of the first network of each view.
    """
    plan = report.plan
    firsts = {plan.training.seen_by(name).image_size: name for name in plan.architectures[::-1]}
    rows = [
        row
        for row in main_fraction_rows(report)
        if row.cell.architecture in firsts.values() and row.cell.decay == plan.decays[0]
    ]
    told = [row for row in rows if row.cell.arm == "protected"]
    sentences = [_sentence(report, row, rows) for row in told]
    return (*sentences, *_strongest(report, told))


def _sentence(report: AuditReport, row: Row, rows: list[Row]) -> str:
    """Return what one network learned from protected pictures at one ρa, and from its controls."""
    cell = row.cell
    beside = {
        other.cell.arm: spread_text(other.summary.last)
        for other in rows
        if other.group == row.group
    }
    sentence = (
        f"On {report.subject.clean}, {_victim(report.plan, cell)} on {_set_text(cell)}, with "
        f"{countermeasure_text(cell.countermeasure)}, got {spread_text(row.summary.last)} of the "
        "held-out clean pictures right."
    )
    *first, last = list(_controls(beside)) or [""]
    controls = ", ".join(first) + (" and " if first else "") + last
    return f"{sentence} Trained alike, it got {controls}." if controls else sentence


def _victim(plan: AuditPlan, cell: Cell) -> str:
    """Return the network, what it sees if others see more or less, and how it trains."""
    name, _ = network_and_view(cell.architecture)
    view = f" at {plan.training.of(cell).image_size} px" if len(plan.views) > 1 else ""
    training = "adversarially" if cell.rho_a.value else "in the ordinary way"
    return f"a {name}{view} that trained {training} (ρa {radius_text(cell.rho_a)})"


def _set_text(cell: Cell) -> str:
    if cell.fraction == 1:
        return "protected pictures"
    return f"a set of which {cell.fraction} is protected"


def _controls(beside: dict[Arm, str]) -> Iterator[str]:
    if "clean" in beside:
        yield f"{beside['clean']} from clean pictures"
    if "placebo" in beside:
        yield f"{beside['placebo']} from pictures with random noise of the same size"
    if "motif" in beside:
        yield f"{beside['motif']} from pictures with a random motif for each class"


def _strongest(report: AuditReport, told: list[Row]) -> Iterator[str]:
    """Yield where the copier got most out of wholly protected pictures, if it is not told yet."""
    rows = compare(report)
    whole = [row for row in rows if row.cell.arm == "protected" and row.cell.fraction == 1]
    others = [row for row in whole if row not in told]
    if not others:
        return
    row = max(whole, key=lambda row: row.summary.last.mean)
    cell = row.cell
    if row in told:
        where = (
            "the other setting" if len(others) == 1 else f"any of the {len(others)} other settings"
        )
        yield f"The copier did not get more than the highest of these in {where} tried here."
        return
    clean = [other for other in rows if other.summary.setting == control_of(cell)]
    beside = "".join(
        f"; from clean pictures treated alike, {spread_text(other.summary.last)}" for other in clean
    )
    yield (
        f"The copier got most out of the protected pictures of {report.subject.clean} with "
        f"{countermeasure_text(cell.countermeasure)} ({cell.architecture}, ρa "
        f"{radius_text(cell.rho_a)}): {spread_text(row.summary.last)}{beside}."
    )
