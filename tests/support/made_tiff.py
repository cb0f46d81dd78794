"""Makes TIFF files of layouts that Pillow does not write: tiles, planes, BigTIFF, deep colour."""

import struct

import numpy as np

SHORT, LONG, LONG8 = 3, 4, 16
WIDTHS = {SHORT: 2, LONG: 4, LONG8: 8}
CODES = {SHORT: "H", LONG: "I", LONG8: "Q"}


def made_tiff(
    samples, photometric, *, extra=(), order="<", tile=None, planar=False, big=False, tags=None
):
    """Return a TIFF of samples (H, W, bands) of 8 or 16 bits, uncompressed.

    `tile` is the side of square tiles, else there is one strip; `extra` says what the bands beyond
    the colours are; `big` makes a BigTIFF; `tags` are more of (kind, values).
    """
    height, width, bands = samples.shape
    stored = samples.astype(samples.dtype.newbyteorder(order))
    planes = [stored[..., k : k + 1] for k in range(bands)] if planar else [stored]
    parts = [part for plane in planes for part in (_tiles(plane, tile) if tile else [plane])]
    pieces = [np.ascontiguousarray(part).tobytes() for part in parts]
    start = 16 if big else 8
    offsets = [start + sum(map(len, pieces[:k])) for k in range(len(pieces))]
    lengths = list(map(len, pieces))
    entries = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [8 * samples.itemsize] * bands),
        259: (SHORT, [1]),
        262: (SHORT, [photometric]),
        277: (SHORT, [bands]),
        284: (SHORT, [2 if planar else 1]),
    }
    entries |= tags or {}
    if extra:
        entries[338] = (SHORT, list(extra))
    if tile:
        entries |= {322: (LONG, [tile]), 323: (LONG, [tile])}
        entries |= {324: (LONG, offsets), 325: (LONG, lengths)}
    else:
        entries |= {273: (LONG, offsets), 278: (LONG, [height]), 279: (LONG, lengths)}
    body = b"".join(pieces)
    at = start + len(body)
    head = b"II" if order == "<" else b"MM"
    if big:
        head += struct.pack(order + "HHHQ", 43, 8, 0, at)
    else:
        head += struct.pack(order + "HI", 42, at)
    return head + body + _directory(entries, order, at, big=big)


def _tiles(plane, side):
    """Return the tiles of a plane (H, W, bands), padded to full size."""
    padded = np.pad(plane, ((0, -len(plane) % side), (0, -plane.shape[1] % side), (0, 0)), "edge")
    return [
        padded[top : top + side, left : left + side]
        for top in range(0, len(padded), side)
        for left in range(0, padded.shape[1], side)
    ]


def _directory(entries, order, at, *, big):
    """Return the directory that lies at a place, its long values behind it."""
    count, pointer, room = ("Q", "Q", 8) if big else ("H", "I", 4)
    table = struct.pack(order + count, len(entries))
    place = at + len(table) + (20 if big else 12) * len(entries) + room
    behind = b""
    for tag, (kind, values) in sorted(entries.items()):
        raw = struct.pack(f"{order}{len(values)}{CODES[kind]}", *values)
        table += struct.pack(order + "HH" + pointer, tag, kind, len(values))
        if len(raw) <= room:
            table += raw.ljust(room, b"\0")
        else:
            table += struct.pack(order + pointer, place + len(behind))
            behind += raw
    return table + bytes(room) + behind
