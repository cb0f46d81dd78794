"""What a person sees of a change to photos: `unlearn.pictures.visibility`, over all of them."""

from dataclasses import astuple

import numpy as np
from torch import Tensor

from unlearn.audits.previews import square
from unlearn.pictures.visibility import PlainAreas

_NAMES = ("unfiltered", "unfiltered_p95", "seen", "seen_p95")


def visibility(clean: Tensor, changed: Tensor) -> dict[str, float]:
    """Return mean and 95th percentile of CIEDE2000 on plain thirds, unfiltered and as seen.

    Pixels are uint8 (N, 3, H, W); each number is the mean of the pictures'.
    """
    found = [
        astuple(PlainAreas(square(one)).compared(square(other)))
        for one, other in zip(clean, changed, strict=True)
    ]
    means = np.mean(found, axis=0).round(2).tolist()
    return dict(zip(_NAMES, means, strict=True))
