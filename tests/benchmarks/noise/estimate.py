"""Half a minute for a candidate: the refuter's shares and what the eye sees, with no training."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.benchmarks.noise.copier import CLASSES
from tests.benchmarks.noise.eye import visibility
from tests.benchmarks.noise.motifs import Noise
from tests.benchmarks.noise.pictures import Photos
from tests.benchmarks.noise.refuter import share_right
from tests.benchmarks.noise.runner import defended, maker_of, protected
from unlearn.audits.refuter import View

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
    size = photos.pixels.shape[-2], photos.pixels.shape[-1]
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
        noisy = view(defended(changed, photos.labels, defence, {}))
        templates = view(noises.flatten(0, 1)).unflatten(0, (count, CLASSES))
        found[case] = round(share_right(noisy, templates, photos.labels, rho_a, clean), 2)
    return found


def some(photos: Photos, count: int) -> Photos:
    """Return so many photos, spread over all."""
    index = torch.arange(count) * len(photos.labels) // count
    names = tuple(photos.names[n] for n in index.tolist())
    return Photos(photos.pixels[index], photos.labels[index], names)


def seen(photos: Photos, noise: dict, folder: Path) -> dict[str, float]:
    """Return the visible difference of a job's noise on photos shown at 100 %."""
    return visibility(photos.pixels, protected(photos, noise, folder))


def estimated(photos: Photos, noise: dict, folder: Path, rho_a: float = 4.0) -> dict:
    """Return the refuter's shares, at ρa 0 and above, and what is seen, of a job's noise."""
    found = {"seen": seen(some(photos, 40), noise, folder)}
    if noise["kind"] != "motifs":
        return found
    few = some(photos, 30)
    noises = every_class(few, maker_of(noise, folder))
    found["share, no attack"] = shares(few, noises, 0, ["64"])
    found["share"] = shares(few, noises, rho_a, list(CASES)[:4])
    return found
