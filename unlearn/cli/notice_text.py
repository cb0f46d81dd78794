"""What a person should know about many pictures at once: each notice in one line, with names."""

from collections.abc import Iterator, Sequence
from typing import Final

from unlearn.files.text import printable
from unlearn.pictures.metadata.left_out import CREDENTIALS
from unlearn.protection.manifest import PictureRecord
from unlearn.protection.worker import WRITTEN_AS_PNG

REMOVED: Final = "content credentials (C2PA) were removed, since any change breaks them"
_NAMED: Final = 3  # pictures named in a line; the record has them all


def notice_lines(records: Sequence[PictureRecord]) -> Iterator[tuple[int, str]]:
    """Yield each notice about protected pictures: how many it is about, and its line.

    What became PNG has a line of its own and is left out.
    """
    names: dict[str, list[str]] = {}
    for record in records:
        credentials = (REMOVED,) if CREDENTIALS in record.dropped else ()
        others = (text for text in record.notices if not text.startswith(WRITTEN_AS_PNG))
        for text in dict.fromkeys([*credentials, *others]):
            names.setdefault(text, []).append(record.src)
    for text, concerned in sorted(names.items(), key=lambda item: (-len(item[1]), item[0])):
        some = ", ".join(printable(name) for name in concerned[:_NAMED])
        more = f" and {len(concerned) - _NAMED} more" if len(concerned) > _NAMED else ""
        yield len(concerned), f"{printable(text)}: {some}{more}"
