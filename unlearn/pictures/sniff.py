"""Sniff: what a file is by its first bytes, and how many pixels its header promises."""

import struct
import warnings
from typing import BinaryIO, Final

from PIL import Image

from unlearn.pictures.kinds import HEAD_BYTES, KINDS
from unlearn.pictures.metadata.isobmff import read_container

LOSSLESS_WEBP: Final = "WEBP lossless"
# Content that makes a file a picture whatever it is called; shorter signatures also begin texts.
_TELLING: Final = frozenset({"JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIC"})
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers that state the size
_NO_SEGMENTS: Final = frozenset({*range(0xD0, 0xDB), 0xFF})  # restarts, ends, pixels; fill bytes
_LARGEST_META: Final = 1 << 20  # the boxes before the coded pictures take some thousand bytes
_WEBP_CHUNKS: Final = 64  # metadata before the pixels is a handful of chunks; more is not a picture


def sniff(file: BinaryIO) -> str:
    """Return the picture format that a file starts like, or "" for anything else.

    WebP comes as "WEBP" or LOSSLESS_WEBP, since only the latter can be written as WebP again
    without loss.
    """
    head = file.read(HEAD_BYTES)
    kind = next((kind.name for kind in KINDS if kind.begins.match(head)), "")
    return _webp(file) if kind == "WEBP" else kind if kind in _TELLING else ""


def picture_size(file: BinaryIO) -> tuple[int, int] | None:
    """Return the width and height that the header states, or None if it states none."""
    found = _usual_size(file)
    if found is not None:
        return found
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file) as image:
                return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, struct.error):
        return _container_size(file)


def _usual_size(file: BinaryIO) -> tuple[int, int] | None:
    """Return the size of a PNG or a JPEG, or None; Pillow takes five times as long."""
    file.seek(0)
    head = file.read(24)
    if head[:8] == _PNG and head[12:16] == b"IHDR":
        width, height = struct.unpack(">2I", head[16:])
        return (width, height) if width and height else None
    at = 2 if head[:3] == b"\xff\xd8\xff" else 0
    while at:
        file.seek(at)
        marker = file.read(9)
        if len(marker) < 9 or marker[0] != 0xFF or marker[1] in _NO_SEGMENTS:
            return None
        if marker[1] in _FRAMES:
            height, width = struct.unpack(">2H", marker[5:])
            return (width, height) if width and height else None
        at += 2 + int.from_bytes(marker[2:4], "big")
    return None


def _container_size(file: BinaryIO) -> tuple[int, int] | None:
    """Return the size that the boxes of a HEIC state, which Pillow alone does not open."""
    try:
        file.seek(0)
        head = file.read(_LARGEST_META)
    except OSError:
        return None
    return read_container(head).size if head[4:8] == b"ftyp" else None


def _webp(file: BinaryIO) -> str:
    """Tell lossless from lossy WebP by its first chunk of pixels."""
    file.seek(12)
    for _ in range(_WEBP_CHUNKS):
        header = file.read(8)
        if header[:4] == b"VP8L":
            return LOSSLESS_WEBP
        if len(header) < 8 or header[:4] in (b"VP8 ", b"ANMF"):
            break
        size = int.from_bytes(header[4:], "little")
        file.seek(size + size % 2, 1)
    return "WEBP"
