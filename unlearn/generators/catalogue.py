"""Generators that can be named: the bundled ones, the pulled ones, and any artefact by its path."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from unlearn.errors import EnvironmentProblem
from unlearn.files.homes import own_folder
from unlearn.generators.header import Header, read_header
from unlearn.generators.index import INDEX

BUNDLED = "base"
SUFFIX: Final = ".safetensors"
_FOLDER = Path(__file__).parent
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Entry:
    """One generator on this machine."""

    name: str
    path: Path
    size_bytes: int
    sha256: str
    header: Header

    @property
    def bundled(self) -> bool:
        """Whether it came with unlearn."""
        return self.path.parent == _FOLDER


def pulled_folder() -> Path | None:
    """Return where pulled generators are kept, by their names; it may not exist. None: no home."""
    data = own_folder("data")
    return data and data / "generators"


def is_name(text: str) -> bool:
    """Return whether a generator can have this name: letters, digits, dots, dashes, no folder."""
    return _NAME.fullmatch(text) is not None


def bundled_names() -> list[str]:
    """Return the names of the generators that came with unlearn."""
    return [path.stem for path in _files(_FOLDER)]


def resolve(name_or_path: str) -> Path:
    """Return the file of a bundled or pulled generator, or of a path; names come first.

    Raises EnvironmentProblem if it is neither.
    """
    for folder in _folders():
        named = folder / f"{name_or_path}{SUFFIX}"
        if is_name(name_or_path) and os.path.isfile(named):  # noqa: PTH113 - the home may be closed
            return named
    path = Path(name_or_path)
    if path.is_file():
        return path
    names = ", ".join([*bundled_names(), *(path.stem for path in _pulled())])
    hint = f". Run: unlearn generators pull {name_or_path}" if name_or_path in INDEX else ""
    raise EnvironmentProblem(
        f'generator "{name_or_path}" is neither a file nor one of the generators here ({names})'
        + hint
    )


def known() -> list[Entry]:
    """Return the bundled generators by name, then the pulled ones that can be read."""
    return [entry_of(path) for path in _files(_FOLDER)] + [
        entry_of(path) for path in _pulled() if _problem(path) is None
    ]


def damaged() -> list[str]:
    """Return what is wrong with the pulled generators that cannot be read."""
    problems = (_problem(path) for path in _pulled())
    return [problem for problem in problems if problem is not None]


def entry_of(path: Path) -> Entry:
    """Describe the generator in a file; raises EnvironmentProblem if it is none."""
    header = read_header(path)
    named = path.parent in _folders()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Entry(path.stem if named else header.name, path, path.stat().st_size, digest, header)


def _folders() -> list[Path]:
    """Return the folders whose generators have names."""
    return [folder for folder in (_FOLDER, pulled_folder()) if folder is not None]


def _pulled() -> list[Path]:
    """Return the artefacts that were pulled, by name."""
    return [path for folder in _folders()[1:] for path in _files(folder)]


def _files(folder: Path) -> list[Path]:
    """Return the artefacts in a folder, by name."""
    try:
        return sorted(folder.glob(f"*{SUFFIX}"))
    except PermissionError:  # a home that is somebody else's
        return []


def _problem(path: Path) -> str | None:
    """Return why a header cannot be read, or None if it can."""
    try:
        read_header(path)
    except EnvironmentProblem as error:
        return str(error)
    return None
