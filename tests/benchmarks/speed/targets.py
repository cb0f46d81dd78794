"""What the project asks of its speed, and whether a record shows it; the numbers decide."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks.speed.measure import Record, median

LEAST_ATTACK, LEAST_VICTIM = 5.0, 4.0  # times as fast as naive, on a CPU
LEAST_PASSES = 60_000  # a second at 32x32, on a GPU like an H100
SCHEDULE_STEPS, SCHEDULE_PICTURES, MOST_MINUTES = 5000, 128, 12  # the published generator
MOST_ABOVE_SLOWEST = 1.3  # the whole of protect beside its slowest stage alone


@dataclass(frozen=True)
class Target:
    """One demand in words, what was measured in words, and whether that meets it."""

    asked: str
    found: str
    met: bool

    def __str__(self) -> str:
        return f"{self.asked}: **{'met' if self.met else 'not met'}** ({self.found})"


def rate(way: Record) -> float:
    """Return the passes a second of an implementation."""
    return way["passes"] / median(way["seconds"])


def ratio(record: Record, name: str, base: str) -> float:
    """Return how many times as fast one implementation is as another."""
    return rate(record["ways"][name]) / rate(record["ways"][base])


def whole_to_slowest(record: Record) -> float:
    """Return the time of a whole run of protect in times of its slowest stage alone."""
    return median(record["run"]) / median(record["alone"])


def target_of(name: str, record: Record) -> Target | None:
    """Return what is asked of our way in a case, if anything is."""
    if record["kind"] == "protect":
        return _within(whole_to_slowest(record))
    rules: dict[tuple[str, str], Callable[[Record], Target]] = {
        ("cpu", "attack"): lambda found: _at_least(LEAST_ATTACK, found),
        ("cpu", "victim"): lambda found: _at_least(LEAST_VICTIM, found),
        ("cuda", "attack"): _passes,
        ("cuda", "generator"): _schedule,
    }
    rule = rules.get((record["device"], record["kind"]))
    if rule is None or (rule is _passes and not name.startswith("pgd-32")):
        return None
    return rule(record)


def _within(times: float) -> Target:
    asked = f"at most {MOST_ABOVE_SLOWEST}x the slowest stage"
    return Target(asked, f"{times:.2f}x", times <= MOST_ABOVE_SLOWEST)


def _at_least(least: float, record: Record) -> Target:
    times = ratio(record, "ours", "naive")
    return Target(f"at least {least:g}x naive", f"{times:.2f}x", times >= least)


def _passes(record: Record) -> Target:
    found = rate(record["ways"]["ours"])
    asked = f"at least {LEAST_PASSES:,} passes/s on an H100"
    return Target(asked, f"{found:,.0f}", found >= LEAST_PASSES)


def _schedule(record: Record) -> Target:
    way = record["ways"]["ours"]
    share = SCHEDULE_PICTURES / way["pictures"]
    minutes = SCHEDULE_STEPS * share * median(way["seconds"]) / 60
    asked = f"{SCHEDULE_STEPS:,} steps in at most {MOST_MINUTES} minutes on an H100"
    return Target(asked, f"{minutes:.1f} minutes", minutes <= MOST_MINUTES)
