"""What a file is, told by its first bytes and never by its name.

A new format is one row of KINDS. A row with a plugin is opened by Pillow with that plugin alone; a
row with a refusal is turned away with that sentence.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from typing import Literal

from unlearn.errors import PictureError

HEAD_BYTES = 64
NO_RAW = "camera raw is not a picture to publish; export JPEG, PNG or TIFF first"


@dataclass(frozen=True)
class Kind:
    """One kind of file: how it begins, which Pillow plugin opens it, why it may be refused."""

    name: str
    begins: re.Pattern[bytes]
    plugin: str | None = None
    refusal: str | None = None


def _kind(name: str, begins: bytes, plugin: str | None = None, refusal: str | None = None) -> Kind:
    """Build one row of the table from a pattern that has to match at the first byte."""
    return Kind(name, re.compile(begins, re.DOTALL), plugin, refusal)


def _not_yet(name: str) -> str:
    """Return the refusal of a picture format that is not read."""
    return f"{name} is not supported yet; convert to PNG or JPEG"


KINDS: tuple[Kind, ...] = (
    _kind(
        "RAW", rb"II\*\0.{4}CR|FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0|FOVb|.{4}ftypcrx", None, NO_RAW
    ),
    _kind("JPEG", rb"\xff\xd8\xff", "JPEG"),
    _kind("PNG", rb"\x89PNG\r\n\x1a\n", "PNG"),
    _kind("WEBP", rb"RIFF.{4}WEBP", "WEBP"),
    _kind("TIFF", rb"II[*+]\0|MM\0[*+]", "TIFF"),
    _kind("BMP", rb"BM.{4}\0\0\0\0|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "BMP"),
    _kind("GIF", rb"GIF8[79]a", "GIF"),
    _kind("AVIF", rb".{4}ftyp(avi[fs]|m[is]f1.{4}(.{4}){0,8}?avi[fs])", "AVIF"),
    _kind("HEIC", rb".{4}ftyp(hei[cmsx]|hev[cmxs]|m[is]f1)", "HEIF"),
    _kind("JPEG 2000", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", None, _not_yet("JPEG 2000")),
    _kind("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", None, _not_yet("JPEG XL")),
    _kind("PSD", rb"8BPS", None, "Photoshop documents are not supported; export PNG or TIFF first"),
    _kind("ICO", rb"\0\0[\x01\x02]\0[^\0]\0", None, _not_yet("ICO")),
    _kind("DDS", rb"DDS \x7c\0\0\0", None, _not_yet("DDS")),
    _kind("EXR", rb"\x76\x2f\x31\x01", None, "floating point pictures are not supported"),
    _kind("PNM", rb"P[1-7]\s", None, _not_yet("PNM")),
    _kind("PFM", rb"P[Ff]\s", None, "floating point pictures are not supported"),
    _kind("QOI", rb"qoif", None, _not_yet("QOI")),
    _kind("SGI", rb"\x01\xda[\0\x01][\x01\x02]\0", None, _not_yet("SGI")),
    _kind("PDF", rb"%PDF-", None, "PDF is not a picture; export PNG or TIFF first"),
    _kind("SVG", rb"\s*(<\?xml[^>]*>\s*)?(<!--.*|<!DOCTYPE\s)?\s*<?svg", None, _not_yet("SVG")),
    _kind("web page", rb"(?i:\s*<(!doctype )?html)", None, "a web page; fetch the picture again"),
    _kind(
        "pointer",
        rb"version https://git-lfs",
        None,
        "a pointer of Git LFS, not the picture; run git lfs pull first",
    ),
    _kind("video", rb".{4}ftyp|\x1a\x45\xdf\xa3|RIFF.{4}AVI ", None, "video is not supported"),
)

_PICTURE_STARTS = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|RIFF.{4}WEBP|GIF8[79]a|ftyp(avif|heic|mif1)"
    rb"|/9j/[A-Za-z0-9+]|iVBORw0KGgo|UklGR[A-Za-z0-9+/]{4,12}V0VCUF|R0lGODdh|R0lGODlh"
    rb"|(?i:ffd8ffe[01]|89504e470d0a1a0a)",
    re.DOTALL,
)


_PIXEL_CHUNKS = frozenset((b"IDAT", b"VP8 ", b"VP8L", b"ALPH"))
_NEW_SUBFILE_TYPE, _SUBFILE_TYPE = 254, 255
_FIRST_ENTRIES = 4  # entries are sorted, and no lower tags than these are in use
Data = bytes | mmap


def identify(head: bytes) -> Kind:
    """Return the kind of file that begins with `head`; raises PictureError for no picture."""
    if not head:
        raise PictureError("empty file")
    for kind in KINDS:
        if kind.begins.match(head):
            if kind.plugin is None:
                raise PictureError(kind.refusal or _not_yet(kind.name))
            return kind
    raise PictureError("not a picture file (its content is of no known picture format)")


def holds_picture(data: bytes) -> bool:
    """Tell whether the start of a picture, plain, in base64 or in hex, is anywhere in `data`."""
    return _PICTURE_STARTS.search(data) is not None


def chunks(data: Data, name: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of every chunk of a PNG or WebP file, as far as the file goes.

    Chunks of pixels come without their content: nothing is asked of it, and it may be large.
    """
    order: Literal["big", "little"] = "big" if name == "PNG" else "little"
    at, end = 8, len(data)
    if name != "PNG":
        at, end = 12, min(end, 8 + int.from_bytes(data[4:8], "little"))
    while at + 8 <= end:
        first, second = data[at : at + 4], data[at + 4 : at + 8]
        length = int.from_bytes(first if name == "PNG" else second, order)
        chunk = second if name == "PNG" else first
        yield chunk, b"" if chunk in _PIXEL_CHUNKS else data[at + 8 : at + 8 + length]
        at += length + (12 if name == "PNG" else 8 + length % 2)
        if chunk == b"IEND":
            return


