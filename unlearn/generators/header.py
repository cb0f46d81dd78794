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

FORMAT = 1
KEY = "unlearn"
LARGEST_ARTEFACT = 4 << 30  # bytes; several of the largest networks fit
_LARGEST_HEADER = 1 << 20
_PICKLE_SUFFIXES = {".pt", ".pth", ".pkl", ".ckpt", ".bin"}
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True)
class Header:
    """What a generator is: method with its whole configuration, network, sizes, data, licence."""

    method: str
    config: dict[str, Any]
    architecture: str
    classes: tuple[str, ...]
    image_size: int
    working_size: int
    rho: str
    rho_a: str
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
        if version != FORMAT:
            raise EnvironmentProblem(
                f"{path}: artefact format {version}; this unlearn reads format {FORMAT}"
            )
        return from_plain(Header, plain, "header")
    except (ValueError, AttributeError, RecursionError, UsageProblem) as error:
        raise EnvironmentProblem(f"{path}: damaged generator header: {error}") from error


def serialised(tensors: "dict[str, Tensor]", header: Header, path: Path) -> str:
    """Write tensors and header to path through a temporary file beside it; return the SHA-256."""
    import safetensors.torch

    text = json.dumps(to_plain(header), sort_keys=True)
    content = safetensors.torch.save(tensors, metadata={KEY: text})
    replace_file(path, content)
    return hashlib.sha256(content).hexdigest()
