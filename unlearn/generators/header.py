"""The header of a generator artefact, read without torch and without trust."""

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn import __version__
from unlearn.config import from_plain, to_plain
from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.files.replace import replace_file

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 2
KEY = "unlearn"
LARGEST_ARTEFACT = 4 << 30  # bytes; several of the largest networks fit
_LARGEST_HEADER = 1 << 20
_PICKLE_SUFFIXES = {".pt", ".pth", ".pkl", ".ckpt", ".bin"}
_OFF_IN_1: dict[str, Any] = {  # options of format 1 that are no more, and their values when off
    "patterns": 1,
    "jitter": "0/255",
    "adversary_range": None,
    "cosine_weight": 0.0,
    "architectures": [],
    "averaged": 1,
    "warm": False,
}
_PARTS_IN_1 = {"unlearn": "attack", "views": "views", "window": "window", "shared": "shared"}
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True)
class Header:
    """What a generator is: method with its whole configuration, network, sizes, data, licence.

    Without classes it takes pictures of any; without rho its noise keeps no bound of its own. facts
    are what the method has to say of its settings.
    """

    method: str
    config: dict[str, Any]
    architecture: str
    classes: tuple[str, ...]
    image_size: int
    working_size: int
    rho: str | None
    facts: dict[str, str] = field(default_factory=dict)
    precision: str = "fp32"
    seed: int = 0
    name: str = "generator"
    licence: str = "unstated"
    training_data: str = "unstated"
    data_fingerprint: str = ""
    data_count: int = 0
    command: str = ""
    tool: str = __version__
    format: int = FORMAT
    curve: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("image_size", "working_size"):
            if getattr(self, name) < 1:
                raise UsageProblem(f"{name} is {getattr(self, name)}, not at least 1")
        for text in self.facts.values():
            if not isinstance(text, str):
                raise UsageProblem(f"facts hold {text!r}, which is no text")


def read_header(path: Path) -> Header:
    """Read the header of an artefact; raises EnvironmentProblem with the reason."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > LARGEST_ARTEFACT:
                raise EnvironmentProblem(f"{path}: more than {LARGEST_ARTEFACT:,} bytes")
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if path.suffix in _PICKLE_SUFFIXES or not 2 <= length <= _LARGEST_HEADER:
                raise _refusal(path, start)
            whole = json.loads(file.read(length))
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, an endless number
        raise EnvironmentProblem(f"{path}: not a safetensors file") from error
    return _parse(path, whole)


def _refusal(path: Path, start: bytes) -> EnvironmentProblem:
    """Return the reason why a file with this start is not read."""
    if path.suffix in _PICKLE_SUFFIXES or start.startswith(_PICKLES):
        return EnvironmentProblem(
            f"{path} is a pickle and can run code; only safetensors files are accepted"
        )
    return EnvironmentProblem(f"{path}: not a safetensors file")


def _parse(path: Path, whole: Any) -> Header:
    """Return the header in the metadata of a safetensors header."""
    metadata = whole.get("__metadata__") if isinstance(whole, Mapping) else None
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get(KEY), str):
        raise EnvironmentProblem(f"{path}: a safetensors file, but not an unlearn generator")
    try:
        plain = json.loads(metadata[KEY])
        version = plain.get("format")
        if isinstance(version, int) and version > FORMAT:
            raise EnvironmentProblem(
                f"{path}: artefact format {version}, made by a newer unlearn; "
                f"this one reads formats up to {FORMAT}"
            )
        if version not in (1, FORMAT):
            raise EnvironmentProblem(
                f"{path}: artefact format {version}; this unlearn reads formats 1 and {FORMAT}"
            )
        return from_plain(Header, upgrade(plain) if version == 1 else plain, "header")
    except (ValueError, AttributeError, RecursionError, UsageProblem) as error:
        raise EnvironmentProblem(f"{path}: damaged generator header: {error}") from error


def upgrade(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a header of format 1, whose method always was min-max-min, as one of format 2.

    Raises UsageProblem for options that are no more, unless they were off.
    """
    plain, old = {**plain, "format": FORMAT}, plain.get("config")
    plain["facts"] = {"rho-a": plain.pop("rho_a", "")}
    if not isinstance(old, dict):
        return plain  # refused when its fields are read
    old = dict(old)
    for name, off in _OFF_IN_1.items():
        value = old.pop(name, off)
        if value != off:
            raise UsageProblem(
                f"{name} = {value} is an option that is no more; "
                f"use unlearn {plain.get('tool')}, which made it"
            )
    parts = {new: old.pop(name) for name, new in _PARTS_IN_1.items() if name in old}
    return {**plain, "config": {**old, "noise": parts}}


def serialised(tensors: "dict[str, Tensor]", header: Header, path: Path) -> str:
    """Write tensors and header to path through a temporary file beside it; return the SHA-256."""
    import safetensors.torch

    text = json.dumps(to_plain(header), sort_keys=True)
    content = safetensors.torch.save(tensors, metadata={KEY: text})
    replace_file(path, content)
    return hashlib.sha256(content).hexdigest()
