"""The report as plain values: the JSON object and the two tables of numbers."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from unlearn import __version__
from unlearn.audits.plan import Cell
from unlearn.audits.render.comparison import Row, compare
from unlearn.audits.render.words import DEFINITION, NOT_FOUND
from unlearn.audits.report import AuditReport, Result, Visible
from unlearn.audits.statistics import Estimate, found_epochs, summaries
from unlearn.config import to_plain
from unlearn.files.text import printable
from unlearn.limits import LIMITS

FLAGS_PAGE: Final = "docs/audit-flags.md"
_PLACES: Final = 6  # of an accuracy: finer than one picture in a million


def as_object(report: AuditReport) -> dict[str, Any]:
    """Return the whole report as one JSON object; accuracies are in 0…1.

    Two audits of the same pictures with the same plan and machine differ in `timings` only.
    """
    return {
        "tool": __version__,
        "budget": report.budget,
        "settings": to_plain(report.plan),
        "subject": to_plain(report.subject),
        "definition": DEFINITION,
        "chance": rounded(report.chance),
        "results": _results(report),
        "summaries": _summaries(report),
        "visibility": [asdict(visible) for visible in report.visibility],
        "flags": [asdict(flag) | {"page": f"{FLAGS_PAGE}#{flag.name}"} for flag in report.flags],
        "environment": dict(report.environment),
        "limits": LIMITS,
        "timings": [
            _setting(result.cell) | {"seed": result.cell.seed, "seconds": round(result.seconds, 3)}
            for result in report.results
        ],
    }


def as_json(report: AuditReport) -> str:
    """Return report.json: pure ASCII, so that no name of a file can break it."""
    return json.dumps(as_object(report), indent=2, allow_nan=False) + "\n"


def results_csv(report: AuditReport) -> str:
    """Return results.csv: a row a cell, columns as in the JSON."""
    return as_csv(_results(report))


def curves_csv(report: AuditReport) -> str:
    """Return curves.csv: a row for each epoch of each cell."""
    rows = [
        {
            **_setting(result.cell),
            "seed": result.cell.seed,
            "epoch": point.epoch,
            "accuracy": rounded(point.accuracy),
            "train_accuracy": rounded(point.train_accuracy),
        }
        for result in report.results
        for point in result.curve
    ]
    return as_csv(rows)


def visibility_csv(report: AuditReport) -> str:
    """Return visibility.csv: a row for each arm and kind of picture that was measured."""
    columns = [field.name for field in fields(Visible)]
    return as_csv([asdict(visible) for visible in report.visibility], columns)


def _setting(cell: Cell) -> dict[str, Any]:
    return {
        "arm": cell.arm,
        "architecture": cell.architecture,
        "rho_a": str(cell.rho_a),
        "fraction": str(cell.fraction),
        "countermeasure": cell.countermeasure,
        "schedule": cell.decay,
    }


def _results(report: AuditReport) -> list[dict[str, Any]]:
    """Return every victim in the plan's order, and when it found the noise, if there is any."""
    found, rows = found_epochs(report.results), []
    for result in report.results:
        epoch = found[result.cell] or NOT_FOUND if result.cell in found else None
        training, step = report.plan.training.of(result.cell), epoch
        if isinstance(epoch, int):
            step = min(epoch * training.period(result.trained), training.steps_for(result.trained))
        rows.append(result_row(result, report.chance, found_epoch=epoch, found_step=step))
    return rows


def result_row(result: Result, chance: float, **found: object) -> dict[str, Any]:
    """Return a victim and what it learned, by column."""
    return {
        **_setting(result.cell),
        "seed": result.cell.seed,
        "accuracy_last": rounded(result.accuracy_last),
        "accuracy_best": rounded(result.accuracy_best),
        "best_epoch": result.best_epoch,
        **found,
        "train_accuracy": rounded(result.train_accuracy),
        "chance": rounded(chance),
        "trained": result.trained,
        "tested": result.tested,
    }


def _summaries(report: AuditReport) -> list[dict[str, Any]]:
    """Return the settings in the plan's order, each with its distance from its controls."""
    rows = {row.summary.setting: row for row in compare(report)}
    return [_summary(rows[summary.setting], report.chance) for summary in summaries(report)]


def _summary(row: Row, chance: float) -> dict[str, Any]:
    summary = row.summary
    return {
        **_setting(summary.cell),
        "seeds": summary.count,
        "last": _estimate(summary.last),
        "best": _estimate(summary.best),
        "found_epochs": [epoch or NOT_FOUND for epoch in summary.found],
        "train": rounded(summary.train),
        "minus_clean": rounded(row.minus_clean),
        "minus_remainder": rounded(row.minus_remainder),
        "chance": rounded(chance),
        "trained": summary.trained,
        "tested": summary.tested,
    }


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    return {name: rounded(value) for name, value in asdict(estimate).items()}


def rounded(value: float | None) -> float | None:
    """Return a number with as many places as reports have."""
    return None if value is None else round(value, _PLACES)


def as_csv(rows: Sequence[Mapping[str, object]], columns: Sequence[str] = ()) -> str:
    """Return a table; its header are the keys of the first row, or the columns if there is none.

    Texts are made printable, so that any file can hold them.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0] if rows else columns)
    for row in rows:
        values = row.values()
        writer.writerow([printable(value) if isinstance(value, str) else value for value in values])
    return text.getvalue()
