"""Progress on standard error: a bar on a terminal, a plain line now and then anywhere else.

How fast it goes is said once it was measured: a single piece of work says nothing. Until then the
time left is what the caller expects.
"""

import time
from typing import Final, Self

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from unlearn.cli.console import BARS, printable, stderr_console

PLAIN_SECONDS: Final = 10.0  # to the first plain line; from each to the next, twice as long
_LONGEST_SECONDS: Final = 300.0  # between plain lines, so that a log shows that work goes on
_LEAST_PIECES: Final = 3  # after the first, until it is known how fast it goes
_LEAST_SECONDS: Final = 1.0
_WIDEST_BAR: Final = 30
_NARROWEST_BAR: Final = 6
_SHORTEST_NOTE: Final = 12


def rate_text(done: float, seconds: float, unit: str) -> str:
    """Return how fast it goes, in the direction that reads well: per second, or seconds per one."""
    if done <= 0 or seconds <= 0:
        return ""
    speed = done / seconds
    return f"{speed:.1f} {unit}/s" if speed >= 0.1 else f"{1 / speed:.0f} s each"


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
        self._console = stderr_console()
        drawn = not silent and self._console.is_terminal and not self._console.is_dumb_terminal
        self._plain = not silent and not drawn
        live = Live(self, console=self._console, transient=True, redirect_stdout=False)
        self._live = live if drawn else None
        self._said, self._line = time.monotonic(), ""
        self.begin(title, unit, total)

    def __enter__(self) -> Self:
        if self._live is not None:
            BARS.append(self._console)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            BARS.remove(self._console)

    def begin(
        self, title: str, unit: str, total: int | None = None, expected: float | None = None
    ) -> None:
        """Start over with another piece of work, which is `expected` to take so many seconds."""
        self.title, self.unit, self.total, self.expected = title, unit, total, expected
        self.done, self.share, self.note = 0.0, 0.0, ""
        self._began = self._now = time.monotonic()
        # What is finished first pays for the start-up, so speed is measured from there.
        self._first: tuple[float, float, float] | None = None
        self._moves = 0
        self._pause = PLAIN_SECONDS

    def update(
        self, done: float, note: str = "", total: int | None = None, share: float | None = None
    ) -> None:
        """Say that `done` are finished, which is this share of all work; `note` is free text.

        Without a share all pieces count alike.
        """
        self.total = self.total if total is None else total
        self._now, before = time.monotonic(), self.share
        self.done, self.note = done, printable(note)
        self.share = (done / self.total if self.total else 0.0) if share is None else share
        if self._first is not None:
            self._moves += self.share > before
        elif done or self.share:
            self._first = (done, self.share, self._now)
        if self._plain and self._now - self._said >= self._pause:
            self._say()

    def _say(self) -> None:
        """Print a plain line, unless it would say what the last one said."""
        share = f"{self.share:.0%}" if self.share and self.total is not None else ""
        line = "  ".join(
            filter(None, (self._count(), share, self._rate(), self._left(), self.note))
        )
        if line != self._line:
            self._console.print(line, soft_wrap=True)
            self._said, self._line = self._now, line
            self._pause = min(2 * self._pause, _LONGEST_SECONDS)

    def _count(self) -> str:
        """Return what is done, and how many."""
        return f"{self.title} {int(self.done)}" + ("" if self.total is None else f"/{self.total}")

    def _left(self) -> str:
        """Return how long the rest takes, empty if nobody knows."""
        left = self._seconds_left()
        return f"about {duration_text(left)} left" if left and left >= 0.5 else ""

    def _rate(self) -> str:
        """Return how fast it goes, empty until enough is done to tell."""
        before, _, since = self._first or (0.0, 0.0, 0.0)
        done, seconds = self.done - before, self._now - since
        known = done >= _LEAST_PIECES and seconds >= _LEAST_SECONDS
        return rate_text(done, seconds, self.unit) if known else ""

    def _seconds_left(self) -> float | None:
        """Return how long the rest takes: as measured, else as expected, None if nobody knows."""
        now = time.monotonic()
        if self._first is not None:
            done, share, since = self._first
            enough = self._moves >= _LEAST_PIECES or self.done - done >= _LEAST_PIECES
            if enough and self.share > share and self._now - since >= _LEAST_SECONDS:
                pace = (self._now - since) / (self.share - share)
                return pace * (1 - self.share) - (now - self._now)
        return None if self.expected is None else self.expected - (now - self._began)

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw one line: the time left comes before the bar, the bar before speed and note."""
        known = self.total is not None or self.done
        parts = [self._count() if known else self.title, self._left()]
        room = options.max_width - sum(cell_len(part) + 1 for part in parts)
        bar = max(0, min(_WIDEST_BAR, options.max_width // 5, room - 1))
        room -= bar + 1
        rate = self._rate()
        if rate and cell_len(rate) + 2 <= room:
            parts.append(f" {rate}")
            room -= cell_len(rate) + 2
        if self.note and room >= _SHORTEST_NOTE:
            note = Text(f" {self.note}")
            note.truncate(room - 1, overflow="ellipsis")
            parts.append(note.plain)
        line = Table.grid(padding=(0, 1, 0, 0))
        cells: list[RenderableType] = [Text(part) for part in parts if part.strip()]
        if bar >= _NARROWEST_BAR:
            share = None if self.total is None else self.share
            total = None if share is None else 1.0
            cells.insert(1, ProgressBar(total=total, completed=share or 0.0, width=bar))
        for _ in cells:
            line.add_column(no_wrap=True)
        line.add_row(*cells)
        yield line
