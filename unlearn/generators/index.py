"""The generators that can be pulled by name, each with the hash that its file must have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Remote:
    """Where a generator can be had; `sha256` is what makes it that generator, not the place."""

    url: str
    sha256: str
    size_bytes: int


INDEX: Final[Mapping[str, Remote]] = {}  # none is published yet
