"""The charts of a report: which numbers go into which drawing, and into the table beside it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from statistics import fmean
from typing import Final

from markupsafe import Markup

from unlearn.audits.plan import NONE, Cell
from unlearn.audits.render.comparison import Row, compare, main_fraction_rows
from unlearn.audits.render.svg import Chart, Place, Series, bar_chart, curve_chart, line_chart
from unlearn.audits.render.words import count, levels_text, percent, radius_text
from unlearn.audits.report import AuditReport
from unlearn.radius import WHITE, Radius

_EPOCH_STEPS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_EPOCH_TICKS: Final = 7
_BARS_TITLE: Final = "accuracy on held-out clean pictures"

Ticks = tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Figure:
    """A drawing, what it says in words, and its numbers as a table."""

    title: str
    note: str
    drawing: Markup
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def figures(report: AuditReport) -> tuple[Figure, ...]:
    """Return every chart that has data."""
    return (*_radius_figures(report), *_bar_figures(report), *_curve_figures(report))


def _radius_figures(report: AuditReport) -> Iterator[Figure]:
    """Yield, for each network, accuracy against ρa."""
    for number, rows in enumerate(_by_victim(main_fraction_rows(report))):
        radii = sorted({row.cell.rho_a for row in rows})
        ticks = tuple((float(radius.value * WHITE), levels_text(radius)) for radius in radii)
        series = _series(rows, lambda row: float(row.cell.rho_a.value * WHITE))
        chart = Chart(
            f"radius-{number}",
            f"Accuracy by the copier's adversary: {_victim(rows[0].cell, report)}",
            _description(series, ticks),
            "ρa in 255ths (0: ordinary training)",
            ticks,
            series,
            report.chance,
        )
        note = f"{_subject(report)}, no countermeasure. {_seeds(rows)}"
        yield _figure(chart, line_chart, note) if len(radii) > 1 else _single(chart, note)


def _single(chart: Chart, note: str) -> Figure:
    """Return the bars of a single ρa, where lines would be points."""
    ((place, label),) = chart.ticks
    ticks = ((place, f"ρa {label}" + ("/255" if label != "0" else "")),)
    bars = replace(chart, ticks=ticks, x_title=_BARS_TITLE)
    return _figure(bars, bar_chart, note)


def _bar_figures(report: AuditReport) -> Iterator[Figure]:
    """Yield, for each network and ρa, the clean control and the protected by countermeasure."""
    for number, rows in enumerate(_bars(report)):
        names = list(dict.fromkeys(row.cell.countermeasure for row in rows))
        if names == [NONE]:
            continue
        ticks = tuple((float(place), name) for place, name in enumerate(names))
        series = _series(rows, lambda row, names=names: float(names.index(row.cell.countermeasure)))  # type: ignore[misc]
        radius = radius_text(rows[0].cell.rho_a)
        chart = Chart(
            f"countermeasures-{number}",
            f"Countermeasures at ρa {radius}: {_victim(rows[0].cell, report)}",
            _description(series, ticks),
            _BARS_TITLE,
            ticks,
            series,
            report.chance,
        )
        yield _figure(chart, bar_chart, f"{_subject(report)}, ρa {radius}. {_seeds(rows)}")


def _bars(report: AuditReport) -> list[list[Row]]:
    """Return for each network and ρa the rows of wholly protected pictures and their controls."""
    groups: dict[tuple[str, str, Radius], list[Row]] = {}
    for row in compare(report):
        cell = row.cell
        if cell.arm in {"clean", "protected"} and cell.fraction == 1:
            groups.setdefault((cell.architecture, cell.decay, cell.rho_a), []).append(row)
    return list(groups.values())


def _curve_figures(report: AuditReport) -> Iterator[Figure]:
    """Yield, for each network and ρa, the accuracy of each epoch."""
    shown = {row.summary.setting: row for row in main_fraction_rows(report)}
    groups: dict[Cell, list[Row]] = {}
    for row in shown.values():
        groups.setdefault(row.group, []).append(row)
    for number, rows in enumerate(groups.values()):
        curves = {row: _mean_curve(report, row) for row in rows}
        series = tuple(
            Series(row.cell.arm, _name(row.cell), curve)
            for row, curve in curves.items()
            if len(curve) > 1
        )
        if not series:
            continue
        radius = radius_text(rows[0].cell.rho_a)
        epochs = sorted({place.x for one in series for place in one.places})
        chart = Chart(
            f"curves-{number}",
            f"Accuracy by epoch at ρa {radius}: {_victim(rows[0].cell, report)}",
            _description(series, tuple((epoch, f"epoch {epoch:g}") for epoch in _ends(epochs))),
            "epoch",
            _epoch_ticks(epochs),
            series,
            report.chance,
        )
        labels = tuple((epoch, f"{epoch:g}") for epoch in epochs)
        note = f"{_subject(report)}, ρa {radius}, no countermeasure. {_seeds(rows, line=True)}"
        yield _figure(chart, curve_chart, note, labels)


def _mean_curve(report: AuditReport, row: Row) -> tuple[Place, ...]:
    """Return the mean over seeds of each epoch that every seed has."""
    found = [result for result in report.results if row.includes(result.cell)]
    epochs: dict[int, list[float]] = {}
    for result in found:
        for point in result.curve:
            epochs.setdefault(point.epoch, []).append(point.accuracy)
    return tuple(
        Place(epoch, fmean(values))
        for epoch, values in sorted(epochs.items())
        if len(values) == len(found)
    )


def _figure(
    chart: Chart, draw: Callable[[Chart], Markup], note: str, labels: Ticks | None = None
) -> Figure:
    """Return a chart drawn, and its numbers beside it: those of the ticks unless others are given.

    The first column is what the x axis or the groups of bars are.
    """
    first = {"radius": "ρa in 255ths", "countermeasures": "countermeasure"}
    heading = first.get(chart.identifier.partition("-")[0], "epoch")
    rows = tuple(
        (label, *(_text_at(series, x) for series in chart.series))
        for x, label in labels or chart.ticks
    )
    columns = (heading, *(series.name for series in chart.series))
    return Figure(chart.title, note, draw(chart), columns, rows)


def _series(rows: Sequence[Row], x: Callable[[Row], float]) -> tuple[Series, ...]:
    """Return one series for each arm, in the order of the rows."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        kinds.setdefault(row.cell.arm, []).append(row)
    return tuple(
        Series(
            kind,
            _name(found[0].cell),
            tuple(Place(x(row), row.summary.last.mean, row.summary.last.spread) for row in found),
        )
        for kind, found in kinds.items()
    )


