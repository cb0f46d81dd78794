"""Notch: take the spatial frequencies out that stand out from the photos' smooth spectrum.

Noise that is repeated over a picture has all its energy in a few of them, wherever it begins. No
key, period or cell is known here: the peaks tell. Our own, after the notch filters that remove
moiré and screens from scans (Gonzalez and Woods, Digital Image Processing, chapter 4).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.countermeasures.base import Countermeasure
from unlearn.countermeasures.sets import each_batch
from unlearn.datasets.labelled import LabelledPictures

_TURN = ((1, 1, 1), (1, 0, -1), (1, -2, 1))  # luma, red against blue, magenta against green
_NEIGHBOURS = (-7, -6, -5, -4, -3, 3, 4, 5, 6, 7)  # beyond the window's own width, which is 2
_COARSEST = 3  # cycles a side, up to which the spectrum of photos is a peak itself
_DEVIATIONS = 6  # that a peak is above its neighbours, of chance in few pictures
_EXCESS = 1.7  # the least in log power; from 1.0 on, clean photos have a hundred such peaks
_TOGETHER = 256


def peaks(data: LabelledPictures) -> Tensor:
    """Return which frequencies stand out in some class: bool (3, S, S) as of `fft2`.

    A class's mean log power, in luma and two kinds of chroma, is compared with the median of its
    neighbours in its row and in its column, whichever is more, so that the cross of upright edges
    is no peak. What lies beside a peak belongs to it.
    """
    side = data.size
    found = torch.zeros(3, side, side, dtype=torch.bool, device=data.pixels.device)
    for label in data.labels.unique():
        power = _log_power(data.pixels[data.labels == label])
        excess = power - torch.maximum(_beside(power, 1), _beside(power, 2))
        spread = 1.4826 * (excess - excess.median()).abs().median()
        found |= excess > (_DEVIATIONS * spread).clamp(min=_EXCESS)
    cycles = torch.fft.fftfreq(side, 1 / side, device=found.device).abs()
    found &= torch.maximum(cycles[:, None], cycles) > _COARSEST
    return F.max_pool2d(F.pad(found.float(), (1, 1, 1, 1), mode="circular"), 3, stride=1) > 0


def _log_power(pixels: Tensor) -> Tensor:
    """Return the mean log power spectrum (3, S, S) of pixels uint8 (N, 3, S, S)."""
    window = torch.hann_window(pixels.shape[-1], device=pixels.device)
    total = torch.zeros(pixels.shape[1:], dtype=torch.float64, device=pixels.device)
    for part in pixels.split(_TOGETHER):
        planes = _turned(part.float())
        planes = (planes - planes.mean(dim=(2, 3), keepdim=True)) * window * window[:, None]
        total += torch.fft.fft2(planes).abs().square().add(1).log().sum(dim=0)
    return total / len(pixels)


def _beside(power: Tensor, axis: int) -> Tensor:
    """Return the median of the neighbours along an axis."""
    return torch.stack([power.roll(step, axis) for step in _NEIGHBOURS]).median(dim=0).values


def _turned(images: Tensor, *, back: bool = False) -> Tensor:
    """Turn RGB (N, 3, S, S) into luma and chroma, or back; lengths stay."""
    turn = F.normalize(torch.tensor(_TURN, dtype=images.dtype, device=images.device), dim=1)
    return torch.einsum("ij,njhw->nihw", turn.T if back else turn, images)


def _notched(data: LabelledPictures, seed: int) -> LabelledPictures:
    if not len(data):
        return data
    kept = ~peaks(data)

    def change(pixels: Tensor, _rng: object) -> Tensor:
        planes = torch.fft.ifft2(torch.fft.fft2(_turned(pixels.float())) * kept).real
        return _turned(planes, back=True).round().clamp(0, 255).to(torch.uint8)

    return each_batch(change)(data, seed)


NOTCH = Countermeasure(
    "notch",
    "Spatial frequencies at which a class has far more power than at those around, in luma or "
    "chroma, are taken out of every picture, at the size the copier keeps: for noise that repeats "
    "itself (our own; 6 deviations, at least 5.5 times the power).",
    once=_notched,
)
