"""Flags: reasons to doubt the numbers of an audit, each with a heading in docs/audit-flags.md."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from unlearn.audits.plan import NONE, WHOLE, Arm, AuditPlan, Cell
from unlearn.audits.report import Flag, Result, Subject
from unlearn.audits.statistics import Estimate, Summary, setting_of, summarise

MARGIN: Final = 0.10  # above chance, at the least, for a control that learned
FITTED: Final = 0.5  # of the way from chance to 1, on its own pictures, for a victim that learned
FITTED_HARDER: Final = 0.25  # the same, with an adversary or a countermeasure in the way
NOTICEABLE: Final = 0.05  # a drop below the clean control that is worth explaining
PEAK: Final = 0.10  # of the best epoch over the last
FEWEST_TRAINED: Final = 50  # training pictures of a class
FEWEST_TESTED: Final = 100


@dataclass(frozen=True)
class _Findings:
    """All that flags are found in; settings by their cell with seed 0."""

    plan: AuditPlan
    subject: Subject
    results: Sequence[Result]
    summaries: dict[Cell, Summary]

    def of(self, *arms: Arm) -> list[Summary]:
        """Return the summaries of some arms, in the plan's order."""
        return [summary for summary in self.summaries.values() if summary.cell.arm in arms]

    def beside(self, summary: Summary, arm: Arm) -> Summary | None:
        """Return the summary of another arm in the same setting, if there is one."""
        fraction = WHOLE if arm == "clean" else summary.cell.fraction
        return self.summaries.get(replace(summary.setting, arm=arm, fraction=fraction))


def find_flags(plan: AuditPlan, subject: Subject, results: Sequence[Result]) -> tuple[Flag, ...]:
    """Return every reason to doubt the results, in the order of FLAGS, with its numbers."""
    summaries = {summary.setting: summary for summary in summarise(plan, results)}
    findings = _Findings(plan, subject, results, summaries)
    return tuple(Flag(name, text) for name, rule in _RULES.items() for text in rule(findings))


def _diverged(findings: _Findings) -> Iterator[str]:
    for result in findings.results:
        if result.diverged:
            yield (
                f"{_name(result.cell)} with seed {result.cell.seed} diverged: its loss was no "
                f"longer a number in epoch {result.curve[-1].epoch}, and its accuracy of "
                f"{_percent(result.accuracy_last)} says nothing"
            )


def unjudged(plan: AuditPlan, subject: Subject, results: Sequence[Result]) -> tuple[str, ...]:
    """Return why protected victims cannot be judged: one diverged, or its control did not learn."""
    broken = {setting_of(result.cell) for result in results if result.diverged}
    learned = {s.setting: _learned(s, subject.chance) for s in summarise(plan, results)}
    reasons = []
    for cell in dict.fromkeys(setting_of(result.cell) for result in results):
        control = replace(cell, arm="clean", fraction=WHOLE)
        if cell.arm != "protected":
            continue
        if broken & {cell, control}:
            reasons.append(f"{_name(cell if cell in broken else control)} diverged")
        elif not learned.get(control):
            reasons.append(f"{_name(control)} did not learn")
    return tuple(dict.fromkeys(reasons))


def _learned(control: Summary, chance: float) -> bool:
    """Tell whether a clean control is clearly above guessing."""
    margin = min(MARGIN, (1 - chance) / 2)
    return control.last.low > chance + margin and not (
        chance <= 0.25 and control.last.mean <= 2 * chance
    )


def _control_did_not_learn(findings: _Findings) -> Iterator[str]:
    chance = findings.subject.chance
    for control in findings.of("clean"):
        last = control.last
        if not _learned(control, chance):
            yield (
                f"{_name(control.cell)} reaches {_percent(last.mean)} (95 % interval "
                f"{_percent(last.low)} to {_percent(last.high)}) where guessing gives "
                f"{_percent(chance)}, so nothing can be concluded beside it"
            )


def _victim_did_not_fit(findings: _Findings) -> Iterator[str]:
    chance = findings.subject.chance
    for summary in findings.of("clean", "protected"):
        harder = summary.cell.rho_a.value > 0 or summary.cell.countermeasure != NONE
        wanted = chance + (FITTED_HARDER if harder else FITTED) * (1 - chance)
        if summary.train < wanted:
            yield (
                f"{_name(summary.cell)} reaches {_percent(summary.train)} on the pictures it is "
                f"trained on, below {_percent(wanted)}: its {_percent(summary.last.mean)} on clean "
                "ones may be for want of training"
            )


def _control_below_protected(findings: _Findings) -> Iterator[str]:
    for protected in findings.of("protected"):
        control = findings.beside(protected, "clean")
        if control and control.last.high < protected.last.low:
            yield (
                f"{_name(protected.cell)} reaches {_percent(protected.last.mean)}, more than the "
                f"{_percent(control.last.mean)} of its clean control"
            )


def _no_effect(findings: _Findings) -> Iterator[str]:
    for protected in findings.of("protected"):
        control = findings.beside(protected, "clean")
        drop = control.last.mean - protected.last.mean if control else NOTICEABLE
        if control and drop < NOTICEABLE and protected.cell.fraction == WHOLE:
            yield (
                f"{_name(protected.cell)} reaches {_percent(protected.last.mean)} and its clean "
                f"control {_percent(control.last.mean)}: no protection shows in this setting"
            )


