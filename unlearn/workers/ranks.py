"""Ranks: the processes that `torchrun`, or whoever sets its variables, starts as one run."""

import os
from dataclasses import dataclass

from unlearn.errors import UnlearnError, UsageProblem


class FirstEnded(UnlearnError):
    """Rank 0, which does all but what is shared, ended before the work was done."""


@dataclass(frozen=True)
class Rank:
    """One of `count` processes, numbered from 0; `local` is its number on its machine."""

    number: int
    count: int
    local: int


def rank_here() -> Rank | None:
    """Return which process of a run this is, None if it is not one of several.

    Raises UsageProblem for RANK and WORLD_SIZE that make no sense together.
    """
    if "WORLD_SIZE" not in os.environ:
        return None
    number, count = _variable("RANK"), _variable("WORLD_SIZE")
    if number is None or count is None or number >= count:
        raise UsageProblem(
            f"RANK={os.environ.get('RANK', '')} and WORLD_SIZE={os.environ['WORLD_SIZE']} name no "
            "process of a run; torchrun sets both, and without it neither should be set"
        )
    return None if count == 1 else Rank(number, count, _variable("LOCAL_RANK") or 0)


def helps() -> bool:
    """Tell whether this is one of several processes but the first, which speaks for all."""
    rank = rank_here()
    return rank is not None and rank.number > 0


def restarts() -> int:
    """Return how often torchrun has started the ranks of this run again."""
    return _variable("TORCHELASTIC_RESTART_COUNT") or 0


def _variable(name: str) -> int | None:
    """Return a variable of the environment as a number, None if it is none."""
    text = os.environ.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() else None