def _by_victim(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield the rows of each network and schedule."""
    for _, group in groupby(rows, lambda row: (row.cell.architecture, row.cell.decay)):
        yield list(group)


def _victim(cell: Cell, report: AuditReport) -> str:
    """Return the network, and its schedule where there are several."""
    several = len(report.plan.decays) > 1
    return f"{cell.architecture}, {cell.decay} schedule" if several else cell.architecture


def _name(cell: Cell) -> str:
    """Return an arm's name, and the share that carries its noise if that is not all."""
    return cell.arm if cell.fraction == 1 else f"{cell.arm} ({cell.fraction})"


def _subject(report: AuditReport) -> str:
    return f"Held-out clean pictures of {report.subject.clean}"


def _seeds(rows: Sequence[Row], *, line: bool = False) -> str:
    """Return what a point is, and its whisker."""
    seeds = max(row.summary.count for row in rows)
    if seeds == 1:
        return "One seed, so the spread is not known."
    whiskers = "" if line else "; whiskers: standard deviation between seeds"
    return f"Mean of {count(seeds, 'seed')}{whiskers}."


def _text_at(series: Series, x: float) -> str:
    """Return a series' number at a place, as the tables write it."""
    return next((_text(place) for place in series.places if place.x == x), "")


def _text(place: Place) -> str:
    spread = "" if place.spread is None else f" ± {100 * place.spread:.1f}"
    return percent(place.accuracy) + spread


def _description(series: Iterable[Series], ticks: Ticks) -> str:
    """Return the numbers at some places in a sentence, for those who do not see the drawing."""
    parts = []
    for one in series:
        found = [(label, _text_at(one, x)) for x, label in ticks]
        parts.append(
            f"{one.name}: {', '.join(f'{text} at {label}' for label, text in found if text)}"
        )
    return "; ".join(parts) + "."


def _ends(epochs: Sequence[float]) -> list[float]:
    return sorted({epochs[0], epochs[-1]})


def _epoch_ticks(epochs: Sequence[float]) -> Ticks:
    """Return round epochs, few enough to be read."""
    last = int(epochs[-1])
    step = next((step for step in _EPOCH_STEPS if last / step <= _EPOCH_TICKS), last)
    found = [epoch for epoch in range(0, last + 1, step) if epoch >= epochs[0]]
    return tuple((float(epoch), str(epoch)) for epoch in found or [last])
