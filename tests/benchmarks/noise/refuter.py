"""How much of a known noise is left at a copier's view under an attack, told without training.

The best linear template, whitened by the photos' own spectrum and told where the crop is, names the
noise; an adversary who sees the template moves each value by ρa. What it gets wrong no copier that
looks for the noise linearly can get right, so a candidate with a small share has no chance. Noise
that is known only by its copies is for `unlearn audit --estimate`.
"""

import torch
from torch import Tensor

from unlearn.audits.refuter import whitening

_STRENGTHS = (0.25, 0.5, 0.75, 1.0)  # of whitening; the adversary punishes too much of it


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
