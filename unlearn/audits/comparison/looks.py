"""What copies look like, and what files leave of their noise: means over a sample of pictures."""

from statistics import fmean
from typing import Final

import torch

from unlearn.audits.comparison.values import Looks
from unlearn.audits.copies import Copies
from unlearn.audits.previews import pair
from unlearn.datasets.folders import pick_evenly
from unlearn.datasets.labelled import LabelledPictures
from unlearn.pictures.survival import TRANSFORMATIONS, picture_survival
from unlearn.pictures.visibility import PlainAreas
from unlearn.radius import Radius
from unlearn.tensors import add_levels

_SAMPLE: Final = 100
_ENCODED: Final = ("jpeg75", "box256-jpeg95")


def looks_of(copies: Copies) -> Looks:
    """Measure a sample drawn evenly from the classes; the same pictures for every method."""
    count = min(_SAMPLE, len(copies.data))
    chosen = pick_evenly(copies.clean.train, count, seed=0).tolist()
    visible, seen, side = [], [], 0
    left: dict[str, list[float]] = {name: [] for name in _ENCODED}
    for number in chosen:
        source, protected = pair(copies, number)
        looks = PlainAreas(source).compared(protected)
        visible.append(looks.mean)
        seen.append(looks.seen_mean)
        side = max(side, *source.size)
        for name, found in picture_survival(source, protected).items():
            if name in left and found is not None:
                left[name].append(found.share)
    return Looks(
        sampled=len(chosen),
        side=side,
        visible=fmean(visible),
        seen=fmean(seen),
        left={name: fmean(shares) if shares else None for name, shares in left.items()},
    )


def title_of(name: str) -> str:
    """Return what a way of encoding is, in words."""
    return TRANSFORMATIONS[name].title


def strongest_noise(clean: LabelledPictures, rho: Radius) -> LabelledPictures:
    """Return the pictures with every value moved by the whole bound, away from black and white.

    A placebo as strong as this is at least as strong as any bounded method's noise.
    """
    steps = torch.where(clean.pixels < 128, rho.levels, -rho.levels).to(torch.int16)
    moved = add_levels(clean.pixels, steps)
    return LabelledPictures(moved, clean.labels, clean.classes, clean.ids)
