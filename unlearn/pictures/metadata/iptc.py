"""IPTC data sets (IIM 4.2): captions, bylines, keywords and rights, as agencies write them."""

import re
import struct
from typing import Final

from unlearn.pictures.kinds import holds_picture

DataSet = tuple[int, int, bytes]  # its record, its number, its value

_MARK: Final = 0x1C
_RESOURCE: Final = 0x0404
_RECORDS: Final = (1, 2)
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

    Raises ValueError if the block is none.
    """
    kept: list[DataSet] = []
    at, dropped = 0, False
    end = len(block.rstrip(b"\0"))  # a value may end in zeros, and what follows all of them too
    while at < end:
        if at + 5 > len(block) or block[at] != _MARK:
            raise ValueError("no IPTC")
        record, number, length = struct.unpack_from(">BBH", block, at + 1)
        value = block[at + 5 : at + 5 + length]
        if len(value) < length or length > _LARGEST:
            raise ValueError("IPTC ends too early")
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
    )


def rights_in(sets: tuple[DataSet, ...]) -> tuple[DataSet, ...]:
    """Return the data sets about rights, with the one that says how all are written."""
    kept = [(r, n, value) for r, n, value in sets if r == 2 and n in _RIGHTS]
    characters = [one for one in sets if one[:2] == _CHARACTERS]
    return (*characters, *kept) if kept else ()


def without_place(sets: tuple[DataSet, ...]) -> tuple[DataSet, ...]:
    """Return the data sets that do not say where a picture was taken."""
    return tuple((r, n, value) for r, n, value in sets if r != 2 or n not in _PLACE)


def segment_content(sets: tuple[DataSet, ...]) -> bytes:
    """Return the content of the segment of a JPEG that holds data sets."""
    return _PHOTOSHOP + _resource(write_iptc(sets))


def raw_profile(sets: tuple[DataSet, ...]) -> tuple[str, str]:
    """Return key and text of the chunk of a PNG that holds data sets, as ImageMagick writes it."""
    content = _resource(write_iptc(sets))
    digits = content.hex()
    lines = [digits[at : at + _HEX_LINE] for at in range(0, len(digits), _HEX_LINE)]
    return "Raw profile type iptc", "\n".join(["", "iptc", f"{len(content):8d}", *lines, ""])


def from_raw_profile(text: str) -> bytes | None:
    """Return the block in a chunk's text, None unless it holds that and nothing else."""
    digits = "".join(text.split("\n")[3:])
    if not re.fullmatch("([0-9a-fA-F]{2})*", digits):
        return None
    content = bytes.fromhex(digits)
    if content[:1] == bytes([_MARK]):
        return content
    head = b"8BIM" + struct.pack(">H", _RESOURCE) + b"\0\0"
    length = int.from_bytes(content[8:12], "big")
    whole = content.startswith(head) and len(content) in (12 + length, 12 + length + length % 2)
    return content[12 : 12 + length] if whole else None


def _resource(block: bytes) -> bytes:
    """Return a block as a resource of Photoshop's."""
    head = b"8BIM" + struct.pack(">HHI", _RESOURCE, 0, len(block))
    return head + block + b"\0" * (len(block) % 2)
