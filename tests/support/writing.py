"""A picture written from arrays, as tests and benchmarks hold them."""

from dataclasses import replace
from pathlib import Path

from unlearn.pictures.choices import MetadataChoice
from unlearn.pictures.decoded import Picture, Pixels, to_image
from unlearn.pictures.write import Written, write_rows

FORMATS = {"PNG": ".png", "WEBP": ".webp", "TIFF": ".tif"}


def lossless_format(picture: Picture) -> str:
    """Return the format that protect writes where a JPEG cannot stay one."""
    return picture.format if picture.format in FORMATS and picture.lossless else "PNG"


def write_picture(
    picture: Picture,
    protected: Pixels,
    target: Path,
    *,
    format: str,
    metadata: MetadataChoice,
    levels: int,
) -> Written:
    """Write `protected` (H, W, C) without loss as `target`; see write_rows."""

    def rows(top: int, strip: Pixels) -> Pixels:
        """Return the protected rows in the place of a strip."""
        return protected[top : top + len(strip)]

    source = replace(picture, image=to_image(picture.pixels, picture.alpha))
    return write_rows(source, rows, target, format=format, metadata=metadata, levels=levels)
