"""Settings from the user's own file, config.toml, or from the one that UNLEARN_CONFIG names.

The folder that a person works in may be a stranger's, unpacked a minute ago; no file in it is read.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.files.homes import NO_HOME, no_file, own_folder
from unlearn.files.text import printable

VARIABLE: Final = "UNLEARN_CONFIG"

Kind = Literal["switch", "list", "value", "line"]  # the last: for the command line, in no file
Tables = Mapping[str, Mapping[str, Kind]]  # command -> long option without dashes -> its kind

_LARGEST: Final = 1 << 20  # bytes
_TABLE: Final = re.compile(r"""\s*\[\s*["']?([^\]"']+?)["']?\s*\]""")


@dataclass(frozen=True)
class Setting:
    """One setting of a file: as it is written there, and as the command line would hold it."""

    given: object
    value: bool | str | list[str]
    where: str  # "config.toml, line 3"


Settings = dict[str, dict[str, Setting]]  # command -> long option without dashes -> setting


def place() -> Path | None:
    """Return the file to read, which need not exist unless UNLEARN_CONFIG names it, or None."""
    named = os.environ.get(VARIABLE)
    own = own_folder("config")
    return Path(named) if named else own and own / "config.toml"


def load(tables: Tables) -> Settings:
    """Return the settings of the file, empty tables if there is none.

    Raises UsageProblem for anything in it that the tables do not know or that has the wrong type,
    EnvironmentProblem if it cannot be read.
    """
    path = place()
    if path is None:
        return {command: {} for command in tables}
    text = _text(path)
    try:
        parsed = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of too many digits
        raise UsageProblem(f"{printable(path)}: {printable(error)}") from error
    found: Settings = {command: {} for command in tables}
    for name, table in parsed.items():
        _check_table(name, table, _where(path, _line(text, name)), tables)
        found[name] = {
            key: _setting(name, key, value, _where(path, _line(text, name, key)), tables[name])
            for key, value in table.items()
        }
    return found


def described(tables: Tables) -> tuple[dict[str, str], list[str]]:
    """Return the file with what it sets, in words, and what is wrong with it if it fails."""
    path = place()
    if path is None:
        return {"no file": f"{NO_HOME}; {VARIABLE} may name one"}, []
    try:
        found = load(tables)
    except (UsageProblem, EnvironmentProblem) as error:
        return {printable(path): "cannot be used"}, [str(error)]
    keys = [f"{command}.{key}" for command, settings in found.items() for key in settings]
    sets = f"sets {', '.join(keys)}" if keys else "sets nothing"
    return {printable(path): sets if os.path.exists(path) else "not there"}, []  # noqa: PTH110


def _text(path: Path) -> str:
    """Return what a file holds, nothing if there is none."""
    named = bool(os.environ.get(VARIABLE))
    try:
        other = no_file(path)
        if other is not None:
            raise UsageProblem(f"{printable(path)}: {other}, no file of settings")
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        if named:
            raise UsageProblem(f"{VARIABLE}={printable(path)}: there is no such file") from None
        return ""
    except OSError as error:
        if not named and not os.path.lexists(path):
            return ""  # a home that is somebody else's: no file of this person can be there
        raise EnvironmentProblem(f"{printable(path)}: cannot be read ({error.strerror})") from error
    if len(content) > _LARGEST:
        raise UsageProblem(f"{printable(path)}: more than {_LARGEST:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UsageProblem(f"{_where(path, line)}: not UTF-8") from error


def _check_table(name: str, table: object, where: str, tables: Tables) -> None:
    """Raise UsageProblem unless there is such a table and it is one."""
    if name in tables and isinstance(table, dict):
        return
    known = ", ".join(f"[{command}]" for command in tables)
    if not isinstance(table, dict):
        raise UsageProblem(f"{where}: '{printable(name)}' must stand in a table: {known}")
    guess = difflib.get_close_matches(name, tables, n=1)
    hint = f"did you mean [{guess[0]}]?" if guess else f"there are {known}"
    raise UsageProblem(f"{where}: no command has the table [{printable(name)}]; {hint}")


def _setting(command: str, key: str, given: Any, where: str, known: Mapping[str, Kind]) -> Setting:
    """Return one setting; raises UsageProblem unless the command has it and the value fits."""
    if known.get(key) == "line":
        raise UsageProblem(f"{where}: --{key} belongs on the command line, in no file")
    if key not in known:
        settable = [name for name, kind in known.items() if kind != "line"]
        guess = difflib.get_close_matches(key, settable, n=1)
        hint = f"did you mean {guess[0]!r}?" if guess else f"see unlearn {command} --help"
        raise UsageProblem(f"{where}: [{command}] has no setting '{printable(key)}'; {hint}")
    value = _value(given, known[key])
    if value is None:
        expected = {
            "switch": "true or false",
            "list": "an array of texts or numbers",
            "value": "a text or a number",
        }[known[key]]
        raise UsageProblem(
            f"{where}: [{command}] {key} is {expected}, not '{printable(str(given)[:60])}'"
        )
    return Setting(given, value, where)


def _value(given: Any, kind: Kind) -> bool | str | list[str] | None:
    """Return a value as the command line would hold it, None if it is of another kind."""
    if kind == "switch":
        return given if isinstance(given, bool) else None
    if kind == "list":
        items = [_value(item, "value") for item in given] if isinstance(given, list) else [None]
        return None if None in items else [str(item) for item in items]
    plain = isinstance(given, str | int | float) and not isinstance(given, bool)
    return str(given) if plain else None


def _line(text: str, table: str, key: str | None = None) -> int | None:
    """Return the line of a table's head, or of a key in it; None if it is written otherwise."""
    here = ""
    for number, line in enumerate(text.split("\n"), 1):
        head = _TABLE.match(line)
        here = head[1] if head else here
        outside = not here and key is None and _assigns(line, table)
        if outside or (here == table and (_assigns(line, key) if key else head)):
            return number
    return None


def _assigns(line: str, key: str) -> bool:
    """Return whether a line of TOML gives this key a value."""
    return re.match(rf"""\s*["']?{re.escape(key)}["']?\s*=""", line) is not None


def _where(path: Path, line: int | None) -> str:
    """Return a place in a file in words."""
    return printable(path) if line is None else f"{printable(path)}, line {line}"
