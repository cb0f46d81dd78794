"""Colours: countermeasures against casts, which no filter of space touches."""

import torch
from torch import Tensor
from torchvision.transforms import v2

from unlearn.countermeasures.base import Countermeasure
from unlearn.countermeasures.drawing import image_by_image
from unlearn.countermeasures.sets import each_batch
from unlearn.rng import Rng

_JITTER = v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)


def _balanced(pixels: Tensor, _rng: Rng) -> Tensor:
    """Scale the channels of pixels uint8 (N, 3, S, S) so that each picture's means are equal."""
    means = pixels.double().mean(dim=(2, 3), keepdim=True).clamp(min=1)
    scaled = pixels * (means.mean(dim=1, keepdim=True) / means)
    return scaled.round().clamp(0, 255).to(torch.uint8)


GREY_WORLD = Countermeasure(
    "grey-world",
    "The channels of each training picture are scaled to equal means, as a camera's white balance "
    "does, test pictures stay (Buchsbaum, 1980).",
    once=each_batch(_balanced),
)
COLOUR_JITTER = Countermeasure(
    "colour-jitter",
    "Brightness, contrast and saturation of each training picture change by up to 40 %, hue by up "
    "to 36 degrees (torchvision's ColorJitter).",
    each=lambda images, targets, rng: (image_by_image(_JITTER, images, rng), targets),
)
