"""What files go through before a copier sees them, as differentiable functions of [0, 1] images."""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.radius import WHITE
from unlearn.tensors import constant

# ITU-T T.81, tables K.1 and K.2; quality 50 uses them as they are.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))  # JFIF 1.02
_BLOCK = 8


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """Return images (N, 3, H, W) as JPEG files of quality (N,), 1 … 100, with 4:2:0 colour.

    The tables are libjpeg's. Rounding and the clipping to [0, 1] pass gradients on as if they did
    nothing (straight through; Shin and Song, 2017).
    """
    height, width = images.shape[-2:]
    right, below = -width % (2 * _BLOCK), -height % (2 * _BLOCK)
    padded = F.pad(images * WHITE, (0, right, 0, below), mode="replicate")
    bright, colour = _mixed(padded, _TO_YCC).split((1, 2), dim=1)
    bright = _rounded_in_blocks(bright - (WHITE + 1) / 2, _tables(_LUMINANCE, quality))
    colour = _rounded_in_blocks(F.avg_pool2d(colour, 2), _tables(_CHROMINANCE, quality))
    colour = F.interpolate(colour, scale_factor=2, mode="bilinear", align_corners=False)
    decoded = _mixed(torch.cat([bright + (WHITE + 1) / 2, colour], dim=1), _TO_RGB) / WHITE
    decoded = decoded[..., :height, :width]
    return decoded + (decoded.clamp(0, 1) - decoded).detach()


def _mixed(images: Tensor, rows: tuple[tuple[float, ...], ...]) -> Tensor:
    """Return weighted sums of the channels of (N, 3, H, W), one for each row of weights."""
    weights = constant(rows, images.dtype, images.device)[:, :, None, None]
    return torch.stack([(images * row).sum(dim=1) for row in weights], dim=1)


def _tables(base: tuple[tuple[int, ...], ...], quality: Tensor) -> Tensor:
    """Return the quantisation tables (N, 8, 8) of qualities (N,), as libjpeg scales them."""
    scale = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    table = constant(base, quality.dtype, quality.device)
    return ((table * scale[:, None, None] + 50) / 100).floor().clamp(1, WHITE)


def _rounded_in_blocks(planes: Tensor, tables: Tensor) -> Tensor:
    """Round the cosine transform of each 8x8 block of planes (N, C, H, W) to its table's steps."""
    count, channels, height, width = planes.shape
    turn = _cosines(planes.dtype, planes.device)
    tables = tables.to(planes)[:, None, None, None]
    blocks = planes.reshape(count, channels, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    steps = (turn @ blocks.transpose(3, 4) @ turn.T) / tables
    steps = steps + (steps.round() - steps).detach()
    return (turn.T @ (steps * tables) @ turn).transpose(3, 4).reshape(planes.shape)


@functools.cache
def _cosines(dtype: torch.dtype = torch.float64, device: torch.device | None = None) -> Tensor:
    """Return the orthogonal matrix (8, 8) of the discrete cosine transform, made once."""
    place = torch.arange(_BLOCK, dtype=torch.float64)
    matrix = torch.cos(math.pi / _BLOCK * place[:, None] * (place + 0.5)) * math.sqrt(2 / _BLOCK)
    matrix[0] /= math.sqrt(2)
    return matrix.to(device, dtype)


def blurred(images: Tensor, share: Tensor) -> Tensor:
    """Give each pixel the share (N,) of either neighbour, down and across; 1/3 is the 3x3 mean.

    Pixels beyond the border are those at the border.
    """
    share = share[:, None, None, None]
    for sides, axis in (((0, 0, 1, 1), 2), ((1, 1, 0, 0), 3)):
        length = images.shape[axis]
        padded = F.pad(images, sides, mode="replicate")
        around = padded.narrow(axis, 0, length) + padded.narrow(axis, 2, length)
        images = (1 - 2 * share) * images + share * around
    return images


def shrunk(images: Tensor, share: float) -> Tensor:
    """Bring images (N, C, H, W) to a share of their sides, antialiased, and back, bilinearly."""
    size = [max(1, round(side * share)) for side in images.shape[-2:]]
    small = F.interpolate(images, size, mode="bilinear", antialias=True)
    return F.interpolate(small, list(images.shape[-2:]), mode="bilinear")
