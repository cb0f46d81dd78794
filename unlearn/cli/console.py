"""Where a command says things: its result on standard output, everything else on standard error."""

import errno
import json
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, NoReturn, TextIO, cast

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

from unlearn.options import Option

if TYPE_CHECKING:
    from unlearn.cli.meter import Meter


BARS: Final[list[Console]] = []  # those that draw a bar at this moment
# A word with what belongs to it: the unit of a number, and how many there are of a class.
_WORD: Final = re.compile(
    r"\s*\S+(?:(?<=\d) (?:%|[kMGT]?B\b|bytes\b|s\b|min\b)\S*| \([\d,]+\)\S*)?|\s+$"
)
_ENDLESS: Final = 10_000  # columns of a pipe, in which no line is broken and no cell cut


class OutputClosed(Exception):
    """The reader of standard output or standard error went away, as `head` does."""


class _Console(Console):
    """A Rich console that reports a closed pipe instead of ending the process."""

    def on_broken_pipe(self) -> NoReturn:
        """Raise OutputClosed; called by Rich inside its handler of the broken pipe."""
        raise OutputClosed


class _Stream:
    """A standard stream; what its terminal, which went away, cannot show any more is dropped."""

    def __init__(self, stream: TextIO, *, needed: bool) -> None:
        self._stream = getattr(stream, "rich_proxied_file", stream)
        self._needed = needed  # except for a terminal

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._to_nothing_once_gone():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._to_nothing_once_gone():
            self._stream.flush()

    @contextmanager
    def _to_nothing_once_gone(self) -> Iterator[None]:
        """Point the stream at nothing if it fails; raises what tells a program to end."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            if self._needed and error.errno != errno.EIO:
                raise
            discard(self._stream)


def discard(*streams: TextIO) -> None:
    """Point streams at nothing, so that not even the interpreter's last flush of them fails."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nothing, stream.fileno())
    os.close(nothing)


def stdout_console() -> Console:
    """Return a console on standard output as it is now."""
    return _console(sys.stdout, needed=True)


def stderr_console() -> Console:
    """Return the console on standard error: the one of the bar, since only it prints above it."""
    return BARS[-1] if BARS else _console(sys.stderr, needed=False)


def _console(stream: TextIO, *, needed: bool) -> Console:
    """Return a console on a standard stream."""
    file = cast(TextIO, _Stream(stream, needed=needed))
    return _Console(file=file, markup=False, highlight=False, emoji=False)


def printable(text: str) -> str:
    """Return the text with control characters and broken encoding escaped, line breaks kept.

    File names may hold anything, also sequences that steer a terminal.
    """
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )


def one_line(text: str) -> str:
    """Return the text on one line: line breaks and what surrounds them become single spaces."""
    return printable(" ".join(part.strip() for part in text.splitlines() if part.strip()))


def folded(text: str, columns: int, hang: int = 0) -> str:
    """Return the text with lines broken between words to fit into columns; never within a word.

    What goes on begins `hang` columns to the right.
    """
    return "\n".join(_folded_line(line, columns, hang) for line in text.split("\n"))


def _folded_line(line: str, columns: int, hang: int) -> str:
    """Return one line, broken."""
    lines, width = [""], 0
    for word in _WORD.findall(line):
        if lines[-1].strip() and width + cell_len(word) > columns:
            lines.append(" " * hang + word.lstrip())
            width = cell_len(lines[-1])
        else:
            lines[-1] += word
            width += cell_len(word)
    return "\n".join(line.rstrip() for line in lines)


def _print(console: Console, text: Text, hang: int = 0) -> None:
    """Print lines of text: broken between words on a terminal, whole anywhere else."""
    if console.is_terminal:
        broken = folded(text.plain, console.width, hang)
        text = Text(broken, style=text.style, spans=text.spans)
    console.print(text, soft_wrap=True)


def print_error(message: str) -> None:
    """Print "Error: ..." on standard error, as one line where nobody reads along."""
    _print(stderr_console(), Text.assemble(("Error:", "bold red"), " ", one_line(message)))


def emit_json(value: Mapping[str, object]) -> None:
    """Write one JSON object, pure ASCII, on standard output; nan and infinity become null."""
    text = json.dumps(_plain(value), indent=2, allow_nan=False, default=str)
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise OutputClosed from None


def _plain(value: object) -> object:
    """Return the value with every float that is no number replaced by None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Output:
    """What the person asked to see of one command."""

    as_json: Annotated[
        bool,
        Option(
            "Write one JSON object to standard output.",
            details="Nothing else goes there, and errors are one too: "
            '\'{"error": ..., "exit_code": n}\'.',
            flag="--json",
            in_file=False,
        ),
    ] = False
    quiet: Annotated[bool, Option("Print errors only.", short="-q")] = False
    verbose: Annotated[bool, Option("Print details: every file, every step.", short="-v")] = False
    debug: Annotated[bool, Option("Print the traceback of an error.", in_file=False)] = False

    def result(self, *things: RenderableType, hang: int = 0) -> None:
        """Print the result on standard output, unless JSON or silence was asked for.

        Lines that are too long for a terminal go on `hang` columns to the right.
        """
        if self.as_json or self.quiet:
            return
        console = stdout_console()
        for thing in things:
            if isinstance(thing, str | Text):
                text = Text(printable(thing)) if isinstance(thing, str) else thing
                _print(console, text, hang)
            else:
                console.print(thing, width=None if console.is_terminal else _ENDLESS)

    def notice(self, text: str) -> None:
        """Print a line beside the result on standard error, unless silence was asked for."""
        if not self.quiet:
            _print(stderr_console(), Text(printable(text)), hang=2)

    def detail(self, text: str) -> None:
        """Print a line on standard error if details were asked for."""
        if self.verbose or self.debug:
            self.notice(text)

    def complain(self, text: str) -> None:
        """Print an error line beside the result, whatever was asked for."""
        print_error(text)

    def next_step(self, *words: object) -> None:
        """Name the command to run next, on one line, so that it can be copied."""
        from unlearn.files.text import command_line

        if not (self.as_json or self.quiet):
            line = f"Next: {command_line('unlearn', *words)}"
            stdout_console().print(Text(line), soft_wrap=True)

    def emit(self, value: Mapping[str, object]) -> None:
        """Write the JSON object of this command, if JSON was asked for."""
        if self.as_json:
            emit_json(value)

    @contextmanager
    def meter(self, title: str, total: int | None, unit: str = "pictures") -> Iterator["Meter"]:
        """Show progress on standard error while the block runs; see Meter."""
        from unlearn.cli.meter import Meter

        with Meter(title, total, unit, silent=self.quiet) as meter:
            yield meter


@dataclass(frozen=True)
class Brief(Output):
    """What the person asked to see of a command that has no details to print."""

    verbose: bool = False
