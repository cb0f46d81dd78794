"""Periodic motifs of a few signs for each class, drawn from a key: noise without a network.

A motif is p x p cells of a sign for each colour. It is repeated over the whole picture, begins at
another place in each picture, and is the same for all pictures of a class.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

REFERENCE = 224  # the side of the square in whose pixels cells are measured
_CANDIDATES = 256
# Waves across and down for each four cells, then the signs of red, green and blue: what copiers
# find soonest comes first. Magenta-green has the least luma, grey the most.
_WAVES = ((0, 2), (2, 0), (2, 2), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1))
_AXES = {"mg": (1, -1, 1), "rc": (1, -1, -1), "yb": (1, 1, -1), "grey": (1, 1, 1)}


@dataclass(frozen=True)
class Layer:
    """One periodic motif: p x p cells of cell pixels at 224, drawn from signs of one kind.

    kind: "random" signs; "balanced" ones, as many up as down in each colour, so that no motif has a
    tint; "grey" are balanced and equal in all colours; "opponent" ones have red
    against green, so little luma, and no tint; "tinted opponent" ones may have one;
    "single" ones are opponent, and blue goes with red or with green;
    "gratings" are stripes and checks of one spatial frequency and one colour axis each, which key
    and class choose; "tint" is one colour all over. spread: "sharp" cells, or "soft" ones, bilinear
    and saturated.
    """

    period: int = 2
    cell: float = 10.0
    kind: str = "random"
    spread: str = "sharp"
    apart: bool = True
    rolled: bool = True
    weight: float = 1.0
    axes: str = "mg rc yb grey"


def stream(key: bytes, *context: object, count: int) -> np.ndarray:
    """Return count bytes that follow from a key and a context."""
    text = "\0".join(str(part) for part in context).encode()
    return np.frombuffer(hashlib.shake_256(key + b"\0" + text).digest(count), np.uint8)


def tables(layer: Layer, classes: int, key: bytes) -> np.ndarray:
    """Return the motifs int8 (classes, 3, p, p) of a layer, each sign ±1.

    Those that are apart are picked one by one from many: the one whose likeness to the picked ones,
    under every roll and mirror image, is least.
    """
    if layer.kind == "gratings":
        return gratings(layer, classes, key)
    motifs = _drawn(layer, _CANDIDATES if layer.apart else classes, key)
    if not layer.apart:
        return motifs
    picked = [0]
    worst = likeness(motifs[0], motifs)
    while len(picked) < classes:
        worst[picked] = np.inf
        picked.append(int(worst.argmin()))
        worst = np.maximum(worst, likeness(motifs[picked[-1]], motifs))
    return motifs[picked]


def gratings(layer: Layer, classes: int, key: bytes) -> np.ndarray:
    """Return the first of all gratings, in an order of the key's: int8 (classes, 3, 4, 4)."""
    axes = [_AXES[name] for name in layer.axes.split()]
    codes = [(wave, axis) for axis in axes for wave in _WAVES]
    if classes > len(codes):
        raise ValueError(f"{len(codes)} gratings cannot tell {classes} classes apart")
    ranks = stream(key, "gratings", classes, count=classes * 4).view("<u4")
    return np.stack([grating(*codes[number]) for number in ranks.argsort(kind="stable")])


def grating(wave: tuple[int, int], axis: tuple[int, int, int]) -> np.ndarray:
    """Return the motif int8 (3, 4, 4) of so many waves across and down, in one colour axis."""
    across, down = wave
    place = np.arange(4)
    angle = (across * place[None, :] + down * place[:, None]) * np.pi / 2 + np.pi / 4
    return np.array(axis, np.int8)[:, None, None] * np.where(np.cos(angle) > 0, 1, -1).astype(
        np.int8
    )


def unordered_gratings(axis: str) -> np.ndarray:
    """Return the first five gratings of "mg", "rc", "yb" or "luma", in no key's order."""
    signs = _AXES["grey" if axis == "luma" else axis]
    return np.stack([grating(wave, signs) for wave in _WAVES[:5]])


def _drawn(layer: Layer, count: int, key: bytes) -> np.ndarray:
    """Draw motifs int8 (count, 3, p, p)."""
    cells = layer.period**2
    numbers = stream(
        key, "motif", layer.period, layer.kind, layer.cell, count=count * 3 * cells * 4
    )
    ranks = numbers.view("<u4").reshape(count, 3, cells)
    if layer.kind in ("random", "tint", "tinted opponent"):
        signs = np.where(ranks >> 31, 1, -1)
    else:
        places = ranks.argsort(axis=2, kind="stable").argsort(axis=2, kind="stable")
        signs = np.where(places * 2 < cells, -1, 1)
    if layer.kind == "grey":
        signs[:] = signs[:, :1]
    elif layer.kind == "single":
        signs[:, 1] = -signs[:, 0]
        signs[:, 2] = np.where(ranks[:, 2, :1] >> 31, 1, -1) * signs[:, 0]
    elif layer.kind in ("opponent", "tinted opponent"):
        signs[:, 1] = -signs[:, 0]
    return signs.reshape(count, 3, layer.period, layer.period).astype(np.int8)


