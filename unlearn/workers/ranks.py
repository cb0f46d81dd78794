"""Ranks: the processes that `torchrun`, or whoever sets its variables, starts as one run."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Rank:
    """One of `count` processes, numbered from 0; `local` is its number on its machine."""

    number: int
    count: int
    local: int


def rank_here() -> Rank | None:
    """Return which process of a run this is, None if it is not one of several."""
    number, count = _variable("RANK"), _variable("WORLD_SIZE")
    if number is None or count is None or not 0 <= number < count or count < 2:
        return None
    return Rank(number, count, _variable("LOCAL_RANK") or 0)


def _variable(name: str) -> int | None:
    """Return a variable of the environment as a number, None if it is none."""
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else None