def _placebo_as_strong(findings: _Findings) -> Iterator[str]:
    for placebo in findings.of("placebo"):
        control, protected = (findings.beside(placebo, arm) for arm in ("clean", "protected"))
        if not control or not protected:
            continue
        drop = control.last.mean - protected.last.mean
        drop_by_placebo = control.last.mean - placebo.last.mean
        if drop >= NOTICEABLE and drop_by_placebo >= drop / 2:
            yield (
                f"{_name(placebo.cell)} loses {_points(drop_by_placebo)} to random noise, and "
                f"{_points(drop)} to protective noise of the same strength: at least half of the "
                "effect is that of any noise"
            )


def _motif_as_strong(findings: _Findings) -> Iterator[str]:
    for motif in findings.of("motif"):
        protected = findings.beside(motif, "protected")
        if protected and not any(
            motif_learned.mean - learned.mean > _spread(motif_learned, learned)
            for motif_learned, learned in (
                (motif.last, protected.last),
                (motif.best, protected.best),
            )
        ):
            yield (
                f"{_name(protected.cell)} reaches {_percent(protected.last.mean)} (best epoch "
                f"{_percent(protected.best.mean)}) and {_name(motif.cell)}, which nobody trained, "
                f"{_percent(motif.last.mean)} ({_percent(motif.best.mean)}): protection "
                "lowers neither by more than victims vary"
            )


def _spread(one: Estimate, other: Estimate) -> float:
    """Return how far two means may lie apart by chance, seeds or, of one seed, pictures."""
    if one.spread is None or other.spread is None:
        return max((estimate.high - estimate.low) / 2 for estimate in (one, other))
    return max(one.spread, other.spread)


def _best_far_above_last(findings: _Findings) -> Iterator[str]:
    for summary in findings.of("protected"):
        best, last = summary.best.mean, summary.last.mean
        if best - last >= PEAK:
            yield (
                f"{_name(summary.cell)} reaches {_percent(best)} in its best epoch and "
                f"{_percent(last)} in its last: a copier who stops early does better by "
                f"{_points(best - last)}"
            )


def _protected_helps(findings: _Findings) -> Iterator[str]:
    for mixed in findings.of("protected"):
        remainder = findings.beside(mixed, "remainder")
        if remainder and mixed.last.mean > remainder.last.mean:
            yield (
                f"{_name(mixed.cell)} reaches {_percent(mixed.last.mean)}, and "
                f"{_percent(remainder.last.mean)} without the protected pictures: they help the "
                f"copier by {_points(mixed.last.mean - remainder.last.mean)}"
            )


def _below_chance(findings: _Findings) -> Iterator[str]:
    chance = findings.subject.chance
    for summary in findings.summaries.values():
        last = summary.last
        if last.high < chance:
            yield (
                f"{_name(summary.cell)} reaches {_percent(last.mean)} (95 % interval to "
                f"{_percent(last.high)}), less than the {_percent(chance)} of guessing"
            )


def _test_in_training(findings: _Findings) -> Iterator[str]:
    subject = findings.subject
    if subject.duplicates:
        share = subject.duplicates / max(1, subject.tested)
        yield (
            f"{subject.duplicates} of {subject.tested} held-out pictures ({_percent(share)}) are "
            "also in the training set, and flatter whoever learns them by heart"
        )


def _too_few(findings: _Findings) -> Iterator[str]:
    subject = findings.subject
    classes = len(subject.classes)
    smallest = subject.smallest_class
    if smallest is None:
        smallest = subject.trained // max(1, classes)
    if classes < 2:
        yield f"{classes} class leaves nothing to tell apart; at least 2 are needed"
    if smallest < FEWEST_TRAINED:
        yield (
            f"{smallest} training pictures in the smallest class are too few to conclude; at least "
            f"{FEWEST_TRAINED} are needed"
        )
    if subject.tested < FEWEST_TESTED:
        yield (
            f"{subject.tested} held-out pictures are too few to conclude; at least "
            f"{FEWEST_TESTED} are needed"
        )


def _one_seed(findings: _Findings) -> Iterator[str]:
    counts = [summary.count for summary in findings.summaries.values()]
    single = sum(count == 1 for count in counts)
    if single:
        yield (
            f"{single} of {len(counts)} settings were trained with 1 seed only, so how much their "
            "numbers vary from victim to victim is unknown"
        )


_RULES: Final[dict[str, Callable[[_Findings], Iterator[str]]]] = {
    "diverged": _diverged,
    "control-did-not-learn": _control_did_not_learn,
    "victim-did-not-fit": _victim_did_not_fit,
    "control-below-protected": _control_below_protected,
    "no-effect": _no_effect,
    "placebo-as-strong": _placebo_as_strong,
    "motif-as-strong": _motif_as_strong,
    "best-far-above-last": _best_far_above_last,
    "protected-helps": _protected_helps,
    "below-chance": _below_chance,
    "test-in-training": _test_in_training,
    "too-few": _too_few,
    "one-seed": _one_seed,
}

FLAGS: Final = tuple(_RULES)  # the names of all flags, the gravest first


def _name(cell: Cell) -> str:
    """Return a setting in words."""
    arm = "clean control" if cell.arm == "clean" else cell.arm
    share = f" {cell.fraction}" if cell.fraction < 1 else ""
    counter = f", {cell.countermeasure}" if cell.countermeasure != NONE else ""
    radius = cell.rho_a if cell.rho_a.value else 0
    return f"{arm}{share} ({cell.architecture}, ρa {radius}, {cell.decay}{counter})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"
