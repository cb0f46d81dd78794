"""Settings from files: unlearn.toml in the current folder, and the user's own config.toml.

The folder that a person works in may be a stranger's, unpacked a minute ago. So its file may not
set what decides where files go, what is replaced or thrown away, whose key and generator make the
noise, what is downloaded, or whether anything is said; see PRIVATE.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import platformdirs

from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.files.text import shown

PROJECT: Final = "unlearn.toml"
VARIABLE: Final = "UNLEARN_CONFIG"
LINE_ONLY: Final = frozenset({"help", "json", "debug", "dry-run"})  # what one line is for
PRIVATE: Final = frozenset(
    {"key", "generator", "out", "force", "resume", "offline", "purifier", "quiet", "weights"}
)

Kind = Literal["switch", "list", "value"]
Tables = Mapping[str, Mapping[str, Kind]]  # command -> long option without dashes -> its kind

_LARGEST: Final = 1 << 20  # bytes
_TABLE: Final = re.compile(r"""\s*\[\s*["']?([^\]"']+?)["']?\s*\]""")


@dataclass(frozen=True)
class Source:
    """One file of settings; `own` unless it belongs to the folder that the person works in."""

    path: Path
    own: bool
    named: bool = False  # then it must exist


@dataclass(frozen=True)
class Setting:
    """One setting of a file: as it is written there, and as the command line would hold it."""

    given: object
    value: bool | str | list[str]
    source: Source
    line: int | None

    @property
    def where(self) -> str:
        """The place in the words of an error: "unlearn.toml, line 3"."""
        return _where(self.source.path, self.line)


Settings = dict[str, dict[str, Setting]]  # command -> long option without dashes -> setting


def sources() -> list[Source]:
    """Return the files to read, the weakest first; they may not exist.

    The variable UNLEARN_CONFIG names one to read instead of both.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return [Source(Path(named), own=True, named=True)]
    own = platformdirs.user_config_path("unlearn") / "config.toml"
    return [Source(own, own=True), Source(Path(PROJECT), own=False)]


def load(tables: Tables) -> Settings:
    """Return the settings of all files, the stronger file's where two have one.

    Raises UsageProblem for anything in a file that the tables do not know or that has the wrong
    type, EnvironmentProblem for a file that cannot be read.
    """
    merged: Settings = {command: {} for command in tables}
    for source in sources():
        for command, settings in read(source, tables).items():
            merged[command] |= settings
    return merged


def read(source: Source, tables: Tables) -> Settings:
    """Return the settings of one file, none if it does not exist; raises as load does."""
    text = _text(source)
    if text is None:
        return {}
    try:
        parsed = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of too many digits
        raise UsageProblem(f"{shown(source.path)}: {shown(error)}") from error
    found: Settings = {}
    for name, table in parsed.items():
        _check_table(name, table, _where(source.path, _line(text, name)), tables)
        found[name] = {
            key: _setting(name, key, value, source, _line(text, name, key), tables[name])
            for key, value in table.items()
        }
    return found


def described(tables: Tables) -> tuple[dict[str, str], list[str]]:
    """Return each file with what it sets, in words, and what is wrong with those that fail."""
    texts, problems = {}, []
    for source in sources():
        try:
            found = read(source, tables)
        except (UsageProblem, EnvironmentProblem) as error:
            problems.append(str(error))
            texts[shown(source.path)] = "cannot be used"
            continue
        keys = [f"{command}.{key}" for command, settings in found.items() for key in settings]
        texts[shown(source.path)] = f"sets {', '.join(keys)}" if keys else "sets nothing"
        if not source.path.exists():
            texts[shown(source.path)] = "not there"
    return texts, problems


def _text(source: Source) -> str | None:
    """Return what a file holds, None if there is none."""
    path = source.path
    try:
        if not source.own and os.path.lexists(path) and not path.is_file():
            raise EnvironmentProblem(f"{shown(path)} is not a file; remove it")
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        if source.named:
            raise UsageProblem(f"{VARIABLE}={shown(path)}: there is no such file") from None
        return None
    except OSError as error:
        raise EnvironmentProblem(f"{shown(path)}: cannot be read ({error.strerror})") from error
    if len(content) > _LARGEST:
        raise UsageProblem(f"{shown(path)}: more than {_LARGEST:,} bytes")
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
        raise UsageProblem(f"{where}: '{shown(name)}' must stand in a table: {known}")
    guess = difflib.get_close_matches(name, tables, n=1)
    hint = f"did you mean [{guess[0]}]?" if guess else f"there are {known}"
    raise UsageProblem(f"{where}: no command has the table [{shown(name)}]; {hint}")


def _setting(
    command: str, key: str, given: Any, source: Source, line: int | None, known: Mapping[str, Kind]
) -> Setting:
    """Return one setting; raises UsageProblem unless the command has it and the value fits."""
    where = _where(source.path, line)
    if key in LINE_ONLY:
        raise UsageProblem(f"{where}: --{key} belongs on the command line, in no file")
    if key not in known:
        guess = difflib.get_close_matches(key, set(known) - LINE_ONLY, n=1)
        hint = f"did you mean {guess[0]!r}?" if guess else f"see unlearn {command} --help"
        raise UsageProblem(f"{where}: [{command}] has no setting '{shown(key)}'; {hint}")
    if key in PRIVATE and not source.own:
        raise UsageProblem(
            f"{where}: the file of a folder may not set {key!r}; write it on the command line, or "
            f"into your own file ({_own_file()})"
        )
    value = _value(given, known[key])
    if value is None:
        expected = {
            "switch": "true or false",
            "list": "an array of texts or numbers",
            "value": "a text or a number",
        }[known[key]]
        raise UsageProblem(
            f"{where}: [{command}] {key} is {expected}, not '{shown(str(given)[:60])}'"
        )
    return Setting(given, value, source, line)


def _value(given: Any, kind: Kind) -> bool | str | list[str] | None:
    """Return a value as the command line would hold it, None if it is of another kind."""
    if kind == "switch":
        return given if isinstance(given, bool) else None
    if kind == "list":
        items = [_value(item, "value") for item in given] if isinstance(given, list) else [None]
        return None if None in items else [str(item) for item in items]
    plain = isinstance(given, str | int | float) and not isinstance(given, bool)
    return str(given) if plain else None


def _own_file() -> str:
    """Return where the user's own file is."""
    return shown(platformdirs.user_config_path("unlearn") / "config.toml")


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
    return shown(path) if line is None else f"{shown(path)}, line {line}"
