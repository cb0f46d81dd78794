"""Encoding again: what websites do to every file, and what a copier does to remove noise."""

import io

from PIL import Image

from unlearn.countermeasures.base import Countermeasure
from unlearn.countermeasures.sets import each_picture

_SHORT_SIDE = 256
_WEB_QUALITY = 80


def encoded_again(picture: Image.Image, quality: int) -> Image.Image:
    """Return an RGB picture as it comes back from a JPEG file with colour at half resolution."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality, subsampling="4:2:0")
    with Image.open(file) as decoded:
        return decoded.convert("RGB")


def shrunk(picture: Image.Image, short_side: int) -> Image.Image:
    """Return a picture with its short side brought down to short_side, aspect kept (Lanczos)."""
    share = short_side / min(picture.size)
    if share >= 1:
        return picture
    width, height = (max(short_side, round(side * share)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


JPEG75 = Countermeasure(
    "jpeg75",
    "Every file is encoded again as JPEG of quality 75 (4:2:0) at its full size, as websites do.",
    stored=lambda picture, _: encoded_again(picture, 75),
)
JPEG10 = Countermeasure(
    "jpeg10",
    "Every picture is encoded as JPEG of quality 10 (4:2:0) at the size the copier keeps, before "
    "any crop (ISS; Liu, Zhao and Larson, 2023).",
    once=each_picture(lambda picture: encoded_again(picture, 10)),
)
RESIZE256 = Countermeasure(
    "resize256",
    "Every file is shrunk to 256 pixels on its short side (Lanczos, never enlarged) and encoded as "
    "JPEG of quality 80 (4:2:0), as image servers do by default.",
    stored=lambda picture, _: encoded_again(shrunk(picture, _SHORT_SIDE), _WEB_QUALITY),
)
