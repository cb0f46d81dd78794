"""Which pictures that Pillow can open are turned away, and with what words; MODES are taken.

A mode becomes supported by a row of MODES, a format by dropping its refusal in `formats`.
"""

import numpy as np
from PIL import Image

from unlearn.data.formats import Kind
from unlearn.errors import PictureError

# Pillow mode -> the mode it is widened to, without and with transparency.
MODES = {
    "1": ("L", "LA"),
    "L": ("L", "LA"),
    "LA": ("LA", "LA"),
    "P": ("RGB", "RGBA"),
    "PA": ("RGBA", "RGBA"),
    "RGB": ("RGB", "RGBA"),
    "RGBX": ("RGB", "RGB"),
    "RGBA": ("RGBA", "RGBA"),
}
_SIXTEEN_BIT = "16-bit colour is not supported yet; convert to 8-bit"
_FLOAT = "floating point pictures are not supported; convert to 8-bit"
_REFUSED_MODES = {
    "CMYK": "CMYK colour is not supported yet; convert to RGB",
    "LAB": "Lab colour is not supported yet; convert to RGB",
    "YCbCr": "YCbCr colour is not supported yet; convert to RGB",
    "I;16": _SIXTEEN_BIT,
    "I;16B": _SIXTEEN_BIT,
    "I": "32-bit colour is not supported; convert to 8-bit",
    "F": _FLOAT,
}
_RAW_PICTURE = "camera raw is not a picture to publish; export JPEG, PNG or TIFF first"


def refuse(image: Image.Image, data: bytes, kind: Kind, max_pixels: int) -> None:
    """Raise PictureError for a picture that can be opened but not protected."""
    width, height = image.size
    if width * height > max_pixels:
        raise PictureError(f"{width} x {height} is more than {max_pixels:,} pixels (--max-pixels)")
    frames = 1 if kind.name in ("JPEG", "TIFF") else getattr(image, "n_frames", 1)
    if frames > 1:
        raise PictureError(f"animated ({frames} frames), not supported yet")
    if kind.refusal:
        raise PictureError(kind.refusal)
    if kind.name == "TIFF":
        _refuse_tiff(image)
    # Pillow opens 16-bit colour PNG silently as 8 bit; the header knows better.
    if kind.name == "PNG" and data[24] == 16:
        raise PictureError(_SIXTEEN_BIT)
    if image.mode not in MODES:
        raise PictureError(
            _REFUSED_MODES.get(image.mode, f"mode {image.mode} is not supported; convert to RGB")
        )


def _refuse_tiff(image: Image.Image) -> None:
    """Raise PictureError for deep, floating-point and camera-raw TIFF files."""
    tags = getattr(image, "tag_v2", {})
    if 50706 in tags or int(tags.get(254, 0)) & 1:  # DNGVersion; a reduced picture comes first
        raise PictureError(_RAW_PICTURE)
    if 3 in np.atleast_1d(tags.get(339, 1)):
        raise PictureError(_FLOAT)
    bits = max(int(value) for value in np.atleast_1d(tags.get(258, 1)))
    if bits > 8:
        raise PictureError(f"{bits}-bit colour is not supported yet; convert to 8-bit")
