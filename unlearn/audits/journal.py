"""The journal of an audit: every finished victim is a line, so that a killed audit goes on.

Of several ranks each has a file of its own beside that of the first, which takes them in.
"""

import json
from pathlib import Path
from typing import Final

from unlearn.audits.plan import Cell
from unlearn.audits.report import Result
from unlearn.config import from_plain, to_plain
from unlearn.errors import EnvironmentProblem, UnlearnError, UsageProblem
from unlearn.files.journal import Journal as LinesOfJson

_KEY: Final = "unlearn-audit"
_FORMAT: Final = 1


class Journal:
    """The finished victims of one plan in a file of JSON lines: a header, then one Result a line.

    fingerprint names the plan and the pictures; a line torn by a crash is dropped. Raises
    UsageProblem for the journal of another plan and EnvironmentProblem for a file that is none or
    cannot be read.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        self.fingerprint = fingerprint
        self.results: dict[Cell, Result] = {}
        head = {_KEY: _FORMAT, "fingerprint": fingerprint}
        self._file = LinesOfJson(path, json.dumps(head))
        self._sizes: dict[Path, int] = {}  # of the other ranks' files when they were last read
        self._read()

    def append(self, result: Result) -> None:
        """Write a result behind the others and wait until the disk has it."""
        line = json.dumps(to_plain(result), sort_keys=True, allow_nan=False)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file.append(line)
        except OSError as error:
            raise EnvironmentProblem(
                f"{self.path}: cannot be written ({error.strerror})"
            ) from error
        self.results[result.cell] = result

    def of_rank(self, number: int) -> "Journal":
        """Return the journal of another rank."""
        return Journal(self.path.with_suffix(f".{number}.jsonl"), self.fingerprint)

    def of_others(self) -> list[Result]:
        """Return what the files of other ranks hold that has come since the last time."""
        found: list[Result] = []
        for path in self._others():
            size = path.stat().st_size
            if size != self._sizes.get(path):
                self._sizes[path] = size
                found += Journal(path, self.fingerprint).results.values()
        return [result for result in found if result.cell not in self.results]

    def absorb(self) -> None:
        """Take in what other ranks have finished and remove their files; none may be at work."""
        self._sizes = {}
        for result in self.of_others():
            self.append(result)
        for path in self._others():
            path.unlink()

    def _others(self) -> list[Path]:
        """Return the files of other ranks."""
        return sorted(self.path.parent.glob(f"{self.path.stem}.*{self.path.suffix}"))

    def _read(self) -> None:
        """Read the lines that are whole."""
        try:
            lines = list(self._file.lines())
        except OSError as error:
            raise EnvironmentProblem(f"{self.path}: cannot be read ({error.strerror})") from error
        if not lines or self._file.head.encode().startswith(lines[0]):  # torn within its first line
            return
        self._check(lines[0])
        for number, line in enumerate(lines[1:], 2):
            if not line.endswith(b"\n"):
                return
            try:
                result = from_plain(Result, json.loads(line), "result")
            except (ValueError, UnlearnError) as error:
                raise self._damaged(f"line {number}: {error}") from error
            self.results[result.cell] = result

    def _check(self, head: bytes) -> None:
        """Refuse what is no journal, or that of another plan."""
        try:
            found = json.loads(head)
        except ValueError as error:
            raise self._damaged(f"line 1: {error}") from error
        if not isinstance(found, dict) or found.get(_KEY) != _FORMAT or not head.endswith(b"\n"):
            raise self._damaged("its first line is not that of a journal")
        if found.get("fingerprint") != self.fingerprint:
            raise UsageProblem(
                f"{self.path} belongs to an audit with other settings or pictures; "
                "use --no-resume to start over, or another --out"
            )

    def _damaged(self, why: str) -> EnvironmentProblem:
        return EnvironmentProblem(
            f"{self.path}: not the journal of an audit; delete it or use --no-resume ({why})"
        )
