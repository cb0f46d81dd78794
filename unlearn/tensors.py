"""Pure functions on picture tensors: between uint8 and [0, 1], and into the ball of a radius."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.radius import WHITE, Radius

Numbers = tuple[float, ...] | tuple[tuple[float, ...], ...]


@functools.cache
def constant(numbers: Numbers, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a table of numbers as one tensor that all callers share; it must not be changed.

    It is made once for each type and device: each copy from the host makes a GPU wait.
    """
    return torch.tensor(numbers, dtype=dtype, device=device)


def to_images(pixels: Tensor) -> Tensor:
    """Turn uint8 pixels of any shape into float32 images in [0, 1]."""
    return pixels.to(torch.float32) / WHITE


def project(delta: Tensor, images: Tensor, radius: Radius) -> Tensor:
    """Move delta to the nearest point with |δ| ≤ radius and images + δ in [0, 1].

    Both float32 (N, C, H, W). Clipping δ and not the sum keeps the gradient of saturated pixels
    alive; float rounding may leave the ball by 3e-8, levels never do.
    """
    return torch.clamp(delta, *bounds(images, radius))


def bounds(images: Tensor, radius: Radius) -> tuple[Tensor, Tensor]:
    """Return the least and the largest δ of each value, as `project` keeps them."""
    ball = float(radius)
    return (-images).clamp(min=-ball), (1 - images).clamp(max=ball)


def without_casts(delta: Tensor, window: int) -> Tensor:
    """Take the mean of odd `window` x `window` neighbours off each value of delta (N, C, H, W).

    What is left cannot tint a larger area. Smaller pictures come back as they are.
    """
    if not window or min(delta.shape[-2:]) <= window:
        return delta
    half = window // 2
    mean = F.avg_pool2d(delta, window, stride=1, padding=half, count_include_pad=False)
    return delta - mean


def stretched(pattern: Tensor, height: int, width: int) -> Tensor:
    """Return pattern (..., h, w) at another size, each place taken from the one that covers it."""
    down = torch.arange(height, device=pattern.device) * pattern.shape[-2] // height
    across = torch.arange(width, device=pattern.device) * pattern.shape[-1] // width
    return pattern[..., down[:, None], across]


def scaled_into(delta: Tensor, radius: Radius) -> Tensor:
    """Shrink each picture's δ (N, C, H, W) as a whole until its largest value is the radius."""
    largest = delta.abs().amax(dim=(1, 2, 3), keepdim=True)
    return delta * (float(radius) / largest.clamp(min=torch.finfo(delta.dtype).tiny)).clamp(max=1)


def to_levels(delta: Tensor, radius: Radius) -> Tensor:
    """Round delta (float, shares of the range) to int16 8-bit steps, |n| ≤ radius.levels."""
    return (delta * WHITE).round().clamp(-radius.levels, radius.levels).to(torch.int16)


def to_delta(levels: Tensor) -> Tensor:
    """Turn int16 8-bit steps into float32 shares of the colour range."""
    return levels.to(torch.float32) / WHITE


def add_levels(pixels: Tensor, levels: Tensor) -> Tensor:
    """Add int16 steps to uint8 pixels, clipped to 0…255; the result is uint8."""
    return (pixels.to(torch.int16) + levels).clamp(0, WHITE).to(torch.uint8)
