"""What the boxes of an AVIF or HEIC file say about its pictures, without decoding any.

Both are ISO base media files (ISO/IEC 14496-12) that hold items and the references between them
(ISO/IEC 23008-12): the primary picture, and beside it thumbnails, depth, gain maps, bursts.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from unlearn.pictures.kinds import Data
from unlearn.pictures.metadata.left_out import (
    CREDENTIALS,
    GAIN_MAP,
    MOTION_VIDEO,
    OTHER_COPY,
    THUMBNAIL,
)

_MOST_BOXES = 10_000  # of one level; a grid of a large photo has a few hundred items
_C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_PICTURES = frozenset({b"hvc1", b"av01", b"grid", b"iden", b"iovl", b"jpeg", b"avc1", b"unci"})
_PLAIN_COLOUR = frozenset({(1, 13), (1, 1), (2, 2), (1, 2), (2, 13), (1, 6), (6, 6), (5, 6)})

Box = tuple[bytes, bytes]  # its type, and its content without the header


@dataclass(frozen=True)
class Container:
    """The primary picture's size, bits a value and greyness; frames, and what is beside it.

    `cicp` is the content of a PNG's cICP chunk where colours are not those of sRGB. `turned` says
    whether it is shown as it is stored, `cropped` whether only a part of it is.
    """

    size: tuple[int, int] | None = None
    bits: int = 8
    grey: bool = False
    frames: int = 1
    beside: tuple[str, ...] = ()
    cicp: bytes | None = None
    turned: bool = False
    cropped: bool = False


@dataclass
class _Items:
    """The content of a file's meta box."""

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)
    references: list[tuple[bytes, int, tuple[int, ...]]] = field(default_factory=list)
    properties: list[Box] = field(default_factory=list)
    associations: dict[int, list[int]] = field(default_factory=dict)

    def of(self, item: int) -> Iterator[Box]:
        """Yield the properties of an item."""
        for number in self.associations.get(item, ()):
            if 0 < number <= len(self.properties):
                yield self.properties[number - 1]

    def parts(self, item: int) -> tuple[int, ...]:
        """Return the items that an item is derived from."""
        derived = (to for kind, start, to in self.references if (kind, start) == (b"dimg", item))
        return next(derived, ())


def read_container(data: Data) -> Container:
    """Describe a file as far as its boxes make sense; raises nothing for those that do not."""
    top = list(_boxes(data))
    items = _Items()
    for name, content in top:
        if name == b"meta":
            _read_meta(content[4:], items)
    bits, grey, size, cicp = _shape(items)
    beside = list(dict.fromkeys([*_beside(items), *_outside(top)]))
    frames = max((_samples(content) for name, content in top if name == b"moov"), default=1)
    shown = {
        name for name, content in items.of(items.primary) if content.strip(b"\0") or name == b"imir"
    }
    turned, cropped = not shown.isdisjoint({b"irot", b"imir"}), b"clap" in shown
    return Container(size, bits, grey, max(1, frames), tuple(beside), cicp, turned, cropped)


def _boxes(data: Data) -> Iterator[Box]:
    """Yield the boxes of one level, as far as they go; that of coded pictures without content."""
    at = count = 0
    while at + 8 <= len(data) and (count := count + 1) <= _MOST_BOXES:
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        head = 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if length == 0:
            length = len(data) - at
        if length < head:
            return
        yield name, b"" if name == b"mdat" else data[at + head : at + length]
        at += length


def _read_meta(content: bytes, items: _Items) -> None:
    """Read the items, their references and their properties."""
    readers = {b"pitm": _read_primary, b"iinf": _read_kinds, b"iref": _read_references}
    for name, inner in _boxes(content):
        try:
            if name in readers:
                readers[name](inner, items)
            elif name == b"iprp":
                _read_properties(inner, items)
        except struct.error:
            continue


def _read_primary(content: bytes, items: _Items) -> None:
    """Read which item is the picture."""
    (items.primary,) = struct.unpack_from(">I" if content[:1] > b"\0" else ">H", content, 4)


def _read_kinds(content: bytes, items: _Items) -> None:
    """Read the types of the items, and which are hidden."""
    for name, inner in _boxes(content[6 if content[:1] == b"\0" else 8 :]):
        if name == b"infe" and inner[:1] in (b"\2", b"\3"):
            layout = ">HH4s" if inner[:1] == b"\2" else ">IH4s"
            item, _, kind = struct.unpack_from(layout, inner, 4)
            items.kinds[item] = kind
            if inner[3] & 1:
                items.hidden.add(item)


