"""Clean copies of a picture inside its own file, named; none of them ever reaches an output.

Outputs are built from pixels and chosen metadata alone, so nothing has to be removed here. What is
found is what the person is told.
"""

import re
import struct
from collections.abc import Mapping
from typing import Final

import numpy as np
from PIL import Image

from unlearn.pictures.jpeg.ending import end_of_jpeg
from unlearn.pictures.kinds import Data, chunks, end_of_png, holds_picture
from unlearn.pictures.metadata.iptc import read_resources
from unlearn.pictures.metadata.left_out import (
    CREDENTIALS,
    EDITOR_DATA,
    GAIN_MAP,
    HINTS,
    MOTION_VIDEO,
    OTHER_COPY,
    PRIVATE_DATA,
    THUMBNAIL,
)

XMP_OF_GIF: Final = b"XMP DataXMP"
EXTENDED_XMP: Final = b"http://ns.adobe.com/xmp/extension/\0"
_ISO_GAIN_MAP: Final = b"urn:iso:std:iso:ts:21496:-1\0"
_EXIF_BLOCK: Final = re.compile(rb"Exif\0\0(II|MM)")
_MOTION_TAIL: Final = re.compile(rb"\0\0\0.ftyp(mp4|iso|qt )|MotionPhoto_Data", re.DOTALL)
_CREDENTIALS_TAG: Final = 52545
_TIFF_TAGS: Final = (330, 37724)  # sub-images, Photoshop's layers
_RESOURCES_TAG: Final = 34377
_EXTRA_TAG: Final = 338  # channels beside the colours
_OPT_OUT: Final = re.compile(
    rb"(c2pa|cawg)\.(training-mining|ai_training).{0,4096}?notAllowed", re.DOTALL
)
_ICC_OF_GIF: Final = b"!\xff\x0bICCRGBG1012"
_EMBEDDED: Final = b"DEBM"  # how a BMP says that its profile is in it
_RESOURCES: Final = frozenset({0x0409, 0x040C})  # previews of Photoshop
# Resolution; IPTC and its digest; copyright flag and address.
_OTHERWISE_SAID: Final = frozenset({0x03ED, 0x0404, 0x0425, 0x040A, 0x040B})
_SEGMENTS: Final = (
    ("APP1", EXTENDED_XMP, OTHER_COPY),
    ("APP2", b"MPF\0", OTHER_COPY),
    ("APP2", _ISO_GAIN_MAP, GAIN_MAP),
    ("APP2", b"FPXR\0", OTHER_COPY),
    ("APP11", b"JP", CREDENTIALS),
)
_KNOWN_SEGMENTS: Final = (
    b"Exif\0",
    b"http://ns.adobe.com/xap/1.0/\0",
    b"ICC_PROFILE\0",
    b"Photoshop 3.0\0",
    b"Adobe",
    b"Ducky",
    *(start for _, start, _ in _SEGMENTS),
)
_OF_THE_PICTURE: Final = frozenset(
    {b"IDAT", b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"eXIf"}
    | {b"VP8 ", b"VP8L", b"ALPH", b"ANMF", b"ICCP", b"EXIF", b"XMP "}
    | {b"IHDR", b"PLTE", b"IEND", b"tRNS", b"cICP", b"cHRM", b"gAMA", b"sRGB", b"mDCV", b"cLLI"}
    | {b"pHYs", b"iDOT", b"VP8X", b"ANIM"}
)
_HINTS: Final = frozenset({b"sBIT", b"bKGD", b"hIST", b"sPLT", b"tIME"})
# A GIF's extensions by their programs; those of loops say nothing of a still picture.
_EXTENSION: Final = re.compile(rb"!\xff\x0b([ -~]{8}[^\0]{3})", re.DOTALL)
_KNOWN_EXTENSIONS: Final = frozenset({b"NETSCAPE2.0", b"ANIMEXTS1.0", XMP_OF_GIF, b"ICCRGBG1012"})


def second_pictures(image: Image.Image, data: Data, name: str) -> list[str]:
    """Name the clean copies and credentials that stay behind in the source file."""
    if name == "JPEG":
        return _in_jpeg(image, data)
    if name == "TIFF":
        return _in_tiff(image)
    if name in ("PNG", "WEBP"):
        return _in_chunks(data, name)
    if name == "BMP":
        return _in_tail(data[max(64, int.from_bytes(data[2:6], "little")) :])
    if name == "GIF":
        return [PRIVATE_DATA] * bool(set(_EXTENSION.findall(data)) - _KNOWN_EXTENSIONS)
    if name in ("AVIF", "HEIC"):
        return [MOTION_VIDEO] if _MOTION_TAIL.search(data, 64) else []
    return []


