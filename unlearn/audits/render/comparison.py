"""Comparison: every setting beside its controls, in the order in which a person compares them."""

from dataclasses import dataclass, replace

from unlearn.audits.plan import ARMS, NONE, WHOLE, AuditPlan, Cell
from unlearn.audits.report import AuditReport
from unlearn.audits.statistics import Summary, setting_of, summaries


@dataclass(frozen=True)
class Row:
    """A setting and its distance from its controls in 0…1, None where there is no such control.

    minus_clean is against clean pictures that suffered the same countermeasure, minus_remainder,
    for a partly protected set, against its clean part alone.
    """

    summary: Summary
    minus_clean: float | None
    minus_remainder: float | None

    @property
    def cell(self) -> Cell:
        """The setting, as the cell of its first seed."""
        return self.summary.cell

    @property
    def group(self) -> Cell:
        """What a setting shares with those it is to be compared with: its clean control."""
        return control_of(self.cell)

    def includes(self, cell: Cell) -> bool:
        """Tell whether a cell is one of this setting's seeds."""
        return setting_of(cell) == self.summary.setting


def compare(report: AuditReport) -> tuple[Row, ...]:
    """Return a row for each setting, controls above what they are compared with."""
    found = {summary.setting: summary for summary in summaries(report)}
    ordered = sorted(found.values(), key=lambda summary: _order(report.plan, summary.cell))
    return tuple(_row(summary, found) for summary in ordered)


def control_of(cell: Cell) -> Cell:
    """Return the setting of the clean control: same network, adversary and countermeasure."""
    return replace(setting_of(cell), arm="clean", fraction=WHOLE)


def main_fraction_rows(report: AuditReport) -> tuple[Row, ...]:
    """Return the rows without countermeasure at the largest fraction, and their clean controls."""
    largest = max(report.plan.fractions)
    return tuple(
        row
        for row in compare(report)
        if row.cell.countermeasure == NONE
        and (row.cell.arm == "clean" or row.cell.fraction == largest)
    )


def _row(summary: Summary, found: dict[Cell, Summary]) -> Row:
    cell = summary.cell
    clean = None if cell.arm == "clean" else found.get(control_of(cell))
    remainder = None
    if cell.arm == "protected" and cell.fraction < 1:
        remainder = found.get(replace(summary.setting, arm="remainder"))
    return Row(summary, _difference(summary, clean), _difference(summary, remainder))


def _difference(summary: Summary, control: Summary | None) -> float | None:
    return None if control is None else summary.last.mean - control.last.mean


def _order(plan: AuditPlan, cell: Cell) -> tuple[object, ...]:
    """Return a key that puts comparable settings together, none before the countermeasures."""
    return (
        plan.architectures.index(cell.architecture),
        plan.decays.index(cell.decay),
        cell.countermeasure != NONE,
        plan.countermeasures.index(cell.countermeasure),
        cell.rho_a,
        cell.arm != "clean",
        -cell.fraction,
        ARMS.index(cell.arm),
    )
