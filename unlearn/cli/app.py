"""The Typer app, and `run`, which turns every outcome of a command line into an exit code."""

import codecs
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated, Final

import typer

from unlearn import __version__
from unlearn.cli import generators
from unlearn.cli.commands import COMMANDS, CONFIGURED, LIMITED
from unlearn.cli.configured import ConfiguredCommand
from unlearn.cli.console import OutputClosed, discard
from unlearn.cli.failures import (
    BUG_EXIT_CODE,
    MACHINE_ERRORS,
    bug_message,
    guarded,
    report,
    usage_message,
)
from unlearn.cli.help import PANELS_FIT, PlainCommand, PlainGroup
from unlearn.errors import EnvironmentProblem, UnlearnError
from unlearn.limits import LIMITS

CLOSED_EXIT_CODE: Final = 141  # what a shell reports for a program whose reader went away
# What stands for characters that an older encoding has not.
_PLAIN: Final = {"·": "-", "→": "->", "…": "...", "×": "x", "±": "+/-", "ρ": "rho"}


def _print_version(wanted: bool) -> None:
    """Print the version and stop, if asked."""
    if wanted:
        typer.echo(f"unlearn {__version__}")
        raise typer.Exit


def _start(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version.",
        ),
    ] = False,
) -> None:
    """Add bounded noise to pictures, so that classifiers trained on them do badly on clean ones.

    unlearn demo ./photos                          draws a small folder to try it on
    unlearn protect ./photos --out ./protected     protects a folder
    unlearn verify ./photos ./protected            proves the bound on the files
    unlearn audit ./photos ./protected             trains a copier's models and reports
    """


def build() -> typer.Typer:
    """Return the app with all its commands, in the order of a person's work."""
    app = typer.Typer(
        name="unlearn",
        cls=PlainGroup,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={
            "help_option_names": ["-h", "--help"],
            "max_content_width": PANELS_FIT,
        },
    )
    app.callback()(_start)
    artefacts = typer.Typer(
        cls=PlainGroup, no_args_is_help=True, help=generators.HELP, rich_markup_mode="rich"
    )
    for words, command in COMMANDS.items():
        group, _, name = words.rpartition(" ")
        add = (artefacts if group else app).command(
            name,
            cls=ConfiguredCommand if words in CONFIGURED else PlainCommand,
            epilog=LIMITS if words in LIMITED else None,
        )
        add(guarded(command.function))
    app.add_typer(artefacts, name="generators")
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    _make_streams_usable()
    try:
        code = _outcome(arguments)
        sys.stdout.flush()
    except (OutputClosed, BrokenPipeError):
        discard(sys.stdout, sys.stderr)
        return CLOSED_EXIT_CODE
    except OSError:  # of standard output, which was said on the other
        discard(sys.stdout, sys.stderr)
        return EnvironmentProblem.exit_code
    return code


def _outcome(arguments: Sequence[str]) -> int:
    """Run the app and report whatever it raises."""
    debug, as_json = _asked(arguments, "--debug"), _asked(arguments, "--json")
    try:
        code = build()(args=list(arguments), prog_name="unlearn", standalone_mode=False)
    except OutputClosed:
        raise
    except UnlearnError as error:
        return report(error, str(error), error.exit_code, debug=debug, as_json=as_json)
    except typer.TyperException as error:
        message = usage_message(error)
        return report(error, message, error.exit_code, debug=debug, as_json=as_json)
    except Exception as error:  # noqa: BLE001 - the last resort: a bug must not look like a finding
        if isinstance(error, OSError) and error.errno in MACHINE_ERRORS:  # help on a full disk
            message, code = error.strerror or str(error), EnvironmentProblem.exit_code
        else:
            message, code = bug_message(error, arguments), BUG_EXIT_CODE
        return report(error, message, code, debug=debug, as_json=as_json)
    return code if isinstance(code, int) else 0


def _asked(arguments: Sequence[str], flag: str) -> bool:
    """Return whether the flag is among the options, also of a line that cannot be parsed."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return flag in options


def _make_streams_usable() -> None:
    """Stand in for closed streams; what one cannot encode is written plainly, or escaped."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed (>&-), or a program without a terminal on Windows
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    codecs.register_error("unlearn", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="unlearn")
    if not os.environ.get("COLUMNS", "1").strip("0 "):  # Rich would show nothing
        del os.environ["COLUMNS"]


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for characters that a stream has not, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    escaped = (_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text)
    return "".join(escaped), error.end
