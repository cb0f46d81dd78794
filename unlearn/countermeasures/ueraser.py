"""UEraser-max: strong colour and shape changes; of five draws the one with the highest loss."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from unlearn.countermeasures.base import Countermeasure
from unlearn.countermeasures.drawing import image_by_image
from unlearn.rng import Rng

_SHARE = 0.5  # of the pictures that each of the first three changes meets (authors' code)
_ROUGHNESS = (0.3, 0.7)
_INTENSITY = (0.5, 1.0)
_TRIVIAL = v2.TrivialAugmentWide()


def plasma(roughness: Tensor, size: int, rng: Rng) -> Tensor:
    """Draw fractal clouds (N, 3, size, size) in [0, 1] of a roughness (N,) by diamond and square.

    Level k of detail mixes the mean of the neighbours with fresh uniform numbers in the shares
    1 - roughness^k and roughness^k, as kornia does; corners are uniform (kornia darkens them).
    """
    clouds = rng.uniform(3, 2, 2)
    fresh = roughness[:, None, None, None]
    share = fresh
    while clouds.shape[-1] < size:
        clouds = _finer(clouds, share, rng)
        share = share * fresh
    return clouds[..., :size, :size]


def _finer(clouds: Tensor, share: Tensor, rng: Rng) -> Tensor:
    """Put a point between any two neighbours: (N, 3, M, M) to (N, 3, 2M - 1, 2M - 1)."""
    side = 2 * clouds.shape[-1] - 1
    noise = share * rng.uniform(3, side, side)
    finer = torch.zeros_like(noise)
    finer[..., ::2, ::2] = clouds
    centres = (F.avg_pool2d(clouds, 2, 1) * (1 - share)) + noise[..., 1::2, 1::2]
    finer[..., 1::2, 1::2] = centres
    ring = F.pad(finer, (1, 1, 1, 1))
    there = F.pad(torch.ones_like(finer), (1, 1, 1, 1))
    means = _cross(ring) / _cross(there)
    for down, across in ((0, 1), (1, 0)):
        edges = (..., slice(down, None, 2), slice(across, None, 2))
        finer[edges] = (means * (1 - share) + noise)[edges]
    return finer


def _cross(padded: Tensor) -> Tensor:
    """Sum the four neighbours of each point inside a border of one."""
    upright = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1]
    return upright + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]


def _erased(images: Tensor, targets: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    chosen = (rng.uniform(3) < _SHARE)[..., None, None, None].unbind(1)
    rough = rng.uniform(2, low=_ROUGHNESS[0], high=_ROUGHNESS[1]).unbind(1)
    strength = rng.uniform(1, 1, 1, low=_INTENSITY[0], high=_INTENSITY[1])
    size = images.shape[-1]
    brighter = images + strength * (2 * plasma(rough[0], size, rng) - 1)
    images = torch.where(chosen[0], brighter.clamp(0, 1), images)
    contrast = (images - 0.5) * 4 * plasma(rough[1], size, rng) + 0.5
    images = torch.where(chosen[1], contrast.clamp(0, 1), images)
    order = rng.uniform(3).argsort(dim=1)[..., None, None].expand_as(images)
    images = torch.where(chosen[2], images.gather(1, order), images)
    return image_by_image(_TRIVIAL, images, rng), targets


UERASER = Countermeasure(
    "ueraser",
    "UEraser-max: plasma brightness (roughness 0.3 to 0.7, intensity 0.5 to 1), plasma contrast "
    "and channel shuffle, each with probability 0.5, then TrivialAugment; of 5 draws the one with "
    "the highest loss is trained on (Qin et al., 2023).",
    each=_erased,
    draws=5,
)
