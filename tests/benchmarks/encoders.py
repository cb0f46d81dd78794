"""Seconds and bytes of lossless encoders on protected photos, and of decoding what they wrote.

    python -m tests.benchmarks.encoders --photos photos --out docs/results/encoders

A middle piece of each photo is protected by the bundled generator; without --photos, smooth made
pictures are. Every file is decoded and compared, as `protect` does. A setting is marked when no
other of its format is both faster (to encode and decode) and smaller; packages that unlearn does
not need are measured if they are installed. Times are processor seconds per 12 megapixels, the
least of the repeats, so that a busy machine matters little.
"""

import argparse
import io
import json
import platform
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.metadata import version
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image, features

from unlearn.device import select_run
from unlearn.errors import PictureError
from unlearn.generators.artefact import NoiseGenerator
from unlearn.generators.catalogue import resolve
from unlearn.pictures import encode
from unlearn.pictures.decoded import Picture
from unlearn.pictures.grid import add_noise, to_grid
from unlearn.pictures.read import Preparation, prepare
from unlearn.protection.noise import GAIN
from unlearn.radius import Radius

RHO = Radius.of_levels(8)
MEGAPIXELS = 12
CHOSEN = (
    "Pillow, level 1, runs",
    "method 0, quality 0",
    "unlearn, level 1, runs",
)  # what protect writes
STRATEGIES = {
    "default": zlib.Z_DEFAULT_STRATEGY,
    "filtered": zlib.Z_FILTERED,
    "runs": zlib.Z_RLE,
    "huffman": zlib.Z_HUFFMAN_ONLY,
    "fixed": zlib.Z_FIXED,
}
Encode = Callable[[np.ndarray], bytes]


