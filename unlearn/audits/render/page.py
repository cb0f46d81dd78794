"""report.html: one file that needs no other, without scripts, for screens, phones and paper."""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import groupby
from operator import attrgetter
from typing import Final

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from unlearn.audits.plan import NONE, AuditPlan, Training
from unlearn.audits.render.charts import figures
from unlearn.audits.render.comparison import Row, compare
from unlearn.audits.render.flag_texts import FLAG_TEXTS, title_of
from unlearn.audits.render.words import (
    ARM_MEANINGS,
    DEFINITION,
    TOO_FEW,
    VISIBLE,
    bare,
    count,
    countermeasure_text,
    found_text,
    headline,
    interval_text,
    percent,
    points,
    radius_text,
    spread_text,
    subject_text,
    visible_texts,
)
from unlearn.audits.report import AuditReport
from unlearn.audits.statistics import LEAD
from unlearn.files.text import printable
from unlearn.limits import LIMITS

_CLASSES_NAMED: Final = 20
_MESSAGES_NAMED: Final = 5  # of one flag, before the others are folded away
_UNREADABLE_NAMED: Final = 20

_UNBROKEN: Final = re.compile(r"(?<=\d) %|(?<=[\d%]) ± (?=\d)|(?<=ρa) (?=\d)")

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class GroupView:
    """Settings that are compared with each other: what they share, and a row of texts each."""

    name: str
    rows: list[tuple[str, list[str]]]  # the arm, and the texts below each column


@dataclass(frozen=True)
class FlagView:
    """A flag's title, what it says of this audit, and its paragraph."""

    name: str
    messages: tuple[str, ...]
    text: Markup


def as_html(report: AuditReport) -> str:
    """Return the page; every text in it is escaped, and what cannot be printed is spelt out."""
    return template("page.html").render(
        report=report,
        style=Markup(part("page.css")),
        definition=DEFINITION,
        subject=subject_text(report),
        headline=headline(report),
        flags=_flags(report),
        named=_MESSAGES_NAMED,
        stamp=TOO_FEW if any(flag.name == "too-few" for flag in report.flags) else "",
        figures=figures(report),
        columns=_columns(report),
        groups=[
            _group(report, list(rows)) for _, rows in groupby(compare(report), attrgetter("group"))
        ],
        meanings=_meanings(report),
        visible=[(one, *visible_texts(one)) for one in report.visibility],
        visible_note=VISIBLE,
        previews=[
            (name, base64.b64encode(content).decode("ascii")) for name, content in report.previews
        ],
        settings=settings_rows(report.plan),
        pictures=list(_pictures(report)),
        environment=[pair for pair in report.environment.items() if pair[1]],
        countermeasures=_countermeasures(report.plan),
        limits=LIMITS,
    )