def end_of_png(data: Data) -> int:
    """Return where the chunks of a PNG end, without a look at their content."""
    at = 8
    while at + 12 <= len(data):
        name, length = data[at + 4 : at + 8], int.from_bytes(data[at : at + 4], "big")
        at += 12 + length
        if name == b"IEND":
            break
    return min(at, len(data))


def tiff_pages(data: Data) -> int:
    """Count the pages of a TIFF, its reduced copies not being any."""
    return sum(not reduced for _, reduced in tiff_directories(data))


def tiff_directories(data: Data) -> list[tuple[int, bool]]:
    """Return where the directories of a TIFF begin, and which are reduced copies of another.

    A broken chain ends where it breaks. Pillow takes a millisecond for each directory, so that a
    small file could keep it busy for minutes.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    count, pointer = (order + "Q", order + "Q") if big else (order + "H", order + "I")
    head, entry = struct.calcsize(count), 20 if big else 12
    found: dict[int, bool] = {}
    try:
        (at,) = struct.unpack_from(pointer, data, 8 if big else 4)
        while at and at not in found:
            (entries,) = struct.unpack_from(count, data, at)
            found[at] = False
            (following,) = struct.unpack_from(pointer, data, at + head + entry * entries)
            table = data[at + head : at + head + entry * min(entries, _FIRST_ENTRIES)]
            found[at] = _reduced(table, order, entry)
            at = following
    except (struct.error, OverflowError):
        pass
    return list(found.items())


def _reduced(table: bytes, order: str, entry: int) -> bool:
    """Tell whether the first entries of a directory, each of `entry` bytes, call it a copy."""
    for at in range(0, len(table), entry):
        tag, kind = struct.unpack_from(order + "HH", table, at)
        if tag == _NEW_SUBFILE_TYPE:
            value = struct.unpack_from(order + "I", table, at + entry - (4 if entry == 12 else 8))
            return bool(value[0] & 1)
        if tag == _SUBFILE_TYPE and kind == 3:
            value = struct.unpack_from(order + "H", table, at + entry - (4 if entry == 12 else 8))
            return bool(value[0] == 2)
    return False
