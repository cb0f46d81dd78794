"""Labelled data from disk: a folder of class folders, or a CIFAR python archive."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from unlearn.datasets.cifar import find_cifar, load_cifar
from unlearn.datasets.labelled import Data
from unlearn.errors import NothingFound, PictureError, UsageProblem
from unlearn.pictures.decoded import Preparation, eight_bit
from unlearn.pictures.read import prepare
from unlearn.rng import Rng, id_of_digest

Change = Callable[[Image.Image, int], Image.Image]  # an RGB picture at full size, its own seed
ANY_CLASS = "."  # the class of all pictures of a folder whose classes do not matter
SIZES = (32, 64, 224, 256)
_AUTOMATIC = 64


@dataclass(frozen=True)
class Loaded:
    """Data read from disk, the test pictures that came with it, and what could not be read.

    names are the paths of the pictures under the folder, with forward slashes; an archive has none.
    """

    data: Data
    test: Data | None
    unreadable: tuple[tuple[str, str], ...] = ()
    names: tuple[str, ...] = ()


def load_labelled(folder: Path, image_size: int | None = None) -> Loaded:
    """Read a labelled folder as squares of image_size (None: 32 or 64, whichever fits).

    Pictures are shrunk to the size on their short side and cut to the centre square. Raises
    UsageProblem if the folder holds no classes, NothingFound if they hold no pictures.
    """
    if not folder.is_dir():
        raise UsageProblem(f"{folder}: no such folder")
    archive = find_cifar(folder)
    if archive is not None:
        if image_size not in (None, 32):
            raise UsageProblem(f"{archive}: CIFAR pictures are 32 pixels wide, not {image_size}")
        return Loaded(*load_cifar(archive))
    classes = class_folders(folder)
    if len(classes) < 2:
        raise UsageProblem(
            f"{folder}: labelled data needs at least two class folders with pictures in them, "
            f"found {len(classes)}"
        )
    return load_classes(folder, classes, image_size)


def load_pictures(folder: Path, image_size: int | None = None, *, labelled: bool = True) -> Loaded:
    """Read a labelled folder, or, where no labels are asked for, the pictures of any."""
    if labelled or (folder.is_dir() and find_cifar(folder) is not None):
        return load_labelled(folder, image_size)
    if not folder.is_dir():
        raise UsageProblem(f"{folder}: no such folder")
    return load_classes(folder, (ANY_CLASS,), image_size)


def class_folders(folder: Path) -> tuple[str, ...]:
    """Return the names of the folders right under a folder that are not hidden, sorted."""
    return tuple(
        sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    )


def load_classes(folder: Path, classes: Sequence[str], image_size: int | None) -> Loaded:
    """Read the pictures below the named class folders, in the order of their paths."""
    files = [(path, k) for k, name in enumerate(classes) for path in files_below(folder / name)]
    size = image_size or _fitting_size([path for path, _ in files])
    names = [path.relative_to(folder).as_posix() for path, _ in files]
    squares = load_squares([path for path, _ in files], size)
    read = [n for n, square in enumerate(squares) if not isinstance(square, str)]
    unreadable = tuple((names[n], s) for n, s in enumerate(squares) if isinstance(s, str))
    if not read:
        raise NothingFound(f"{folder}: none of its {len(files)} files is a picture")
    pixels = torch.from_numpy(np.stack([squares[n] for n in read]))
    labels = torch.tensor([files[n][1] for n in read], dtype=torch.int64)
    data = Data(pixels, labels, tuple(classes))
    return Loaded(data, None, unreadable, tuple(names[n] for n in read))


def load_squares(
    files: Sequence[Path], size: int, change: Change | None = None
) -> list[NDArray[np.uint8] | str]:
    """Return each picture as uint8 (3, size, size), or the reason why not.

    `change` is applied at full size before the picture is shrunk and cut.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda path: _square(path, size, change), files))


def some_of_each(data: Data, count: int, seed: int) -> Data:
    """Return `count` pictures drawn evenly from the classes, in their order, or all."""
    return data if count >= len(data) else data.subset(pick_evenly(data, count, seed))


def pick_evenly(data: Data, count: int, seed: int) -> Tensor:
    """Return the ascending numbers int64 of `count` pictures drawn evenly from the classes."""
    draws = Rng.for_images(seed, data.ids).uniform(1)[:, 0]
    rank = torch.empty(len(data))
    for label in data.labels.unique():
        members = (data.labels == label).nonzero()[:, 0]
        order = draws[members].argsort(stable=True)
        rank[members[order]] = torch.arange(len(members), dtype=torch.float32)
    return (rank + draws).argsort(stable=True)[:count].sort().values


def files_below(folder: Path) -> list[Path]:
    """Return the files anywhere below a folder that are not hidden, sorted."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(root, name) for name in names if not name.startswith(".")]
    return sorted(found)


def typical_side(files: Sequence[Path]) -> int | None:
    """Return the median short side of a sample of pictures; None if none can be read."""
    sides = []
    for path in files[:: max(1, len(files) // 20)]:
        try:
            with Image.open(path) as image:
                sides.append(min(image.size))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
    return sorted(sides)[len(sides) // 2] if sides else None


def _fitting_size(files: Sequence[Path]) -> int:
    """Return 64, or 32 if the pictures are mostly smaller than 64."""
    side = typical_side(files)
    return SIZES[0] if side is not None and side < _AUTOMATIC else _AUTOMATIC


def _square(path: Path, size: int, change: Change | None) -> NDArray[np.uint8] | str:
    """Return the centre of a picture as uint8 (3, size, size), or the reason why not."""
    try:
        prepared = prepare(path, Preparation())
    except PictureError as error:
        return str(error)
    pixels = eight_bit(prepared.pixels)
    picture = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels.repeat(3, axis=2))
    if change is not None:
        picture = change(picture, id_of_digest(prepared.sha256))
    side = min(picture.size)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    box = (left, top, left + side, top + side)
    square = picture.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))
