"""The pictures of an audit: read, split into training and held-out ones, and paired with copies."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from unlearn.audits.arms import split
from unlearn.datasets.cifar import find_cifar
from unlearn.datasets.folders import (
    Change,
    LabelledFiles,
    find_files,
    load_classes,
    load_files,
    load_labelled,
    load_squares,
    pick_evenly,
    typical_side,
)
from unlearn.datasets.labelled import LabelledPictures
from unlearn.errors import NothingFound, UsageProblem
from unlearn.files.text import printable
from unlearn.sources.labels import class_list


@dataclass(frozen=True, kw_only=True)
class CleanPictures:
    """Clean training and held-out pictures.

    names are the training pictures' paths under the folder; an archive has none. Those of others,
    which are not protected, have paths from the root. `said` is what the person should read about
    the classes.
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
        return tuple(glob.escape(name) for name in self.names if not is_theirs(name))

    @property
    def own(self) -> Tensor:
        """Which training pictures are protected, bool (N,): all but those of others."""
        return torch.tensor([not is_theirs(name) for name in self.names or [""] * len(self.train)])

    @property
    def duplicates(self) -> int:
        """How many held-out pictures have the contents of a training picture."""
        return int(torch.isin(self.test.ids, self.train.ids).sum())

    @property
    def fingerprint(self) -> str:
        """SHA-256 prefixes of both sets."""
        return f"{self.train.fingerprint[:16]}-{self.test.fingerprint[:16]}"


def is_theirs(name: str) -> bool:
    """Tell whether a training picture is one of the others that the owner's are told from."""
    return Path(name).is_absolute()


def side_of(folder: Path, labels: str = "auto", against: Path | None = None) -> int:
    """Return the side of the pictures: 32 for an archive, else that of a sample of the files.

    Raises UsageProblem for what is no labelled folder.
    """
    if not folder.is_dir():
        raise UsageProblem(f"there is no folder {printable(folder)}; check the path")
    if find_cifar(folder):
        return 32
    files = find_files(folder, labels if against is None else "one")
    if len(files.classes) < 2 and against is None:
        problem = (
            f"{printable(folder)} has no classes that a network could learn to tell apart. Put "
            "pictures of different things into one folder per class, or name a folder with "
            "pictures of others: --against FOLDER"
        )
        raise UsageProblem(files.with_hints(problem))
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
    against: Path | None = None,
) -> CleanPictures:
    """Read a labelled folder or archive and hold some of it out.

    size is the side that photos are stored at (None: what fits). test is a folder with the same
    classes, a share, or None for the data's own test pictures and a fifth of anything else.
    pictures caps the training set, drawn evenly from the classes. `against` makes two classes of
    the folder's own pictures and those of another, whatever folders are in them. Raises
    UsageProblem for data without classes or a split that leaves nothing.
    """
    choose = partial(_chosen, test=test, pictures=pictures)
    if against is not None:
        loaded = load_files(folder, own_and_others(folder, against), size, choose)
    else:
        loaded = load_labelled(folder, None if find_cifar(folder) else size, labels, choose)
    data, held, unreadable = loaded.data, loaded.test, loaded.unreadable
    said = (f"Labels: {loaded.found}", *loaded.notices)
    if isinstance(test, Path):
        extra = load_classes(test, data.classes, data.size, "auto" if against else labels)
        held = extra.data
        unreadable += extra.unreadable
        said += extra.notices
    if held is None:
        held = data.subset(torch.arange(0))
    _check_classes(data, held)
    return CleanPictures(
        folder=folder,
        train=data,
        test=held,
        names=loaded.names,
        unreadable=unreadable,
        said=said,
    )


def _chosen(
    data: LabelledPictures, others: int, *, test: Path | Fraction | None, pictures: int | None
) -> tuple[Tensor, Tensor | None]:
    """Return the numbers to train on and those to hold out, None if others are to be tried."""
    share = held_share(test, others=bool(others))
    kept, held = split(data, share) if share is not None else (torch.arange(len(data)), None)
    if pictures is not None and pictures < len(kept):
        kept = kept[pick_evenly(data.subset(kept), pictures, seed=0)]
    return kept, held


def held_share(test: Path | Fraction | None, *, others: bool) -> Fraction | None:
    """Return which share of the pictures is held out, None if others are tried."""
    if isinstance(test, Fraction):
        return test
    return None if test or others else Fraction(1, 5)


def own_and_others(folder: Path, against: Path) -> LabelledFiles:
    """Find two folders as two classes; raises UsageProblem for what is no folder of pictures."""
    for path in (folder, against):
        if not path.is_dir():
            raise UsageProblem(f"{printable(path)}: no such folder")
        if find_cifar(path):
            raise UsageProblem("--against compares two folders of pictures; an archive has classes")
    own, others = find_files(folder, "one"), find_files(against, "one")
    folders = (folder.resolve(), against.resolve())
    classes = tuple(path.name for path in folders)
    if len(set(classes)) < 2:
        classes = tuple(f"{path.parent.name}/{path.name}" for path in folders)
    counts = (len(own.train), len(others.train))
    theirs = [
        (replace(source, relative=str(folders[1] / source.relative)), 1)
        for source, _ in others.train
    ]
    return LabelledFiles(
        classes,
        (*own.train, *theirs),
        (),
        own.unreadable + others.unreadable,
        class_list(dict(zip(classes, counts, strict=True)), "from two folders"),
        (),
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
    pixels, failed = load_squares(files, like.size, change)
    for number, reason in failed.items():
        raise NothingFound(f"{printable(files[number])} can no longer be read: {reason}")
    return LabelledPictures(pixels, like.labels, like.classes, like.ids)
