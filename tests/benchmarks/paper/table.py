"""The journal as Markdown: every published number beside ours; what is not measured is empty."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tests.benchmarks.paper import published
from tests.benchmarks.paper.journal import Journal, Line
from tests.benchmarks.paper.plan import (
    CLEAN,
    DATA,
    DECAYS,
    FAST,
    LEVELS,
    OURS,
    PLACEBO,
    SHARES,
    SURROGATE,
    VICTIMS,
    Noise,
    Scale,
    Unit,
    Victim,
    units,
)
from unlearn.audits.plan import WHOLE, Decay

_TITLES = {
    "table3": "Table 3: victims trained adversarially with different radii",
    "table4": "Table 4: other victims, ρa = 4/255",
    "table5": "Table 5: other surrogates, ρa = 4/255",
    "table6": "Table 6: a part of the pictures protected",
    "figure1": "Figure 1: the surrogate on clean test pictures during its training",
}
_UNPUBLISHED_RADII = (6, 8)
_MINI = """\
**These numbers mean nothing.** They come from the mini scale: a few pictures, thin networks and a
handful of steps, just enough to run every plan to its end on two CPU cores. The measured tables are
in paper.md.
"""
_PAPER = """\
The authors' setting: ResNet-18 surrogate, 5,000 steps with 5 views and one final pass; victims of
40,000 steps of 128 pictures, PGD-10 with steps of ρa/5, random flips and padded crops. *decayed* is
the rate x0.1 every 16,000 steps, *constant* stays at 0.1: the published columns clean, EM, TAP and
NTGA very probably come from the first, the authors' own from the second. Victims have the seeds
101, 102 and 103 and the surrogate has seed 1, so none shares initial weights with it. ImageNet
cells stay empty: there are no pictures.
"""
_NOTE = """\
Columns *paper* are copied (tests/benchmarks/paper/published.py), columns *ours* are measured here:
test accuracy in percent after the last step, mean ± standard deviation over victim seeds (number of
seeds), and the best measurement of a training, which no copier could choose. An empty cell was not
measured. *placebo* is random noise as strong as ours. Lower is better protection.
"""


@dataclass(frozen=True)
class Row:
    """A line of a table: names, the published numbers, and the settings that were measured."""

    labels: tuple[str, ...]
    published: tuple[float | None, ...]
    measured: tuple[Victim | None, ...]  # of any seed
    remark: str = ""


def page(journal: Journal, scale: Scale) -> str:
    """Return the whole page for a scale."""
    return "\n".join(
        (
            f"# The paper's tables{', mini scale' if scale.name == 'mini' else ''}\n",
            "Written by `python -m tests.benchmarks.paper`; edits are lost.\n",
            _MINI if scale.name == "mini" else _PAPER,
            _NOTE,
            _progress(journal, scale),
            *(f"{_section(name, journal, scale)}" for name in _TITLES if name != "figure1"),
            _figure1(journal, scale),
            _generators(journal, scale),
        )
    )


def _progress(journal: Journal, scale: Scale) -> str:
    """Return how much of each plan is done."""
    lines = ["| plan | measured | of |", "|---|---|---|"]
    for name in _TITLES:
        wanted = units(name, scale)
        lines.append(
            f"| {name} | {sum(_has(journal, unit, scale) for unit in wanted)} | {len(wanted)} |"
        )
    return "\n".join(lines) + "\n"


def _has(journal: Journal, unit: Unit, scale: Scale) -> bool:
    return journal.of(unit, scale) is not None


def _section(name: str, journal: Journal, scale: Scale) -> str:
    """Return one table with its heading."""
    labels, columns, measured, rows = _TABLES[name]
    heads = (
        *labels,
        *(f"paper: {column}" for column in columns),
        *(f"ours: {column}" for column in measured),
        "hardware",
        "commit",
    )
    lines = [f"## {_TITLES[name]}\n", _line(heads), "|" + "---|" * len(heads)]
    lines += [_line(_cells(row, journal, scale)) for row in rows()]
    return "\n".join(lines) + "\n"


def _cells(row: Row, journal: Journal, scale: Scale) -> Iterator[str]:
    """Yield the texts of a row."""
    yield from row.labels
    yield from ("" if value is None else f"{value:.2f}" for value in row.published)
    found = [_lines(victim, journal, scale) for victim in row.measured]
    yield from map(accuracy, found)
    everything = [line for lines in found for line in lines]
    yield row.remark or _names(map(_hardware, everything))
    yield _names(str(line["commit"]) for line in everything)


def _hardware(line: Line) -> str:
    """Return the machine of a line, and whether its pictures were none."""
    return f"{line['device']}, {line['precision']}{', drawn pictures' * line['drawn']}"


def _lines(victim: Victim | None, journal: Journal, scale: Scale) -> list[Line]:
    """Return what the seeds of a setting learned."""
    if victim is None:
        return []
    found = (journal.of(replace(victim, seed=seed), scale) for seed in scale.seeds)
    return [line for line in found if line is not None]


def accuracy(lines: Sequence[Line]) -> str:
    """Return mean ± spread (seeds) of the last and the mean best accuracy, in percent, or ""."""
    if not lines:
        return ""
    last = [100 * line["last"] for line in lines]
    spread = f" ± {statistics.stdev(last):.1f}" if len(last) > 1 else ""
    best = statistics.fmean(100 * line["best"] for line in lines)
    lost = sum(line["diverged"] for line in lines)
    end = f", {lost} diverged" if lost else ""
    return f"{statistics.fmean(last):.1f}{spread} ({len(last)}), best {best:.1f}{end}"


def _names(found: Iterator[str]) -> str:
    """Return different texts once, in order."""
    return "; ".join(dict.fromkeys(found))


def _line(cells: Sequence[str] | Iterator[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _victim(data: str, method: str, decay: Decay, **changes: object) -> Victim:
    """Return a setting: ResNet-18 from ResNet-18 at ρa 4/255 but for the changes."""
    usual = Victim("", data, method, SURROGATE, SURROGATE, LEVELS(4), WHOLE, decay, 0)
    changed = replace(usual, **changes)  # type: ignore[arg-type]
    return replace(changed, surrogate="") if method == CLEAN else changed


def _rows3() -> Iterator[Row]:
    """Yield a row for each data set, radius and rate; ImageNet stays empty."""
    extra = {("cifar10", levels): (None,) * 7 for levels in _UNPUBLISHED_RADII}
    numbers: dict[tuple[str, int], tuple[float | None, ...]] = {**published.TABLE3, **extra}
    for (data, levels), values in sorted(numbers.items(), key=_by_data):
        if data not in DATA:
            yield Row((data, f"{levels}/255", ""), values, (None,) * 5, "no pictures")
            continue
        for decay in DECAYS:
            measured = tuple(
                _victim(data, method, decay, rho_a=LEVELS(levels))
                for method in (CLEAN, PLACEBO, "error-minimising", OURS, FAST)
            )
            yield Row((data, f"{levels}/255", decay), values, measured)


def _by_data(item: tuple[tuple[str, int], object]) -> tuple[int, int]:
    (data, levels), _ = item
    return [*DATA, "imagenet100"].index(data), levels


def _rows4() -> Iterator[Row]:
    for (data, network), values in published.TABLE4.items():
        for decay in DECAYS:
            pair = (_victim(data, method, decay, network=network) for method in (CLEAN, OURS))
            yield Row((data, network, decay), values, tuple(pair))


def _rows5() -> Iterator[Row]:
    for (data, surrogate), rows in published.TABLE5.items():
        for number, network in enumerate(VICTIMS):
            values = tuple(row[number] for row in rows)
            for decay in DECAYS:
                pair = (
                    _victim(data, method, decay, network=network, surrogate=surrogate)
                    for method in (CLEAN, OURS)
                )
                yield Row((data, surrogate, network, decay), values, tuple(pair))


def _rows6() -> Iterator[Row]:
    for (data, levels), rows in published.TABLE6.items():
        for number, share in enumerate((*SHARES, WHOLE)):
            rest = published.REMAINDERS[data, levels][number] if share < 1 else None
            values = (rest, *(row[number] for row in rows))
            for decay in DECAYS:
                ours = _victim(data, OURS, decay, rho_a=LEVELS(levels), share=share)
                alone = replace(ours, method=CLEAN, surrogate="") if share < 1 else None
                labels = (data, f"{levels}/255", f"{int(100 * share)} %", decay)
                yield Row(labels, values, (alone, ours))


_TABLES = {  # names of a row, columns of the paper, columns of ours, rows
    "table3": (
        ("data", "ρa", "rate"),
        published.METHODS,
        (CLEAN, PLACEBO, "error-minimising", OURS, FAST),
        _rows3,
    ),
    "table4": (("data", "victim", "rate"), published.METHODS, (CLEAN, OURS), _rows4),
    "table5": (
        ("data", "surrogate", "victim", "rate"),
        published.REUSED,
        (CLEAN, OURS),
        _rows5,
    ),
    "table6": (
        ("data", "ρa", "protected", "rate"),
        ("remainder", *published.MIXED),
        ("remainder", OURS),
        _rows6,
    ),
}


def _figure1(journal: Journal, scale: Scale) -> str:
    """Return the curves of the generators side by side: accuracy in percent and R_p (Eq. 5)."""
    noises = [unit for unit in units("figure1", scale) if isinstance(unit, Noise)]
    curves = {noise: (journal.of(noise, scale) or {}).get("curve", {}) for noise in noises}
    heads = ["step"]
    for noise in noises:
        heads += [f"{noise.method}: accuracy", f"{noise.method}: R_p"]
    lines = [
        f"## {_TITLES['figure1']}\n",
        "The paper shows curves without numbers. *unconstrained* is ours without Eq. 7.\n",
        _line(heads),
        "|" + "---|" * len(heads),
    ]
    steps = sorted({step for curve in curves.values() for step in curve.get("step", ())})
    for step in steps:
        lines.append(
            _line((str(step), *(text for curve in curves.values() for text in _at(curve, step))))
        )
    return "\n".join(lines) + "\n"


def _at(curve: Line, step: int) -> tuple[str, str]:
    """Return accuracy and randomness at a step, or nothing."""
    if step not in curve.get("step", ()):
        return "", ""
    place = curve["step"].index(step)
    accurate = 100 * curve["clean_test_accuracy"][place]
    return f"{accurate:.1f}", f"{curve['average_prediction_randomness'][place]:.4f}"


def _generators(journal: Journal, scale: Scale) -> str:
    """Return what the generators took."""
    heads = ("data", "method", "surrogate", "passes", "seconds", "hardware", "commit")
    lines = ["## Generators\n", _line(heads), "|" + "---|" * len(heads)]
    for line in journal.lines:
        if line["kind"] == "generator" and line["scale"] == scale.name:
            cost = f"{line['passes']:,}", f"{line['seconds']:.0f}"
            names = (line["data"], line["method"], line["surrogate"])
            lines.append(_line((*names, *cost, _hardware(line), line["commit"])))
    return "\n".join(lines) + "\n"
