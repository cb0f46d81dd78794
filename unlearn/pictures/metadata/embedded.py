"""Clean copies of a picture inside its own file, named; none of them ever reaches an output.

Outputs are built from pixels and chosen metadata alone, so nothing has to be removed here. What is
found is what the person is told.
"""

import re
from typing import Final

from PIL import Image

from unlearn.pictures.jpeg.ending import end_of_jpeg
from unlearn.pictures.kinds import Data, chunks, end_of_png, holds_picture
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
_EXTENDED_XMP: Final = b"http://ns.adobe.com/xmp/extension/\0"
_ISO_GAIN_MAP: Final = b"urn:iso:std:iso:ts:21496:-1\0"
_MOTION_TAIL: Final = re.compile(rb"\0\0\0.ftyp(mp4|iso|qt )|MotionPhoto_Data", re.DOTALL)
_CREDENTIALS_TAG: Final = 52545
_TIFF_TAGS: Final = (330, 34377, 37724)  # sub-images, Photoshop's resources and layers
_RESOURCES: Final = frozenset({0x0409, 0x040C})  # previews of Photoshop
_OTHERWISE_SAID: Final = frozenset({0x03ED, 0x0404, 0x0425})  # resolution; IPTC and its digest
_SEGMENTS: Final = (
    ("APP1", _EXTENDED_XMP, OTHER_COPY),
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
_KNOWN_EXTENSIONS: Final = frozenset({b"NETSCAPE2.0", b"ANIMEXTS1.0", XMP_OF_GIF})


def second_pictures(image: Image.Image, data: Data, name: str) -> list[str]:
    """Name the clean copies and credentials that stay behind in the source file."""
    if name == "JPEG":
        return _in_jpeg(image, data)
    if name == "TIFF":
        return _in_tiff(image)
    if name in ("PNG", "WEBP"):
        return _in_chunks(data, name)
    if name == "GIF":
        return [PRIVATE_DATA] * bool(set(_EXTENSION.findall(data)) - _KNOWN_EXTENSIONS)
    if name in ("AVIF", "HEIC"):
        return [MOTION_VIDEO] if _MOTION_TAIL.search(data, 64) else []
    return []


def _in_tiff(image: Image.Image) -> list[str]:
    """Name what the tags of a TIFF hold."""
    tags = getattr(image, "tag_v2", {})
    named = [CREDENTIALS] if _CREDENTIALS_TAG in tags else []
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
    resources = image.info.get("photoshop", {})
    named += [OTHER_COPY] if _RESOURCES & resources.keys() else []
    named += [EDITOR_DATA] if resources.keys() - _RESOURCES - _OTHERWISE_SAID else []
    return named + _in_tail(data[end_of_jpeg(data) or len(data) :])


def _in_tail(tail: bytes) -> list[str]:
    """Name what was put behind the end of a picture."""
    named = [OTHER_COPY] if holds_picture(tail) else []
    return named + ([MOTION_VIDEO] if _MOTION_TAIL.search(tail) else [])
