"""Filters: countermeasures that weaken noise in each picture, at the size that the copier keeps.

They act after a picture was shrunk to the training size: at the full size of a photo the shrinking
would undo them, and an audit would call a picture safe from a blur that never happened.
"""

import torch
from PIL import ImageFilter
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from unlearn.countermeasures.base import Countermeasure
from unlearn.countermeasures.sets import each_batch, each_picture
from unlearn.rng import Rng

_SIGMA = 0.8  # what OpenCV takes for 3x3; the 0.1 of published code has side weights of 2e-22
_NOISE_LEVELS = 8
_TWO_BITS = 0b1100_0000


def _blurred(pixels: Tensor, _rng: Rng) -> Tensor:
    blurred: Tensor = gaussian_blur(pixels, [3, 3], [_SIGMA, _SIGMA])
    return blurred


def _noisy(pixels: Tensor, rng: Rng) -> Tensor:
    noise = _NOISE_LEVELS * rng.normal(*pixels.shape[1:])
    return (pixels + noise).round().clamp(0, 255).to(torch.uint8)


GREY = Countermeasure(
    "grey",
    "Training pictures become grey (luma of BT.601 in three equal channels), test pictures stay in "
    "colour (ISS; Liu, Zhao and Larson, 2023).",
    once=each_picture(lambda picture: picture.convert("L").convert("RGB")),
)
BITS2 = Countermeasure(
    "bits2",
    "Each channel keeps its two highest bits, so 4 of 256 levels (bit-depth reduction in ISS; Liu, "
    "Zhao and Larson, 2023).",
    once=each_batch(lambda pixels, _: pixels & _TWO_BITS),
)
BLUR = Countermeasure(
    "blur",
    "Gaussian blur of 3×3 pixels with σ = 0.8 at the size the copier keeps (σ as OpenCV chooses it "
    "for 3×3; the σ = 0.1 in the code of ISS and APBench blurs nothing).",
    once=each_batch(_blurred),
)
MEDIAN = Countermeasure(
    "median",
    "Median of 3×3 pixels in each channel, at the size the copier keeps (feature squeezing; Xu, "
    "Evans and Qi, 2018).",
    once=each_picture(lambda picture: picture.filter(ImageFilter.MedianFilter(3))),
)
GAUSSIAN_NOISE = Countermeasure(
    "gaussian-noise",
    "Normal noise of σ = 8/255 is added once to each picture, at the size the copier keeps, to "
    "drown the protective noise (σ is our choice).",
    once=each_batch(_noisy),
)
