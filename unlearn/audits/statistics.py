"""Statistics: what the seeds of one setting say together, and how far test pictures can be off."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from unlearn.audits.plan import AuditPlan, Cell
from unlearn.audits.report import AuditReport, Result

_QUANTILE = 1.959963984540054  # of the normal distribution, for 95 %


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
    accuracy on what was trained on.
    """

    cell: Cell
    count: int
    last: Estimate
    best: Estimate
    train: float
    trained: int
    tested: int

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
    for result in sorted(results, key=lambda result: result.cell.seed):
        groups.setdefault(setting_of(result.cell), []).append(result)
    return tuple(_summary(group) for group in groups.values() if group)


def _summary(results: Sequence[Result]) -> Summary:
    first = results[0]
    return Summary(
        cell=first.cell,
        count=len(results),
        last=_estimate([result.accuracy_last for result in results], first.tested),
        best=_estimate([result.accuracy_best for result in results], first.tested),
        train=statistics.fmean(result.train_accuracy for result in results),
        trained=first.trained,
        tested=first.tested,
    )


def _estimate(values: Sequence[float], tested: int) -> Estimate:
    mean = statistics.fmean(values)
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Estimate(mean, spread, *wilson(mean, tested))
