"""Makes the picture files that the tests of reading and writing share."""

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

SIZES = [(1, 1), (7, 5), (64, 48), (257, 129)]
JPEG_START = b"\xff\xd8\xff"

# Each cell: Pillow mode, format, save options.
CELLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "jpeg": ("RGB", "JPEG", {}),
    "jpeg-444": ("RGB", "JPEG", {"subsampling": 0, "quality": 95}),
    "jpeg-progressive": ("RGB", "JPEG", {"progressive": True}),
    "jpeg-grey": ("L", "JPEG", {}),
    "png-1": ("1", "PNG", {}),
    "png-l": ("L", "PNG", {}),
    "png-l-transparent": ("L", "PNG", {"transparency": 7}),
    "png-la": ("LA", "PNG", {}),
    "png-p": ("P", "PNG", {}),
    "png-p-index": ("P", "PNG", {"transparency": 3}),
    "png-p-alphas": ("P", "PNG", {"transparency": bytes(range(0, 256, 2))}),
    "png-rgb": ("RGB", "PNG", {}),
    "png-rgb-transparent": ("RGB", "PNG", {"transparency": (1, 2, 3)}),
    "png-rgba": ("RGBA", "PNG", {}),
    "webp-lossy": ("RGB", "WEBP", {}),
    "webp-lossy-alpha": ("RGBA", "WEBP", {}),
    "webp-lossless": ("RGB", "WEBP", {"lossless": True}),
    "webp-lossless-alpha": ("RGBA", "WEBP", {"lossless": True, "exact": True}),
    "tiff-raw": ("RGB", "TIFF", {}),
    "tiff-l": ("L", "TIFF", {}),
    "tiff-1": ("1", "TIFF", {"compression": "group4"}),
    "tiff-p": ("P", "TIFF", {}),
    "tiff-la": ("LA", "TIFF", {}),
    "tiff-lzw": ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    "tiff-deflate-rgba": ("RGBA", "TIFF", {"compression": "tiff_adobe_deflate"}),
    "bmp": ("RGB", "BMP", {}),
    "bmp-l": ("L", "BMP", {}),
    "bmp-p": ("P", "BMP", {}),
    "bmp-1": ("1", "BMP", {}),
    "bmp-rgba": ("RGBA", "BMP", {}),
}


def noise_image(size, sigma, seed=0):
    """Return grey noise as RGB; Pillow's own `effect_noise` draws other values in every process."""
    values = np.random.default_rng(seed).normal(128, sigma, size[::-1])
    return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert("RGB")


def made_image(mode, size, seed=0):
    """Return a random Pillow picture whose alpha, if any, has empty, half and full places."""
    rng = np.random.default_rng(seed)
    width, height = size
    if mode == "P":
        image = Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8))
        image.putpalette(rng.integers(0, 256, 768, dtype=np.uint8).tobytes())
        return image
    bands = {"1": 1, "L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    values = rng.integers(0, 256, (height, width, bands), dtype=np.uint8)
    if mode in ("LA", "RGBA"):
        values[..., -1] = rng.choice([0, 128, 255], (height, width), p=[0.3, 0.2, 0.5])
        values[0, 0, -1] = 255
    image = Image.fromarray(values[..., 0] if bands == 1 else values)
    return image.convert("1") if mode == "1" else image


def saved(image, format, **options):
    """Return the bytes of the picture in a format."""
    file = BytesIO()
    image.save(file, format=format, **options)
    return file.getvalue()


def made_file(cell, size, seed=0):
    """Return the bytes of one cell of the table at one size."""
    mode, format, options = CELLS[cell]
    return saved(made_image(mode, size, seed), format, **options)


def full_exif(orientation=6, thumbnail=True):
    """Return an EXIF block with camera, place, sizes, artist, maker note and a clean thumbnail."""
    exif = Image.Exif()
    exif[271], exif[274], exif[315], exif[33432] = "Made", orientation, "An Artist", "(c) 2026"
    exif.get_ifd(34665).update(
        {
            33434: 0.01,
            36867: "2026:01:02 03:04:05",
            37500: b"maker" + JPEG_START,
            40962: 9,
            40963: 8,
        }
    )
    exif.get_ifd(34853).update({1: "N", 2: (48.0, 51.0, 29.6)})
    block = exif.tobytes()
    return with_thumbnail(block) if thumbnail else block


def with_thumbnail(block):
    """Return an EXIF block, prefix included, with a second directory that holds a JPEG."""
    body = bytearray(block[6:])
    order = "little" if body[:2] == b"II" else "big"
    start = int.from_bytes(body[4:8], order)
    entries = int.from_bytes(body[start : start + 2], order)
    body += b"\0" * (len(body) % 2)
    at = start + 2 + 12 * entries
    body[at : at + 4] = len(body).to_bytes(4, order)
    picture = saved(made_image("RGB", (16, 12)), "JPEG")
    place = len(body) + 2 + 24 + 4
    body += (2).to_bytes(2, order)
    for tag, value in ((513, place), (514, len(picture))):
        body += tag.to_bytes(2, order) + (4).to_bytes(2, order) + (1).to_bytes(4, order)
        body += value.to_bytes(4, order)
    body += b"\0\0\0\0" + picture
    return b"Exif\0\0" + bytes(body)


def jpeg_segments(data, *segments):
    """Return a JPEG with application segments, each (marker, content), put behind its start."""
    inserted = b"".join(
        bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content
        for marker, content in segments
    )
    return data[:2] + inserted + data[2:]


def png_chunk(name, content):
    """Return one PNG chunk."""
    from zlib import crc32

    return (
        len(content).to_bytes(4, "big") + name + content + crc32(name + content).to_bytes(4, "big")
    )


def with_png_chunks(data, *chunks):
    """Return a PNG with chunks, each (name, content), put behind its header."""
    return data[:33] + b"".join(png_chunk(*chunk) for chunk in chunks) + data[33:]


def gif_with(size, name, content):
    """Return a GIF with an extension of a program, put behind its palette."""
    data = saved(made_image("P", size), "GIF")
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:at] + b"!\xff\x0b" + name + content + data[at:]
