"""What people see when something goes wrong: one line, an exit code, a bug's saved traceback."""

import errno
import os
import platform
import time
import traceback
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import ClassVar, Final, ParamSpec

import typer

from unlearn import __version__
from unlearn.cli.console import emit_json, print_error
from unlearn.errors import EnvironmentProblem, UnlearnError

BUG_EXIT_CODE: Final = (
    70  # EX_SOFTWARE of sysexits.h, so that a bug is never mistaken for a finding
)
MACHINE_ERRORS: Final = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EROFS,
        errno.EMFILE,
        errno.ENFILE,
        errno.EIO,
        errno.ESTALE,
    }
)

P = ParamSpec("P")


class Interrupted(UnlearnError):
    """The person pressed Ctrl-C."""

    exit_code: ClassVar[int] = 130


def guarded(command: Callable[P, int]) -> Callable[P, int]:
    """Return the command with interruption and the machine's limits turned into UnlearnError."""

    @wraps(command)
    def guard(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; the same line starts again") from None
        except MemoryError as error:
            raise EnvironmentProblem("out of memory; close other programs and try again") from error
        except (BrokenPipeError, EOFError) as error:  # Typer would take them for closed streams
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        except OSError as error:
            if error.errno not in MACHINE_ERRORS and error.filename is None:
                raise
            where = "" if error.filename is None else f"{error.filename}: "
            raise EnvironmentProblem(f"{where}{error.strerror}") from error

    return guard


def usage_message(error: typer.TyperException) -> str:
    """Return Typer's message with the help to look into; empty if Typer has printed help."""
    message = error.format_message().strip()
    context = getattr(error, "ctx", None)
    if not message or context is None:
        return message
    stop = "" if message.endswith((".", "?", "!")) else "."
    return f"{message}{stop} See '{context.command_path} --help'."


def bug_message(error: BaseException, arguments: Sequence[str]) -> str:
    """Save the traceback and return the line that says where it is."""
    name = type(error).__name__
    saved = save_traceback(error, arguments)
    return (
        f"a bug in unlearn: {name}: {error}. "
        f"The traceback is in {saved}; please report it with the output of 'unlearn doctor --json'."
    )


def save_traceback(error: BaseException, arguments: Sequence[str]) -> Path | str:
    """Write the traceback into the user's state folder, or a temporary one; return the file."""
    from unlearn.files.homes import own_folder, temporary_folder

    head = f"unlearn {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
    text = f"{head}{list(arguments)!r}\n\n{''.join(traceback.format_exception(error))}"
    name = f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for folder in filter(None, (own_folder("state"), temporary_folder())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return folder / name
    return "no file (nothing is writable); run again with --debug"


def report(error: BaseException, message: str, code: int, *, debug: bool, as_json: bool) -> int:
    """Print the error, its traceback if asked, and under JSON its object; return the exit code."""
    if debug:
        typer.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    if message:
        print_error(message)
    if as_json:
        emit_json({"error": message, "exit_code": code})
    return code
