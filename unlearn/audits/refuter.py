"""How much of a noise that tells classes is left at a copier's view, told without any training.

One template a class, estimated from the differences of one half of the pictures, aligned at their
best circular shift, names the noise of the other half by its largest correlation at any shift,
whitened by the photos' own spectrum. An adversary who sees the templates moves each value by ρa.
"""

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.attack import Pgd, pgd
from unlearn.radius import WHITE, Radius
from unlearn.rng import Rng

_WHITENING: Final = 0.5  # half: with more of it an adversary wins sooner, with less the photos do
_ALIGNMENTS: Final = 3  # rounds; the first template is the first difference
_STEPS: Final = 3  # of the adversary


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
    filters: Tensor = (vectors * powered.unsqueeze(-2)) @ vectors.mH
    return filters


def aligned(differences: Tensor) -> Tensor:
    """Return the mean (C, S, S) of differences (N, C, S, S), each shifted to fit the others best.

    A noise that is the same but for its place comes out whole, and one without a common part small.
    """
    spectra = torch.fft.rfft2(differences)
    side, template = differences.shape[-1], differences[0]
    for _ in range(_ALIGNMENTS):
        products = (spectra * torch.fft.rfft2(template).conj()).sum(dim=1)
        best = torch.fft.irfft2(products, s=(side, side)).flatten(1).argmax(dim=1)
        shifted = [
            one.roll((-(place // side), -(place % side)), dims=(1, 2))
            for one, place in zip(differences, best.tolist(), strict=True)
        ]
        template = torch.stack(shifted).mean(dim=0)
    return template


class Detector:
    """Names the class of a noise by one template a class, at any shift."""

    def __init__(self, clean: Tensor, noisy: Tensor, labels: Tensor) -> None:
        """Estimate from views (N, C, S, S) of clean pictures and of their noisy copies."""
        self._mean = clean.mean(dim=0)
        classes = range(int(labels.max()) + 1)
        templates = torch.stack([aligned((noisy - clean)[labels == n]) for n in classes])
        spectra = torch.fft.rfft2(templates).movedim(1, -1).unsqueeze(-1)
        filters = whitening(clean, _WHITENING).to(spectra.dtype)
        self._weights = (filters @ spectra).squeeze(-1).movedim(-1, 1)
        self._side = clean.shape[-1]
        own = torch.fft.irfft2(self._weights, s=templates.shape[-2:])
        self._halves = (own * templates).sum(dim=(1, 2, 3)) / 2

    def leads(self, views: Tensor, labels: Tensor) -> Tensor:
        """Return how far the score of each view's class is above the others', (N,)."""
        spectra = torch.fft.rfft2(views - self._mean).unsqueeze(1)
        products = (spectra * self._weights.conj()).sum(dim=2)
        surface = torch.fft.irfft2(products, s=(self._side, self._side))
        scores = surface.flatten(2).amax(dim=2) - self._halves
        own = scores.gather(1, labels[:, None])
        others = scores.scatter(1, labels[:, None], -torch.inf)
        found: Tensor = (own - others).amin(dim=1)
        return found

    def share(self, views: Tensor, labels: Tensor, rho_a: Radius) -> float:
        """Return the share of noisy views whose class is named rightly under an attack of ρa."""
        if rho_a.value:
            step = Radius(min(rho_a.value, 2 * rho_a.value / _STEPS))
            delta = pgd(
                lambda images: self.leads(WHITE * images, labels),
                views / WHITE,
                Pgd(rho_a, step, _STEPS),
                "minimise",
                Rng.for_images(0, torch.arange(len(views))),
            )
            views = views + WHITE * delta
        return float((self.leads(views, labels) > 0).float().mean())
