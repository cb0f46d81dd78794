"""What the owner sees: how visible the noise of each arm is on the plain areas of its pictures."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from torch import Tensor

from unlearn.audits.plan import Arm
from unlearn.audits.previews import pair, square
from unlearn.audits.report import Visible
from unlearn.audits.study import Study
from unlearn.audits.worker import stored_name
from unlearn.datasets import stored
from unlearn.datasets.folders import pick_evenly
from unlearn.errors import PictureError
from unlearn.pictures.visibility import PER_DEGREE, PlainAreas, Visibility

_MOST: Final = 100  # pictures, drawn evenly from the classes
_ARMS: Final[tuple[Arm, ...]] = ("placebo", "motif", "protected")
FILES: Final = "files at full size"


def visibility_of(study: Study) -> tuple[Visible, ...]:
    """Measure some own pictures: every arm as the stored squares, protected files as they are.

    An archive has no files. Squares of less than a degree of the eye, as those of CIFAR, are not
    looked at at 100 %, so what is seen of them is None.
    """
    copies = study.copies
    index = pick_evenly(copies.data, _MOST, seed=0)
    index = index[copies.clean.own[index]]
    trained = {cell.arm for cell in study.plan.cells()}
    found = []
    for arm in (arm for arm in _ARMS if arm in trained):
        noisy = stored.load(study.sets / stored_name(arm)).pixels
        measured = [
            PlainAreas(square(copies.clean.train.pixels[n])).compared(square(noisy[n]))
            for n in index.tolist()
        ]
        is_seen = copies.data.size >= PER_DEGREE
        found.append(_summed(arm, f"squares of {copies.data.size} px", measured, is_seen=is_seen))
    if copies.files:
        measured = list(_of_files(study, index))
        found.append(_summed("protected", FILES, measured, is_seen=True))
    return tuple(one for one in found if one.pictures)


def _of_files(study: Study, index: Tensor) -> Iterator[Visibility]:
    """Yield what is seen of protected files; those that cannot be read again are left out."""
    for number in index.tolist():
        try:
            clean, protected = pair(study.copies, number)
            yield PlainAreas(clean).compared(protected)
        except PictureError:
            continue


def _summed(arm: Arm, kind: str, measured: list[Visibility], *, is_seen: bool) -> Visible:
    """Return mean and 95th percentile over pictures of each picture's mean."""
    bare, seen = [one.mean for one in measured], [one.seen_mean for one in measured]
    return Visible(arm, kind, len(measured), *_two(bare), *(_two(seen) if is_seen else (None,) * 2))


def _two(values: list[float]) -> tuple[float, float]:
    """Return mean and 95th percentile, to a hundredth."""
    if not values:
        return 0.0, 0.0
    return round(float(np.mean(values)), 2), round(float(np.percentile(values, 95)), 2)
