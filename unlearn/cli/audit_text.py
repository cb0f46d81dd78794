"""What `unlearn audit` prints: what was measured, a table for each network, and the flags."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from rich.table import Table
from rich.text import Text

from unlearn.audits.plan import NONE
from unlearn.audits.render.comparison import Row, compare
from unlearn.audits.render.flag_texts import title_of
from unlearn.audits.render.words import (
    DEFINITION,
    TOO_FEW,
    VISIBLE,
    bare,
    count,
    found_text,
    points,
    radius_text,
    spread_text,
    subject_text,
    visible_texts,
)
from unlearn.audits.report import AuditReport, Flag
from unlearn.cli.console import Output, one_line

_NAMED: Final = 3  # flags of one name in full; --verbose and the report have all
_NOTE: Final = (
    "vs clean: points against the clean control. Best: best epoch on the held-out pictures. "
    "Found: epoch in which the noise was found, for good. Train: on what was trained on."
)
_NOTE_REST: Final = " vs rest: points against the unprotected part alone."


def print_report(report: AuditReport, output: Output) -> None:
    """Print the account of an audit on standard output, the definition before any number."""
    output.result(Text(DEFINITION), Text(one_line(subject_text(report))))
    if any(flag.name == "too-few" for flag in report.flags):
        output.result(Text(TOO_FEW, style="bold yellow"))
    for _, rows in groupby(compare(report), lambda row: (row.cell.architecture, row.cell.decay)):
        victim = list(rows)
        output.result("", Text(_heading(report, victim), style="bold"), _table(report, victim))
    output.result(Text(_NOTE + (_NOTE_REST if _is_partly(report) else "")))
    if report.visibility:
        output.result("", _visible(report), Text(VISIBLE))
    if report.flags:
        named = len(report.flags) if output.verbose else _NAMED
        output.result("", *_flag_lines(report.flags, named), hang=2)
        output.result("The report says what each flag means and what to do.")


def _visible(report: AuditReport) -> Table:
    """Return how visible the noise of each arm is."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("Visible", "Measured on", "CIEDE2000", "As seen"):
        table.add_column(title, no_wrap=True)
    for one in report.visibility:
        table.add_row(one.arm, one.shown, *visible_texts(one))
    return table


def _heading(report: AuditReport, rows: Sequence[Row]) -> str:
    """Return what all rows of a table share."""
    cell, seeds = rows[0].cell, max(row.summary.count for row in rows)
    parts = [cell.architecture]
    if len(report.plan.decays) > 1:
        parts.append(f"{cell.decay} schedule")
    if not _is_countered(report):
        parts.append("no countermeasure")
    return one_line(", ".join([*parts, count(seeds, "seed")]))


def _is_partly(report: AuditReport) -> bool:
    return min(report.plan.fractions) < 1


def _is_countered(report: AuditReport) -> bool:
    return report.plan.countermeasures != (NONE,)


def _table(report: AuditReport, rows: Sequence[Row]) -> Table:
    """Return a row for each setting; columns in which nothing differs are left out."""
    partly, countered = _is_partly(report), _is_countered(report)
    table = Table(box=None, pad_edge=False, collapse_padding=partly, header_style="bold")
    wanted = {
        "Trained on": True,
        "Countermeasure": countered,
        "ρa": True,
        "Share": partly,
        "Last, %": True,
        "vs clean": True,
        "vs rest": partly,
        "Best": True,
        "Found": True,
        "Train": True,
    }
    titles = [title for title, is_wanted in wanted.items() if is_wanted]
    for title in titles:
        texts = title in {"Trained on", "Countermeasure"}
        heading = title.replace("vs ", "vs\n") if partly else title
        table.add_column(heading, justify="left" if texts else "right", no_wrap=not texts)
    for row in rows:
        cells = {title: one_line(text) for title, text in _cells(row).items()}
        if partly:
            cells["Found"] = cells["Found"].replace(" ", "\n")
        style = "bold" if row.cell.arm == "protected" else None
        table.add_row(*(cells[title] for title in titles), style=style)
    return table


def _cells(row: Row) -> dict[str, str]:
    """Return what stands in a row by column."""
    cell, summary = row.cell, row.summary
    return {
        "Trained on": cell.arm,
        "Countermeasure": cell.countermeasure,
        "ρa": radius_text(cell.rho_a),
        "Share": "" if cell.arm == "clean" else str(cell.fraction),
        "Last, %": bare(spread_text(summary.last)),
        "vs clean": "" if row.minus_clean is None else points(row.minus_clean),
        "vs rest": "" if row.minus_remainder is None else points(row.minus_remainder),
        "Best": f"{100 * summary.best.mean:.1f}",
        "Found": found_text(summary.found),
        "Train": f"{100 * summary.train:.1f}",
    }


def _flag_lines(flags: Sequence[Flag], named: int) -> Iterator[Text]:
    """Yield a line for each flag, and one for those of the same name that are too many."""
    for name in dict.fromkeys(flag.name for flag in flags):
        found = [flag.message for flag in flags if flag.name == name]
        title = title_of(name)
        for message in found[:named]:
            yield Text(one_line(f"{title}: {message}"), style="yellow")
        if len(found) > named:
            yield Text(f"{title}: and {len(found) - named} more, see the report", style="yellow")
