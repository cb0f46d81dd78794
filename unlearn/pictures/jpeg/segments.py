"""The segments of a JPEG file: taken apart, and put together again with chosen metadata."""

import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from unlearn.errors import PictureError
from unlearn.pictures.metadata.density import Density
from unlearn.pictures.metadata.exif import ORIENTATION, SHORT, Exif, swapped, whole, write_exif
from unlearn.pictures.metadata.iptc import segment_content
from unlearn.pictures.metadata.kept import Metadata

SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1), 0xC2

_DHT, _SOS, _DQT, _DRI, _EOI = 0xC4, 0xDA, 0xDB, 0xDD, 0xD9
_APP0, _APP1, _APP2, _APP13, _COM = 0xE0, 0xE1, 0xE2, 0xED, 0xFE
FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, 0xCC}
_OPENING: Final = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1"
_START: Final = _OPENING + b"\0\0\1\0\1\0\0"
_END: Final = b"\xff\xd9"
_MARKER: Final = re.compile(rb"\xff+([^\0\xd0-\xd8\xff])")
_LARGEST: Final = 0xFFFF - 2  # bytes in a segment
_PROFILE: Final = b"ICC_PROFILE\0"
_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_ORIENTATION: Final = re.compile(rb"(tiff:Orientation(?:=[\"']|>))1")


def bare(data: bytes) -> tuple[bytes, int]:
    """Return a JPEG without anything but picture and JFIF header, and its frame's marker (or 0)."""
    parts, frame = [_START], 0
    for marker, segment in segments(data):
        frame = marker if marker in FRAMES else frame
        if marker in FRAMES or marker in (_DHT, _DQT, _DRI, _SOS):
            parts.append(segment)
    return b"".join([*parts, _END]), frame


def dressed(data: bytes, metadata: Metadata, orientation: int) -> bytes:
    """Return a JPEG that jpeglib wrote with this metadata and nothing else.

    The picture is stored as its source was, so it says the source's orientation (1 to 8), even
    without other metadata. Raises PictureError if something does not fit into a segment.
    """
    parts = [_start(metadata.density, orientation), *_metadata(metadata, orientation)]
    parts += [_renumbered(marker, segment) for marker, segment in segments(data) if marker != _APP0]
    return b"".join([*parts, _END])


def _start(density: Density | None, orientation: int) -> bytes:
    """Return the start of a file, which says the resolution of the picture as it is stored."""
    if density is None:
        return _START
    if orientation > 4:
        density = density.turned()
    return _OPENING + density.jfif() + b"\0\0"


def _metadata(metadata: Metadata, orientation: int) -> Iterator[bytes]:
    """Yield the segments of EXIF, XMP, colour profile, IPTC and comments."""
    exif = metadata.exif
    if orientation != 1:
        exif = exif or Exif("<", {})
        tag = {ORIENTATION: whole(exif.order, SHORT, orientation)}
        image = swapped(exif.image) if orientation > 4 else exif.image
        exif = replace(exif, image={**image, **tag})
    if exif and (block := write_exif(exif)):
        yield _segment(_APP1, b"Exif\0\0" + block)
    if metadata.xmp:
        packet = _XMP_ORIENTATION.sub(rb"\g<1>%d" % orientation, metadata.xmp)
        yield _segment(_APP1, _XMP + packet)
    profile = metadata.icc or b""
    room = _LARGEST - len(_PROFILE) - 2
    pieces = [profile[at : at + room] for at in range(0, len(profile), room)]
    for number, piece in enumerate(pieces, 1):
        if len(pieces) > 255:
            raise PictureError("its colour profile does not fit into a JPEG")
        yield _segment(_APP2, _PROFILE + bytes([number, len(pieces)]) + piece)
    if metadata.iptc:
        yield _segment(_APP13, segment_content(metadata.iptc))
    for comment in metadata.comments:
        yield _segment(_COM, comment)


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and bytes of every segment up to the end; coded data goes with its scan."""
    at = 2
    while found := _MARKER.search(data, at):
        marker, start = found[1][0], found.end() - 2
        if marker == _EOI:
            return
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if marker == _SOS:
            following = _MARKER.search(data, end)
            end = following.start() if following else len(data)
        yield marker, data[start:end]
        at = max(end, start + 4)


def _renumbered(marker: int, segment: bytes) -> bytes:
    """Return a frame or scan with its components numbered from 1, as JFIF wants it, not from 0."""
    if marker not in FRAMES and marker != _SOS:
        return segment
    at, size = (10, 3) if marker in FRAMES else (5, 2)
    changed = bytearray(segment)
    for place in range(at, at + size * segment[at - 1], size):
        changed[place] += 1
    return bytes(changed)


def _segment(marker: int, content: bytes) -> bytes:
    """Return a segment; raises PictureError if the content does not fit."""
    if len(content) > _LARGEST:
        raise PictureError("its metadata does not fit into a JPEG")
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
