"""The page of the ablations, from their journal."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Line = Mapping[str, Any]

_HEAD = """# Recipes and options, mini scale

Written by `python -m tests.benchmarks.ablations cifar-10-batches-py`; edits are lost.

5,000 training and 2,500 test pictures of CIFAR-10, rho 8/255, the small residual network as
surrogate (seed 1) and as victim (seeds 101, 102, 103; 12 epochs of 64 pictures, cosine rate, flips
and padded crops; at ρa = 4/255 PGD of 4 steps of 2/255). Generators train in batches of 32, so that
each picture is visited as often as one of 50,000 is at full scale. Accuracies on clean test
pictures in percent after the last epoch, mean ± standard deviation over seeds, in brackets the best
epoch; chance is 10. **Lower is better protection.** *passes*: forward+backward passes a picture,
training and final noise; *CPU s*: one thread of a shared machine, noise for all pictures included;
*projected*: the copier takes the directions out that a linear classifier finds (orthogonal
projection). Clean and placebo victims are those of the CPU-sized proof (cpu_proof.md), trained
alike with the same seeds. Machine {machine}, torch {torch}, bf16, one thread a training.
"""
_MAIN = """
## Recipes

| trained on | passes | CPU s | ρa = 4/255 | ρa = 0 | ρa = 0, projected |
|---|---|---|---|---|---|
"""
_OPTIONS = """
## Options, each added to the base

The base is {base}. *difference* is at ρa = 4/255, with its standard error; a row is called lower or
higher where that is beyond two of them, which three seeds can show for large effects only.

| option | passes | CPU s | ρa = 4/255 | difference | reads as | ρa = 0 |
|---|---|---|---|---|---|---|
"""


def page(journal: Sequence[Line], words: Mapping[str, str], main: Sequence[str]) -> str:
    """Return the page; main arms go into the first table, all others are options of "base"."""
    victims = [line for line in journal if "last" in line]
    seen = victims[0] if victims else {"machine": "?", "torch": "?"}
    parts = [_HEAD.format(machine=seen["machine"], torch=seen["torch"]), _MAIN]
    parts += [_main_row(arm, words.get(arm, arm), journal) + "\n" for arm in main]
    parts.append(_OPTIONS.format(base=words["base"]))
    options = [arm for arm in words if arm not in main]
    parts += [f"{row}\n" for arm in options if (row := _option_row(arm, words[arm], journal))]
    return "".join(parts)


def _main_row(arm: str, words: str, journal: Sequence[Line]) -> str:
    cells = [_cell(_found(journal, arm, *where)) for where in _COLUMNS]
    return f"| {words} | {_cost(arm, journal)} | {' | '.join(cells)} |"


_COLUMNS = (("4/255", "none"), ("0/255", "none"), ("0/255", "projection"))


def _option_row(arm: str, words: str, journal: Sequence[Line]) -> str:
    found = [_found(journal, arm, *where) for where in _COLUMNS[:2]]
    if not found[0]:
        return ""
    base = _found(journal, "base", *_COLUMNS[0])
    gap, error = difference(_values(found[0]), _values(base))
    return (
        f"| {words} | {_cost(arm, journal)} | {_cell(found[0])} | {gap:+.1f} ± {error:.1f} | "
        f"{verdict(gap, error)} | {_cell(found[1])} |"
    )


def difference(values: Sequence[float], base: Sequence[float]) -> tuple[float, float]:
    """Return the difference of two means and its standard error (Welch); nan without spread."""
    if not values or not base:
        return math.nan, math.nan
    gap = statistics.mean(values) - statistics.mean(base)
    if min(len(values), len(base)) < 2:
        return gap, math.nan
    shares = [statistics.variance(part) / len(part) for part in (values, base)]
    return gap, math.sqrt(sum(shares))


def verdict(gap: float, error: float) -> str:
    """Return what a difference reads as: beyond two standard errors, or nothing."""
    if math.isnan(error):
        return "too few seeds"
    if abs(gap) <= 2 * error:
        return "no difference seen"
    return "lower" if gap < 0 else "higher"


def _found(journal: Sequence[Line], arm: str, rho_a: str, countermeasure: str) -> list[Line]:
    wanted = (arm, rho_a, countermeasure)
    return [
        line
        for line in journal
        if "last" in line and (line["arm"], line["rho_a"], line["countermeasure"]) == wanted
    ]


def _values(lines: Sequence[Line], which: str = "last") -> list[float]:
    return [100 * line[which] for line in lines]


def _cost(arm: str, journal: Sequence[Line]) -> str:
    made: Iterator[Line] = (n for n in journal if n["arm"] == arm and "passes" in n)
    return next((f"{line['passes']} | {line['cpu_seconds']:,}" for line in made), " | ")


def _cell(lines: Sequence[Line]) -> str:
    """Return mean ± deviation, the best epoch's mean, and the seeds unless there are three."""
    if not lines:
        return ""
    values, best = _values(lines), statistics.mean(_values(lines, "best"))
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    seeds = "" if len(values) == 3 else f", {len(values)} seed" + "s" * (len(values) > 1)
    return f"{statistics.mean(values):.1f}{spread} ({best:.1f}{seeds})"
