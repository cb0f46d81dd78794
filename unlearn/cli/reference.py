"""The tables of docs/cli.md, derived from the options: python -m unlearn.cli.reference FILE.

A table stands between `<!-- options of COMMAND -->` and `<!-- end -->`. What every command has is
described once, in the table of "every command".
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import MISSING
from pathlib import Path
from typing import Final

import typer

from unlearn.cli.commands import COMMANDS
from unlearn.cli.console import Brief
from unlearn.cli.derived import Described, described
from unlearn.errors import UsageProblem

EVERY: Final = "every command"
_TABLE: Final = re.compile(r"(<!-- options of (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
_HEAD: Final = "| Option | Value, default | Meaning |\n|---|---|---|\n"
_HELP: Final = "| `--help`, `-h` |  | Show the help of the command. |\n"
_QUOTED: Final = re.compile(r"(?<![\w`])'([^']+)'(?!\w)")
_PAGE: Final = re.compile(r"docs/([a-z-]+\.md)")
_FLAG: Final = re.compile(r"(?<![\w`-])(--[a-z][a-z-]*)(?![\w`])")


def rewritten(document: str) -> str:
    """Return a document with its tables as the options are now; raises UsageProblem for others."""
    return _TABLE.sub(lambda found: f"{found[1]}{table(found[2])}{found[3]}", document)


def table(name: str) -> str:
    """Return the table of a command's own options, or of what every command has."""
    shared = described(Brief)
    if name == EVERY:
        return _HEAD + _rows(shared) + _HELP
    if name not in COMMANDS:
        raise UsageProblem(f"there is no command {name!r}; known: {', '.join(COMMANDS)}")
    names = {option.name for option in shared}
    return _HEAD + _rows(option for option in COMMANDS[name].options if option.name not in names)


def _rows(options: Iterable[Described]) -> str:
    """Return a line for each option."""
    return "".join(
        f"| {_called(option)} | {_value(option)} | {_meaning(option)} |\n" for option in options
    )


def _called(option: Described) -> str:
    """Return the flags of an option, or what stands for an argument."""
    names = option.flags or (_cell(option.metavar or option.name),)
    return ", ".join(f"`{name}`" for name in names)


def _value(option: Described) -> str:
    """Return what an option takes and what it has without being given."""
    if option.is_switch:
        return option.default_text or ("on" if option.default else "off")
    kind = "" if option.option.positional else f"`{_cell(option.metavar or 'TEXT')}` · "
    if option.default is MISSING:
        return f"{kind}required"
    default = option.default_text or option.plain_default
    return f"{kind}{'none' if default is None else _cell(str(default))}"


def _meaning(option: Described) -> str:
    """Return the help of an option and its details, names and flags marked as such."""
    text = f"{option.option.help} {option.option.details}".strip()
    text = _PAGE.sub(r"[\1](\1)", text.replace("see docs/cli.md", "see below"))
    return _cell(_FLAG.sub(r"`\1`", _QUOTED.sub(r"`\1`", text)))


def _cell(text: str) -> str:
    """Return a text that does not end the cell of a table."""
    return text.replace("|", r"\|")


def main(arguments: list[str]) -> int:
    """Rewrite the tables of the named documents."""
    for name in arguments:
        path = Path(name)
        path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
        typer.echo(f"{name} has the options as they are now")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
