"""The pictures of an audit: read, split into training and held-out ones, and paired with copies."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unlearn.audits.arms import split
from unlearn.datasets.cifar import find_cifar
from unlearn.datasets.folders import (
    Change,
    find_files,
    load_classes,
    load_labelled,
    load_squares,
    pick_evenly,
    typical_side,
)
from unlearn.datasets.labelled import LabelledPictures
from unlearn.errors import NothingFound, UsageProblem
from unlearn.files.text import printable


@dataclass(frozen=True, kw_only=True)
class CleanPictures:
    """Clean training and held-out pictures.

    names are the training pictures' paths under the folder; an archive has none. `said` is what
    the person should read about the classes.
    """

    folder: Path
    train: LabelledPictures
    test: LabelledPictures
    names: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    said: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The training pictures' files."""
        return tuple(self.folder / name for name in self.names)

    @property
    def include(self) -> tuple[str, ...]:
        """Patterns of the training pictures and no others, for protect."""
        return tuple(glob.escape(name) for name in self.names)

    @property
    def duplicates(self) -> int:
        """How many held-out pictures have the contents of a training picture."""
        return int(torch.isin(self.test.ids, self.train.ids).sum())

    @property
    def fingerprint(self) -> str:
        """SHA-256 prefixes of both sets."""
        return f"{self.train.fingerprint[:16]}-{self.test.fingerprint[:16]}"


def side_of(folder: Path, labels: str = "auto") -> int:
    """Return the side of the pictures: 32 for an archive, else that of a sample of the files.

    Raises UsageProblem for what is no labelled folder.
    """
    if not folder.is_dir():
        raise UsageProblem(f"there is no folder {printable(folder)}; check the path")
    if find_cifar(folder):
        return 32
    files = find_files(folder, labels)
    if len(files.classes) < 2:
        raise UsageProblem(
            "An audit needs labelled classes: put pictures into one folder per class "
            f"({printable(folder)} has {len(files.classes)}); unlearn demo draws such a folder to "
            "try it on"
        )
    side = typical_side([source.path for source, _ in files.train])
    if side is None:
        raise NothingFound(f"there are no pictures in the class folders of {printable(folder)}")
    return side


def gather(
    folder: Path,
    size: int | None,
    test: Path | Fraction | None,
    pictures: int | None,
    labels: str = "auto",
) -> CleanPictures:
    """Read a labelled folder or archive and hold some of it out.

    size is the side that photos are stored at (None: what fits). test is a folder with the same
    classes, a share, or None for the data's own test pictures and a fifth of anything else.
    pictures caps the training set, drawn evenly from the classes. Raises UsageProblem for data
    without classes or a split that leaves nothing.
    """
    loaded = load_labelled(folder, None if find_cifar(folder) else size, labels)
    data, names, unreadable = loaded.data, loaded.names, loaded.unreadable
    said = (f"Labels: {loaded.found}", *loaded.notices)
    if isinstance(test, Path):
        extra = load_classes(test, data.classes, data.size)
        kept, held = torch.arange(len(data)), extra.data
        unreadable += extra.unreadable
        said += extra.notices
    elif loaded.test is not None and test is None:
        kept, held = torch.arange(len(data)), loaded.test
    else:
        kept, held_out = split(data, test or Fraction(1, 5))
        held = data.subset(held_out)
    if pictures is not None and pictures < len(kept):
        kept = kept[pick_evenly(data.subset(kept), pictures, seed=0)]
    _check_classes(data.subset(kept), held)
    names = tuple(names[n] for n in kept.tolist()) if names else ()
    return CleanPictures(
        folder=folder,
        train=data.subset(kept),
        test=held,
        names=names,
        unreadable=unreadable,
        said=said,
    )


def _check_classes(train: LabelledPictures, test: LabelledPictures) -> None:
    """Raise unless both sides have pictures of every class."""
    for what, data in (("training", train), ("held-out", test)):
        counts = torch.bincount(data.labels, minlength=len(data.classes))
        empty = [name for name, n in zip(data.classes, counts.tolist(), strict=True) if not n]
        if empty:
            raise NothingFound(
                f"class {empty[0]!r} has no {what} picture; every class needs some of both"
            )


def keep(clean: CleanPictures, index: Tensor) -> CleanPictures:
    """Return the clean pictures with some of the training ones only."""
    names = tuple(clean.names[n] for n in index.tolist()) if clean.names else ()
    return replace(clean, train=clean.train.subset(index), names=names)


def read_copies(
    like: LabelledPictures, files: Sequence[Path], change: Change | None = None
) -> LabelledPictures:
    """Read one file for each picture of a set, stored like it: same labels, size and order.

    The pictures keep the set's ids, so that clean and protected ones meet the same random crops.
    Raises NothingFound for a file that cannot be read.
    """
    squares = load_squares(files, like.size, change)
    for file, square in zip(files, squares, strict=True):
        if isinstance(square, str):
            raise NothingFound(f"{printable(file)} can no longer be read: {square}")
    pixels = torch.from_numpy(np.stack([s for s in squares if not isinstance(s, str)]))
    return LabelledPictures(pixels, like.labels, like.classes, like.ids)
