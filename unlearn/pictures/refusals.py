"""Which pictures that Pillow can open are turned away, and with what words."""

import numpy as np
from PIL import Image

from unlearn.errors import PictureError
from unlearn.pictures.colour import MODES, raw_mode
from unlearn.pictures.kinds import NO_RAW, Data, Kind, tiff_directories

_FLOAT = "floating point pictures are not supported; convert to 8 or 16 bit"
_REFUSED_MODES = {"I": "32-bit values are not supported; convert to 8 or 16 bit", "F": _FLOAT}
_SUB_IMAGES, _DNG_VERSION = 330, 50706
_NEAR = 16  # directories; Pillow reads every one on the way
_DEPTHS = (1, 2, 4, 8, 16)


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


def _refuse_tiff(image: Image.Image) -> None:
    """Raise PictureError for floating-point, odd and camera-raw TIFF files."""
    tags = getattr(image, "tag_v2", {})
    if _DNG_VERSION in tags or int(tags.get(254, 0)) & 1:
        raise PictureError(NO_RAW)
    formats = np.atleast_1d(tags.get(339, 1))
    if 3 in formats:
        raise PictureError(_FLOAT)
    bits = max(int(value) for value in np.atleast_1d(tags.get(258, 1)))
    if bits not in _DEPTHS and image.mode not in _REFUSED_MODES:
        raise PictureError(f"{bits}-bit values are not supported; convert to 8 or 16 bit")
    if 2 in formats and image.mode not in _REFUSED_MODES:
        raise PictureError("values below zero are not supported; convert to 8 or 16 bit")
