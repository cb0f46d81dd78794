"""IPTC data sets (IIM 4.2): captions, bylines, keywords and rights, as agencies write them.

What Photoshop says of rights beside them, its copyright flag and address, stands among them as
data sets of record 4: its resource 0x040A is (4, 0x0A).
"""

import re
import struct
from collections.abc import Mapping
from typing import Final

from unlearn.pictures.kinds import holds_picture

DataSet = tuple[int, int, bytes]  # its record, its number, its value

_MARK: Final = 0x1C
_RESOURCE: Final = 0x0404
_RECORDS: Final = (1, 2)
_BESIDE: Final = 4
_BESIDE_NUMBERS: Final = (0x0A, 0x0B)  # copyright flag, address
_PREVIEWS: Final = frozenset({200, 201, 202})
_LARGEST: Final = 32_767
_CHARACTERS: Final = (1, 90)
# Instructions, byline and its title, credit, source, copyright, contact, caption, its writer.
_RIGHTS: Final = frozenset({40, 80, 85, 110, 115, 116, 118, 120, 122})
_PLACE: Final = frozenset({26, 27, 90, 92, 95, 100, 101})
_PHOTOSHOP: Final = b"Photoshop 3.0\0"
_HEX_LINE: Final = 72


def read_iptc(block: bytes) -> tuple[tuple[DataSet, ...], bool]:
    """Return the data sets that may stay, and whether any had to go: previews and what is unknown.

    What follows a broken one goes. Raises ValueError if there is none before it.
    """
    kept: list[DataSet] = []
    at, dropped = 0, False
    end = len(block.rstrip(b"\0"))  # a value may end in zeros, and what follows all of them too
    while at < end:
        head = block[at : at + 5].ljust(5, b"\0")
        mark, record, number, length = struct.unpack(">BBBH", head)
        value = block[at + 5 : at + 5 + length]
        cut = at + 5 + length > len(block)
        if mark != _MARK or cut or length > _LARGEST:
            if not kept:
                raise ValueError("no IPTC")
            return tuple(kept), True
        at += 5 + length
        if record in _RECORDS and number not in _PREVIEWS and not holds_picture(value):
            kept.append((record, number, value))
        else:
            dropped = True
    return tuple(kept), dropped


def write_iptc(sets: tuple[DataSet, ...]) -> bytes:
    """Return data sets as a block."""
    return b"".join(
        struct.pack(">BBBH", _MARK, record, number, len(value)) + value
        for record, number, value in sets
        if record != _BESIDE
    )


def beside(resources: Mapping[int, bytes]) -> tuple[DataSet, ...]:
    """Return what resources of Photoshop's say of rights beside IPTC."""
    values = ((number, resources.get(_BESIDE << 8 | number)) for number in _BESIDE_NUMBERS)
    return tuple(
        (_BESIDE, number, value)
        for number, value in values
        if isinstance(value, bytes) and 0 < len(value) <= _LARGEST and not holds_picture(value)
    )


def read_resources(block: bytes) -> dict[int, bytes]:
    """Return resources of Photoshop's by number, as far as they go."""
    found, at = dict[int, bytes](), 0
    while block[at : at + 4] == b"8BIM" and at + 12 <= len(block):
        (number,) = struct.unpack_from(">H", block, at + 4)
        at += 6 + (block[at + 6] // 2 + 1) * 2  # its name
        length = int.from_bytes(block[at : at + 4], "big")
        found.setdefault(number, block[at + 4 : at + 4 + length])
        at += 4 + length + length % 2
    return found


def write_resources(sets: tuple[DataSet, ...]) -> bytes:
    """Return data sets as resources of Photoshop's."""
    block = write_iptc(sets)
    parts = [(_RESOURCE, block)] if block else []
    parts += [(_BESIDE << 8 | number, value) for record, number, value in sets if record == _BESIDE]
    return b"".join(
        b"8BIM" + struct.pack(">HHI", number, 0, len(value)) + value + b"\0" * (len(value) % 2)
        for number, value in parts
    )


def rights_in(sets: tuple[DataSet, ...]) -> tuple[DataSet, ...]:
    """Return the data sets about rights, with the one that says how all are written."""
    kept = [(r, n, value) for r, n, value in sets if r == _BESIDE or (r == 2 and n in _RIGHTS)]
    characters = [one for one in sets if one[:2] == _CHARACTERS]
    return (*characters, *kept) if kept else ()


def without_place(sets: tuple[DataSet, ...]) -> tuple[DataSet, ...]:
    """Return the data sets that do not say where a picture was taken."""
    return tuple((r, n, value) for r, n, value in sets if r != 2 or n not in _PLACE)


def segment_content(sets: tuple[DataSet, ...]) -> bytes:
    """Return the content of the segment of a JPEG that holds data sets."""
    return _PHOTOSHOP + write_resources(sets)


def raw_profile(sets: tuple[DataSet, ...]) -> tuple[str, str]:
    """Return key and text of the chunk of a PNG that holds data sets, as ImageMagick writes it."""
    content = write_resources(sets)
    digits = content.hex()
    lines = [digits[at : at + _HEX_LINE] for at in range(0, len(digits), _HEX_LINE)]
    return "Raw profile type iptc", "\n".join(["", "iptc", f"{len(content):8d}", *lines, ""])


def from_raw_profile(text: str) -> dict[int, bytes]:
    """Return the resources of Photoshop's in a chunk's text; IPTC may stand there alone."""
    content = profile_in(text) or b""
    return {_RESOURCE: content} if content[:1] == bytes([_MARK]) else read_resources(content)


def profile_in(text: str) -> bytes | None:
    """Return what a chunk of a PNG holds in hexadecimal, None if it is no such chunk."""
    digits = "".join(text.split("\n")[3:])
    return bytes.fromhex(digits) if re.fullmatch("([0-9a-fA-F]{2})+", digits) else None
