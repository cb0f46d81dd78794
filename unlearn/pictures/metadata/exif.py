"""EXIF blocks read and written entry by entry, with every kept value byte for byte.

An EXIF block is a small TIFF: directories of 12-byte entries. Only tags known to describe the
picture are kept. Everything that can hide a second picture is left out: the thumbnail directory,
maker notes (many hold a preview, and their offsets break when they move), directories of
sub-images, and any value with the start of a picture inside.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from unlearn.pictures.kinds import Data, holds_picture
from unlearn.pictures.metadata.left_out import (
    HINTS,
    MAKER_NOTE,
    OTHER_COPY,
    PRIVATE_DATA,
    THUMBNAIL,
)

Order = Literal["<", ">"]
_BYTE_ORDERS: Mapping[Order, Literal["little", "big"]] = {"<": "little", ">": "big"}

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 1, 2, 3, 4, 5, 7
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_WIDE_BYTES = {13: 4, 16: 8, 18: 8}  # whole numbers of a TIFF that become LONG
_LARGEST_TEXT = 65_536
_LARGEST_OPAQUE = 4_096  # no standard tag but UserComment needs more

ORIENTATION, X_RESOLUTION, Y_RESOLUTION, ARTIST, COPYRIGHT = 274, 282, 283, 315, 33432
XP_AUTHOR, PHOTOGRAPHER = 40093, 42039
PHOTO_POINTER, GPS_POINTER, _MAKER_NOTE, USER_COMMENT = 34665, 34853, 37500, 37510
_REGION_TAGS = frozenset({37396, 41492})  # area and location of the subject, in pixels
_COLOUR_SPACE, _PIXEL_WIDTH, _PIXEL_HEIGHT, INTEROP_POINTER = 40961, 40962, 40963, 40965
# Of GeoTIFF and GDAL: where on Earth which pixel lies, names of bands, the value of no data.
_GEO_TAGS = frozenset({33550, 33920, 33922, 34264, 34735, 34736, 34737, 42112, 42113})
_IMAGE_TAGS = frozenset(
    {269, 270, 271, 272, ORIENTATION, X_RESOLUTION, Y_RESOLUTION, 285, 296, 305, 306}
    | {ARTIST, 316, 318, 319, *_GEO_TAGS}
    | {18246, 18249, COPYRIGHT, 40091, 40092, 40093, 40094, 40095, PHOTO_POINTER, GPS_POINTER}
)
_PHOTO_TAGS = frozenset(range(33434, 42241)) - {34665, 34853, _MAKER_NOTE, 37724}
_INTEROP_TAGS = frozenset({1, 2})  # the index, which may say Adobe RGB, and its version
# Private tags that are kept otherwise, named by themselves, or only fill space.
_FIRST_PRIVATE = 32_768
_KNOWN_PRIVATE = frozenset({33723, 34377, 34675, 37724, 50706, 52545, 59932, 59933})
_GPS_TAGS = frozenset(range(32))
_HINT_TAGS = frozenset({280, 281, 286, 287, 290, 291, 301, 321, 333, 337})


@dataclass(frozen=True)
class Entry:
    """One value: its TIFF type, how many of them, and their bytes in the block's byte order."""

    kind: int
    count: int
    raw: bytes


Directory = Mapping[int, Entry]


@dataclass(frozen=True)
class Exif:
    """The kept entries of one block, its byte order, and what had to be left out."""

    order: Order = "<"
    image: Directory = field(default_factory=dict)
    photo: Directory = field(default_factory=dict)
    gps: Directory = field(default_factory=dict)
    damaged: int = 0
    dropped: tuple[str, ...] = ()
    interop: Directory = field(default_factory=dict)
    geo: Directory = field(default_factory=dict)  # of a TIFF, which alone can hold them

    @property
    def names_regions(self) -> bool:
        """Whether it says where in the picture its subject is."""
        return not _REGION_TAGS.isdisjoint(self.photo)

    @property
    def is_adobe_rgb(self) -> bool:
        """Whether it says that the colours are those of Adobe RGB, as cameras do."""
        return 1 in self.interop and self.interop[1].raw.startswith(b"R03")

    @property
    def orientation(self) -> int:
        """The EXIF orientation, 1 to 8; 1 where the block says nothing sensible."""
        value = self.number(self.image.get(ORIENTATION))
        return value if 1 <= value <= 8 else 1

    def number(self, entry: Entry | None) -> int:
        """Return the first value of a whole-number entry, 0 where there is none."""
        code = {BYTE: "B", SHORT: "H", LONG: "I"}.get(entry.kind) if entry else None
        if entry is None or code is None or not entry.raw:
            return 0
        return int(struct.unpack_from(self.order + code, entry.raw)[0])


