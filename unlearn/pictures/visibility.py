"""How visible a change is: CIEDE2000 where a picture is plain, as it is and as seen at a distance.

Plain is the third of a picture whose blocks of 8 x 8 pixels have the least contrast: there nothing
hides noise. "Seen" is S-CIELAB (Zhang and Wandell, 1997): both pictures are blurred as the eye
blurs them at 60 pixels a degree, a screen at 100 % and at arm's length, before they are compared.
Values are read as sRGB whatever the colour profile says. Of large pictures a sample of tiles is
measured, always the same of the same picture.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from unlearn.pictures.decoded import Box, Picture, Pixels, eight_bit

HARDLY_SEEN: Final = 1.0
EASILY_SEEN: Final = 2.3  # Mahy, Van Eycken and Oosterlinck (1994)
PER_DEGREE: Final = 60
BLOCK: Final = 8
_TILE: Final = 128
_ENOUGH: Final = 1 << 18  # plain pixels measured of one picture
_BAND: Final = 64  # rows read at a time to find what is plain
_CELL: Final = 4  # pixels a side that a wide blur takes as one
_KEPT: Final = 64  # weights of places, of up to 150 kB, kept for the next tile or picture
_REACH: Final = 2.5  # in spreads; what lies farther off has less than 0.2 % of the middle's weight

# TILE and BAND are whole blocks and MARGIN is whole cells, so that no tile changes a value.
_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)
_XYZ: Final = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_WHITE: Final = _XYZ.sum(axis=1)
_OPPONENT: Final = np.array([[0.279, 0.72, -0.107], [-0.449, 0.29, -0.077], [0.086, -0.59, 0.501]])
# Light, red-green and blue-yellow: weight and spread in degrees of a narrow and of a wide blur
# exp(-(r / spread)^2). Light's third, 4.3 degrees wide, is left out: most pictures are smaller.
_BLURS: Final = (
    ((0.921, 0.0283), (0.105, 0.133)),
    ((0.531, 0.0392), (0.330, 0.494)),
    ((0.488, 0.0536), (0.371, 0.386)),
)
_MARGIN: Final = 80  # reaches of the widest blur, 0.494 degrees, and a cell

Values = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Visibility:
    """CIEDE2000 on the plain third of a picture: mean and 95th percentile, then both as seen."""

    mean: float = 0.0
    high: float = 0.0
    seen_mean: float = 0.0
    seen_high: float = 0.0


@dataclass(frozen=True, eq=False)
class _Tile:
    """A part of a picture, and which of its pixels are plain.

    `box` is the tile with what its blurs need around it; `rows` and `columns` are where in it the
    tile lies, and `clean` are its colours.
    """

    box: Box
    rows: slice
    columns: slice
    plain: NDArray[np.bool_]
    clean: Pixels


class PlainAreas:
    """The plain areas of a picture, as far as they are measured; they outlive the picture."""

    def __init__(self, source: Picture) -> None:
        self._tiles = tuple(_sampled(source))

    def compared(self, protected: Picture) -> Visibility:
        """Measure how visible it is what was made of the picture."""
        pairs = [_differences(tile, protected.crop(tile.box)[0]) for tile in self._tiles]
        if not pairs:
            return Visibility()
        bare, seen = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        return Visibility(
            float(bare.mean()),
            float(np.percentile(bare, 95)),
            float(seen.mean()),
            float(np.percentile(seen, 95)),
        )


def plain_blocks(picture: Picture) -> NDArray[np.bool_]:
    """Return which blocks of 8 x 8 pixels are the plain third of those that are visible.

    Blocks as plain as the last of them count too: of flat artwork it may be more than a third.
    """
    contrast = np.concatenate(list(_contrasts(picture)))
    visible = contrast >= 0
    count = math.ceil(np.count_nonzero(visible) / 3)
    if not count:
        return visible
    bar = np.partition(contrast[visible], count - 1)[count - 1]
    plain: NDArray[np.bool_] = visible & (contrast <= bar)
    return plain


def differences(clean: Pixels, protected: Pixels) -> Values:
    """Return CIEDE2000 (H, W) of two pictures (H, W, C), pixel by pixel."""
    shape, turn = clean.shape[:2], _single(_XYZ.T)
    pair = (to_lab(_linear(pixels).reshape(-1, 3) @ turn) for pixels in (clean, protected))
    return ciede2000(*pair).reshape(shape)


def ciede2000(first: Values, second: Values) -> Values:
    """Return the difference (n) of two lists (n, 3) of CIELAB colours: Sharma, Wu, Dalal (2005)."""
    (l1, a1, b1), (l2, a2, b2) = first.T, second.T
    stretch = 1.5 - 0.5 * _saturation((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2)
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.arctan2(b1, a1) % math.tau, np.arctan2(b2, a2) % math.tau
    turn = h2 - h1
    far = np.abs(turn) > math.pi
    turn = np.where(far, turn - np.copysign(math.tau, turn), turn)
    hue = (h1 + h2) / 2 + np.where(far, math.pi, 0.0)
    grey = c1 * c2 == 0
    turn, hue = np.where(grey, 0.0, turn), np.where(grey, h1 + h2, hue)
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    in_light = (l2 - l1) / (1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2))
    in_chroma = (c2 - c1) / (1 + 0.045 * chroma)
    in_hue = 2 * np.sqrt(c1 * c2) * np.sin(turn / 2) / (1 + 0.015 * chroma * _by_hue(hue))
    blue = np.exp(-(((np.degrees(hue) % 360 - 275) / 25) ** 2))
    rotation = -2 * np.sin(math.radians(60) * blue) * _saturation(chroma)
    square = in_light**2 + in_chroma**2 + in_hue**2 + rotation * in_chroma * in_hue
    found: Values = np.sqrt(np.maximum(square, 0))
    return found


def _saturation(chroma: Values) -> Values:
    """Return sqrt(C^7 / (C^7 + 25^7))."""
    seventh = chroma**7
    return np.asarray(np.sqrt(seventh / (seventh + 25.0**7)))


def _by_hue(hue: Values) -> Values:
    """Return the weight T of a difference in hue."""
    return np.asarray(
        1
        - 0.17 * np.cos(hue - math.radians(30))
        + 0.24 * np.cos(2 * hue)
        + 0.32 * np.cos(3 * hue + math.radians(6))
        - 0.20 * np.cos(4 * hue - math.radians(63))
    )


def to_lab(xyz: Values) -> Values:
    """Return colours (n, 3) in XYZ, where white has Y = 1, in CIELAB."""
    share = xyz / _WHITE.astype(xyz.dtype)
    root = np.where(share > (6 / 29) ** 3, np.cbrt(share), share * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def _contrasts(picture: Picture) -> Iterator[NDArray[np.int32]]:
    """Yield how much light varies in the blocks of a band, from the top; -1 for invisible ones."""
    width, height = picture.size
    for top in range(0, height, _BAND):
        pixels, alpha = picture.crop((0, top, width, min(height, top + _BAND)))
        light = _cells(_light(pixels), BLOCK)
        contrast = BLOCK**2 * _sums(light**2) - _sums(light) ** 2
        if alpha is not None:
            contrast[~_cells(alpha, BLOCK).any((1, 3))] = -1
        yield contrast.astype(np.int32)


def _light(pixels: Pixels) -> NDArray[np.int32]:
    """Return the luma (H, W) in whole levels, so that sums of it are exact."""
    whole = eight_bit(pixels)
    if whole.shape[2] == 1:
        return whole[..., 0].astype(np.int32)
    return np.asarray(np.rint(whole @ _LUMA), np.int32)


def _cells(plane: NDArray[Any], side: int) -> NDArray[Any]:
    """Return a plane as (rows, side, columns, side), its border repeated to fill the last cells."""
    high, wide = (-length % side for length in plane.shape)
    if high or wide:
        plane = np.pad(plane, ((0, high), (0, wide)), mode="edge")
    return plane.reshape(plane.shape[0] // side, side, plane.shape[1] // side, side)


def _sums(cells: NDArray[Any]) -> NDArray[Any]:
    """Return the sum (rows, columns) of each cell: down first, which is several times as fast."""
    return np.asarray(cells.sum(1).sum(-1))


def _sampled(source: Picture) -> Iterator[_Tile]:
    """Yield tiles with plain pixels, spread over the picture, until there are enough of those."""
    blocks = plain_blocks(source)
    width, height = source.size
    corners = [(x, y) for y in range(0, height, _TILE) for x in range(0, width, _TILE)]
    measured = 0
    for number in sorted(range(len(corners)), key=_place):
        left, top = corners[number]
        box = (left, top, min(width, left + _TILE), min(height, top + _TILE))
        rows, columns = (slice(start // BLOCK, (start + _TILE) // BLOCK) for start in (top, left))
        if blocks[rows, columns].any():
            tile = _tile(source, box, blocks[rows, columns])
            measured += int(np.count_nonzero(tile.plain))
            yield tile
        if measured >= _ENOUGH:
            break


def _place(number: int) -> float:
    """Return where a number stands in an order whose every beginning is spread evenly."""
    return number * (math.sqrt(5) - 1) / 2 % 1


def _tile(source: Picture, tile: Box, blocks: NDArray[np.bool_]) -> _Tile:
    """Return a tile by its box and which of its blocks are plain."""
    width, height = source.size
    left, top, right, bottom = tile
    x, y = max(0, left - _MARGIN), max(0, top - _MARGIN)
    box = (x, y, min(width, right + _MARGIN), min(height, bottom + _MARGIN))
    rows, columns = slice(top - y, bottom - y), slice(left - x, right - x)
    pixels, alpha = source.crop(box)
    plain = blocks.repeat(BLOCK, 0).repeat(BLOCK, 1)[: bottom - top, : right - left]
    if alpha is not None:
        plain = plain & (alpha[rows, columns] > 0)
    return _Tile(box, rows, columns, plain, pixels.copy())


def _differences(tile: _Tile, protected: Pixels) -> tuple[Values, Values]:
    """Return CIEDE2000 at each plain pixel of a tile, as it is and as seen."""
    pair = [_linear(pixels) for pixels in (tile.clean, protected)]
    bare = [linear[tile.rows, tile.columns][tile.plain] @ _single(_XYZ.T) for linear in pair]
    seen = [_seen(linear, tile)[tile.plain] for linear in pair]
    back = _single(np.linalg.inv(_OPPONENT).T)
    return (
        ciede2000(*(to_lab(xyz) for xyz in bare)),
        ciede2000(*(to_lab(opponent @ back) for opponent in seen)),
    )


def _single(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return values in single precision, which is enough for pixels."""
    return values.astype(np.float32)


