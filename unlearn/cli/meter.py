"""Progress on standard error: a bar on a terminal, a plain line every ten seconds anywhere else."""

import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from unlearn.cli.console import printable, stderr_console

PLAIN_SECONDS: Final = 10.0
_TITLE = TextColumn("{task.description}", markup=False)
_RATE = TextColumn("{task.fields[rate]}", markup=False)
_NOTE = TextColumn("{task.fields[note]}", markup=False)


def rate_text(done: float, seconds: float, unit: str) -> str:
    """Return how fast it goes, in the direction that reads well: per second, or seconds per one."""
    if done <= 0 or seconds <= 0:
        return ""
    speed = done / seconds
    return f"{speed:.1f} {unit}/s" if speed >= 0.1 else f"{1 / speed:.0f} s each"


def seconds_left(done: float, seconds: float, left: float) -> float | None:
    """Return how long the rest takes at the same speed; None where it cannot be told."""
    return seconds * left / done if done and left else None


def duration_text(seconds: float) -> str:
    """Return a duration as people write it: "8 s", "3 min 51 s", "2 h 5 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


class Meter:
    """Progress of one piece of work, `done` out of `total` (None: unknown), as a with statement."""

    def __init__(self, title: str, total: int | None, unit: str, *, silent: bool = False) -> None:
        self.title = title
        self.total = total
        self.unit = unit
        self._console = stderr_console()
        self._progress = None if silent or not _animated(self._console) else self._bar()
        self._plain = not silent and self._progress is None
        self._said = time.monotonic()
        self._first: tuple[float, float] | None = None  # the first that was done pays for start-up

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._task = self._progress.add_task(self.title, total=self.total, rate="", note="")
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def begin(self, title: str, unit: str) -> None:
        """Start over with another piece of work."""
        self.title, self.unit = title, unit
        self._first = None
        if self._progress is not None:
            self._progress.reset(self._task, description=title, rate="", note="")

    def update(self, done: float, note: str = "", total: int | None = None) -> None:
        """Say that `done` are finished, the last one in part; `note` is free text."""
        self.total = self.total if total is None else total
        now = time.monotonic()
        if self._first is None and done:
            self._first = (done, now)
        before, since = self._first or (0, now)
        rate = rate_text(done - before, now - since, self.unit)
        if self._progress is not None:
            self._progress.update(
                self._task, completed=done, total=self.total, rate=rate, note=printable(note)
            )
        elif self._plain and now - self._said >= PLAIN_SECONDS:
            self._said = now
            left = seconds_left(done - before, now - since, (self.total or done) - done)
            line = self._line(done, rate, left, note)
            self._console.print(printable(line), soft_wrap=True)

    def _line(self, done: float, rate: str, seconds: float | None, note: str) -> str:
        """Return one line of progress for a log file or a pipe."""
        count = f"{self.title} {int(done)}" + ("" if self.total is None else f"/{self.total}")
        left = "" if seconds is None else f"about {duration_text(seconds)} left"
        return "  ".join(part for part in (count, rate, left, note) if part)

    def _bar(self) -> Progress:
        """Return the bar for a terminal."""
        return Progress(
            _TITLE,
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            _RATE,
            TimeRemainingColumn(),
            _NOTE,
            console=self._console,
            transient=True,
        )


def _animated(console: Console) -> bool:
    """Return whether the terminal can redraw a line."""
    return console.is_terminal and not console.is_dumb_terminal
