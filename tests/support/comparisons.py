"""Comparisons with numbers that are made, not measured."""

from dataclasses import replace
from typing import Any

from tests.support.reports import ENVIRONMENT, SUBJECT, result
from unlearn.audits.comparison.values import Comparison, Entry, Looks, Record
from unlearn.audits.plan import NONE, AuditPlan, Cell, Training
from unlearn.audits.report import Result
from unlearn.radius import Radius

PLAN = AuditPlan(
    training=Training(32, 32),
    rho_a=tuple(map(Radius.of_levels, (0, 2, 4))),
    countermeasures=(NONE, "grey", "jpeg75", "projection"),
    seeds=(101, 102),
)
LOOKS = Looks(
    sampled=100,
    side=32,
    visible=2.5,
    seen=0.75,
    left={"jpeg75": 0.6, "box256-jpeg95": 0.9},
)


def moved(found: Result, by: float) -> Result:
    """A result with its accuracies moved."""
    last, best = found.accuracy_last + by, found.accuracy_best + by
    return replace(found, accuracy_last=last, accuracy_best=best)


def results_of(plan: AuditPlan, *arms: str, by: float = 0.0) -> tuple[Result, ...]:
    """What the victims of some arms learned."""
    cells: list[Cell] = [cell for cell in plan.cells() if cell.arm in arms]
    return tuple(moved(result(cell), by) for cell in cells)


def entry(name: str, by: float = 0.0, **changes: Any) -> Entry:
    """A finished method whose copiers learned a little more or less than usual."""
    record = Record(
        identity=name,
        training_seconds=100.0 * (1 + 10 * by),
        noise_seconds=20.0,
        passes=844,
        settings={"schedule": {"steps": 5}},
        subject=SUBJECT,
        looks=replace(LOOKS, visible=2.5 + 5 * by),
        results=results_of(PLAN, "protected", by=by),
    )
    return Entry(name, f"the idea of {name}", replace(record, **changes))


def comparison(*entries: Entry) -> Comparison:
    """A comparison of some methods with its controls."""
    return Comparison(
        plan=PLAN,
        budget="quick",
        rho="8/255",
        subject=SUBJECT,
        controls=results_of(PLAN, "clean", "placebo"),
        entries=entries,
        environment=ENVIRONMENT,
    )