def _linear(pixels: Pixels) -> NDArray[np.float32]:
    """Return colours (H, W, C) in proportion to their light, as RGB (H, W, 3)."""
    linear = _light_of_values(int(np.iinfo(pixels.dtype).max))[pixels]
    return np.broadcast_to(linear, (*linear.shape[:2], 3))


@cache
def _light_of_values(white: int) -> NDArray[np.float32]:
    """Return the light of each value of sRGB up to white, which is 1."""
    share = np.arange(white + 1) / white
    return _single(np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4))


def _seen(linear: NDArray[np.float32], tile: _Tile) -> Values:
    """Return the opponent colours (h, w, 3) of a tile as the eye passes them on."""
    opponent = linear @ _single((_OPPONENT @ _XYZ).T)
    planes = [
        _blurred(opponent[..., channel], tile.rows, tile.columns, blurs)
        for channel, blurs in enumerate(_BLURS)
    ]
    return np.stack(planes, axis=2)


def _blurred(
    plane: NDArray[np.float32],
    rows: slice,
    columns: slice,
    blurs: tuple[tuple[float, float], ...],
) -> NDArray[np.float32]:
    """Return rows and columns of a plane, blurred by two Gaussians whose weights come to 1."""
    (narrow, fine), (wide, coarse) = blurs
    share = np.float32(narrow / (narrow + wide))
    sharp = _gaussian(plane, rows, columns, (fine * PER_DEGREE, 1))
    cells = _single(_sums(_cells(plane, _CELL)) / _CELL**2)
    soft = _gaussian(cells, rows, columns, (coarse * PER_DEGREE, _CELL))
    return np.asarray(share * sharp + (1 - share) * soft)


