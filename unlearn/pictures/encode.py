"""Lossless encoders: PNG, WebP and BMP by Pillow, TIFF by hand.

The TIFF writer exists because libtiff through Pillow does not write EXIF directories, and Pillow's
own writer does not compress. What the settings cost and bring is measured in
docs/results/encoders.md: noise leaves few repetitions, so that to look for runs only is faster and
makes smaller files.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from itertools import starmap
from typing import BinaryIO, cast

import numpy as np
from PIL import PngImagePlugin

from unlearn.errors import PictureError
from unlearn.pictures.decoded import Picture
from unlearn.pictures.metadata.density import SHAPE
from unlearn.pictures.metadata.exif import (
    BYTE,
    LONG,
    SHORT,
    UNDEFINED,
    Entry,
    Exif,
    header,
    pack_directories,
    whole,
    write_exif,
)
from unlearn.pictures.metadata.iptc import raw_profile, write_iptc, write_resources
from unlearn.pictures.metadata.kept import Metadata

_LEVEL, _LARGEST_WINDOW, _MOST_MEMORY = 1, 15, 9
_PNG_HEADER = 33
_LONG_TEXT = 4_096  # characters; longer ones are compressed
_WEBP_LONGEST = 16_383
_WEBP_METHOD = 0
_TIFF_STRIP_BYTES = 1 << 20
_TIFF_LARGEST = (1 << 32) - (1 << 20)


def encode_png(picture: Picture, file: BinaryIO) -> None:
    """Write a PNG with colour profile and chunks, EXIF, XMP and text."""
    metadata = picture.metadata
    info = PngImagePlugin.PngInfo()
    for key, value in metadata.text:
        info.add_text(key, value, zip=len(value) > _LONG_TEXT)
    if metadata.iptc:
        info.add_text(*raw_profile(metadata.iptc), zip=True)
    if metadata.xmp:
        info.add(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp)
    chunks = list(metadata.colour)
    if metadata.density and (content := metadata.density.png()):
        chunks.append((b"pHYs", content))
    picture.image.save(
        cast(BinaryIO, _AfterHeader(file, b"".join(starmap(_png_chunk, chunks)))),
        format="PNG",
        compress_level=_LEVEL,
        compress_type=zlib.Z_RLE,
        pnginfo=info,
        exif=metadata.exif_block,
        icc_profile=metadata.icc,
    )


class _AfterHeader:
    """A file to write a PNG to that puts more chunks behind its header.

    Pillow drops those that it does not know, and of resolution it takes dots per inch only.
    """

    def __init__(self, file: BinaryIO, chunks: bytes) -> None:
        self._file, self._chunks, self._written = file, chunks, 0

    def write(self, data: bytes) -> int:
        """Write, and the chunks as soon as the header is complete."""
        self._written += self._file.write(data)
        if self._chunks and self._written >= _PNG_HEADER:
            self._file.write(self._chunks)
            self._chunks = b""
        return len(data)

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()


def _png_chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def encode_webp(picture: Picture, file: BinaryIO) -> None:
    """Write a lossless WebP that also keeps colour under transparent pixels."""
    if picture.deep:
        raise PictureError("WebP holds 8 bits a value and this is 16-bit grey; choose png or tiff")
    if max(picture.size) > _WEBP_LONGEST:
        raise PictureError(f"WebP holds at most {_WEBP_LONGEST} pixels a side; choose png")
    picture.image.save(
        file,
        format="WEBP",
        lossless=True,
        exact=True,
        quality=0,
        method=_WEBP_METHOD,
        exif=_with_density(picture.metadata),
        icc_profile=picture.metadata.icc or b"",
        xmp=picture.metadata.xmp or b"",
    )


def _with_density(metadata: Metadata) -> bytes:
    """Return the EXIF block of a format that can state the resolution nowhere else."""
    if metadata.density is None:
        return metadata.exif_block
    exif = metadata.exif or Exif()
    entries = metadata.density.entries(exif.order)
    return write_exif(replace(exif, image={**entries, **exif.image}))


def encode_tiff(picture: Picture, file: BinaryIO) -> None:
    """Write a TIFF compressed with deflate after horizontal differencing, directories last."""
    exif = picture.metadata.exif or Exif()
    file.write(header(exif.order, 0))
    (width, height), bands = picture.size, picture.bands
    stored = np.dtype(exif.order + ("u2" if picture.deep else "u1"))
    rows = max(1, _TIFF_STRIP_BYTES // (width * bands * stored.itemsize))
    offsets, lengths, place = [], [], 8
    for top in range(0, height, rows):
        piece = picture.image.crop((0, top, width, min(height, top + rows)))
        strip = np.asarray(piece).reshape(-1, width, bands)
        steps = np.diff(strip, axis=1, prepend=np.zeros_like(strip[:, :1]))
        deflate = _deflater()
        packed = deflate.compress(steps.astype(stored, copy=False).data) + deflate.flush()
        packed += b"\0" * (len(packed) % 2)
        offsets.append(place)
        lengths.append(len(packed))
        place += file.write(packed)
        if place > _TIFF_LARGEST:
            raise PictureError("TIFF holds at most 4 GB; choose png")
    extra = _tiff_entries(picture, exif, rows, 8 * stored.itemsize)
    extra[273], extra[279] = whole(exif.order, LONG, *offsets), whole(exif.order, LONG, *lengths)
    file.write(pack_directories(exif, extra, place))
    file.seek(0)
    file.write(header(exif.order, place))


def _deflater() -> "zlib._Compress":
    """Return a compressor for pictures with noise."""
    return zlib.compressobj(_LEVEL, zlib.DEFLATED, _LARGEST_WINDOW, _MOST_MEMORY, zlib.Z_RLE)


def _tiff_entries(picture: Picture, exif: Exif, rows: int, bits: int) -> dict[int, Entry]:
    """Return the entries that describe the layout of the samples, the profile and the XMP."""
    (width, height), bands = picture.size, picture.bands
    order = exif.order
    entries = {
        256: whole(order, LONG, width),
        257: whole(order, LONG, height),
        258: whole(order, SHORT, *[bits] * bands),
        259: whole(order, SHORT, 8),  # deflate
        262: whole(order, SHORT, 1 if bands <= 2 else 2),
        277: whole(order, SHORT, bands),
        278: whole(order, LONG, rows),
        284: whole(order, SHORT, 1),
        317: whole(order, SHORT, 2),  # horizontal differencing
    }
    if picture.metadata.density:
        entries |= picture.metadata.density.entries(order)
    if picture.has_alpha:
        entries[338] = whole(order, SHORT, 2)  # alpha not multiplied into the colour
    if picture.metadata.xmp:
        entries[700] = Entry(BYTE, len(picture.metadata.xmp), picture.metadata.xmp)
    if picture.metadata.icc:
        entries[34675] = Entry(UNDEFINED, len(picture.metadata.icc), picture.metadata.icc)
    if picture.metadata.iptc:
        for tag, write in ((33723, write_iptc), (34377, write_resources)):
            block = write(picture.metadata.iptc)
            entries[tag] = Entry(UNDEFINED, len(block), block)
    return {**exif.geo, **entries}


def encode_bmp(picture: Picture, file: BinaryIO) -> None:
    """Write a BMP, which holds neither transparency nor metadata."""
    if picture.has_alpha:
        raise PictureError("transparency is not kept by every reader of BMP")
    if picture.metadata.icc:
        raise PictureError("its colour profile is not kept by every reader of BMP")
    density = picture.metadata.density
    stated = {} if density is None or density.unit == SHAPE else {"dpi": density.per_inch}
    picture.image.save(file, format="BMP", **stated)


ENCODERS: dict[str, Callable[[Picture, BinaryIO], None]] = {
    "PNG": encode_png,
    "WEBP": encode_webp,
    "TIFF": encode_tiff,
    "BMP": encode_bmp,
}
