"""JPEG files that lack nothing but their last two bytes, as interrupted programs leave them."""

import hashlib
import re
from io import BytesIO
from typing import Final

from PIL import Image

from unlearn.pictures.kinds import Data

_SOS, _EOI = 0xDA, b"\xff\xd9"
_MARKER: Final = re.compile(rb"\xff+([^\0\xd0-\xd8\xff])")
_FRAMES: Final = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
_FILLINGS: Final = (b"\x5a" * 4096, b"\xa3" * 4096)


def end_of_jpeg(data: Data) -> int | None:
    """Return where the first picture of a JPEG file ends, embedded ones not being counted.

    None stands for a file that lacks its end marker.
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _SOS:
        at += 1 if data[at + 1] == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    end = data.find(_EOI, at)
    return None if end < 0 else end + 2


def ended(data: bytes) -> bytes:
    """Return a JPEG with its end marker, which is added if it is not there."""
    if end_of_jpeg(data) is not None:
        return data
    return data.removesuffix(b"\xff") + _EOI


def lacks_only_its_end(data: bytes) -> bool:
    """Tell whether a JPEG without end marker holds its whole picture.

    A decoder makes up what is missing from whatever follows, so a scan that is whole is the same
    with anything between it and the marker; and every scan has to be there. To be run within
    Pillow's limits, on a picture of a size that is allowed; raises what Pillow does.
    """
    if not _has_every_scan(data):
        return False
    whole, *others = (
        _decoded(data.removesuffix(b"\xff") + filling + _EOI) for filling in (b"", *_FILLINGS)
    )
    return all(other == whole for other in others)


def _has_every_scan(data: bytes) -> bool:
    """Tell whether the scans of a JPEG bring every coefficient of every component to its end."""
    missing: dict[int, set[int]] = {}
    at = 2
    while found := _MARKER.search(data, at):
        kind, start = found[1][0], found.end()
        end = start + int.from_bytes(data[start : start + 2], "big")
        content = data[start + 2 : end]
        if kind in _FRAMES and len(content) > 5:
            missing = {content[6 + 3 * n]: set(range(64)) for n in range(len(content) // 3 - 2)}
        elif kind == _SOS and content and len(content) == 4 + 2 * content[0]:
            first, last, bits = content[-3:]
            for n in range(content[0] if not bits & 15 else 0):
                missing.get(content[1 + 2 * n], set()).difference_update(range(first, last + 1))
        at = max(end, start)
    return bool(missing) and not any(missing.values())


def _decoded(data: bytes) -> bytes:
    """Return a digest of the samples of a JPEG."""
    with Image.open(BytesIO(data), formats=["JPEG"]) as image:
        return hashlib.blake2b(image.tobytes()).digest()
