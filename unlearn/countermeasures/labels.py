"""Label noise: a share of the training labels is made wrong, against overly easy features."""

import torch

from unlearn.countermeasures.base import Countermeasure
from unlearn.datasets.labelled import LabelledPictures
from unlearn.rng import Rng

_SHARE = 0.15


def _relabelled(data: LabelledPictures, seed: int) -> LabelledPictures:
    if len(data.classes) < 2:
        return data
    rng = Rng.for_images(seed, data.ids)
    wrong = rng.uniform() < _SHARE
    others = data.labels + 1 + rng.integers(len(data.classes) - 1)
    labels = torch.where(wrong, others % len(data.classes), data.labels)
    return LabelledPictures(data.pixels, labels, data.classes, data.ids)


LABEL_NOISE = Countermeasure(
    "label-noise",
    "Each training label is replaced with probability 0.15 by another class, all equally likely "
    "(symmetric label noise; the share is our choice).",
    once=_relabelled,
)