@cache
def template(name: str) -> Template:
    """Return a page's template, in which every text is escaped."""
    environment = Environment(
        loader=FunctionLoader(part),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def part(name: str) -> str:
    """Return the text of a file beside this one."""
    return files("unlearn.audits.render").joinpath(name).read_text(encoding="utf-8")


def shown(value: object) -> object:
    """Return a text that can be printed, its numbers kept together; mark-up is ours already."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _UNBROKEN.sub(
        lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), printable(value)
    )


def _flags(report: AuditReport) -> tuple[FlagView, ...]:
    """Return each flag once, with all that it says."""
    names = dict.fromkeys(flag.name for flag in report.flags)
    return tuple(
        FlagView(
            title_of(name),
            tuple(flag.message for flag in report.flags if flag.name == name),
            _with_code(FLAG_TEXTS[name].paragraph) if name in FLAG_TEXTS else Markup(),
        )
        for name in names
    )


def _with_code(text: str) -> Markup:
    """Return a text with what stands in backticks as code."""
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else Markup.escape(part)
        for place, part in enumerate(text.split("`"))
    )


def _columns(report: AuditReport) -> list[str]:
    """Return the columns of the main table behind the first, those without numbers left out."""
    partly = ["Minus remainder"] if min(report.plan.fractions) < 1 else []
    return [
        "Share",
        "Last, %",
        "95 % interval, %",
        "Minus clean",
        *partly,
        "Best, %",
        "Found, epoch",
        "Train, %",
        "Chance, %",
        "Seeds",
    ]


def _group(report: AuditReport, rows: list[Row]) -> GroupView:
    """Return the rows of the main table that stand under one heading."""
    cell, columns = rows[0].cell, _columns(report)
    schedule = f", {cell.decay} schedule" if len(report.plan.decays) > 1 else ""
    counter = countermeasure_text(cell.countermeasure)
    texts = [_texts(report, row) for row in rows]
    return GroupView(
        f"{cell.architecture}, ρa {radius_text(cell.rho_a)}, {counter}{schedule}",
        [
            (row.cell.arm, [found[column] for column in columns])
            for row, found in zip(rows, texts, strict=True)
        ],
    )


def _texts(report: AuditReport, row: Row) -> dict[str, str]:
    """Return what stands in a row by column."""
    cell, summary = row.cell, row.summary
    return {
        "Share": "" if cell.arm == "clean" else str(cell.fraction),
        "Last, %": bare(spread_text(summary.last)),
        "95 % interval, %": bare(interval_text(summary.last)),
        "Minus clean": "" if row.minus_clean is None else points(row.minus_clean),
        "Minus remainder": "" if row.minus_remainder is None else points(row.minus_remainder),
        "Best, %": bare(spread_text(summary.best)),
        "Found, epoch": found_text(summary.found),
        "Train, %": bare(percent(summary.train)),
        "Chance, %": bare(percent(report.chance)),
        "Seeds": str(summary.count),
    }


def _meanings(report: AuditReport) -> Pairs:
    """Return what the words of the table mean, as far as they stand in it."""
    arms = {row.cell.arm for row in compare(report)}
    found: Pairs = [(arm, meaning) for arm, meaning in ARM_MEANINGS.items() if arm in arms]
    found += [
        ("ρa", "radius of the copier's adversarial training; 0 is ordinary training"),
        ("Share", "how much of the set carries noise"),
        (
            "Last",
            "accuracy on held-out clean pictures at the end of training (with early-stopping: in "
            "the epoch that the copier chose), ± the standard deviation between seeds",
        ),
        ("95 % interval", "what the number of held-out pictures leaves open (Wilson)"),
        ("Minus clean", "points of accuracy above or below the clean control of the same setting"),
    ]
    if min(report.plan.fractions) < 1:
        found.append(
            (
                "Minus remainder",
                "points above or below the unprotected part alone; above 0 the "
                "protected pictures help the copier",
            )
        )
    return [
        *found,
        ("Best", "the best epoch on the held-out pictures, which no copier could know"),
        (
            "Found",
            "the epoch in which the training accuracy passes that of the clean control with the "
            f"same seed, never to fall below and by {100 * LEAD:g} points in some epoch; mean over "
            "seeds",
        ),
        (
            "Train",
            "accuracy on the pictures that were trained on, adversary and countermeasure included",
        ),
        ("Chance", "accuracy of guessing: the largest class named for all"),
    ]


def settings_rows(plan: AuditPlan) -> Pairs:
    """Return the plan as a list."""
    training = plan.training
    length = (
        count(training.epochs, "epoch") if training.steps is None else f"{training.steps:,} steps"
    )
    if training.steps is None and training.adversarial_epochs is not None:
        length += f" ({training.adversarial_epochs} where ρa > 0)"
    crops: dict[str, list[int]] = {}  # the sides of what is shown so
    for side in plan.views:
        crops.setdefault(_crops(replace(training, image_size=side)), []).append(side)
    shown = [f"{how} ({' and '.join(map(str, sides))} px)" for how, sides in crops.items()]
    return [
        ("Networks", ", ".join(plan.architectures)),
        ("ρa", ", ".join(map(radius_text, plan.rho_a))),
        ("Shares protected", ", ".join(map(str, plan.fractions))),
        (
            "Countermeasures",
            f"{', '.join(plan.countermeasures)}; at the {plan.countermeasures_at} ρa"
            if plan.countermeasures != (NONE,)
            else NONE,
        ),
        ("Seeds", ", ".join(map(str, plan.seeds))),
        ("Placebo", "yes" if plan.placebo else "no"),
        ("Motif", "yes" if plan.motif else "no"),
        ("Length", f"{length}, batches of {training.batch_size}"),
        (
            "Picture size",
            f"{' and '.join(map(str, plan.views))} px, from squares of {training.source_size} px",
        ),
        ("Views", "; ".join(shown if len(shown) > 1 else crops)),
        (
            "Optimiser",
            f"SGD, learning rate {training.learning_rate:g}, "
            f"weight decay {training.weight_decay:g}, schedule {', '.join(plan.decays)}",
        ),
        ("Adversary", _adversary(training)),
    ]


def _crops(training: Training) -> str:
    """Return how pictures are shown to a network."""
    if training.padded:
        return "flips and padded crops"
    return f"flips and random resized crops of at least {training.smallest_crop:g} of the area"


def _adversary(training: Training) -> str:
    """Return how victims attack themselves."""
    if training.adversary == "n-fgsm":
        return "N-FGSM, one step of ρa from noise of 2 ρa"
    return f"PGD, {training.pgd_steps} steps of {training.step_share} ρa each"


def _pictures(report: AuditReport) -> Iterator[tuple[str, str]]:
    """Yield what was audited."""
    subject = report.subject
    named = list(subject.classes[:_CLASSES_NAMED])
    more = len(subject.classes) - len(named)
    others = f" and {more} more (all are in report.json)" if more else ""
    yield "Clean pictures", subject.clean
    yield "Protected pictures", subject.protected
    yield "Protection", f"{subject.protection}, rho {subject.rho}"
    yield (
        "Largest change",
        f"{subject.largest_change}/255, on average {subject.mean_change:.2f}/255",
    )
    yield "Bound proved", f"for {count(subject.verified, 'pair')} before the audit"
    yield "Training", count(subject.trained, "picture")
    yield "Held out", f"{count(subject.tested, 'clean picture')}, never trained on"
    if subject.duplicates:
        yield "Duplicates", f"{subject.duplicates:,} held-out pictures are also in the training set"
    yield f"{count(len(subject.classes), 'class', 'es')}", ", ".join(named) + others
    for name, reason in subject.unreadable[:_UNREADABLE_NAMED]:
        yield "Left out", f"{name}: {reason}"
    if len(subject.unreadable) > _UNREADABLE_NAMED:
        left = len(subject.unreadable) - _UNREADABLE_NAMED
        yield "Left out", f"{count(left, 'more file')}, see report.json"
    yield "Fingerprint", subject.fingerprint


def _countermeasures(plan: AuditPlan) -> Pairs:
    """Return what each countermeasure does, as far as the tool's own list says it."""
    from unlearn.countermeasures import COUNTERMEASURES  # loads PyTorch

    return [
        (name, COUNTERMEASURES[name].summary if name in COUNTERMEASURES else "given to this audit")
        for name in plan.countermeasures
        if name != NONE
    ]
