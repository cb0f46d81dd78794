"""The journal: one JSON line per finished generator or victim, flushed, never rewritten."""

import json
from pathlib import Path
from typing import Any

from tests.benchmarks.paper.plan import Noise, Scale, Unit
from unlearn.files.journal import Journal as LinesOfJson

Line = dict[str, Any]


class Journal:
    """The lines of a file; a line torn by a crash is cut off before the next is written.

    A unit is done if a line has its fields and the scale's settings for it; of two such lines the
    first counts, so journals of several machines can be put together with cat.
    """

    def __init__(self, path: Path) -> None:
        self._file = LinesOfJson(path)
        lines = self._file.lines()
        self.lines: list[Line] = [json.loads(line) for line in lines if line.endswith(b"\n")]

    def append(self, line: Line) -> None:
        """Write a line and wait until the disk has it."""
        self._file.path.parent.mkdir(parents=True, exist_ok=True)
        self._file.append(json.dumps(line, allow_nan=False))
        self.lines.append(line)

    def of(self, unit: Unit, scale: Scale) -> Line | None:
        """Return the line of a unit, or None while it is missing."""
        wanted = identity(unit, scale)
        return next((line for line in self.lines if wanted.items() <= line.items()), None)


def identity(unit: Unit, scale: Scale) -> dict[str, str]:
    """Return the part of a line that says what it is about."""
    kind = "generator" if isinstance(unit, Noise) else "victim"
    return {
        "kind": kind,
        "scale": scale.name,
        **unit.fields,
        "settings": scale.settings(unit),
    }
