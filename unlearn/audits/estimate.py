"""Estimate: what is left of a folder's noise at copiers' views, in seconds and without training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from unlearn.audits.copies import changed_arrays
from unlearn.audits.refuter import Detector, View
from unlearn.countermeasures import COUNTERMEASURES
from unlearn.datasets.folders import find_files, load_squares
from unlearn.datasets.labelled import LabelledPictures
from unlearn.errors import NothingFound, UsageProblem
from unlearn.files.text import printable
from unlearn.radius import Radius
from unlearn.verification.pairs import find_outputs, pair_names

RADII: Final = (Radius.of_levels(0), Radius.of_levels(4))
_STORED: Final = 224
_MOST, _MOST_OF_LARGE = 200, 48  # pictures, and those that large views are made of
_LEAST_OF_CLASS: Final = 4
_MOST_CLASSES: Final = 10  # the first; every class takes part in every comparison
_JPEG: Final = "jpeg75"


@dataclass(frozen=True)
class Left:
    """The shares of noises that are named rightly at one view, one for each of RADII."""

    view: int
    copies: str  # "colour", "grey" or "JPEG 75"
    pictures: int
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Estimated:
    """What was estimated, on how many classes; chance, in 0…1, is the share of the largest."""

    classes: int
    left: tuple[Left, ...]
    chance: float


def estimate(clean: Path, protected: Path, labels: str = "auto") -> Estimated:
    """Compare some pictures of a labelled folder with their protected copies.

    Raises UsageProblem for folders without classes, NothingFound for too few pairs.
    """
    pairs = _pairs(clean, protected, labels)
    found, chances = [], []
    for size, count in ((64, _MOST), (_STORED, _MOST_OF_LARGE)):
        index = _some(pairs[0].labels, count)
        chances.append(int(pairs[0].labels[index].bincount().max()) / len(index))
        one, other = (data.subset(index) for data in pairs)
        stored = changed_arrays(other, COUNTERMEASURES[_JPEG].stored)
        for name, copies in (("colour", other), ("grey", other), ("JPEG 75", stored)):
            view = View(size, grey=name == "grey")
            found.append(Left(size, name, len(index), _shares(one, copies, view)))
    return Estimated(len(pairs[0].classes), tuple(found), max(chances))


def _shares(clean: LabelledPictures, noisy: LabelledPictures, view: View) -> tuple[float, ...]:
    """Return the share named rightly at each of RADII; each half is tried by the other's."""
    labels, (one, other) = clean.labels, (view(data.pixels) for data in (clean, noisy))
    first = _ranks(labels) % 2 == 0
    totals = [0.0] * len(RADII)
    for learned in (first, ~first):
        detector, tried = Detector(one[learned], other[learned], labels[learned]), ~learned
        for place, rho_a in enumerate(RADII):
            share = detector.share(other[tried], labels[tried], rho_a)
            totals[place] += share * int(tried.sum()) / len(labels)
    return tuple(totals)


def _ranks(labels: torch.Tensor) -> torch.Tensor:
    """Return how many pictures of its class come before each picture."""
    ranks = torch.zeros_like(labels)
    for label in labels.unique():
        members = labels == label
        ranks[members] = torch.arange(int(members.sum()))
    return ranks


def _some(labels: torch.Tensor, count: int) -> torch.Tensor:
    """Return the numbers of the first pictures of each class, at most count or four of each."""
    each = max(_LEAST_OF_CLASS, count // int(labels.max() + 1))
    return (_ranks(labels) < each).nonzero()[:, 0]


def _pairs(clean: Path, protected: Path, labels: str) -> tuple[LabelledPictures, LabelledPictures]:
    """Return squares of some pictures of every class, and of their copies."""
    files = find_files(clean, labels)
    if len(files.classes) < 2:
        raise UsageProblem(f"an estimate needs labelled classes, and {printable(clean)} has none")
    names = [source.relative for source, _ in files.train]
    outputs = find_outputs(protected).pictures
    partner = pair_names(names, list(outputs), {})
    classes = files.classes[:_MOST_CLASSES]
    paired = [(s, n) for s, n in files.train if s.relative in partner and n < len(classes)]
    counts = torch.bincount(torch.tensor([n for _, n in paired] or [0]), minlength=len(classes))
    if int(counts.min()) < _LEAST_OF_CLASS:
        raise NothingFound(
            f"{printable(protected)} has {int(counts.min())} copies of class "
            f"{printable(classes[int(counts.argmin())])} in {printable(clean)}; an estimate needs "
            f"{_LEAST_OF_CLASS} of each class"
        )
    index = _some(torch.tensor([n for _, n in paired]), _MOST).tolist()
    chosen = [paired[n] for n in index]
    given = [source.path for source, _ in chosen]
    copies = [outputs[partner[source.relative]] for source, _ in chosen]
    return _squares(given, copies, torch.tensor([n for _, n in chosen]), classes)


def _squares(
    clean: list[Path], copies: list[Path], labels: torch.Tensor, classes: tuple[str, ...]
) -> tuple[LabelledPictures, LabelledPictures]:
    """Return pictures and their copies as squares; raises NothingFound for one that cannot be read.

    Both have the same ids.
    """
    sides = []
    for files in (clean, copies):
        pixels, failed = load_squares(files, _STORED)
        for number, reason in failed.items():
            raise NothingFound(f"{printable(files[number])} cannot be read: {reason}")
        sides.append(pixels)
    one = LabelledPictures(sides[0], labels, classes)
    return one, LabelledPictures(sides[1], labels, classes, one.ids)
