"""How much of a noise is left at a copier's view under an attack, told without any training.

The best linear template, whitened by the photos' own spectrum and told where the crop is, names the
noise; an adversary who sees the template moves each value by ρa. What it gets wrong no copier that
looks for the noise linearly can get right, so a candidate with a small share has no chance.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_STRENGTHS = (0.25, 0.5, 0.75, 1.0)  # of whitening; the adversary punishes too much of it


@dataclass(frozen=True)
class View:
    """What the copier sees: a middle crop of a share of the area, at a size, perhaps in grey."""

    size: int = 64
    area: float = 1.0
    grey: bool = False

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return views float (N, C, size, size), 0 … 255; C is 1 for grey."""
        side = pixels.shape[-1]
        length = round(side * self.area**0.5)
        first = (side - length) // 2
        box = pixels[..., first : first + length, first : first + length].float()
        size = (self.size, self.size)
        small = F.interpolate(box, size, mode="bilinear", antialias=True)
        weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        return (small * weights).sum(1, keepdim=True) if self.grey else small


def whitening(views: Tensor, strength: float) -> Tensor:
    """Return the filter (S, S/2+1, C, C): the inverse spectrum of the views to a power."""
    centred = views - views.mean(dim=0)
    spectrum = torch.fft.rfft2(centred).permute(2, 3, 0, 1)
    cross = spectrum.mT.conj() @ spectrum / len(views)
    cross = cross.transpose(-1, -2)
    values, vectors = torch.linalg.eigh(cross)
    floor = values.max() * 1e-9
    powered = values.clamp(min=floor) ** -strength
    return (vectors * powered.unsqueeze(-2)) @ vectors.mH


def filtered(views: Tensor, filters: Tensor) -> Tensor:
    """Return views (..., C, S, S) seen through a filter of `whitening`."""
    spectrum = torch.fft.rfft2(views).movedim(-3, -1).unsqueeze(-1)
    mixed = (filters.to(spectrum.dtype) @ spectrum).squeeze(-1).movedim(-1, -3)
    return torch.fft.irfft2(mixed, s=views.shape[-2:])


def share_right(
    views: Tensor, templates: Tensor, labels: Tensor, rho_a: float, clean: Tensor
) -> float:
    """Return the largest share, over strengths of whitening, that a template still names rightly.

    views (N, C, S, S) carry the noise; templates (N, K, C, S, S) are each class's noise as it would
    look in that picture's view; clean views give the spectrum. The attack is exact: each rival's
    lead grows by ρa times the sum of the weights' differences.
    """
    best = 0.0
    for strength in _STRENGTHS:
        weights = filtered(templates, whitening(clean, strength))
        scores = (weights * views.unsqueeze(1)).sum(dim=(2, 3, 4))
        scores = scores - (weights * templates).sum(dim=(2, 3, 4)) / 2
        own = weights[torch.arange(len(labels)), labels]
        cost = (weights - own.unsqueeze(1)).abs().sum(dim=(2, 3, 4)) * rho_a
        lead = scores.gather(1, labels[:, None]) - scores - cost
        lead[torch.arange(len(labels)), labels] = 1
        best = max(best, float((lead > 0).all(dim=1).float().mean()))
    return best