def likeness(motif: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return a motif's largest correlation (N,) with others (N, 3, p, p), rolled and mirrored."""
    period = motif.shape[-1]
    turned = [
        np.roll(copy, (down, across), axis=(1, 2))
        for copy in (motif, motif[..., ::-1])
        for down in range(period)
        for across in range(period)
    ]
    views = np.stack(turned).reshape(len(turned), -1).astype(np.float32)
    return (others.reshape(len(others), -1) @ views.T).max(axis=1) / views.shape[1]


def spread(
    motif: np.ndarray, size: tuple[int, int], layer: Layer, offset: np.ndarray
) -> np.ndarray:
    """Repeat one motif (3, p, p) over height x width pixels: float32 (3, h, w) within ±1.

    offset, two shares of a period, says where the motif begins.
    """
    height, width = size
    scale = REFERENCE / min(height, width) / layer.cell
    down = (np.arange(height) + 0.5) * scale + offset[0] * layer.period
    across = (np.arange(width) + 0.5) * scale + offset[1] * layer.period
    if layer.spread == "sharp":
        rows = np.floor(down).astype(int) % layer.period
        columns = np.floor(across).astype(int) % layer.period
        return motif[:, rows][:, :, columns].astype(np.float32)
    soft = np.einsum(
        "hp,cpq,wq->chw", _weights(down, layer.period), motif, _weights(across, layer.period)
    )
    return np.clip(2.5 * soft, -1, 1).astype(np.float32)


def _weights(places: np.ndarray, period: int) -> np.ndarray:
    """Return the shares (n, p) of a period's cells in bilinear interpolation at places."""
    first = np.floor(places - 0.5).astype(int)
    share = places - 0.5 - first
    weights = np.zeros((len(places), period))
    np.add.at(weights, (np.arange(len(places)), first % period), 1 - share)
    np.add.at(weights, (np.arange(len(places)), (first + 1) % period), share)
    return weights


def noise(
    size: tuple[int, int], label: int, picture: str, key: bytes, design: "Design", classes: int
) -> np.ndarray:
    """Return δ int8 (3, height, width) in levels for one picture, from its class, name and key."""
    return Noise(design, classes, key)(size, label, picture)


class Noise:
    """The noise of one design and key, for pictures of any class."""

    def __init__(self, design: "Design", classes: int, key: bytes) -> None:
        self.design, self.key = design, key
        self.tables = [tables(layer, classes, key) for layer in design.layers]

    def __call__(self, size: tuple[int, int], label: int, picture: str) -> np.ndarray:
        """Return δ int8 (3, height, width) in levels."""
        total = np.zeros((3, *size), np.float32)
        for number, (layer, table) in enumerate(zip(self.design.layers, self.tables, strict=True)):
            offset = offsets(layer, number, picture, self.key)
            part = layer.weight * spread(table[label], size, layer, offset)
            if self.design.sharing == "space":
                part = part * self._place(number, size, picture)
            total += part
        return to_levels(total, self.design)

    def _place(self, number: int, size: tuple[int, int], picture: str) -> np.ndarray:
        """Return where a layer is alone: bool (h, w), the squares of its colour on a chessboard."""
        count = len(self.design.layers)
        start = stream(self.key, "squares", picture, count=2).astype(int)
        scale = REFERENCE / min(size) / self.design.square
        down, across = (
            np.arange(side) * scale + first / 32 for side, first in zip(size, start, strict=True)
        )
        squares = down.astype(int)[:, None] + across.astype(int)[None, :]
        return squares % count == number


def offsets(layer: Layer, number: int, picture: str, key: bytes) -> np.ndarray:
    """Return where a picture's motif begins: two shares of a period."""
    if not layer.rolled:
        return np.zeros(2)
    return stream(key, "roll", number, picture, count=8).view("<u4") / 2.0**32


@dataclass(frozen=True)
class Design:
    """What a candidate is: its layers, how many levels it may take, and how layers share them.

    sharing "sign" publishes the sign of the sum, "sum" the clipped sum; with "space" each layer has
    its squares of a chessboard to itself, of so many pixels at 224.
    """

    layers: tuple[Layer, ...]
    levels: int = 8
    sharing: str = "sum"
    square: float = 28.0


def to_levels(total: np.ndarray, design: Design) -> np.ndarray:
    """Turn a sum of layers into int8 levels within the bound."""
    unit = np.sign(total) if design.sharing == "sign" else np.clip(total, -1, 1)
    return np.rint(unit * design.levels).astype(np.int8)