def _gaussian(
    cells: NDArray[np.float32], rows: slice, columns: slice, blur: tuple[float, int]
) -> NDArray[np.float32]:
    """Return rows and columns of pixels from cells, by the spread of the blur and a cell's side."""
    (top, down), (left, across) = (
        _weights(part.start, part.stop, length, *blur)
        for part, length in zip((rows, columns), cells.shape, strict=True)
    )
    needed = cells[top : top + down.shape[1], left : left + across.shape[1]]
    return np.asarray(down @ needed @ across.T, np.float32)


@lru_cache(_KEPT)
def _weights(
    start: int, stop: int, length: int, spread: float, side: int
) -> tuple[int, NDArray[np.float32]]:
    """Return the first cell that counts, and how much each from there does for each pixel.

    There are `length` cells of `side` pixels; at the borders those that are there make up for the
    others. A cell is a blur already, by which its weight is made narrower.
    """
    reach = _REACH * spread
    first = max(0, math.floor((start - reach) / side))
    last = min(length, math.ceil((stop + reach) / side))
    middles = (np.arange(first, last) + 0.5) * side
    away = np.abs(np.arange(start, stop)[:, None] + 0.5 - middles)
    weights = np.exp(-(away**2) / (spread**2 - (side**2 - 1) / 6)) * (away <= reach)
    return first, _single(weights / weights.sum(axis=1, keepdims=True))
