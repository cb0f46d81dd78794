"""Lossless encoders: PNG and WebP by Pillow, TIFF by hand.

The TIFF writer exists because libtiff through Pillow does not write EXIF directories, and Pillow's
own writer does not compress. What the settings cost and bring is measured in
docs/results/encoders.md: noise leaves few repetitions, so that to look for runs only is faster and
makes smaller files.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from unlearn.data.exif import (
    BYTE,
    LONG,
    SHORT,
    UNDEFINED,
    Entry,
    Exif,
    header,
    pack_directories,
    whole,
)
from unlearn.data.metadata import Metadata
from unlearn.data.picture import Pixels
from unlearn.data.prepare import STRIP_PIXELS
from unlearn.errors import PictureError

_LEVEL, _LARGEST_WINDOW, _MOST_MEMORY = 1, 15, 9
_WEBP_LONGEST = 16_383
_WEBP_METHOD = 0
_TIFF_STRIP_BYTES = 1 << 20
_TIFF_LARGEST = (1 << 32) - (1 << 20)


@dataclass(frozen=True)
class Canvas:
    """What an encoder writes: colour (H, W, C), alpha (H, W) or None, and the chosen metadata.

    Colour of 16 bits is grey and has no alpha.
    """

    pixels: Pixels
    alpha: NDArray[np.uint8] | None
    metadata: Metadata

    def samples(self, top: int, bottom: int) -> Pixels:
        """Colour and alpha of some rows together, (rows, W, bands)."""
        if self.alpha is None:
            return self.pixels[top:bottom]
        rows = slice(top, bottom)
        return np.concatenate([self.pixels[rows], self.alpha[rows, :, None]], axis=2)

    def image(self) -> Image.Image:
        """The same as a Pillow picture of mode L, LA, RGB, RGBA or I;16 with nothing attached."""
        height, width, colours = self.pixels.shape
        if self.alpha is None:
            return Image.fromarray(self.pixels[..., 0] if colours == 1 else self.pixels)
        image = Image.new("LA" if colours == 1 else "RGBA", (width, height))
        rows = max(1, STRIP_PIXELS // width)
        for top in range(0, height, rows):
            image.paste(Image.fromarray(self.samples(top, min(height, top + rows))), (0, top))
        return image


def encode_png(canvas: Canvas, file: BinaryIO) -> None:
    """Write a PNG with colour profile and chunks, EXIF, XMP and text."""
    metadata = canvas.metadata
    info = PngImagePlugin.PngInfo()
    for name, content in metadata.colour:
        info.add(name, content)
    for key, value in metadata.text:
        info.add_text(key, value)
    if metadata.xmp:
        info.add(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp)
    canvas.image().save(
        file,
        format="PNG",
        compress_level=_LEVEL,
        compress_type=zlib.Z_RLE,
        pnginfo=info,
        exif=metadata.exif_block,
        icc_profile=metadata.icc,
    )


def encode_webp(canvas: Canvas, file: BinaryIO) -> None:
    """Write a lossless WebP that also keeps colour under transparent pixels."""
    if canvas.pixels.dtype == np.uint16:
        raise PictureError("WebP holds 8 bits a value and this is 16-bit grey; choose png or tiff")
    if max(canvas.pixels.shape[:2]) > _WEBP_LONGEST:
        raise PictureError(f"WebP holds at most {_WEBP_LONGEST} pixels a side; choose png")
    canvas.image().save(
        file,
        format="WEBP",
        lossless=True,
        exact=True,
        quality=0,
        method=_WEBP_METHOD,
        exif=canvas.metadata.exif_block,
        icc_profile=canvas.metadata.icc or b"",
        xmp=canvas.metadata.xmp or b"",
    )


def encode_tiff(canvas: Canvas, file: BinaryIO) -> None:
    """Write a TIFF compressed with deflate after horizontal differencing, directories last."""
    exif = canvas.metadata.exif or Exif()
    file.write(header(exif.order, 0))
    height, width, colours = canvas.pixels.shape
    bands = colours + (canvas.alpha is not None)
    stored = canvas.pixels.dtype.newbyteorder(exif.order)
    rows = max(1, _TIFF_STRIP_BYTES // (width * bands * canvas.pixels.itemsize))
    offsets, lengths, place = [], [], 8
    for top in range(0, height, rows):
        strip = canvas.samples(top, top + rows)
        steps = np.diff(strip, axis=1, prepend=np.zeros_like(strip[:, :1]))
        deflate = _deflater()
        packed = deflate.compress(steps.astype(stored, copy=False).data) + deflate.flush()
        packed += b"\0" * (len(packed) % 2)
        offsets.append(place)
        lengths.append(len(packed))
        place += file.write(packed)
        if place > _TIFF_LARGEST:
            raise PictureError("TIFF holds at most 4 GB; choose png")
    extra = _tiff_entries(canvas, exif, rows)
    extra[273], extra[279] = whole(exif.order, LONG, *offsets), whole(exif.order, LONG, *lengths)
    file.write(pack_directories(exif, extra, place))
    file.seek(0)
    file.write(header(exif.order, place))


def _deflater() -> "zlib._Compress":
    """Return a compressor for pictures with noise."""
    return zlib.compressobj(_LEVEL, zlib.DEFLATED, _LARGEST_WINDOW, _MOST_MEMORY, zlib.Z_RLE)


def _tiff_entries(canvas: Canvas, exif: Exif, rows: int) -> dict[int, Entry]:
    """Return the entries that describe the layout of the samples, the profile and the XMP."""
    height, width, colours = canvas.pixels.shape
    bands = colours + (canvas.alpha is not None)
    order = exif.order
    entries = {
        256: whole(order, LONG, width),
        257: whole(order, LONG, height),
        258: whole(order, SHORT, *[8 * canvas.pixels.itemsize] * bands),
        259: whole(order, SHORT, 8),  # deflate
        262: whole(order, SHORT, 1 if colours == 1 else 2),
        277: whole(order, SHORT, bands),
        278: whole(order, LONG, rows),
        284: whole(order, SHORT, 1),
        317: whole(order, SHORT, 2),  # horizontal differencing
    }
    if canvas.alpha is not None:
        entries[338] = whole(order, SHORT, 2)  # alpha not multiplied into the colour
    if canvas.metadata.xmp:
        entries[700] = Entry(BYTE, len(canvas.metadata.xmp), canvas.metadata.xmp)
    if canvas.metadata.icc:
        entries[34675] = Entry(UNDEFINED, len(canvas.metadata.icc), canvas.metadata.icc)
    return entries


ENCODERS: dict[str, Callable[[Canvas, BinaryIO], None]] = {
    "PNG": encode_png,
    "WEBP": encode_webp,
    "TIFF": encode_tiff,
}
