"""The journal: one JSON line per finished generator or victim, flushed, never rewritten."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.paper.plan import Noise, Scale, Unit

Line = dict[str, Any]


class Journal:
    """The lines of a file; a line torn by a crash is cut off before the next is written.

    A unit is done if a line has its fields and the scale's settings for it; of two such lines the
    first counts, so journals of several machines can be put together with cat.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[Line] = []
        self._whole = 0  # bytes that are known to be good
        for line in self._read():
            self.lines.append(json.loads(line))
            self._whole += len(line)

    def _read(self) -> Iterator[bytes]:
        content = self.path.read_bytes() if self.path.exists() else b""
        return (line for line in content.splitlines(keepends=True) if line.endswith(b"\n"))

    def append(self, line: Line) -> None:
        """Write a line and wait until the disk has it."""
        content = json.dumps(line, allow_nan=False).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("r+b" if self.path.exists() else "xb") as file:
            file.truncate(self._whole)
            file.seek(self._whole)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self._whole += len(content)
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
