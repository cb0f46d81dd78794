"""Samples: the classes that the small members of a tar state for the pictures beside them."""

import json
from collections.abc import Sequence
from pathlib import Path
from tarfile import TarInfo
from typing import Final

from unlearn.files.tars import sample_of

_LARGEST: Final = 1 << 20  # bytes of a member that may state a class
_FIELDS: Final = ("cls", "label")


def stated_labels(path: Path, members: Sequence[TarInfo]) -> dict[str, str]:
    """Return the class that each sample of a tar states, by its key.

    That is the text of its `.cls` or, without one, `cls` or `label` of its `.json`.
    """
    stated: dict[str, tuple[bool, str]] = {}
    with path.open("rb") as file:
        for member in members:
            suffix = member.name.rpartition("/")[2].partition(".")[2].lower()
            if suffix not in ("cls", "json") or not member.isreg() or member.size > _LARGEST:
                continue
            file.seek(member.offset_data)
            data = file.read(member.size)
            text = _text(data) if suffix == "cls" else _field(data)
            if text:
                key = sample_of(member.name)
                stated[key] = max(stated.get(key, (False, "")), (suffix == "cls", text))
    return {key: text for key, (_, text) in stated.items()}


def _text(data: bytes) -> str:
    """Return a text without the spaces around it."""
    return data.decode("utf-8", "surrogateescape").strip()


def _field(data: bytes) -> str:
    """Return the class in an object of JSON, a text or a whole number; "" if there is none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    values = [found.get(name) for name in _FIELDS] if isinstance(found, dict) else []
    return next((str(value).strip() for value in values if type(value) in (str, int)), "")
