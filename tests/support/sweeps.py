"""Sweeps: one check over many cases, of which the default suite runs a few."""

from collections.abc import Iterable
from typing import Any

import pytest


def few(cases: Iterable[Any], *kept: Any) -> list[Any]:
    """Return all cases, of which those that are not kept are slow; tuples are several values."""
    listed = list(cases)
    unknown = [case for case in kept if case not in listed]
    assert not unknown, f"{unknown} are none of the cases"
    return [case if case in kept else _slow(case) for case in listed]


def _slow(case: Any) -> Any:
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)
