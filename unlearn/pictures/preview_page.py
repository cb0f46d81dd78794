"""The page that shows pictures before and after, in one file that loads nothing from elsewhere."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import BytesIO
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined, Template
from numpy.typing import NDArray
from PIL import Image

from unlearn.files.text import printable
from unlearn.pictures.preview import AMPLIFY, Shown, lines
from unlearn.pictures.visibility import EASILY_SEEN, HARDLY_SEEN
from unlearn.pictures.write import placing

_QUALITY = 90  # of the small pictures; what people judge by is stored without loss


@dataclass(frozen=True)
class _Card:
    """One picture as the page needs it; pictures are addresses that hold their data."""

    name: str
    lines: tuple[str, ...]
    width: int
    height: int
    original: str
    protected: str
    noise: str
    whole: str


def preview_page(pictures: Sequence[Shown], title: str, target: Path) -> None:
    """Write the page; raises PictureError when it cannot be written."""
    page = _template().render(
        title=printable(title),
        cards=[_card(picture) for picture in pictures],
        hardly=f"{HARDLY_SEEN:g}",
        easily=f"{EASILY_SEEN:g}",
        amplify=AMPLIFY,
    )
    with placing(target) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _card(picture: Shown) -> _Card:
    """Return one picture as the page needs it."""
    height, width, _ = picture.original.shape
    return _Card(
        name=printable(picture.name),
        lines=lines(picture),
        width=width * picture.factor,
        height=height * picture.factor,
        original=_address(picture.original),
        protected=_address(picture.protected),
        noise=_address(picture.noise),
        whole=_address(picture.whole, quality=_QUALITY),
    )


def _address(pixels: NDArray[np.uint8], quality: int | None = None) -> str:
    """Return pixels (h, w, 3) as an address that holds them, without a quality without loss."""
    file = BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if quality is None:
        image.save(file, "WEBP", lossless=True, exact=True)
    else:
        image.save(file, "WEBP", quality=quality)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


@cache
def _template() -> Template:
    """Return the page without its pictures."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = files("unlearn.pictures").joinpath("preview.html").read_text(encoding="utf-8")
    return environment.from_string(text)
