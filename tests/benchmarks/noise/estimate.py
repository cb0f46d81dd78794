"""Ten seconds for a candidate: the refuter's shares and what the eye sees, with no training."""

import numpy as np
import torch
from torch import Tensor

from tests.benchmarks.noise.copier import CLASSES
from tests.benchmarks.noise.eye import visibility
from tests.benchmarks.noise.motifs import Noise
from tests.benchmarks.noise.pictures import Photos
from tests.benchmarks.noise.refuter import View, share_right
from tests.benchmarks.noise.runner import defended

CASES = {
    "64": (View(64), "none"),
    "64 quarter": (View(64, 0.25), "none"),
    "64 grey": (View(64, grey=True), "none"),
    "64 jpeg75": (View(64), "jpeg75"),
    "224": (View(224), "none"),
    "224 jpeg75": (View(224), "jpeg75"),
}


def every_class(photos: Photos, maker: Noise) -> Tensor:
    """Return int8 (N, K, 3, S, S): what each picture's noise would be if it were of each class."""
    size = tuple(photos.pixels.shape[-2:])
    return torch.from_numpy(
        np.stack([[maker(size, k, name) for k in range(CLASSES)] for name in photos.names])
    )


def shares(photos: Photos, noises: Tensor, rho_a: float, cases: list[str]) -> dict[str, float]:
    """Return for each case the share of noises that a template still names under ρa."""
    count = len(photos.labels)
    own = noises[torch.arange(count), photos.labels].short()
    changed = (photos.pixels.short() + own).clamp(0, 255).to(torch.uint8)
    found = {}
    for case in cases:
        view, defence = CASES[case]
        clean = view(photos.pixels)
        noisy = view(defended(changed, photos.labels, defence))
        templates = view(noises.flatten(0, 1)).unflatten(0, (count, CLASSES))
        found[case] = round(share_right(noisy, templates, photos.labels, rho_a, clean), 2)
    return found


def some(photos: Photos, count: int) -> Photos:
    """Return so many photos, spread over all."""
    index = torch.arange(count) * len(photos.labels) // count
    names = tuple(photos.names[n] for n in index.tolist())
    return Photos(photos.pixels[index], photos.labels[index], names)


def seen(photos: Photos, noises: Tensor) -> dict[str, float]:
    """Return the visible difference of the photos' own noise, on squares of 224 at 100 %."""
    own = noises[torch.arange(len(photos.labels)), photos.labels].short()
    return visibility(photos.pixels, (photos.pixels.short() + own).clamp(0, 255).to(torch.uint8))
