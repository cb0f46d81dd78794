"""The one preparation of a picture that protecting, verifying and auditing share.

Decode, turn upright, widen to grey or RGB with the alpha apart, shrink. It is a pure function of
the file's bytes and the Preparation, which is what makes the bound provable.
"""

import hashlib
import stat
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from unlearn.data.boxes import read_container
from unlearn.data.formats import HEAD_BYTES, Kind, chunks, identify, tiff_pages
from unlearn.data.heif import enable_heif
from unlearn.data.metadata import Findings, read_metadata
from unlearn.data.modes import raw_mode, widen
from unlearn.data.picture import Picture, Pixels, Preparation
from unlearn.data.pillow import decoding
from unlearn.data.refusals import refuse, refuse_frames, refuse_size
from unlearn.errors import PictureError

__all__ = ["STRIP_PIXELS", "Picture", "Preparation", "prepare"]

STRIP_PIXELS = 1 << 17  # a strip's copies stay in the processor's cache and in memory in use
_SPARE_FILE_BYTES = 64 << 20
_CONTAINERS = ("AVIF", "HEIC")

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def prepare(path: Path, preparation: Preparation) -> Picture:
    """Read one picture; raises PictureError with the reason for anything it cannot do."""
    data = _read(path, preparation.max_pixels)
    kind = identify(data[:HEAD_BYTES])
    sha256, lossless = hashlib.sha256(data).hexdigest(), _lossless(data, kind.name)
    with decoding(kind.name, preparation.max_pixels):
        upright, found = _decode(data, kind, preparation.max_pixels)
        del data  # a file may be as large as its pixels
        pixels, alpha = _split(_shrink(upright, preparation.max_side))
    return Picture(
        pixels,
        alpha,
        kind.name,
        sha256,
        found.metadata,
        tuple(found.dropped),
        tuple(found.notices),
        lossless=lossless,
    )


def _decode(data: bytes, kind: Kind, max_pixels: int) -> tuple[Image.Image, Findings]:
    """Return the picture upright, in one of the working modes, and what its file says about it."""
    if kind.name == "TIFF" and (pages := tiff_pages(data)) > 1:
        raise PictureError(
            f"{pages} pages; only TIFF of a single page is supported, save each page by itself"
        )
    if kind.plugin == "HEIF":
        enable_heif()
    container = read_container(data) if kind.name in _CONTAINERS else None
    if container is not None:
        refuse_frames(container.frames)  # not every decoder opens what moves
    # Closed in the end, since Pillow would keep the bytes of the file as long as the picture.
    with BytesIO(data) as file, _open(file, kind) as image:
        refuse(image, kind, max_pixels)
        raw = raw_mode(image)
        image.load()
        refuse_size(image, max_pixels)
        notices: list[str] = []
        wide = widen(image, raw, container, notices)
        found = read_metadata(image, data, kind.name, container, wide.mode)
    found.notices[:0] = notices
    return _turn(wide, found.orientation), found


def _read(path: Path, max_pixels: int) -> bytes:
    """Return the bytes of a regular file that is a picture by its first bytes."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise PictureError("not a regular file")
        with path.open("rb") as file:
            identify(file.read(HEAD_BYTES))
            if status.st_size > 8 * max_pixels + _SPARE_FILE_BYTES:
                raise PictureError(f"file is too large for {max_pixels:,} pixels (--max-pixels)")
            file.seek(0)
            return file.read()
    except OSError as problem:
        raise PictureError(f"cannot be read ({problem.strerror or problem})") from problem


def _lossless(data: bytes, name: str) -> bool:
    """Tell whether the coding of the file keeps every value."""
    if name == "WEBP":
        return any(chunk == b"VP8L" for chunk, _ in chunks(data, name))
    return name not in ("JPEG", *_CONTAINERS)


def _open(file: BytesIO, kind: Kind) -> Image.Image:
    """Open a file with the one plugin of its kind."""
    try:
        return Image.open(file, formats=[kind.plugin or kind.name])
    except UnidentifiedImageError:
        reason = f"damaged or unsupported {kind.name} file; save it again as PNG or JPEG"
        raise PictureError(reason) from None


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    """Return the picture upright."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _shrink(image: Image.Image, max_side: int | None) -> Image.Image:
    """Return the picture with its long side at most `max_side`, never enlarged."""
    longest = max(image.size)
    if max_side is None or longest <= max_side:
        return image
    width, height = (max(1, round(side * max_side / longest)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _split(image: Image.Image) -> tuple[Pixels, NDArray[np.uint8] | None]:
    """Return colour (H, W, C) and alpha (H, W) as arrays, copied in strips to save memory."""
    bands = len(image.getbands())
    colours = 1 if bands <= 2 else 3
    width, height = image.size
    pixels: Pixels = np.empty((height, width, colours), np.uint8)
    if image.mode == "I;16":
        pixels = np.empty((height, width, colours), np.uint16)
    alpha = np.empty((height, width), np.uint8) if bands > colours else None
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        strip = np.asarray(image.crop((0, top, width, bottom))).reshape(-1, width, bands)
        pixels[top:bottom] = strip[..., :colours]
        if alpha is not None:
            alpha[top:bottom] = strip[..., colours]
    return pixels, alpha