def _in_tiff(image: Image.Image) -> list[str]:
    """Name what the tags of a TIFF hold."""
    tags = getattr(image, "tag_v2", {})
    named = [CREDENTIALS] if _CREDENTIALS_TAG in tags else []
    channels = len(np.atleast_1d(tags.get(_EXTRA_TAG, ()))) - image.has_transparency_data
    named += [EDITOR_DATA] * (channels > 0)
    resources = resources_of_tiff(image)
    named += [OTHER_COPY] * (_RESOURCES_TAG in tags and not resources)
    named += left_of_photoshop(resources)
    return named + [OTHER_COPY for tag in _TIFF_TAGS if tag in tags]


def _in_chunks(data: Data, name: str) -> list[str]:
    """Name what the chunks of a PNG or WebP hold, and what follows the last of them."""
    credentials = b"caBX" if name == "PNG" else b"C2PA"
    named = []
    for chunk, content in chunks(data, name):
        if chunk == credentials:
            named.append(CREDENTIALS)
        elif chunk in _HINTS:
            named.append(HINTS)
        elif chunk not in _OF_THE_PICTURE:
            named.append(OTHER_COPY if holds_picture(content) else PRIVATE_DATA)
    end = 8 + int.from_bytes(data[4:8], "little")
    if name == "PNG":
        end = end_of_png(data)
    return named + _in_tail(data[end:])


def _in_jpeg(image: Image.Image, data: Data) -> list[str]:
    """Name what the application segments and the tail of a JPEG hold."""
    named: list[str] = []
    for segment, content in getattr(image, "applist", ()):
        if segment == "APP0" and (content.startswith(b"JFXX") or len(content) > 14):
            named.append(THUMBNAIL)
        named += [
            what
            for marker, start, what in _SEGMENTS
            if segment == marker and content.startswith(start)
        ]
        if segment not in ("APP0", "COM") and not content.startswith(_KNOWN_SEGMENTS):
            named.append(OTHER_COPY if holds_picture(content) else PRIVATE_DATA)
    blocks = [part for name, part in getattr(image, "applist", ()) if _EXIF_BLOCK.match(part)]
    named += [PRIVATE_DATA] * (len(blocks) > 1)  # readers take the first
    named += left_of_photoshop(image.info.get("photoshop", {}))
    return named + _in_tail(data[end_of_jpeg(data) or len(data) :])


def _in_tail(tail: bytes) -> list[str]:
    """Name what was put behind the end of a picture."""
    named = [OTHER_COPY] if holds_picture(tail) else []
    named += [MOTION_VIDEO] if _MOTION_TAIL.search(tail) else []
    return named or [PRIVATE_DATA] * bool(tail.strip(b"\0\xff\r\n "))


def resources_of_tiff(image: Image.Image) -> dict[int, bytes]:
    """Return the resources of Photoshop's in a TIFF by number."""
    block = getattr(image, "tag_v2", {}).get(_RESOURCES_TAG)
    if isinstance(block, tuple):  # as Pillow gives it where its type is UNDEFINED
        block = block[0]
    return read_resources(block) if isinstance(block, bytes) else {}


def left_of_photoshop(resources: Mapping[int, object]) -> list[str]:
    """Name what is left out of Photoshop's resources."""
    others = {number: value for number, value in resources.items() if number not in _OTHERWISE_SAID}
    pictures = _RESOURCES & others.keys()
    pictures |= {
        n for n, value in others.items() if isinstance(value, bytes) and holds_picture(value)
    }
    return [OTHER_COPY] * bool(pictures) + [EDITOR_DATA] * bool(others.keys() - pictures)


def forbids_training(data: Data) -> bool:
    """Tell whether content credentials say that a picture is not for training."""
    return _OPT_OUT.search(data) is not None


def profile_of(data: Data, name: str) -> bytes | None:
    """Return the colour profile of a GIF or BMP, which Pillow does not read; None without one."""
    found = b""
    if name == "GIF" and (at := data.find(_ICC_OF_GIF) + len(_ICC_OF_GIF)) >= len(_ICC_OF_GIF):
        while at < len(data) and data[at]:
            found += data[at + 1 : at + 1 + data[at]]
            at += 1 + data[at]
    elif name == "BMP" and data[14:18] == b"\x7c\0\0\0" and data[70:74] == _EMBEDDED:
        at, size = struct.unpack_from("<II", data, 126)
        found = data[14 + at : 14 + at + size]
    return found if found[36:40] == b"acsp" else None