def pieces(folder: Path | None, side: int) -> list[np.ndarray]:
    """Return protected pictures, at most `side` pixels wide and high."""
    generator = NoiseGenerator.load(resolve("base"), select_run("cpu"))
    protected = []
    for number, whole in enumerate(photos(folder) if folder else made(side)):
        delta = generator.noise_for_picture(to_grid(whole, 64), 0, 0, f"{number:064x}", RHO)
        noisy = add_noise(whole, delta, RHO.levels, GAIN)
        top, left = (max(0, (length - side) // 2) for length in whole.shape[:2])
        protected.append(np.ascontiguousarray(noisy[top : top + side, left : left + side]))
    return protected


def photos(folder: Path) -> Iterator[np.ndarray]:
    for path in sorted(folder.iterdir()):
        try:
            yield prepare(path, Preparation()).pixels
        except PictureError:
            continue


def made(side: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for _ in range(4):
        picture = np.full((side, side, 3), 128.0)
        for octave in range(2, 9):
            small = rng.normal(0, 50 / octave, (1 << octave, 1 << octave, 3)).astype(np.float32)
            for channel in range(3):
                plane = Image.fromarray(small[..., channel]).resize((side, side))
                picture[..., channel] += np.asarray(plane)
        yield np.clip(picture, 0, 255).astype(np.uint8)


def by_pillow(**options: Any) -> Encode:
    def run(pixels: np.ndarray) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, **options)
        return file.getvalue()

    return run


def by_hand(level: int, strategy: int) -> Encode:
    """Return our own TIFF encoder with another compressor in it."""

    def run(pixels: np.ndarray) -> bytes:
        def deflater() -> object:
            return zlib.compressobj(level, zlib.DEFLATED, 15, 9, strategy)

        file = io.BytesIO()
        with patch.object(encode, "_deflater", deflater):
            encode.encode_tiff(Picture(Image.fromarray(pixels)), file)
        return file.getvalue()

    return run


def candidates() -> Iterator[tuple[str, str, Encode]]:
    """Yield (format, setting, encoder)."""
    for level, (name, strategy) in product(range(10), STRATEGIES.items()):
        options = {"format": "PNG", "compress_level": level, "compress_type": strategy}
        yield "PNG", f"Pillow, level {level}, {name}", by_pillow(**options)
    yield from from_packages()
    for method, quality in product(range(3), (0, 10, 20, 50)):
        options = {"format": "WEBP", "lossless": True, "exact": True, "method": method}
        yield "WebP", f"method {method}, quality {quality}", by_pillow(**options, quality=quality)
    for level, (name, strategy) in product((1, 2, 6), STRATEGIES.items()):
        yield "TIFF", f"unlearn, level {level}, {name}", by_hand(level, strategy)
    libtiff = {"compression": "tiff_adobe_deflate", "tiffinfo": {317: 2}}
    yield "TIFF", "Pillow, libtiff", by_pillow(format="TIFF", **libtiff)


def from_packages() -> Iterator[tuple[str, str, Encode]]:
    """Yield the PNG encoders of packages that happen to be installed."""
    for setting, (name, encode_with) in PACKAGES.items():
        try:
            yield "PNG", setting, partial(encode_with, import_module(name))
        except ImportError:
            print(f"{name} is not installed", file=sys.stderr)


def by_opencv(cv2: ModuleType, pixels: np.ndarray) -> bytes:
    flags = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    flags += [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    return cv2.imencode(".png", pixels[..., ::-1], flags)[1].tobytes()


PACKAGES = {
    "opencv, level 1, runs": ("cv2", by_opencv),
    "fpng": (
        "fpng_py",
        lambda fpng, pixels: fpng.fpng_encode_image_to_memory(
            pixels.tobytes(), pixels.shape[1], pixels.shape[0]
        ),
    ),
}


def measure(encoder: Encode, pictures: list[np.ndarray], repeats: int) -> dict[str, float]:
    """Return processor seconds to encode and to decode, and megabytes, per 12 megapixels."""
    share = sum(picture[..., 0].size for picture in pictures) / (MEGAPIXELS * 1e6)
    sums = {"encode": 0.0, "decode": 0.0, "megabytes": 0.0}
    for picture in pictures:
        taken, data = [], b""
        for _ in range(repeats):
            began = time.process_time()
            data = encoder(picture)
            between = time.process_time()
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                taken.append((between - began, time.process_time() - between))
                if not np.array_equal(np.asarray(image), picture):
                    raise AssertionError("the encoder is not lossless")
        sums["encode"] += min(encoding for encoding, _ in taken)
        sums["decode"] += min(decoding for _, decoding in taken)
        sums["megabytes"] += len(data) / 1e6
    return {name: round(value / share, 3) for name, value in sums.items()}


def mark(lines: list[dict]) -> None:
    """Note which settings no other of their format beats in both time and size."""
    rivals = [line for line in lines if line["setting"] not in PACKAGES]
    for line in lines:
        line["best"] = line in rivals and not any(
            other["format"] == line["format"]
            and (seconds(other) <= seconds(line) and other["megabytes"] <= line["megabytes"])
            and (seconds(other) < seconds(line) or other["megabytes"] < line["megabytes"])
            for other in rivals
        )


def seconds(line: dict) -> float:
    return line["encode"] + line["decode"]


def table(record: dict) -> str:
    """Return the record as a Markdown table."""
    rows = [
        f"Processor seconds and megabytes per {MEGAPIXELS} megapixels, {record['pictures']} "
        f"protected pieces of {record['megapixels']:.1f} MP together; bold: no other setting of "
        "the format is both faster and smaller, further packages aside; arrow: what protect "
        f"writes. {record['versions']}.",
        "",
        "| format | setting | encode, s | decode, s | both, s | MB |",
        "|---|---|---|---|---|---|",
    ]
    for line in record["lines"]:
        setting = f"**{line['setting']}**" if line["best"] else line["setting"]
        setting = f"→ {setting}" if line["setting"] in CHOSEN else setting
        numbers = (line["encode"], line["decode"], seconds(line))
        cells = " | ".join(f"{number:.2f}" for number in numbers)
        rows.append(f"| {line['format']} | {setting} | {cells} | {line['megabytes']:.1f} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    pictures = pieces(args.photos, args.side)
    lines = []
    for kind, setting, encoder in candidates():
        lines.append(
            {"format": kind, "setting": setting, **measure(encoder, pictures, args.repeats)}
        )
        print(json.dumps(lines[-1]), flush=True)
    mark(lines)
    inside = "zlib-ng" if features.check_feature("zlib_ng") else "zlib"
    versions = f"Pillow {version('pillow')} on {inside}, zlib {zlib.ZLIB_RUNTIME_VERSION}"
    record = {
        "command": "python -m tests.benchmarks.encoders --photos photos",
        "machine": platform.machine(),
        "versions": versions,
        "pictures": len(pictures),
        "megapixels": sum(picture[..., 0].size for picture in pictures) / 1e6,
        "lines": lines,
    }
    args.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(table(record))


if __name__ == "__main__":
    main()
