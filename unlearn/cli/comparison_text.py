"""What `unlearn audit --compare` prints: a table of accuracies, one of all else, and the flags."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from unlearn.audits.comparison.page import column_name, facts_of, headline
from unlearn.audits.comparison.values import Comparison, Line
from unlearn.audits.render.words import DEFINITION, bare, percent, spread_text
from unlearn.cli.console import Output, one_line

_FACTS = ("ΔE", "Seen", "J75", "256", "Max", "Mean", "Passes", "Train, s", "Noise, s")
_NOTE = (
    "Accuracies in percent at the end of training, one column a copier. ΔE: CIEDE2000 on plain "
    "areas, Seen: at arm's length. J75, 256: share of the noise left by JPEG 75 and by shrinking "
    "to 256 pixels. Max, Mean: change in 255ths; * keeps no bound. Passes: of one picture."
)


def print_comparison(found: Comparison, output: Output) -> None:
    """Print the account of a comparison on standard output, the definition before any number."""
    output.result(Text(DEFINITION), *(Text(one_line(text)) for text in headline(found)))
    output.result("", _accuracies(found), "", _facts([x for x in found.lines if x.entry]))
    output.result(Text(f"{_NOTE} Guessing gets {percent(found.chance)}."))
    refused = [entry for entry in found.entries if entry.refusal]
    output.result(*(Text(one_line(f"{e.name}: {e.refusal}"), style="yellow") for e in refused))
    if found.flags:
        raised: dict[str, dict[str, None]] = {}
        for method, name, _ in found.flags:
            raised.setdefault(name, {})[method or "controls"] = None
        told = "; ".join(f"{name} ({', '.join(where)})" for name, where in raised.items())
        output.result(Text(one_line(f"Flags, see the report: {told}"), style="yellow"))


def _accuracies(found: Comparison) -> Table:
    """Return a line for each control and method."""
    table = _table("Trained on")
    for column in range(len(found.columns)):
        table.add_column(column_name(found, column), justify="right")
    for line in found.lines:
        cells = [bare(spread_text(one.last)) if one else "-" for one in line.summaries]
        table.add_row(one_line(line.name), *cells, style="bold" if line.entry else None)
    return table


def _facts(lines: Sequence[Line]) -> Table:
    """Return what else is measured of each method."""
    table = _table("Method")
    for title in _FACTS:
        table.add_column(title, justify="right")
    for line in lines:
        cells = [text.replace(" %", "%") or "-" for text in facts_of(line)]
        table.add_row(one_line(line.name), *cells)
    return table


def _table(first: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(first)
    return table
