"""What is shown of pictures: original, protected and noise where most is seen, and the whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageDraw, ImageFont

from unlearn.pictures.compare import difference
from unlearn.pictures.decoded import DEEP, Box, Picture, Pixels, eight_bit, to_image
from unlearn.pictures.visibility import BLOCK, PlainAreas, Visibility, differences, plain_blocks
from unlearn.pictures.write import placing

CROP = 512
AMPLIFY = 10
PRIVATE = "Clean crops of your pictures: keep this to yourself, do not publish it."
_LOOKED_AT = 1024  # pixels of the longer side that are looked at to find a window
_ENLARGED = 256  # crops smaller than this are enlarged in whole steps, pixels staying squares
_SMALL = 200  # longest side of the whole picture
_NARROWEST = 256  # the numbers find room beneath
_GAP, _LINE, _TEXT, _HEAD = 16, 24, 16, 36
_PAPER, _INK, _FAINT, _MARK = (250, 250, 250), (30, 30, 30), (110, 110, 110), (220, 40, 40)
_CHECKS = (235, 205)  # greys behind transparent places
_MIDDLE = 128

Values = TypeVar("Values", NDArray[np.uint8], Pixels)


@dataclass(frozen=True, eq=False)
class Shown:
    """What is shown of one picture: the same window three times, and the whole picture small.

    All are RGB (h, w, 3); a colour profile was applied to all but the noise, which is 128 + 10 n.
    `box` is the window in a picture of `size`; `linf` is the largest change.
    """

    name: str
    original: NDArray[np.uint8]
    protected: NDArray[np.uint8]
    noise: NDArray[np.uint8]
    whole: NDArray[np.uint8]
    box: Box
    size: tuple[int, int]
    linf: int
    visibility: Visibility

    @property
    def factor(self) -> int:
        """How many times the panels are enlarged, in whole steps, so that pixels stay squares."""
        left, top, right, bottom = self.box
        return max(1, _ENLARGED // max(right - left, bottom - top))


def show(source: Picture, protected: Picture, name: str) -> Shown:
    """Return what is shown of a picture and what was made of it, of the same size.

    Grey that came back in three channels is grey. The noise is 0 where alpha is 0.
    """
    pixels = protected.pixels[..., : source.channels]
    masked = Picture(to_image(pixels, source.alpha), metadata=source.metadata)
    box = plainest_box(source, pixels)
    return Shown(
        name=name,
        original=_in_srgb(_crop(_flatten(source), box), source),
        protected=_in_srgb(_crop(_flatten(masked), box), source),
        noise=_noise(source, pixels, box),
        whole=_small(_in_srgb(_flatten(source), source), box),
        box=box,
        size=source.size,
        linf=difference(source, masked).linf,
        visibility=PlainAreas(source).compared(masked),
    )


def preview_sheet(source: Picture, protected: Picture, target: Path, caption: str) -> None:
    """Write a PNG sheet of one picture; raises PictureError when it cannot be written."""
    contact_sheet([show(source, protected, caption)], target)


def contact_sheet(pictures: Sequence[Shown], target: Path) -> None:
    """Write one PNG sheet with a row for each picture; raises PictureError when it cannot be."""
    rows = [_row(picture) for picture in pictures]
    size = (max(row.width for row in rows), _HEAD + sum(row.height for row in rows))
    sheet, top = Image.new("RGB", size, _PAPER), _HEAD
    font = ImageFont.load_default(_TEXT)
    ImageDraw.Draw(sheet).text((_GAP, _GAP - 4), PRIVATE, _MARK, font)
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    with placing(target) as temporary:
        sheet.save(temporary, format="PNG")


def plainest_box(source: Picture, protected: Pixels) -> Box:
    """Return the window of up to 512 pixels a side where most of a change is seen on plain areas.

    Of large pictures the change is looked at in every n-th pixel of every n-th row.
    """
    width, height = source.size
    side_x, side_y = min(CROP, width), min(CROP, height)
    step = max(1, max(width, height) // _LOOKED_AT)
    change = differences(source.pixels[::step, ::step], protected[::step, ::step])
    rows, columns = (np.arange(0, length, step) // BLOCK for length in (height, width))
    change = np.where(plain_blocks(source)[rows[:, None], columns], change, 0)
    if source.alpha is not None:
        change[source.alpha[::step, ::step] == 0] = 0
    wide, high = (max(1, side // step) for side in (side_x, side_y))
    high, wide = min(high, change.shape[0]), min(wide, change.shape[1])
    sums = _window_sums(change.astype(np.float64), wide, high)
    y, x = np.unravel_index(int(sums.argmax()), sums.shape)
    left, top = min(int(x) * step, width - side_x), min(int(y) * step, height - side_y)
    return left, top, left + side_x, top + side_y


def _window_sums(values: NDArray[np.float64], wide: int, high: int) -> NDArray[np.float64]:
    """Return the sum over every window of a size, by its upper left corner."""
    sums = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    lower, upper = sums[high:], sums[:-high]
    columns: NDArray[np.float64] = lower - upper
    windows: NDArray[np.float64] = columns[:, wide:] - columns[:, :-wide]
    return windows


def _flatten(picture: Picture) -> NDArray[np.uint8]:
    """Return the picture as RGB (H, W, 3), transparent places over a chequered ground."""
    colours = np.broadcast_to(eight_bit(picture.pixels), (*picture.pixels.shape[:2], 3))
    if picture.alpha is None:
        return colours
    rows, columns = (np.arange(length) // 8 for length in picture.alpha.shape)
    ground = np.array(_CHECKS, np.uint16)[(rows[:, None] + columns) % 2][..., None]
    share = picture.alpha.astype(np.uint16)[..., None]
    mixed: NDArray[np.uint16] = (colours * share + ground * (255 - share) + 127) // 255
    return mixed.astype(np.uint8)


def _crop(pixels: Values, box: Box) -> Values:
    """Return the pixels inside a box."""
    left, top, right, bottom = box
    return pixels[top:bottom, left:right]


def _noise(source: Picture, protected: Pixels, box: Box) -> NDArray[np.uint8]:
    """Return 128 + 10 n inside a box as RGB; where alpha is 0 there is none."""
    noise = _crop(protected, box).astype(np.int32) - _crop(source.pixels, box)
    if protected.dtype == np.uint16:
        noise = np.rint(noise / DEEP).astype(np.int32)
    if source.alpha is not None:
        noise[_crop(source.alpha, box) == 0] = 0
    levels = np.clip(_MIDDLE + AMPLIFY * noise, 0, 255).astype(np.uint8)
    return np.broadcast_to(levels, (*levels.shape[:2], 3))


def _enlarge(pixels: NDArray[np.uint8], factor: int) -> Image.Image:
    """Return the pixels as a picture, each a square of `factor` pixels."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _in_srgb(pixels: NDArray[np.uint8], picture: Picture) -> NDArray[np.uint8]:
    """Return colours (h, w, 3) as sRGB; those whose profile cannot be read stay as they are."""
    profile = picture.metadata.icc
    if profile is None or picture.channels == 1:
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels))
    try:
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        srgb = ImageCms.createProfile("sRGB")
        turned = ImageCms.profileToProfile(image, own, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return pixels
    return pixels if turned is None else np.asarray(turned)


def _small(pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """Return the whole picture (H, W, 3) small, the box marked if it is not all of it."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    scale = _SMALL / max(image.size)
    method = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    small = image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))),
        method,
        reducing_gap=3.0,
    )
    if box != (0, 0, *image.size):
        left, top, right, bottom = (round(edge * scale) for edge in box)
        edges = (left, top, max(left, right - 1), max(top, bottom - 1))
        ImageDraw.Draw(small).rectangle(edges, outline=_MARK, width=2)
    return np.asarray(small)


def lines(picture: Shown) -> tuple[str, ...]:
    """Return the numbers of one picture."""
    left, top, right, bottom = picture.box
    found = picture.visibility
    return (
        f"largest change {picture.linf}/255 · CIEDE2000 on plain areas {found.mean:.1f}, "
        f"blurred as by the eye {found.seen_mean:.1f}",
        f"{right - left} x {bottom - top} of {picture.size[0]} x {picture.size[1]} pixels, "
        f"at x {left}, y {top}, shown at {100 * picture.factor} %",
    )


def _row(picture: Shown) -> Image.Image:
    """Return the part of a sheet that shows one picture."""
    panels = [
        _enlarge(pixels, picture.factor)
        for pixels in (picture.original, picture.protected, picture.noise)
    ]
    whole = Image.fromarray(picture.whole)
    texts = (picture.name, *lines(picture), f"noise x{AMPLIFY}: grey is no change")
    cell = max(_NARROWEST, *(panel.width for panel in panels))
    panel_top = _GAP + _LINE
    below = panel_top + panels[0].height + _GAP
    width = 3 * cell + 4 * _GAP
    sheet = Image.new("RGB", (width, below + max(whole.height, len(texts) * _LINE) + _GAP), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT)
    for place, (title, panel) in enumerate(
        zip(("original", "protected", f"noise x{AMPLIFY}"), panels, strict=True)
    ):
        left = _GAP + place * (cell + _GAP)
        draw.text((left, _GAP - 4), title, _INK, font)
        sheet.paste(panel, (left, panel_top))
    sheet.paste(whole, (_GAP, below))
    left = 2 * _GAP + _SMALL
    for place, line in enumerate(texts):
        text = _fitted(line, font, width - left - _GAP)
        draw.text((left, below + place * _LINE), text, _FAINT if place else _INK, font)
    return sheet


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Return one line of text, its beginning cut off where it is too wide; names end tellingly."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength("..." + text) > width:
        text = text[1:]
    return "..." + text