def _read_references(content: bytes, items: _Items) -> None:
    """Read which item refers to which, and as what."""
    code = "I" if content[:1] > b"\0" else "H"
    width = struct.calcsize(code)
    for name, inner in _boxes(content[4:]):
        start, count = struct.unpack_from(f">{code}H", inner)
        to = struct.unpack_from(f">{count}{code}", inner, width + 2)
        items.references.append((name, start, to))


def _read_properties(content: bytes, items: _Items) -> None:
    """Read the properties and which items have them."""
    for name, inner in _boxes(content):
        if name == b"ipco":
            items.properties += _boxes(inner)
        elif name == b"ipma":
            _read_associations(inner, items)


def _read_associations(content: bytes, items: _Items) -> None:
    """Read the numbers of each item's properties."""
    code, wide = ("I" if content[:1] > b"\0" else "H"), bool(content[3] & 1)
    (count,) = struct.unpack_from(">I", content, 4)
    at = 8
    for _ in range(min(count, _MOST_BOXES)):
        item, number = struct.unpack_from(f">{code}B", content, at)
        at += struct.calcsize(code) + 1
        values = struct.unpack_from(f">{number}{'H' if wide else 'B'}", content, at)
        at += number * (2 if wide else 1)
        mask = 0x7FFF if wide else 0x7F  # the highest bit says that the property is essential
        items.associations.setdefault(item, []).extend(value & mask for value in values)


def _shape(items: _Items) -> tuple[int, bool, tuple[int, int] | None, bytes | None]:
    """Return bits, greyness, size and colour of the primary picture or of what it is made of."""
    bits, grey, size, cicp = 8, False, None, None
    parts = (items.primary, *items.parts(items.primary)[:1])
    for name, content in (box for part in parts for box in items.of(part)):
        if name == b"pixi" and len(content) > 5:
            bits, grey = max(bits, *content[5:]), grey or content[4] == 1
        elif name == b"av1C" and len(content) > 2:
            bits = max(bits, 12 if content[2] & 0x20 else 10 if content[2] & 0x40 else 8)
            grey = grey or bool(content[2] & 0x10)
        elif name == b"hvcC" and len(content) > 17:
            bits, grey = max(bits, 8 + (content[17] & 7)), grey or not content[16] & 3
        elif name == b"ispe" and len(content) >= 12 and size is None:
            width, height = struct.unpack_from(">II", content, 4)
            size = (width, height)
        elif name == b"colr" and content[:4] == b"nclx" and len(content) >= 11:
            cicp = _cicp(content[4:])
    return bits, grey, size, cicp


def _cicp(content: bytes) -> bytes | None:
    """Return the colour of decoded RGB as a PNG states it; None for sRGB and what is as good."""
    primaries, transfer = struct.unpack_from(">HH", content)
    if (primaries, transfer) in _PLAIN_COLOUR or max(primaries, transfer) > 255:
        return None
    return bytes([primaries, transfer, 0, 1])


def _beside(items: _Items) -> Iterator[str]:
    """Name the pictures in the file that are not the primary one."""
    placed = {items.primary, *items.hidden}
    for kind, start, to in items.references:
        if kind in (b"thmb", b"auxl"):
            placed.add(start)
            yield from [THUMBNAIL] if kind == b"thmb" else _auxiliary(items, start)
        elif kind == b"dimg":
            placed.update(to)
    for item, kind in items.kinds.items():
        if kind == b"tmap":
            yield GAIN_MAP
        elif kind in _PICTURES and item not in placed:
            yield OTHER_COPY


def _auxiliary(items: _Items, item: int) -> Iterator[str]:
    """Name an auxiliary picture, such as depth, by its property; alpha is part of the picture."""
    urn = b"".join(content for name, content in items.of(item) if name == b"auxC")
    if b"gainmap" in urn:
        yield GAIN_MAP
    elif re.search(b"depth|auxid:2", urn) or not re.search(b"alpha|auxid:1", urn):
        yield OTHER_COPY


def _outside(top: list[Box]) -> Iterator[str]:
    """Name what lies beside the items: credentials and the video of a motion photo."""
    for name, content in top:
        if name == b"jumb" or (name == b"uuid" and content.startswith(_C2PA)):
            yield CREDENTIALS
        elif name == b"mpvd":
            yield MOTION_VIDEO


def _samples(content: bytes) -> int:
    """Return how many frames the longest track of a movie has."""
    most, waiting = 0, [content]
    while waiting:
        for name, inner in _boxes(waiting.pop()):
            if name in (b"trak", b"mdia", b"minf", b"stbl"):
                waiting.append(inner)
            elif name == b"stsz" and len(inner) >= 12:
                most = max(most, int.from_bytes(inner[8:12], "big"))
    return most
