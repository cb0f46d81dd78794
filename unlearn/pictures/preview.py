"""A sheet that shows what was done to a picture: original, protected, noise, the whole."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from unlearn.pictures.compare import Difference, difference
from unlearn.pictures.decoded import DEEP, Box, Picture, Pixels, eight_bit
from unlearn.pictures.write import placing

CROP = 512
AMPLIFY = 10
_ENLARGED = 256  # crops smaller than this are enlarged in whole steps, pixels staying squares
_SMALL = 200  # longest side of the whole picture
_NARROWEST = 200
_GAP, _LINE, _TEXT = 16, 24, 16
_PAPER, _INK, _FAINT, _MARK = (250, 250, 250), (30, 30, 30), (110, 110, 110), (220, 40, 40)
_CHECKS = (235, 205)  # greys behind transparent places
_MIDDLE = 128

Values = TypeVar("Values", NDArray[np.uint8], Pixels)


def preview_sheet(source: Picture, protected: Picture, target: Path, caption: str) -> None:
    """Write a PNG sheet: three panels at the same crop, the whole picture small, and the numbers.

    Both are a pair without mismatch. The noise panel shows 128 + 10 n. Raises PictureError when
    the sheet cannot be written.
    """
    box = busiest_box(eight_bit(source.pixels))
    left, top, right, bottom = box
    factor = max(1, _ENLARGED // max(right - left, bottom - top))
    panels = [
        _enlarge(_crop(_flatten(source), box), factor),
        _enlarge(_crop(_flatten(protected), box), factor),
        _enlarge(_noise(source, protected.pixels, box), factor),
    ]
    lines = _lines(difference(source, protected), box, factor)
    sheet = _compose(panels, _small(protected, box), caption, lines)
    colour_profile = source.metadata.icc if source.pixels.shape[2] == 3 else None
    with placing(target) as temporary:
        sheet.save(temporary, format="PNG", icc_profile=colour_profile)


def busiest_box(pixels: NDArray[np.uint8]) -> Box:
    """Return the window of up to 512 pixels a side where brightness varies most."""
    height, width, _ = pixels.shape
    side_x, side_y = min(CROP, width), min(CROP, height)
    step = max(1, max(width, height) // 1024)
    light = pixels[::step, ::step].mean(axis=2, dtype=np.float64)
    wide, high = max(1, side_x // step), max(1, side_y // step)
    high, wide = min(high, light.shape[0]), min(wide, light.shape[1])
    count = wide * high
    mean = _window_sums(light, wide, high) / count
    variance = _window_sums(light**2, wide, high) / count - mean**2
    y, x = np.unravel_index(int(variance.argmax()), variance.shape)
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


def _small(picture: Picture, box: Box) -> Image.Image:
    """Return the whole picture small, the box marked if it is not all of it."""
    image = Image.fromarray(np.ascontiguousarray(_flatten(picture)))
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
    return small


def _lines(found: Difference, box: Box, factor: int) -> list[str]:
    """Return the numbers under the panels."""
    left, top, right, bottom = box
    psnr = "no change" if math.isinf(found.psnr) else f"PSNR {found.psnr:.1f} dB"
    return [
        f"max change {found.linf}/255 · mean {found.mean_abs:.2f}/255 · {psnr}",
        f"panels: {right - left} x {bottom - top} pixels at x {left}, y {top}, "
        f"shown at {100 * factor} %",
        f"noise x{AMPLIFY}: grey is no change",
    ]


def _compose(
    panels: Sequence[Image.Image], small: Image.Image, caption: str, lines: Sequence[str]
) -> Image.Image:
    """Return the sheet."""
    cell = max(_NARROWEST, *(panel.width for panel in panels))
    panel_top = _GAP + _LINE
    below = panel_top + panels[0].height + _GAP
    width = 3 * cell + 4 * _GAP
    text_height = (1 + len(lines)) * _LINE
    sheet = Image.new("RGB", (width, below + max(small.height, text_height) + _GAP), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT)
    for place, (title, panel) in enumerate(
        zip(("original", "protected", f"noise x{AMPLIFY}"), panels, strict=True)
    ):
        left = _GAP + place * (cell + _GAP)
        draw.text((left, _GAP - 4), title, _INK, font)
        sheet.paste(panel, (left, panel_top))
    sheet.paste(small, (_GAP, below))
    left = 2 * _GAP + _SMALL
    for place, line in enumerate((caption, *lines)):
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