def read_exif(block: Data, start: int = 0) -> Exif:
    """Read a block, or a TIFF from the directory at `start`; 0 stands for the first.

    Raises ValueError when its header or that directory makes no sense.
    """
    while block[:6] == b"Exif\0\0":
        block = block[6:]
    order: Order = "<" if block[:2] == b"II" else ">"
    big = block[:4] in (b"II+\0", b"MM\0+")
    if len(block) < 14 or not (big or block[:4] in (b"II*\0", b"MM\0*")):
        raise ValueError("no EXIF header")
    reader = _Reader(block, order, big=big)
    start = start or int.from_bytes(block[8:16] if big else block[4:8], _BYTE_ORDERS[order])
    if not 8 <= start <= len(block) - 6:
        raise ValueError("no EXIF directory")
    image, following = reader.directory(start, _IMAGE_TAGS)
    geo = {tag: image.pop(tag) for tag in _GEO_TAGS & image.keys()}
    found = Exif(order, image)
    photo, _ = reader.directory(found.number(image.pop(PHOTO_POINTER, None)), _PHOTO_TAGS)
    interop, _ = reader.directory(found.number(photo.pop(INTEROP_POINTER, None)), _INTEROP_TAGS)
    gps, _ = reader.directory(found.number(image.pop(GPS_POINTER, None)), _GPS_TAGS)
    if following:
        reader.dropped.append(THUMBNAIL)
    dropped = tuple(dict.fromkeys(reader.dropped))
    return Exif(order, image, photo, gps, reader.damaged, dropped, interop, geo)


class _Reader:
    """Walks the directories of one block, counting damaged entries and naming dropped ones."""

    def __init__(self, block: Data, order: Order, *, big: bool = False) -> None:
        self.block, self.order = block, order
        self.count, self.pointer = (order + "Q", order + "Q") if big else (order + "H", order + "I")
        self.row = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
        self.damaged = 0
        self.dropped: list[str] = []

    def directory(self, start: int, wanted: frozenset[int]) -> tuple[dict[int, Entry], int]:
        """Return the wanted entries of a directory, and where the next one is (0: none)."""
        entries: dict[int, Entry] = {}
        head, row = struct.calcsize(self.count), self.row.size
        if not 8 <= start <= len(self.block) - head:
            return entries, 0
        (count,) = struct.unpack_from(self.count, self.block, start)
        end = start + head + row * count
        for at in range(start + head, min(end, len(self.block) - row + 1), row):
            tag, kind, values, content = self.row.unpack_from(self.block, at)
            if tag == _MAKER_NOTE:
                self.dropped.append(MAKER_NOTE)
            elif tag in wanted and (entry := self._entry(content, tag, kind, values)):
                entries[tag] = entry
            elif tag in _HINT_TAGS:
                self.dropped.append(HINTS)
            elif tag >= _FIRST_PRIVATE and tag not in wanted:
                self.dropped += [PRIVATE_DATA] * (tag not in _KNOWN_PRIVATE)
        if end + struct.calcsize(self.pointer) > len(self.block):
            return entries, 0
        return entries, struct.unpack_from(self.pointer, self.block, end)[0]

    def _entry(self, content: bytes, tag: int, kind: int, count: int) -> Entry | None:
        """Return one entry, or None for a damaged, oversized or picture-bearing value.

        `content` is its value, or where that is if it is longer.
        """
        width = _VALUE_BYTES.get(kind) or _WIDE_BYTES.get(kind, 0)
        size = width * count
        opaque = kind in (BYTE, UNDEFINED) and tag != USER_COMMENT
        limit = _LARGEST_OPAQUE if opaque else _LARGEST_TEXT
        raw = content[:size]
        if size > len(content):
            (at,) = struct.unpack(self.pointer, content)
            raw = self.block[at : at + size] if size <= limit else b""
        if not size or len(raw) < size:
            self.damaged += 1
            return None
        if holds_picture(raw):
            self.dropped.append(OTHER_COPY)
            return None
        if kind in _WIDE_BYTES:
            order = _BYTE_ORDERS[self.order]
            places = range(0, size, width)
            values = [int.from_bytes(raw[at : at + width], order) for at in places]
            return whole(self.order, LONG, *(min(value, 0xFFFFFFFF) for value in values))
        return Entry(kind, count, raw)


