"""A comparison as plain values: the JSON object and the table of numbers."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from unlearn import __version__
from unlearn.audits.comparison.values import MEANINGS, Comparison, Entry, Line
from unlearn.audits.plan import Cell
from unlearn.audits.render.plain import as_csv, result_row, rounded
from unlearn.audits.render.words import DEFINITION
from unlearn.audits.report import Result
from unlearn.audits.statistics import Summary
from unlearn.config import to_plain
from unlearn.limits import LIMITS

NOT_MEASURED: Final = (
    "Each method ran with one generator from one seed: how much another generator of the same "
    "method differs is not measured.",
    "Countermeasures are tried one at a time and at the smallest ρa only; nobody combined them.",
    "All pictures are protected: sets of which a part is clean are not measured.",
    "Seconds are those of this machine's processor; reading, writing and encoding files in worker "
    "processes is not in them.",
    "The placebo is noise at the bound. It says nothing of methods that keep no bound and are "
    "stronger than that.",
)


def as_object(found: Comparison) -> dict[str, Any]:
    """Return the whole comparison as one JSON object; accuracies are in 0…1.

    Two comparisons with the same settings, pictures and machine differ in `timings` and in the
    command and start of `environment` only.
    """
    lines = found.lines
    return {
        "tool": __version__,
        "budget": found.budget,
        "rho": found.rho,
        "settings": to_plain(found.plan),
        "subject": to_plain(found.subject),
        "definition": DEFINITION,
        "chance": rounded(found.chance),
        "controls": [_control(found, line) for line in lines if line.entry is None],
        "methods": [_method(found, line, line.entry) for line in lines if line.entry],
        "results": list(_results(found)),
        "flags": [{"method": m, "name": name, "message": text} for m, name, text in found.flags],
        "environment": dict(found.environment),
        "not_measured": list(NOT_MEASURED),
        "limits": LIMITS,
        "timings": _timings(found),
    }


def as_json(found: Comparison) -> str:
    """Return comparison.json: pure ASCII."""
    return json.dumps(as_object(found), indent=2, allow_nan=False) + "\n"


def comparison_csv(found: Comparison) -> str:
    """Return comparison.csv: a row for each line and setting, numbers as in the JSON."""
    return as_csv(
        [
            {"name": line.name, **accuracy, **_csv_facts(line.entry)}
            for line in found.lines
            for accuracy in _accuracies(found, line)
        ]
    )


def state_of(entry: Entry) -> str:
    """Return how far a method is, in a word."""
    if entry.refusal:
        return "refused"
    return "finished" if entry.record and entry.record.results else "unfinished"


def _control(found: Comparison, line: Line) -> dict[str, Any]:
    return {
        "name": line.name,
        "meaning": MEANINGS[line.name],
        "accuracies": _accuracies(found, line),
    }


def _method(found: Comparison, line: Line, entry: Entry) -> dict[str, Any]:
    record = entry.record
    worst = line.at(line.worst)
    return {
        "name": entry.name,
        "summary": entry.summary,
        "state": state_of(entry),
        "refusal": entry.refusal,
        "settings": record.settings if record else {},
        **_facts(entry),
        "copies": to_plain(record.subject) if record else None,
        "worst": worst and {**_setting(worst.cell), "last": rounded(worst.last.mean)},
        "accuracies": _accuracies(found, line),
    }


def _facts(entry: Entry) -> dict[str, Any]:
    """Return what is measured besides accuracies, without seconds."""
    record = entry.record
    subject, looks = (record.subject, record.looks) if record else (None, None)
    return {
        "bounded": record.bounded if record else None,
        "passes_a_picture": record.passes if record else None,
        "visible": rounded(looks.visible) if looks else None,
        "seen": rounded(looks.seen) if looks else None,
        "left_jpeg75": rounded(looks.left["jpeg75"]) if looks else None,
        "left_box256_jpeg95": rounded(looks.left["box256-jpeg95"]) if looks else None,
        "sampled": looks.sampled if looks else None,
        "largest_change": subject.largest_change if subject else None,
        "mean_change": rounded(subject.mean_change) if subject else None,
    }


def _csv_facts(entry: Entry | None) -> dict[str, Any]:
    """Return the same for a row, empty for controls, and the seconds."""
    record = entry.record if entry else None
    seconds = (record.training_seconds, record.noise_seconds) if record else (None, None)
    facts = _facts(entry or Entry("", ""))
    training, noise = (None if value is None else round(value, 3) for value in seconds)
    return {
        **facts,
        "state": state_of(entry) if entry else "finished",
        "training_seconds": training,
        "noise_seconds": noise,
    }


def _accuracies(found: Comparison, line: Line) -> list[dict[str, Any]]:
    """Return a row for each setting; what was not trained is None."""
    clean = found.lines[0].summaries
    if line.entry is None and line.name == "clean":
        clean = (None,) * len(clean)
    return [_accuracy(*three) for three in zip(found.columns, line.summaries, clean, strict=True)]


def _accuracy(cell: Cell, summary: Summary | None, clean: Summary | None) -> dict[str, Any]:
    minus = summary.last.mean - clean.last.mean if summary and clean else None
    row: dict[str, Any] = {**_setting(cell), "seeds": summary.count if summary else 0}
    for name in ("last", "best"):
        estimate = asdict(getattr(summary, name)) if summary else {}
        for part in ("mean", "spread", "low", "high"):
            row[name if part == "mean" else f"{name}_{part}"] = rounded(estimate.get(part))
    return row | {
        "train": rounded(summary.train) if summary else None,
        "minus_clean": rounded(minus),
        "trained": summary.trained if summary else None,
        "tested": summary.tested if summary else None,
    }


def _setting(cell: Cell) -> dict[str, Any]:
    return {
        "architecture": cell.architecture,
        "rho_a": str(cell.rho_a),
        "countermeasure": cell.countermeasure,
        "schedule": cell.decay,
    }


def _all_results(found: Comparison) -> Iterator[tuple[str, Result]]:
    """Yield every victim in the plan's order with its method's name, "" for the controls."""
    order = {cell: number for number, cell in enumerate(found.plan.cells())}
    parts = [("", found.controls)]
    parts += [(entry.name, entry.record.results) for entry in found.entries if entry.record]
    for name, results in parts:
        for result in sorted(results, key=lambda one: order[one.cell]):
            yield name, result


def _results(found: Comparison) -> Iterator[dict[str, Any]]:
    for name, result in _all_results(found):
        curve = [rounded(point.accuracy) for point in result.curve]
        yield {"method": name, **result_row(result, found.chance), "curve": curve}


def _timings(found: Comparison) -> list[dict[str, Any]]:
    """Return the seconds of generators and victims."""
    names = {entry.name: entry.record for entry in found.entries}
    rows: list[dict[str, Any]] = [
        {
            "method": name,
            "training_seconds": record.training_seconds if record else None,
            "noise_seconds": record.noise_seconds if record else None,
        }
        for name, record in names.items()
    ]
    rows += [
        {"method": name, "victim": result.cell.key, "seconds": round(result.seconds, 3)}
        for name, result in _all_results(found)
    ]
    return rows
