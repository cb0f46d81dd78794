"""Cutout, mixup and cutmix: parts of pictures hidden, pictures and labels mixed."""

import torch
from torch import Tensor

from unlearn.countermeasures.base import Countermeasure
from unlearn.countermeasures.drawing import partners
from unlearn.rng import Rng

_HIDDEN = 0.5  # networks here read it as 0, the value that Cutout puts after normalisation
_CUTMIX_SHARE = 0.5


def _inside(first: Tensor, side: Tensor, size: int) -> Tensor:
    """Return bool (N, size): which rows lie in windows that begin at first (N,), side (N,) long."""
    rows = torch.arange(size, device=first.device)
    return (rows >= first[:, None]) & (rows < (first + side)[:, None])


def _windows(centres: Tensor, side: Tensor, size: int) -> Tensor:
    """Return bool (N, 1, size, size): squares side (N,) wide around pixels (N, 2), cut off."""
    down, across = (_inside(centre - side // 2, side, size) for centre in centres.unbind(1))
    return (down[:, :, None] & across[:, None, :])[:, None]


def _cut_out(images: Tensor, targets: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    size = images.shape[-1]
    side = torch.full((len(images),), size // 2, device=images.device)
    hidden = _windows(rng.integers(size, 2), side, size)
    return torch.where(hidden, _HIDDEN, images), targets


def _mixed(images: Tensor, targets: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    kept = rng.uniform(1)  # Beta(1, 1) is uniform
    other = partners(rng)
    pixels = kept[..., None, None]
    return (
        (pixels * images + (1 - pixels) * images[other]).clamp(0, 1),
        kept * targets + (1 - kept) * targets[other],
    )


def _pasted(images: Tensor, targets: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    size = images.shape[-1]
    draw, other = rng.uniform(2), partners(rng)
    side = (size * draw[:, 0].sqrt()).to(torch.int64)  # 1 - λ of the area, before the edge cuts it
    side = torch.where(draw[:, 1] < _CUTMIX_SHARE, side, 0)
    pasted = _windows(rng.integers(size, 2), side, size)
    share = pasted.to(targets.dtype).mean(dim=(1, 2, 3))[:, None]
    return torch.where(pasted, images[other], images), (1 - share) * targets + share * targets[
        other
    ]


CUTOUT = Countermeasure(
    "cutout",
    "In every training picture a square of half its side (16 of 32 pixels) at a random place, cut "
    "off at the edges, is hidden (Cutout; DeVries and Taylor, 2017).",
    each=_cut_out,
)
MIXUP = Countermeasure(
    "mixup",
    "Every training picture and its label are mixed with another of the batch in a share from "
    "Beta(1, 1), drawn for each picture (mixup; Zhang et al., 2018).",
    each=_mixed,
)
CUTMIX = Countermeasure(
    "cutmix",
    "In half of the training pictures a square with a share of the area from Beta(1, 1) is taken "
    "from another of the batch, and labels are mixed by area (CutMix; Yun et al., 2019).",
    each=_pasted,
)
