"""comparison.html: one file that needs no other, without scripts, for screens, phones and paper."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from markupsafe import Markup

from unlearn.audits.comparison.looks import title_of
from unlearn.audits.comparison.plain import NOT_MEASURED
from unlearn.audits.comparison.scatter import Dot, pareto, scatter_chart
from unlearn.audits.comparison.values import MEANINGS, Comparison, Line, Record
from unlearn.audits.plan import NONE
from unlearn.audits.render.charts import Figure
from unlearn.audits.render.page import Pairs, part, settings_rows, template
from unlearn.audits.render.svg import Chart, Place, Series
from unlearn.audits.render.words import (
    DEFINITION,
    bare,
    count,
    guessing_text,
    percent,
    radius_text,
    spread_text,
)
from unlearn.audits.statistics import Estimate
from unlearn.limits import LIMITS

_LEAST_SECONDS: Final = 0.1  # where the axis of costs begins
_TICKS: Final = 6
_BOX: Final = 256  # pixels; what is no larger is not shrunk into it

Measure = Callable[[Record], float | None]


def as_html(found: Comparison) -> str:
    """Return the page; every text in it is escaped."""
    return template("comparison.html").render(
        found=found,
        style=Markup(part("page.css")),
        definition=DEFINITION,
        subject=_subject(found),
        headline=list(headline(found)),
        columns=[column_name(found, column) for column in range(len(found.columns))],
        lines=[_accuracies(line) for line in found.lines],
        titles=FACTS,
        facts=[(line.name, facts_of(line)) for line in found.lines if line.entry],
        words=_words(found),
        methods=[(line.name, line.entry.summary) for line in found.lines if line.entry],
        figures=list(_figures(found)),
        flags=found.flags,
        settings=settings_rows(found.plan),
        configurations=[
            (entry.name, json.dumps(entry.record.settings if entry.record else {}, indent=1))
            for entry in found.entries
        ],
        environment=[pair for pair in found.environment.items() if pair[1]],
        not_measured=NOT_MEASURED,
        limits=LIMITS,
    )


def column_name(found: Comparison, column: int) -> str:
    """Return what a copier does, without what all of them share."""
    plan, cell = found.plan, found.columns[column]
    name = f"ρa {radius_text(cell.rho_a)}" if cell.countermeasure == NONE else cell.countermeasure
    parts = [cell.architecture] if len(plan.architectures) > 1 else []
    parts += [cell.decay] if len(plan.decays) > 1 else []
    return ", ".join([*parts, name])


def headline(found: Comparison) -> Iterator[str]:
    """Yield the main findings in plain sentences."""
    lines = [line for line in found.lines if line.entry and line.worst is not None]
    if not lines:
        yield "No method has numbers yet."
        return
    first = f"Of {count(len(lines), 'method')}, against a copier at {column_name(found, 0)}"
    yield _sentence(found, first, [(line, 0) for line in lines if line.at(0)])
    strongest = "Against the setting that serves the copier best, each method's own"
    yield _sentence(found, strongest, [(line, line.worst or 0) for line in lines])


def _sentence(found: Comparison, where: str, lines: Sequence[tuple[Line, int]]) -> str:
    """Return which method left the copier least, beside what the controls got in that setting."""
    line, column = min(lines, key=lambda pair: _last(*pair).mean)
    controls = [
        f"{spread_text(summary.last)} from {other.name} pictures"
        for other in found.lines
        if other.entry is None and (summary := other.at(column))
    ]
    return (
        f"{where}, {line.name} left it least: {spread_text(_last(line, column))} at "
        f"{column_name(found, column)}, where it gets {' and '.join(controls)}."
    )


def _last(line: Line, column: int) -> Estimate:
    """Return the accuracy at the end of training under a column that has one."""
    summary = line.at(column)
    if summary is None:
        raise ValueError(f"{line.name} has no number under column {column}")
    return summary.last


def _subject(found: Comparison) -> str:
    """Return what was compared and how the numbers are written."""
    subject, seeds = found.subject, len(found.plan.seeds)
    means = f"means over up to {seeds} seeds ± their standard deviation, of one seed where no ± is"
    spread = means if seeds > 1 else "of one seed"
    return (
        f"Data set {subject.clean}: {count(len(subject.classes), 'class', 'es')}, "
        f"{count(subject.trained, 'training picture')}, "
        f"{count(subject.tested, 'held-out clean picture')}; {guessing_text(subject)}. "
        f"Noise is held to {found.rho}, but for methods "
        f"that keep no bound, which are marked. Accuracies are {spread}, at the end of training "
        "and, below, in the best epoch on the held-out pictures, which no copier could know."
    )


def _accuracies(line: Line) -> tuple[str, str, list[tuple[str, str]], str]:
    """Return a line of the main table: name, kind, (last, best) for each column, and a refusal."""
    cells = [
        (bare(spread_text(one.last)), bare(spread_text(one.best))) if one else ("", "")
        for one in line.summaries
    ]
    entry = line.entry
    if entry is None:
        return line.name, line.name, cells, ""
    kind = "protected" if entry.record is None or entry.record.bounded else "unbounded"
    missing = "" if any(line.summaries) else entry.refusal or "not finished yet"
    return line.name, kind, cells, missing


FACTS: Final = (
    "Visible",
    "Seen",
    "Left by JPEG 75",
    "Left by 256 px",
    "Largest change",
    "Mean change",
    "Passes a picture",
    "Training, s",
    "Noise, s",
)


def facts_of(line: Line) -> list[str]:
    """Return what else is measured of a method, as texts below FACTS."""
    record = line.entry.record if line.entry else None
    if record is None:
        return [""] * len(FACTS)
    looks, subject = record.looks, record.subject
    left = looks.left if looks else {}
    return [
        f"{looks.visible:.2f}" if looks else "",
        f"{looks.seen:.2f}" if looks else "",
        *(_share(left.get(name)) for name in ("jpeg75", "box256-jpeg95")),
        f"{subject.largest_change}{'' if record.bounded else '*'}" if subject else "",
        f"{subject.mean_change:.2f}" if subject else "",
        f"{record.passes:,}",
        *(
            "" if value is None else f"{value:,.1f}"
            for value in (record.training_seconds, record.noise_seconds)
        ),
    ]


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def _words(found: Comparison) -> Pairs:
    """Return what the words of the tables mean."""
    looks = next((e.record.looks for e in found.entries if e.record and e.record.looks), None)
    sampled = f", mean of {looks.sampled} pictures" if looks else ""
    box = title_of("box256-jpeg95")
    small = looks is not None and looks.side <= _BOX
    return [
        *((line.name, MEANINGS[line.name]) for line in found.lines if line.entry is None),
        ("ρa", "radius of the copier's adversarial training; 0 is ordinary training"),
        (
            "Visible",
            f"CIEDE2000 on the plainest third of a picture{sampled}; 1 is hardly seen, 2.3 easily",
        ),
        ("Seen", "the same after the blur of the eye at arm's length (S-CIELAB)"),
        ("Left by JPEG 75", f"share of the noise that is left by {title_of('jpeg75')}{sampled}"),
        (
            "Left by 256 px",
            f"share that is left by {box}"
            + ("; these pictures are no larger, so nothing is shrunk" if small else ""),
        ),
        ("Largest change", "of any colour value of any picture, in 255ths; * keeps no bound"),
        ("Mean change", "of all colour values, in 255ths"),
        (
            "Passes a picture",
            "forward and backward passes of one picture through a network, for "
            "its share of the training and its noise",
        ),
        ("Training, Noise", "seconds of the processor for the generator, and for all pictures"),
    ]


def _figures(found: Comparison) -> Iterator[Figure]:
    """Yield protection against visibility and against cost, for two copiers."""
    measures: tuple[tuple[str, str, Measure, bool], ...] = (
        ("visibility", "CIEDE2000 on plain areas", _visible, False),
        ("cost", "CPU seconds for training and noise", _seconds, True),
    )
    for name, axis, measure, log in measures:
        yield from _figure(found, name, axis, measure, log=log, worst=False)
        yield from _figure(found, name, axis, measure, log=log, worst=True)


def _visible(record: Record) -> float | None:
    return record.looks.visible if record.looks else None


def _seconds(record: Record) -> float | None:
    if record.training_seconds is None or record.noise_seconds is None:
        return None
    return max(_LEAST_SECONDS, record.training_seconds + record.noise_seconds)


def _figure(
    found: Comparison, name: str, axis: str, measure: Measure, *, log: bool, worst: bool
) -> Iterator[Figure]:
    """Yield a chart, if any method has both numbers."""
    dots, rows = [], []
    for line in found.lines:
        column = line.worst if worst else 0
        summary, record = line.at(column), line.entry.record if line.entry else None
        value = measure(record) if record else None
        if summary is None or record is None or value is None or column is None:
            continue
        x = math.log10(value) if log else value
        place = Place(x, summary.last.mean, summary.last.spread)
        dots.append(Dot(line.name, place, record.bounded))
        rows.append(
            (line.name, f"{value:.2f}", spread_text(summary.last), column_name(found, column))
        )
    clean = _clean(found, worst=worst)
    if not dots or clean is None:
        return
    copier = "the copier's best setting" if worst else f"a copier at {column_name(found, 0)}"
    ticks = _log_ticks(dots) if log else _ticks(dots)
    series = (Series("protected", "methods", tuple(dot.place for dot in dots)),)
    described = "; ".join(f"{row[0]}: {row[2]} at {row[1]}" for row in rows)
    title = f"Protection against {name}: {copier}"
    where = f"{name}-{'worst' if worst else 'first'}"
    chart = Chart(where, title, described, axis, ticks, series, found.chance)
    front = ", ".join(dot.name for dot in pareto(dots))
    note = (
        "Lower and further left is better. Steps: no method beats these in both "
        f"({front}). Full line: clean control, {percent(clean)}; dashes: guessing. Triangles keep "
        "no bound."
    )
    columns = ("method", axis, "accuracy", "copier")
    yield Figure(title, note, scatter_chart(chart, dots, clean), columns, tuple(rows))


def _clean(found: Comparison, *, worst: bool) -> float | None:
    """Return what the clean control got in the first setting, or in its best."""
    line = next((line for line in found.lines if line.name == "clean"), None)
    summary = line.at(line.worst if worst else 0) if line else None
    return summary.last.mean if summary else None


def _ticks(dots: Sequence[Dot]) -> tuple[tuple[float, str], ...]:
    """Return round numbers from 0 to beyond the last dot."""
    last = max(dot.place.x for dot in dots)
    step = next((s for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0) if last / s < _TICKS), 10.0)
    return tuple((n * step, f"{n * step:g}") for n in range(math.ceil(last / step) + 1))


def _log_ticks(dots: Sequence[Dot]) -> tuple[tuple[float, str], ...]:
    """Return the powers of ten around the dots."""
    places = [dot.place.x for dot in dots]
    first, last = math.floor(min(places)), math.ceil(max(places))
    return tuple((float(n), f"{10.0**n:g}") for n in range(first, max(last, first + 1) + 1))
