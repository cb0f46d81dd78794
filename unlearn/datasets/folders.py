"""Labelled data from disk: a folder of class folders, or a CIFAR python archive."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from unlearn.datasets import stored
from unlearn.datasets.cifar import find_cifar, load_cifar
from unlearn.datasets.labelled import LabelledPictures
from unlearn.errors import NothingFound, PictureError, UsageProblem
from unlearn.files.replace import file_sha256
from unlearn.files.tars import opened
from unlearn.pictures.decoded import Preparation, eight_bit
from unlearn.pictures.read import prepare
from unlearn.rng import Rng, id_of_digest
from unlearn.sources.labels import LOOSE_CLASS, class_list, find_labelled, single_class, under
from unlearn.sources.scan import Source

Change = Callable[[Image.Image, int], Image.Image]  # an RGB picture at full size, its own seed
# Gets pictures by labels and ids, and how many others are for trying; returns which to train on
# and which to hold out, None if those others are to be tried.
Choose = Callable[[LabelledPictures, int], tuple[Tensor, Tensor | None]]
_SMALL, _AUTOMATIC = 32, 64
_NONE = "0" * 64  # the digest of a file that cannot be read


@dataclass(frozen=True)
class Loaded:
    """Data read from disk, the test pictures that came with it, and what could not be read.

    names are the paths of the pictures under the folder, with forward slashes; an archive has none.
    `found` says which classes there are and how they were found; `notices` what else is to be said.
    """

    data: LabelledPictures
    test: LabelledPictures | None
    unreadable: tuple[tuple[str, str], ...] = ()
    names: tuple[str, ...] = ()
    found: str = ""
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelledFiles:
    """The picture files of a folder with the numbers of their classes, in the order they are read.

    test are those of a data set's own parts that are not for training.
    """

    classes: tuple[str, ...]
    train: tuple[tuple[Source, int], ...]
    test: tuple[tuple[Source, int], ...]
    unreadable: tuple[tuple[str, str], ...]
    found: str
    notices: tuple[str, ...]

    def with_hints(self, problem: str) -> str:
        """Return a problem, and after it what was noticed while labels were looked for."""
        return "; ".join((problem, *self.notices))


def load_labelled(
    folder: Path,
    image_size: int | None = None,
    labels: str = "auto",
    choose: Choose | None = None,
) -> Loaded:
    """Read a labelled folder as squares of image_size (None: 32 or 64, whichever fits).

    Pictures are shrunk to the size on their short side and cut to the centre square. Of a folder,
    only what `choose` takes is decoded. Raises UsageProblem if the folder holds no classes and
    labels does not ask for one, NothingFound if they hold no pictures.
    """
    if not folder.is_dir():
        raise UsageProblem(f"{folder}: no such folder")
    archive = find_cifar(folder)
    if archive is not None:
        if image_size not in (None, 32):
            raise UsageProblem(f"{archive}: CIFAR pictures are 32 pixels wide, not {image_size}")
        data, own_test = load_cifar(archive)
        counts = data.labels.bincount(minlength=len(data.classes)).tolist()
        found = class_list(dict(zip(data.classes, counts, strict=True)), "from the archive")
        if choose is None:
            return Loaded(data, own_test, found=found)
        kept, held = choose(data, 0 if own_test is None else len(own_test))
        test = own_test if held is None else data.subset(held)
        return Loaded(data.subset(kept), test, found=found)
    files = find_files(folder, labels)
    if len(files.classes) < 2 and labels != "one":
        problem = (
            f"{folder}: labelled data needs at least two class folders with pictures in them, "
            f"found {len(files.classes)}"
        )
        raise UsageProblem(files.with_hints(problem))
    return load_files(folder, files, image_size, choose)


def load_files(
    folder: Path, files: LabelledFiles, image_size: int | None, choose: Choose | None
) -> Loaded:
    """Read the files of a folder, as load_labelled does; raises NothingFound for no picture."""
    size = image_size or fitting_size([source.path for source, _ in files.train])
    train, test = files.train, files.test
    if choose is not None:
        kept, held = choose(_listed(files), len(test))
        test = test if held is None else tuple(train[n] for n in held.tolist())
        train = tuple(train[n] for n in kept.tolist())
    loaded = _read(folder, files.classes, train, size)
    tried = _read(folder, files.classes, test, size) if test else None
    return replace(
        loaded,
        test=tried.data if tried else None,
        unreadable=files.unreadable + loaded.unreadable + (tried.unreadable if tried else ()),
        found=files.found,
        notices=files.notices,
    )


def _listed(files: LabelledFiles) -> LabelledPictures:
    """Return the training files as pictures without pixels, whose ids are of the files' bytes."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        digests = list(pool.map(file_sha256, (source.path for source, _ in files.train)))
    return LabelledPictures(
        torch.empty(len(digests), 3, 0, 0, dtype=torch.uint8),
        torch.tensor([number for _, number in files.train], dtype=torch.int64),
        files.classes,
        torch.tensor([id_of_digest(digest or _NONE) for digest in digests], dtype=torch.int64),
    )


