"""Generators that can be named: the bundled ones, and any artefact by its path."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from unlearn.errors import EnvironmentProblem
from unlearn.header import Header, read_header

BUNDLED = "base"
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Entry:
    """One generator on this machine."""

    name: str
    path: Path
    size_bytes: int
    sha256: str
    header: Header


def resolve(name_or_path: str) -> Path:
    """Return the file of a bundled generator or of a path; raises EnvironmentProblem if neither."""
    bundled = _FOLDER / f"{name_or_path}.safetensors"
    path = Path(name_or_path)
    if path.name == name_or_path and not path.suffix and bundled.is_file():
        return bundled
    if path.is_file():
        return path
    names = ", ".join(entry.stem for entry in sorted(_FOLDER.glob("*.safetensors")))
    raise EnvironmentProblem(
        f'generator "{name_or_path}" is neither a file nor one of the bundled generators ({names})'
    )


def known() -> list[Entry]:
    """Return the bundled generators by name."""
    return [entry_of(path) for path in sorted(_FOLDER.glob("*.safetensors"))]


def entry_of(path: Path) -> Entry:
    """Describe the generator in a file; raises EnvironmentProblem if it is none."""
    header = read_header(path)
    content = path.read_bytes()
    return Entry(header.name, path, len(content), hashlib.sha256(content).hexdigest(), header)