def for_colour(exif: Exif) -> Exif:
    """Return what the look depends on and nothing else."""
    if not exif.is_adobe_rgb:
        return Exif(exif.order)
    photo = {tag: entry for tag, entry in exif.photo.items() if tag == _COLOUR_SPACE}
    return Exif(exif.order, photo=photo, interop=exif.interop)


def for_output(exif: Exif, size: tuple[int, int], *, copyright_only: bool = False) -> Exif:
    """Return the block for an output of `size` (width, height): upright, with its own size."""
    if copyright_only:
        kept = {tag: exif.image[tag] for tag in (ARTIST, COPYRIGHT, XP_AUTHOR) if tag in exif.image}
        look = for_colour(exif)
        credit = {tag: entry for tag, entry in exif.photo.items() if tag == PHOTOGRAPHER}
        return replace(look, image=kept, photo={**look.photo, **credit})
    turned = swapped(exif.image) if exif.orientation > 4 else exif.image
    image = {**turned, ORIENTATION: whole(exif.order, SHORT, 1)}
    photo = dict(exif.photo)
    for tag, length in zip((_PIXEL_WIDTH, _PIXEL_HEIGHT), size, strict=True):
        if tag in photo:
            photo[tag] = whole(exif.order, LONG, length)
    return Exif(exif.order, image, photo, exif.gps, interop=exif.interop, geo=exif.geo)


def without_regions(exif: Exif) -> Exif:
    """Return the block without what counts in the pixels of the file it comes from."""
    photo = {tag: entry for tag, entry in exif.photo.items() if tag not in _REGION_TAGS}
    return replace(exif, photo=photo, geo={})


def swapped(entries: Directory) -> dict[int, Entry]:
    """Return entries with the two resolutions in each other's place."""
    other = {X_RESOLUTION: Y_RESOLUTION, Y_RESOLUTION: X_RESOLUTION}
    return {other.get(tag, tag): entry for tag, entry in entries.items()}


def whole(order: Order, kind: int, *values: int) -> Entry:
    """Return an entry of whole numbers; `kind` is SHORT or LONG."""
    code = "H" if kind == SHORT else "I"
    return Entry(kind, len(values), struct.pack(f"{order}{len(values)}{code}", *values))


def write_exif(exif: Exif) -> bytes:
    """Return the block as bytes, without the "Exif" prefix; empty when nothing is kept."""
    if not (exif.image or exif.photo or exif.gps or exif.interop):
        return b""
    return header(exif.order, 8) + pack_directories(exif, {}, 8)


def header(order: Order, start: int) -> bytes:
    """Return the eight bytes that open a TIFF structure whose first directory is at `start`."""
    return (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, start)


def pack_directories(exif: Exif, extra: Directory, start: int) -> bytes:
    """Return the main directory, with the `extra` entries, and its sub-directories at `start`."""
    main, photo = {**exif.image, **extra}, dict(exif.photo)
    links = (
        (photo, INTEROP_POINTER, exif.interop),
        (main, PHOTO_POINTER, photo),
        (main, GPS_POINTER, exif.gps),
    )
    for parent, tag, part in links:
        if part:
            parent[tag] = whole(exif.order, LONG, 0)
    place = start + len(_pack(main, exif.order, start))
    for parent, tag, part in links:
        if part:
            parent[tag] = whole(exif.order, LONG, place)
            place += len(_pack(part, exif.order, place))
    packed = b""
    for part in (main, *(part for _, _, part in links if part)):
        packed += _pack(part, exif.order, start + len(packed))
    return packed


def _pack(directory: Directory, order: Order, start: int) -> bytes:
    """Return one directory placed at `start`, its long values behind it, its length even."""
    table = struct.pack(order + "H", len(directory))
    behind = b""
    place = start + 2 + 12 * len(directory) + 4
    for tag, entry in sorted(directory.items()):
        table += struct.pack(order + "HHI", tag, entry.kind, entry.count)
        if len(entry.raw) <= 4:
            table += entry.raw.ljust(4, b"\0")
        else:
            table += struct.pack(order + "I", place + len(behind))
            behind += entry.raw + b"\0" * (len(entry.raw) % 2)
    return table + b"\0\0\0\0" + behind