def load_classes(
    folder: Path, classes: Sequence[str], image_size: int | None, labels: str = "auto"
) -> Loaded:
    """Read the pictures of the named classes from a folder, in the order of their paths.

    Of a data set in parts, those that are not for training are read.
    """
    files = find_files(folder, labels)
    order = {name: number for number, name in enumerate(classes)}
    wanted = [
        (source, order[files.classes[number]])
        for source, number in files.test or files.train
        if files.classes[number] in order
    ]
    wanted.sort(key=lambda pair: pair[1])
    others = [name for name in files.classes if name not in order]
    notices = (f"{folder}: not among the classes, left out: {', '.join(others)}",) if others else ()
    size = image_size or fitting_size([source.path for source, _ in wanted])
    loaded = _read(folder, classes, wanted, size)
    return replace(
        loaded,
        unreadable=files.unreadable + loaded.unreadable,
        found=files.found,
        notices=files.notices + notices,
    )


def find_files(folder: Path, labels: str = "auto") -> LabelledFiles:
    """Find the pictures of a folder and their classes; a class with no picture is none.

    Pictures in no class folder are left out, which a notice says.
    """
    found, labelling = find_labelled(folder, labels)
    if labelling.mode == "one" and labels == "auto":  # pictures of one class, or of none
        hint = tuple(filter(None, [labelling.found.removeprefix("; ")]))
        labelling = replace(single_class(found), notices=hint + labelling.notices)
    classes = tuple(name for name in labelling.classes if name != LOOSE_CLASS)
    pairs = [
        (source, name, part)
        for source, name, part in zip_longest(found.sources, labelling.labels, labelling.parts)
        if name != LOOSE_CLASS
    ]
    pairs.sort(key=lambda pair: (pair[1], PurePosixPath(pair[0].relative).parts))
    split = {"train"} < set(labelling.parts)
    numbered = [
        (source, classes.index(name), split and part != "train") for source, name, part in pairs
    ]
    notices = list(labelling.notices)
    if split and len(classes) > 1:
        levels = enumerate(zip(*(source.folders for source, _, _ in numbered), strict=False))
        level = next(n for n, names in levels if len(set(names)) > 1)
        tried = dict.fromkeys(source.folders[level] for source, _, held in numbered if held)
        notices.append(f"Pictures to try on are those under {under(list(tried))}")
    if classes and len(pairs) < len(found.sources):
        notices.append(f"{len(found.sources) - len(pairs)} pictures in no class folder left out")
    return LabelledFiles(
        classes,
        tuple((source, number) for source, number, held in numbered if not held),
        tuple((source, number) for source, number, held in numbered if held),
        tuple((refusal.name, refusal.reason) for refusal in found.refused),
        labelling.summary,
        tuple(notices),
    )


