"""What `--plan` prints: the work, its passes, its time here and on an H100, and the machines."""

from collections.abc import Iterator
from typing import Any, Final

from unlearn.cli.console import Output
from unlearn.cli.meter import duration_text
from unlearn.forecast import H100_FLOPS, H100_SHARE, Forecast

_TEXT_AT: Final = 13  # the column where the texts begin
_UNITS: Final = ((1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"))


def print_forecast(
    command: str, found: Forecast, deadline: float | None, output: Output, besides: str = ""
) -> None:
    """Print a forecast; `besides` says what it does not count."""
    output.emit({"command": command, "plan": as_plain(found, deadline)})
    output.result(*_lines(found, deadline, besides), hang=_TEXT_AT)


def as_plain(found: Forecast, deadline: float | None) -> dict[str, Any]:
    """Return a forecast as plain values."""
    return {
        "work": found.work,
        "passes": found.passes,
        "flops": found.flops,
        "seconds": None if found.seconds is None else round(found.seconds, 3),
        "known_by": found.known_by,
        "h100_seconds": found.h100_seconds,
        "deadline_seconds": deadline,
        "machines": deadline and found.machines(deadline),
        "h100s": deadline and found.h100s(deadline),
    }


def _lines(found: Forecast, deadline: float | None, besides: str) -> Iterator[str]:
    yield _row("Plan", f"{found.work}; nothing was written")
    yield _row("Passes", f"{found.passes:,} forward and backward, of one picture")
    here = "not known" if found.seconds is None else f"about {_long(found.seconds)}"
    yield _row("Here", f"{here}, {found.known_by}")
    if found.flops:
        speed = H100_FLOPS * H100_SHARE
        yield _row(
            "An H100",
            f"about {_long(found.h100_seconds)} for the passes, by arithmetic: "
            f"{_operations(found.flops)} at {_operations(speed)}/s, {H100_SHARE:.0%} of its peak",
        )
    else:
        yield _row("An H100", "no help: there are no passes")
    if deadline is not None:
        yield _row(f"In {_long(deadline)}", _machines(found, deadline))
    if besides:
        yield _row("Not counted", besides)


def _machines(found: Forecast, deadline: float) -> str:
    """Return how many machines meet a deadline."""
    here, there = found.machines(deadline), found.h100s(deadline)
    if here is not None:
        text = f"{here:,} machine{'s' * (here != 1)} like this one"
    elif found.seconds is None:
        text = "how many machines like this one is not known"
    else:
        text = "no number of machines like this one"
        if found.parts and max(found.parts) > deadline:
            text += f" (one victim alone takes {_long(max(found.parts))})"
    return f"{text}, or {there:,} H100{'s' * (there != 1)}" if there and found.flops else text


def _row(title: str, text: str) -> str:
    return f"{title:<{_TEXT_AT - 1}} {text}"


def _long(seconds: float) -> str:
    """Return a duration, from two days on in days."""
    days = seconds / 86_400
    if days >= 2:
        return f"{days:,.0f} days"
    return duration_text(max(1, seconds)).removesuffix(" 0 min")


def _operations(flops: float) -> str:
    """Return so many operations with a unit that leaves few digits."""
    unit, name = next((pair for pair in _UNITS if flops >= pair[0]), _UNITS[-1])
    count = flops / unit
    return f"{count:,.0f} {name}" if count >= 100 else f"{count:.3g} {name}"
