"""The made corpus: every format and mode that is read, at every orientation and size."""

import importlib.util
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from tests.support.made_heic import made_heic
from tests.support.made_pictures import CELLS, made_image, png_chunk, saved
from tests.support.made_tiff import made_tiff

TURNING = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")
MODES = {"1": "L", "P": "RGB", "PA": "RGBA", "CMYK": "RGB", "LAB": "RGB", "YCbCr": "RGB"}
# What irot and imir say for each orientation: quarters against the clock first, then the axis.
BOXES = {
    1: (),
    2: ((b"imir", 1),),
    3: ((b"irot", 2),),
    4: ((b"imir", 0),),
    5: ((b"irot", 1), (b"imir", 0)),
    6: ((b"irot", 3),),
    7: ((b"irot", 3), (b"imir", 0)),
    8: ((b"irot", 1),),
}


@dataclass(frozen=True)
class Cell:
    """One kind of file: what makes it of a size and orientation, and the mode it is read as."""

    make: Callable[[tuple[int, int], int], bytes]
    mode: str
    turns: bool = False


def values(size, bands, seed=0, dtype=np.uint8):
    """Return random samples (H, W, bands); the last of 2 or 4 is alpha with clear places."""
    rng = np.random.default_rng(seed)
    top = np.iinfo(dtype).max
    found = rng.integers(0, top + 1, (size[1], size[0], bands), dtype)
    if bands in (2, 4):
        found[..., -1] = rng.choice([0, top // 2, top], found.shape[:2], p=[0.3, 0.2, 0.5])
        found[0, 0, -1] = top
    return found


def with_orientation(orientation):
    """Return EXIF that says no more than the orientation."""
    exif = Image.Exif()
    exif[274] = orientation
    return exif.tobytes()


def by_pillow(image, format, **options):
    """Return a maker that saves the picture which `image` makes of a size."""

    def make(size, orientation):
        more = {"exif": with_orientation(orientation)} if orientation > 1 else {}
        return saved(image(size), format, **options, **more)

    return make


def made(mode):
    """Return what makes pictures of a mode."""

    def image(size):
        if mode in ("CMYK", "YCbCr"):
            return Image.frombytes(
                mode, size, values(size, len(mode.strip("bC")))[..., :].tobytes()
            )
        return made_image(mode, size)

    return image


def cmyk(size):
    """Return a CMYK picture."""
    return Image.frombytes("CMYK", size, values(size, 4, 3).tobytes())


def deep(size):
    """Return a picture of 16-bit grey."""
    return Image.fromarray(values(size, 1, 5, np.uint16)[..., 0])


def by_hand(bands, photometric, dtype=np.uint8, seed=0, **layout):
    """Return a maker of TIFF files in layouts that Pillow does not write."""

    def make(size, _orientation):
        return made_tiff(values(size, bands, seed, dtype), photometric, **layout)

    return make


def made_png(size, depth, colour, seed=0, *, interlaced=False, chunks=()):
    """Return a PNG of random values of any depth and colour type, interlaced or not."""
    rng = np.random.default_rng(seed)
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)]
        passes += [(0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for left, top, across, down in passes:
        width, height = -(-(size[0] - left) // across), -(-(size[1] - top) // down)
        if width > 0:
            row = -(-width * bits // 8)
            rows += b"".join(b"\0" + rng.bytes(row) for _ in range(height))
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced)
    palette = [(b"PLTE", rng.bytes(3 * 2 ** min(depth, 8)))] if colour == 3 else []
    parts = [
        (b"IHDR", header),
        *palette,
        *chunks,
        (b"IDAT", zlib.compress(rows, 1)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


def png(depth, colour, *, interlaced=False, chunks=()):
    """Return a maker of such PNG files."""

    def make(size, orientation):
        more = (b"eXIf", with_orientation(orientation)[6:])
        parts = (*chunks, more) if orientation > 1 else chunks
        return made_png(size, depth, colour, interlaced=interlaced, chunks=parts)

    return make


def heic(bands):
    """Return a maker of HEIC files."""

    def make(size, orientation):
        return made_heic(values(size, bands, 4), turn=BOXES[orientation])

    return make


def srgb():
    """Return an sRGB profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _table() -> dict[str, Cell]:
    """Return all cells by name."""
    cells = {
        name: Cell(
            by_pillow(lambda size, mode=mode: made_image(mode, size), format, **options),
            mode=_mode(mode, format, options),
            turns=format in TURNING,
        )
        for name, (mode, format, options) in CELLS.items()
    }
    for depth, colour, mode in (
        *((depth, 0, "L") for depth in (1, 2, 4, 8)),
        (16, 0, "I;16"),
        *((depth, 2, "RGB") for depth in (8, 16)),
        *((depth, 3, "RGB") for depth in (1, 2, 4, 8)),
        *((depth, 4, "LA") for depth in (8, 16)),
        *((depth, 6, "RGBA") for depth in (8, 16)),
    ):
        for interlaced in (False, True):
            name = f"png-type{colour}-{depth}bit{'-interlaced' * interlaced}"
            cells[name] = Cell(png(depth, colour, interlaced=interlaced), mode, turns=True)
    for depth in (1, 2, 4, 8, 16):
        key = (b"tRNS", struct.pack(">H", 1))
        cells[f"png-grey-{depth}bit-key"] = Cell(png(depth, 0, chunks=[key]), "LA", turns=True)
    return cells | _others()


def _others() -> dict[str, Cell]:
    """Return the cells of other makers."""
    rgb, rgba = made("RGB"), made("RGBA")
    return {
        "jpeg-cmyk": Cell(by_pillow(cmyk, "JPEG"), "RGB", turns=True),
        "jpeg-cmyk-broken-profile": Cell(by_pillow(cmyk, "JPEG", icc_profile=b"x" * 200), "RGB"),
        "jpeg-rgb-stored": Cell(by_pillow(rgb, "JPEG", keep_rgb=True), "RGB", turns=True),
        "jpeg-profile": Cell(by_pillow(rgb, "JPEG", icc_profile=srgb()), "RGB", turns=True),
        "mpo": Cell(_mpo, "RGB"),
        "gif": Cell(by_pillow(made("P"), "GIF"), "RGB"),
        "gif-clear": Cell(by_pillow(made("P"), "GIF", transparency=3), "RGBA"),
        "gif-grey": Cell(by_pillow(made("L"), "GIF"), "L"),
        "avif": Cell(by_pillow(rgb, "AVIF", speed=10), "RGB", turns=True),
        "avif-grey": Cell(by_pillow(made("L"), "AVIF", speed=10), "L", turns=True),
        "avif-alpha": Cell(by_pillow(rgba, "AVIF", speed=10), "RGBA", turns=True),
        "heic": Cell(heic(3), "RGB", turns=True),
        "heic-grey": Cell(heic(1), "L", turns=True),
        "webp-one-frame": Cell(_webp_of_one_frame, "RGB"),
        "tiff-16bit": Cell(by_pillow(deep, "TIFF"), "I;16", turns=True),
        "tiff-16bit-lzw": Cell(by_pillow(deep, "TIFF", compression="tiff_lzw"), "I;16", turns=True),
        "tiff-packbits": Cell(by_pillow(rgb, "TIFF", compression="packbits"), "RGB", turns=True),
        "tiff-jpeg": Cell(by_pillow(rgb, "TIFF", compression="jpeg"), "RGB", turns=True),
        "tiff-cmyk": Cell(by_pillow(cmyk, "TIFF"), "RGB", turns=True),
        "tiff-lab": Cell(by_hand(3, 8), "RGB"),
        "tiff-tiled": Cell(by_hand(3, 2, tile=16), "RGB"),
        "tiff-planes": Cell(by_hand(3, 2, planar=True), "RGB"),
        "tiff-big": Cell(by_hand(3, 2, big=True), "RGB"),
        "tiff-big-endian": Cell(by_hand(3, 2, order=">"), "RGB"),
        "tiff-white-is-zero": Cell(by_hand(1, 0), "L"),
        "tiff-associated-alpha": Cell(by_hand(4, 2, extra=[1]), "RGBA"),
        "tiff-grey-associated-alpha": Cell(by_hand(2, 1, extra=[1]), "LA"),
        "tiff-16bit-big-endian": Cell(by_hand(1, 1, np.uint16, order=">"), "I;16"),
        "tiff-16bit-white-is-zero": Cell(by_hand(1, 0, np.uint16), "I;16"),
        "tiff-16bit-rgb": Cell(by_hand(3, 2, np.uint16), "RGB"),
        "tiff-16bit-rgb-big-endian": Cell(by_hand(3, 2, np.uint16, order=">"), "RGB"),
        "tiff-16bit-rgba": Cell(by_hand(4, 2, np.uint16, extra=[2]), "RGBA"),
        "tiff-16bit-cmyk": Cell(by_hand(4, 5, np.uint16), "RGB"),
        "bmp-rle": Cell(_rle_bmp, "RGB"),
        "bmp-v5-alpha": Cell(_bmp_with_alpha, "RGBA"),
    }


def _mode(mode, format, options):
    """Return the mode a cell of CELLS is read as."""
    if format == "BMP":
        mode = mode.removesuffix("A")  # Pillow writes it, and marks it as nothing
    wide = MODES.get(mode, mode)
    return {"L": "LA", "RGB": "RGBA"}[wide] if "transparency" in options else wide


def _mpo(size, _orientation):
    """Return an MPO of two pictures."""
    return saved(
        made_image("RGB", size), "MPO", save_all=True, append_images=[made_image("RGB", size, 1)]
    )


def _webp_of_one_frame(size, _orientation):
    """Return a WebP that could move and does not."""
    frame = saved(made_image("RGB", size), "WEBP", lossless=True)
    header = bytes([2, 0, 0, 0]) + _three(size[0] - 1) + _three(size[1] - 1)
    place = bytes(6) + _three(size[0] - 1) + _three(size[1] - 1) + bytes(3) + b"\0"
    pieces = (b"VP8X", header), (b"ANIM", bytes(6)), (b"ANMF", place + frame[12:])
    body = b"".join(name + struct.pack("<I", len(part)) + part for name, part in pieces)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _three(value):
    """Return three bytes."""
    return value.to_bytes(3, "little")


def _bmp(size, bits, compression, body, *, header=b"", palette=b""):
    """Return a BMP from the bottom row up."""
    head = struct.pack("<iiHHIIiiII", *size, 1, bits, compression, len(body), 0, 0, 0, 0) + header
    start = 14 + 4 + len(head) + len(palette)
    return (
        b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start)
        + struct.pack("<I", 4 + len(head)) + head + palette + body
    )  # fmt: skip


def _rle_bmp(size, _orientation):
    """Return a BMP of 8 bits in runs."""
    rng = np.random.default_rng(1)
    body = b""
    for _ in range(size[1]):
        left = size[0]
        while left:
            run = min(left, int(rng.integers(1, 8)))
            body += bytes([run, int(rng.integers(256))])
            left -= run
        body += b"\0\0"
    return _bmp(size, 8, 1, body + b"\0\1", palette=rng.bytes(1024))


def _bmp_with_alpha(size, _orientation):
    """Return a BMP of 32 bits whose header names the bits of alpha."""
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    return _bmp(size, 32, 3, values(size, 4, 2).tobytes(), header=masks + bytes(36 + 12 + 16 + 4))


def opened(data):
    """Return a picture as Pillow reads it."""
    image = Image.open(BytesIO(data))
    image.load()
    return image


CORPUS = _table()
READABLE = [
    name for name in CORPUS if importlib.util.find_spec("pi_heif") or not name.startswith("heic")
]
