"""The pictures that `protect` is timed on: given ones, or drawn ones that anybody can draw."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from unlearn.demo import run as demo
from unlearn.errors import PictureError
from unlearn.pictures.read import Preparation, prepare

LEAST_PIXELS = 8_000_000  # of a given photo; smaller ones are left out
PHOTO, SMALL = (4000, 3000), (224, 224)
_GRAIN = 3.5  # standard deviation in levels, as in the demo
_QUALITY = 92


def fill(folder: Path, count: int, size: tuple[int, int], given: Path | None) -> list[Path]:
    """Put so many pictures into a new folder and return them; fewer if fewer are given.

    Raises SystemExit if none of those given will do.
    """
    folder.mkdir()
    if given is None:
        return [draw(folder / f"{number:03d}.jpg", number, size) for number in range(count)]
    least = LEAST_PIXELS if size == PHOTO else 0
    found: list[Path] = []
    for source in usable(given, least):
        target = folder / f"{len(found):03d}{source.suffix}"
        found.append(Path(shutil.copyfile(source, target)))
        if len(found) == count:
            break
    if not found:
        raise SystemExit(f"{given} holds no picture of at least {least:,} pixels that can be read")
    return found


def copied(files: list[Path], folder: Path, copies: int) -> list[Path]:
    """Put each file into a new folder so many times, under different names."""
    folder.mkdir()
    return [
        Path(shutil.copyfile(file, folder / f"{number}-{file.name}"))
        for number in range(copies)
        for file in files
    ]


def usable(folder: Path, least_pixels: int) -> Iterator[Path]:
    """Yield the files below a folder that `protect` takes and that are large enough."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            with Image.open(path) as image:
                width, height = image.size
            if width * height >= least_pixels:
                prepare(path, Preparation())
                yield path
        except (UnidentifiedImageError, PictureError, OSError):
            continue


def draw(target: Path, number: int, size: tuple[int, int]) -> Path:
    """Write a drawn scene, enlarged and with a camera's grain, as a JPEG file."""
    rng = np.random.default_rng((number, *size))
    scenes = list(demo.SCENES.values())
    scene = demo.draw(scenes[number % len(scenes)], rng).resize(size, Image.Resampling.BICUBIC)
    grain = _GRAIN * rng.standard_normal((size[1], size[0], 3), dtype=np.float32)
    pixels = np.clip(np.asarray(scene) + grain, 0, 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(target, "JPEG", quality=_QUALITY)
    return target
