"""Shards: a run parted by the names of its pictures, each part with a manifest of its own.

A picture belongs to one shard whatever else is there. Names, labels and clashes are settled from
all pictures by every shard, so that no two of them write one file.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from unlearn.errors import UsageProblem
from unlearn.files.lock import LOCK_NAME, locked, refuse_if_locked
from unlearn.files.text import printable

_ASKED: Final = re.compile(r"(\d{1,6})/(\d{1,6})")
_MARKED: Final = re.compile(r"\.(\d+)-of-(\d+)(?:\.jsonl)?")
PATIENCE_SECONDS: Final = 30.0  # shards that start together take the lock one after another


@dataclass(frozen=True, order=True)
class Shard:
    """One of `count` parts, numbered from 1."""

    count: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "3/16"; raises UsageProblem for anything that is no such part."""
        found = _ASKED.fullmatch(text.strip())
        shard = found and cls(int(found[2]), int(found[1]))
        if not shard or not 1 <= shard.number <= shard.count:
            raise UsageProblem(f"shard {text!r} is no part of a whole; use 1/4 to 4/4 for four")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def mark(self) -> str:
        """What the names of its own files hold."""
        return f".{self.number}-of-{self.count}"

    def takes(self, name: str) -> bool:
        """Tell whether a picture, by its name under the inputs, is one of this shard."""
        digest = hashlib.sha256(os.fsencode(name)).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1


def manifest_name(shard: Shard | None) -> str:
    """Return the name of the manifest of a whole run or of a shard."""
    return f"manifest{shard.mark if shard else ''}.jsonl"


def shards_in(records: Path, stem: str = "manifest") -> list[Shard]:
    """Return the shards that have a part of the manifest, or another file, in the records."""
    try:
        names = [name.removeprefix(stem) for name in os.listdir(records) if name.startswith(stem)]  # noqa: PTH208 - names only
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = [_MARKED.fullmatch(name) for name in names]
    return sorted({Shard(int(one[2]), int(one[1])) for one in found if one})


def refuse_others(out: Path, records: Path, shard: Shard | None) -> None:
    """Raise UsageProblem if the output has parts of another number of shards."""
    other = next((one for one in shards_in(records) if shard and one.count != shard.count), None)
    if other is not None:
        raise UsageProblem(
            f"{printable(out)} is being made in {other.count} shards, you asked {shard}; go on "
            f"with --shard N/{other.count}, or once without --shard"
        )


@contextlib.contextmanager
def writing(
    out: Path, records: Path, shard: Shard | None = None, *, patient: bool = False
) -> Iterator[None]:
    """Hold the lock of an output folder: of one shard beside others, or of the whole alone.

    Raises Busy if another run holds what this one needs; the `patient` wait for who has the whole.
    """
    patience_seconds = PATIENCE_SECONDS if patient or shard else 0
    with contextlib.ExitStack() as stack:
        whole = locked(out, records, patience_seconds=patience_seconds)
        if shard is None:
            stack.enter_context(whole)
            for other in shards_in(records, LOCK_NAME):
                refuse_if_locked(out, records, other.mark)
        else:
            with whole:
                stack.enter_context(locked(out, records, shard.mark))
        yield