def _read(
    folder: Path,
    classes: Sequence[str],
    files: Sequence[tuple[Source, int]],
    size: int,
) -> Loaded:
    """Read pictures of numbered classes as squares of a size; many are read once and kept."""
    names, paths = [source.relative for source, _ in files], [source.path for source, _ in files]
    reading = repr((size, tuple(classes), [number for _, number in files]))
    place = stored.place_for(paths, reading)
    if place and (kept := stored.recall(place)):
        return Loaded(kept, None, names=tuple(names))
    pixels, failed = load_squares(paths, size)
    if not len(pixels):
        raise NothingFound(f"{folder}: none of its {len(files)} files is a picture")
    read = [n for n in range(len(files)) if n not in failed]
    unreadable = tuple((names[n], reason) for n, reason in failed.items())
    labels = torch.tensor([files[n][1] for n in read], dtype=torch.int64)
    data = LabelledPictures(pixels, labels, tuple(classes))
    if place and not unreadable and place == stored.place_for(paths, reading):
        stored.keep(data, place)
    return Loaded(data, None, unreadable, tuple(names[n] for n in read))


def load_squares(
    files: Sequence[Path], size: int, change: Change | None = None
) -> tuple[Tensor, dict[int, str]]:
    """Return uint8 (N, 3, size, size) of what can be read, and by number why the rest cannot.

    `change` is applied at full size before the picture is shrunk and cut.
    """
    pixels = np.empty((len(files), 3, size, size), np.uint8)
    failed: dict[int, str] = {}

    def read(number: int) -> None:
        try:
            pixels[number] = _square(files[number], size, change)
        except PictureError as error:
            failed[number] = str(error)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(read, range(len(files))))
    kept = np.delete(pixels, list(failed), axis=0) if failed else pixels
    return torch.from_numpy(kept), dict(sorted(failed.items()))


def some_of_each(data: LabelledPictures, count: int, seed: int) -> LabelledPictures:
    """Return `count` pictures drawn evenly from the classes, in their order, or all."""
    return data if count >= len(data) else data.subset(pick_evenly(data, count, seed))


def pick_evenly(data: LabelledPictures, count: int, seed: int) -> Tensor:
    """Return the ascending numbers int64 of `count` pictures drawn evenly from the classes."""
    draws = Rng.for_images(seed, data.ids).uniform(1)[:, 0]
    rank = torch.empty(len(data))
    for label in data.labels.unique():
        members = (data.labels == label).nonzero()[:, 0]
        order = draws[members].argsort(stable=True)
        rank[members[order]] = torch.arange(len(members), dtype=torch.float32)
    return (rank + draws).argsort(stable=True)[:count].sort().values


def typical_side(files: Sequence[Path]) -> int | None:
    """Return the median short side of a sample of pictures; None if none can be read."""
    sides = []
    for path in files[:: max(1, len(files) // 20)]:
        try:
            with opened(path) as file, Image.open(file) as image:
                sides.append(min(image.size))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
    return sorted(sides)[len(sides) // 2] if sides else None


def fitting_size(files: Sequence[Path]) -> int:
    """Return 64, or 32 if the pictures are mostly smaller than 64."""
    side = typical_side(files)
    return _SMALL if side is not None and side < _AUTOMATIC else _AUTOMATIC


def _square(path: Path, size: int, change: Change | None) -> NDArray[np.uint8]:
    """Return the centre of a picture as uint8 (3, size, size); raises PictureError."""
    prepared = prepare(path, Preparation())
    pixels = eight_bit(prepared.pixels)
    picture = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels.repeat(3, axis=2))
    if change is not None:
        picture = change(picture, id_of_digest(prepared.sha256))
    side = min(picture.size)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    box = (left, top, left + side, top + side)
    square = picture.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(square).transpose(2, 0, 1)
