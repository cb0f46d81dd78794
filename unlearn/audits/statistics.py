"""Statistics: what the seeds of one setting say together, and how far test pictures can be off."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from unlearn.audits.plan import WHOLE, Arm, AuditPlan, Cell
from unlearn.audits.report import AuditReport, Result

_QUANTILE = 1.959963984540054  # of the normal distribution, for 95 %


LEAD: Final = 0.05  # in training accuracy, in some epoch, for noise that a victim has found
_NOISY: Final[tuple[Arm, ...]] = ("placebo", "motif", "protected")


@dataclass(frozen=True)
class Estimate:
    """An accuracy in 0…1 over seeds.

    spread is the standard deviation between seeds, None with one. low … high is the 95 % interval
    that the number of test pictures leaves open for the mean; seeds share these pictures, so more
    seeds do not narrow it.
    """

    mean: float
    spread: float | None
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the victims of one setting learned; cell is that of its first seed.

    count is the number of seeds, last and best are on held-out clean pictures, train is the mean
    accuracy on what was trained on. found has for each seed the epoch in which the noise was found,
    None where it was not; it is empty where there is no noise, or no control to compare with.
    """

    cell: Cell
    count: int
    last: Estimate
    best: Estimate
    train: float
    trained: int
    tested: int
    found: tuple[int | None, ...] = ()

    @property
    def setting(self) -> Cell:
        """The cell without its seed: equal for all victims of this setting."""
        return setting_of(self.cell)


def wilson(accuracy: float, tested: int) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy measured on so many pictures (Wilson, 1927)."""
    if tested < 1:
        return 0.0, 1.0
    square = _QUANTILE**2 / tested
    centre = accuracy + square / 2
    half = math.sqrt(accuracy * (1 - accuracy) * square + square**2 / 4)
    return max(0.0, (centre - half) / (1 + square)), min(1.0, (centre + half) / (1 + square))


def setting_of(cell: Cell) -> Cell:
    """Return the cell with seed 0, which names its setting."""
    return replace(cell, seed=0)


def summaries(report: AuditReport) -> tuple[Summary, ...]:
    """Return one summary for each setting that has results, in the plan's order."""
    return summarise(report.plan, report.results)


def summarise(plan: AuditPlan, results: Iterable[Result]) -> tuple[Summary, ...]:
    """Return one summary for each setting of the plan that has results, in the plan's order."""
    groups: dict[Cell, list[Result]] = {setting_of(cell): [] for cell in plan.cells()}
    ordered = sorted(results, key=lambda result: result.cell.seed)
    found = found_epochs(ordered)
    for result in ordered:
        groups.setdefault(setting_of(result.cell), []).append(result)
    return tuple(_summary(group, found) for group in groups.values() if group)


def found_epochs(results: Iterable[Result]) -> dict[Cell, int | None]:
    """Return for each victim of noisy pictures the epoch in which it found the noise, if it did.

    A victim has no entry without a clean control of its seed and setting.
    """
    by_cell = {result.cell: result for result in results}
    controls = {
        cell: by_cell.get(replace(cell, arm="clean", fraction=WHOLE))
        for cell in by_cell
        if cell.arm in _NOISY
    }
    return {cell: _found(by_cell[cell], clean) for cell, clean in controls.items() if clean}


def _found(noisy: Result, clean: Result) -> int | None:
    """Return the epoch in which the training accuracy passes the control's, never to fall below.

    None if it is nowhere at least LEAD above it from there on: less may be chance.
    """
    leads = {
        mine.epoch: mine.train_accuracy - other.train_accuracy
        for mine, other in zip(noisy.curve, clean.curve, strict=False)  # one may have diverged
    }
    below = max((epoch for epoch, lead in leads.items() if lead < 0), default=0)
    above = {epoch: lead for epoch, lead in leads.items() if epoch > below and lead > 0}
    return min(above) if max(above.values(), default=0.0) >= LEAD else None


def _summary(results: Sequence[Result], found: dict[Cell, int | None]) -> Summary:
    first = results[0]
    return Summary(
        cell=first.cell,
        count=len(results),
        last=_estimate([result.accuracy_last for result in results], first.tested),
        best=_estimate([result.accuracy_best for result in results], first.tested),
        train=statistics.fmean(result.train_accuracy for result in results),
        trained=first.trained,
        tested=first.tested,
        found=tuple(found[result.cell] for result in results if result.cell in found),
    )


def _estimate(values: Sequence[float], tested: int) -> Estimate:
    mean = statistics.fmean(values)
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Estimate(mean, spread, *wilson(mean, tested))
