"""Which pictures that Pillow can open are turned away, and with what words."""

import contextlib
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

from unlearn.errors import PictureError
from unlearn.pictures.colour import MODES, raw_mode
from unlearn.pictures.jpeg.segments import FRAMES, PROGRESSIVE, SEQUENTIAL, segments
from unlearn.pictures.kinds import NO_RAW, Data, Kind, tiff_directories

_FLOAT = "floating point pictures are not supported; convert to 8 or 16 bit"
_REFUSED_MODES = {"I": "32-bit values are not supported; convert to 8 or 16 bit", "F": _FLOAT}
_SUB_IMAGES, _DNG_VERSION = 330, 50706
_NEAR = 16  # directories; Pillow reads every one on the way
_DEPTHS = (1, 2, 4, 8, 16)
_HEAD_BYTES = 1 << 20  # before the frame of a JPEG lie profiles and the like
_JPEG_LS = 0xF7  # marker of its frame


def refuse(image: Image.Image, kind: Kind, max_pixels: int) -> None:
    """Raise PictureError for a picture that can be opened but not protected."""
    refuse_size(image, max_pixels)
    if kind.name not in ("JPEG", "TIFF", "HEIC"):
        refuse_frames(getattr(image, "n_frames", 1))
    if kind.name == "TIFF":
        _refuse_tiff(image)
    if image.mode not in MODES:
        reason = f"mode {image.mode} is not supported; convert to RGB"
        raise PictureError(_REFUSED_MODES.get(image.mode, reason))
    if isinstance(image.info.get("transparency"), tuple) and ";16" in raw_mode(image):
        # Pillow keeps the high bytes only, so that more colours than one would become clear.
        raise PictureError("16-bit colour with a transparent colour; convert to 8 bit or to alpha")


def refuse_frames(frames: int) -> None:
    """Raise PictureError for a picture that moves."""
    if frames > 1:
        raise PictureError(
            f"animated ({frames} frames), not supported yet; export the frame you want as PNG"
        )


def refuse_size(image: Image.Image, max_pixels: int) -> None:
    """Raise PictureError for more pixels than allowed."""
    width, height = image.size
    if width * height > max_pixels:
        raise PictureError(f"{width} x {height} is more than {max_pixels:,} pixels (--max-pixels)")


def main_page(image: Image.Image, data: Data) -> int:
    """Return which directory of an open TIFF is its picture: the first that is no reduced copy.

    Camera raw begins with a copy too, but keeps its picture in a directory below that one.
    """
    reduced = [copy for _, copy in tiff_directories(data)]
    raw = {_SUB_IMAGES, _DNG_VERSION} & set(getattr(image, "tag_v2", {}))
    if raw or False not in reduced[:_NEAR]:
        return 0
    return reduced.index(False)


def why_not_opened(file: BinaryIO, kind: Kind) -> str:
    """Return what is wrong with a file that Pillow's plugin of its kind does not open."""
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    reason = f"damaged or unsupported {kind.name} file; save it again as PNG or JPEG"
    if kind.name == "JPEG":
        return _unusual_jpeg(head) or reason
    if kind.name == "TIFF":
        if head[:4] == b"MM\0+":
            return "a big-endian BigTIFF is not supported; save it as TIFF or PNG"
        with contextlib.suppress(SyntaxError, TypeError, ValueError, OSError, struct.error):
            begin = head[: 16 if head[2:4] == b"+\0" else 8]
            tags = TiffImagePlugin.ImageFileDirectory_v2(begin)
            file.seek(tags.next)
            tags.load(file)
            return _unusual_tiff(tags, "") or "a kind of TIFF that is not supported; save it as PNG"
    return reason


def _unusual_jpeg(data: bytes) -> str | None:
    """Return what is unusual about the coding of a JPEG."""
    for marker, segment in segments(data):
        if marker in FRAMES or marker == _JPEG_LS:
            if len(segment) > 4 and segment[4] != 8:
                return f"{segment[4]}-bit JPEG is not supported; save it as PNG"
            if marker not in (*SEQUENTIAL, PROGRESSIVE):
                return "this coding of a JPEG is not supported; save it as PNG"
    return None


def _refuse_tiff(image: Image.Image) -> None:
    """Raise PictureError for floating-point, odd and camera-raw TIFF files."""
    reason = _unusual_tiff(getattr(image, "tag_v2", {}), image.mode)
    if reason:
        raise PictureError(reason)


def _unusual_tiff(tags: Mapping[int, Any], mode: str) -> str | None:
    """Return why a TIFF with these tags is refused; `mode` is Pillow's."""
    if _DNG_VERSION in tags or int(tags.get(254, 0)) & 1:
        return NO_RAW
    formats = np.atleast_1d(tags.get(339, 1))
    bits = max(int(value) for value in np.atleast_1d(tags.get(258, 1)))
    if 3 in formats:
        return _FLOAT
    if mode in _REFUSED_MODES:
        return None
    if bits not in _DEPTHS:
        return f"{bits}-bit values are not supported; convert to 8 or 16 bit"
    return "values below zero are not supported; convert to 8 or 16 bit" if 2 in formats else None
