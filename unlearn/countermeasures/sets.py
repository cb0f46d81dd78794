"""Lift a change of single pictures to a change of a whole training set.

Changed sets keep the ids of the pictures that they were made from: ids are the keys of the random
streams, so a victim of a changed set draws the same crops as the victim of the set itself. The
fingerprint of a changed set is therefore that of its source, unless labels change.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unlearn.countermeasures.base import Once
from unlearn.datasets.labelled import LabelledPictures
from unlearn.rng import Rng

_TOGETHER = 256


def each_picture(change: Callable[[Image.Image], Image.Image]) -> Once:
    """Return the change of a set that changes each picture by Pillow, RGB to RGB."""

    def once(data: LabelledPictures, _seed: int) -> LabelledPictures:
        pixels = data.pixels.cpu()
        changed = torch.empty_like(pixels)
        for number, picture in enumerate(pixels.permute(0, 2, 3, 1).numpy()):
            array = np.asarray(change(Image.fromarray(np.ascontiguousarray(picture))))
            changed[number] = torch.from_numpy(array.copy()).permute(2, 0, 1)
        return replace(data, pixels=changed.to(data.pixels.device))

    return once


def each_batch(change: Callable[[Tensor, Rng], Tensor]) -> Once:
    """Return the change of a set that changes pixels uint8 (n, 3, S, S), each from its stream."""

    def once(data: LabelledPictures, seed: int) -> LabelledPictures:
        changed = torch.empty_like(data.pixels)
        keys = Rng.for_images(seed, data.ids).keys
        for first in range(0, len(data), _TOGETHER):
            part = slice(first, first + _TOGETHER)
            changed[part] = change(data.pixels[part], Rng(keys[part]))
        return replace(data, pixels=changed)

    return once
