"""Pace: how fast work went on this machine before, so that the next run can tell how long it takes.

It lies in the user's state folder and may be deleted at any time. Where it cannot be read or
written, nothing is known, and that is no error.
"""

import contextlib
import json
import math
from pathlib import Path
from typing import Final

from unlearn.errors import EnvironmentProblem
from unlearn.files.homes import own_folder
from unlearn.files.replace import replace_file

_KEPT: Final = 20  # kinds of work, the latest ones


def seconds_each(kind: str) -> float | None:
    """Return how many seconds one unit of a kind of work took last time; None if unknown."""
    return _known().get(kind)


def remember(kind: str, seconds: float) -> None:
    """Keep how many seconds one unit of a kind of work took."""
    path = _path()
    if path is None or not 0 < seconds < math.inf:
        return
    others = {name: pace for name, pace in _known().items() if name != kind}
    latest = dict(list(others.items())[1 - _KEPT :]) | {kind: round(seconds, 6)}
    with contextlib.suppress(OSError, EnvironmentProblem):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(latest, indent=1).encode())


def _known() -> dict[str, float]:
    """Return the seconds by kind; what is no such table is none."""
    path = _path()
    try:
        found = json.loads(path.read_bytes()) if path else {}
    except (OSError, ValueError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {
        kind: float(pace)
        for kind, pace in pairs
        if type(pace) in (int, float) and 0 < pace < math.inf
    }


def _path() -> Path | None:
    """Return the file, None if there is no home."""
    folder = own_folder("state")
    return None if folder is None else folder / "pace.json"
