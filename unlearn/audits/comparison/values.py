"""A comparison as values: what is kept of each method, and the lines of the table."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from unlearn.audits.flags import find_flags
from unlearn.audits.plan import NONE, WHOLE, Arm, AuditPlan, Cell
from unlearn.audits.report import Result, Subject
from unlearn.audits.statistics import Summary, setting_of, summarise

CONTROLS: Final[tuple[Arm, ...]] = ("clean", "placebo")
MEANINGS: Final = {
    "clean": "the pictures without any noise: what a copier gets from unprotected pictures",
    "placebo": "random noise as strong as the bound allows, at least as strong as any bounded "
    "method's: what noise without knowledge does",
}


@dataclass(frozen=True)
class Part:
    """The event that the victims of the controls or of a method are about to be trained."""

    name: str
    victims: int
    seconds: float  # by a short trial


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What is measured on a sample of copies, as means.

    visible is CIEDE2000 on plain areas, seen the same at arm's length (S-CIELAB). left is the share
    of the noise that each way of encoding leaves, None where it holds no such picture.
    """

    sampled: int
    side: int  # the longest of the sampled pictures
    visible: float
    seen: float
    left: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of a method, or of the controls; results come last, of all victims at once.

    name is that of the method, "" for the controls. identity names all that decides the numbers,
    common what of that all parts share. Seconds are those of the processor, None where a
    run was killed within; passes are forward+backward passes of one picture for its noise.
    """

    identity: str
    name: str = ""
    common: str = ""
    training_seconds: float | None = None
    noise_seconds: float | None = None
    passes: int = 0
    bounded: bool = True
    settings: dict[str, Any] = field(default_factory=dict)
    subject: Subject | None = None
    looks: Looks | None = None
    environment: dict[str, str] = field(default_factory=dict)  # of the controls
    results: tuple[Result, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A method of a comparison; refusal is why it has no numbers, if it never will."""

    name: str
    summary: str
    record: Record | None = None
    refusal: str = ""


@dataclass(frozen=True)
class Line:
    """A line of the table: a control or a method, and its summary under each column, if any."""

    name: str
    entry: Entry | None
    summaries: tuple[Summary | None, ...]

    @property
    def worst(self) -> int | None:
        """The column under which the copier got most out of the pictures."""
        found = [(one.last.mean, -n) for n, one in enumerate(self.summaries) if one]
        return -max(found)[1] if found else None

    def at(self, column: int | None) -> Summary | None:
        """Return the summary under a column."""
        return None if column is None else self.summaries[column]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that a comparison found so far."""

    plan: AuditPlan
    budget: str
    rho: str
    subject: Subject
    controls: tuple[Result, ...]
    entries: tuple[Entry, ...]
    environment: Mapping[str, str]

    @property
    def chance(self) -> float:
        """The accuracy of guessing, in 0…1."""
        return self.subject.chance

    @property
    def columns(self) -> tuple[Cell, ...]:
        """The settings of copiers, as protected cells with seed 0, in the plan's order."""
        planned = (setting_of(cell) for cell in self.plan.cells() if cell.arm == "protected")
        known = {replace(setting_of(one.cell), arm="protected") for one in self.controls}
        return tuple(cell for cell in dict.fromkeys(planned) if cell in known)

    def grown(self) -> "Comparison":
        """Return the comparison with a plan that holds every setting with results."""
        found = [result.cell for entry in self.entries for result in _results(entry)]
        cells = (*self.plan.cells(), *(result.cell for result in self.controls), *found)

        def every(name: str) -> tuple[Any, ...]:
            """Return the values of a field of the cells, once each."""
            return tuple(dict.fromkeys(getattr(cell, name) for cell in cells))

        radii = tuple(sorted(every("rho_a")))
        countered = any(cell.countermeasure != NONE and cell.rho_a > radii[0] for cell in cells)
        plan = replace(
            self.plan,
            architectures=every("architecture"),
            rho_a=radii,
            countermeasures=every("countermeasure"),
            placebo=any(cell.arm == "placebo" for cell in cells),
            countermeasures_at="all" if countered else self.plan.countermeasures_at,
            decays=every("decay"),
            seeds=tuple(sorted(every("seed"))),
        )
        return replace(self, plan=plan)

    @property
    def lines(self) -> tuple[Line, ...]:
        """The controls, then every method in the order in which they were named."""
        controls = [Line(arm, None, self._row(arm, self.controls)) for arm in CONTROLS]
        methods = [
            Line(entry.name, entry, self._row("protected", _results(entry)))
            for entry in self.entries
        ]
        return (*(line for line in controls if any(line.summaries)), *methods)

    @property
    def flags(self) -> tuple[tuple[str, str, str], ...]:
        """Reasons to doubt: method ("" for the controls), name of the flag, what it says."""
        own = find_flags(self.plan, self.subject, self.controls)
        found = [("", flag.name, flag.message) for flag in own]
        for entry in self.entries:
            if entry.record and entry.record.subject and entry.record.results:
                results = (*self.controls, *entry.record.results)
                flags = find_flags(self.plan, entry.record.subject, results)
                found += [(entry.name, f.name, f.message) for f in flags if f not in own]
        return tuple(found)

    def _row(self, arm: Arm, results: tuple[Result, ...]) -> tuple[Summary | None, ...]:
        found = {summary.setting: summary for summary in summarise(self.plan, results)}
        return tuple(found.get(replace(cell, arm=arm, fraction=WHOLE)) for cell in self.columns)


def _results(entry: Entry) -> tuple[Result, ...]:
    return entry.record.results if entry.record else ()
