"""The one preparation of a picture that protecting, verifying and auditing share.

Decode, turn upright, widen to grey or RGB with the alpha apart, shrink. It is a pure function of
the file's bytes and the Preparation, which is what makes the bound provable.
"""

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from unlearn.errors import PictureError
from unlearn.pictures.colour import raw_mode, widen
from unlearn.pictures.contents import Contents, contents
from unlearn.pictures.decoded import Picture, Preparation
from unlearn.pictures.heif import enable_heif
from unlearn.pictures.jpeg.ending import end_of_jpeg, ended, lacks_only_its_end
from unlearn.pictures.kinds import Data, Kind, chunks, tiff_pages
from unlearn.pictures.metadata.isobmff import read_container
from unlearn.pictures.metadata.kept import Findings, read_metadata
from unlearn.pictures.pillow import decoding
from unlearn.pictures.refusals import (
    main_page,
    refuse,
    refuse_frames,
    refuse_size,
    why_not_opened,
)

__all__ = ["Picture", "Preparation", "decoded", "open_picture", "prepare"]

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
    """Read one picture into arrays; raises PictureError with the reason for what it cannot do."""
    return open_picture(path, preparation).in_arrays()


def open_picture(path: Path, preparation: Preparation) -> Picture:
    """Read one picture as Pillow holds it; raises as prepare does."""
    with contents(path, preparation.max_pixels) as source:
        return decoded(source, preparation)


def decoded(source: Contents, preparation: Preparation) -> Picture:
    """Read the picture of an open file; raises as prepare does."""
    name, lossless = source.kind.name, _lossless(source.data, source.kind.name)
    with decoding(name, preparation.max_pixels):
        image, found = _decode(source, preparation)
    image.info = {}  # an encoder must find only what it is given
    return Picture(
        image,
        format=name,
        sha256=source.sha256,
        metadata=found.metadata,
        dropped=tuple(found.dropped),
        notices=tuple(found.notices),
        lossless=lossless,
        orientation=found.orientation,
    )


def _decode(source: Contents, preparation: Preparation) -> tuple[Image.Image, Findings]:
    """Return the picture upright, in one of the working modes, and what its file says about it."""
    data, kind, max_pixels = source.data, source.kind, preparation.max_pixels
    if kind.name == "TIFF" and (pages := tiff_pages(data)) > 1:
        raise PictureError(
            f"{pages} pages; only TIFF of a single page is supported, save each page by itself"
        )
    if kind.plugin == "HEIF":
        enable_heif()
    container = read_container(data) if kind.name in _CONTAINERS else None
    if container is not None:
        refuse_frames(container.frames)  # not every decoder opens what moves
    with _open(_whole_file(source, max_pixels), kind) as image:
        if kind.name == "TIFF":
            image.seek(main_page(image, data))
        refuse(image, kind, max_pixels)
        raw = raw_mode(image)
        image.load()
        refuse_size(image, max_pixels)
        notices: list[str] = []
        wide = widen(image, raw, container, notices)
        if wide is image and getattr(image, "is_animated", False):
            wide = image.copy()  # pi-heif decodes one of several pictures anew at every use
        found = read_metadata(image, data, kind.name, container, wide.mode)
    found.notices[:0] = notices
    turn = _TURNS.get(found.orientation)
    upright = wide if turn is None else wide.transpose(turn)
    shrunk = _shrink(upright, preparation.max_side)
    if shrunk is not upright:
        found.metadata = replace(found.metadata, moved=True)
    return shrunk, found


def _whole_file(source: Contents, max_pixels: int) -> BinaryIO:
    """Return the file to decode: a JPEG that lacks its end marker and nothing else gets one."""
    if source.kind.name != "JPEG" or end_of_jpeg(source.data) is not None:
        return source.file
    with _open(source.file, source.kind) as image:
        refuse_size(image, max_pixels)
    source.file.seek(0)
    data = bytes(source.data)
    return BytesIO(ended(data)) if lacks_only_its_end(data) else source.file


def _lossless(data: Data, name: str) -> bool:
    """Tell whether the coding of the file keeps every value."""
    if name == "WEBP":
        return any(chunk == b"VP8L" for chunk, _ in chunks(data, name))
    return name not in ("JPEG", *_CONTAINERS)


def _open(file: BinaryIO, kind: Kind) -> Image.Image:
    """Open a file with the one plugin of its kind."""
    try:
        return Image.open(file, formats=[kind.plugin or kind.name])
    except UnidentifiedImageError:
        raise PictureError(why_not_opened(file, kind)) from None


def _shrink(image: Image.Image, max_side: int | None) -> Image.Image:
    """Return the picture with its long side at most `max_side`, never enlarged."""
    longest = max(image.size)
    if max_side is None or longest <= max_side:
        return image
    width, height = (max(1, round(side * max_side / longest)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)
