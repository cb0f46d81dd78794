"""What a person should know about many pictures at once: each notice in one line, with names."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from unlearn.files.text import printable
from unlearn.pictures.metadata.left_out import (
    COLOUR,
    CREDENTIALS,
    EDITOR_DATA,
    EXIF,
    GAIN_MAP,
    HINTS,
    IPTC,
    MAKER_NOTE,
    MOTION_VIDEO,
    OTHER_COPY,
    PRIVATE_DATA,
    REGIONS,
    TEXT,
    THUMBNAIL,
    XMP,
)
from unlearn.protection.manifest import PictureRecord
from unlearn.protection.worker import WRITTEN_AS_PNG

REMOVED: Final = "content credentials (C2PA) were removed, since any change breaks them"
_TITLES: Final = {
    CREDENTIALS: "content credentials",
    MOTION_VIDEO: "motion video",
    GAIN_MAP: "gain map",
    THUMBNAIL: "thumbnail",
    MAKER_NOTE: "maker notes",
    OTHER_COPY: "other copies of the picture",
    EDITOR_DATA: "data of editors",
    HINTS: "hints for showing and printing it",
    PRIVATE_DATA: "private data of makers and programs",
    REGIONS: "faces, subjects and crops by their place",
    EXIF: "EXIF",
    XMP: "XMP",
    IPTC: "IPTC",
    TEXT: "text",
    COLOUR: "how its colours are meant",
}
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


def left_out_line(records: Sequence[PictureRecord]) -> str | None:
    """Return a line that says what was left out of how many pictures; None if nothing was."""
    counts = Counter(name for record in records for name in dict.fromkeys(record.dropped))
    if not counts:
        return None
    order = {name: place for place, name in enumerate(_TITLES)}
    by_count: dict[int, list[str]] = {}
    for name, count in counts.items():
        by_count.setdefault(count, []).append(name)
    parts: list[str] = []
    for count, names in sorted(by_count.items(), reverse=True):
        noun = "" if parts else " picture" if count == 1 else " pictures"
        titles = sorted(names, key=lambda name: order.get(name, len(order)))
        listed = ", ".join(_TITLES.get(name, printable(name)) for name in titles)
        parts.append(f"of {count}{noun}: {listed}")
    return "; ".join(parts)
