"""PNG files written by hand: filtered by numpy, compressed by zlib, everything else as it comes.

Pillow weighs five filters for every row, which takes longer than to compress them; measured in
docs/results/encoders.md. The filters are those of the PNG specification (W3C, 2003), section 9.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

_LEVEL, _LARGEST_WINDOW, _MOST_MEMORY = 1, 15, 9
_STRIP_BYTES = 1 << 18  # what filtering a strip takes stays in the processor's cache
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by bands: grey, grey with alpha, RGB, RGB with alpha
_BIT_DEPTH = 8


def deflater() -> "zlib._Compress":
    """Return a compressor for pictures with noise.

    Noise leaves few repetitions, so that to look for runs only is faster and makes smaller files.
    """
    return zlib.compressobj(_LEVEL, zlib.DEFLATED, _LARGEST_WINDOW, _MOST_MEMORY, zlib.Z_RLE)


def write_png(
    samples: NDArray[np.uint8], chunks: Iterable[tuple[bytes, bytes]], file: BinaryIO
) -> None:
    """Write samples (H, W, bands), and chunks of (name, content) between header and pixels."""
    height, width, bands = samples.shape
    kind = _COLOUR_TYPES[bands]
    file.write(_SIGNATURE)
    _write_chunk(file, b"IHDR", struct.pack(">2I5B", width, height, _BIT_DEPTH, kind, 0, 0, 0))
    for name, content in chunks:
        _write_chunk(file, name, content)
    deflate = deflater()
    for strip in _filtered_strips(samples):
        _write_chunk(file, b"IDAT", deflate.compress(strip.data))
    _write_chunk(file, b"IDAT", deflate.flush())
    _write_chunk(file, b"IEND", b"")


def _write_chunk(file: BinaryIO, name: bytes, content: bytes) -> None:
    """Write one chunk with its length and checksum; one of pixels only if there are any."""
    if content or name != b"IDAT":
        checksum = zlib.crc32(content, zlib.crc32(name))
        file.write(struct.pack(">I", len(content)) + name)
        file.write(content)
        file.write(struct.pack(">I", checksum))


def _filtered_strips(samples: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Yield the picture in strips of filtered rows, each row behind the number of its filter."""
    height, _, bands = samples.shape
    rows = samples.reshape(height, -1)
    count = max(1, _STRIP_BYTES // rows.shape[1])
    above = np.zeros_like(rows[:1])
    for top in range(0, height, count):
        strip = rows[top : top + count]
        yield _filtered(strip, np.concatenate([above, strip[:-1]]), bands)
        above = strip[-1:]


def _filtered(rows: NDArray[np.uint8], above: NDArray[np.uint8], bands: int) -> NDArray[np.uint8]:
    """Return rows (n, W * bands) by Sub, Up or Average, whichever leaves the least, (n, 1 + ...).

    What a filter leaves is the sum of its differences' absolute values (section 12.8).
    """
    left = np.zeros_like(rows)
    left[:, bands:] = rows[:, :-bands]
    mean = ((left ^ above) >> 1) + (left & above)  # (left + above) // 2 without overflow
    candidates = (rows - left, rows - above, rows - mean)
    left_over = [
        np.abs(values.view(np.int8)).view(np.uint8).sum(axis=1, dtype=np.uint64)
        for values in candidates
    ]
    result = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    for row, best in enumerate(np.argmin(left_over, axis=0).tolist()):
        result[row, 0] = 1 + best
        result[row, 1:] = candidates[best][row]
    return result
