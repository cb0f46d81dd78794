"""Crops: what a copier's pipeline makes of stored squares before a network sees them."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.audits.plan import SMALL_SIDE
from unlearn.radius import WHITE
from unlearn.rng import Rng
from unlearn.tensors import to_images
from unlearn.views import Views

_PADDED = Views(flip=True, pad=4)
_CHUNK = 256
PICTURE_BY_PICTURE = "cpu"  # the device where that is faster than all at once


def cropped(pixels: Tensor, size: int, smallest_crop: float, rng: Rng) -> Tensor:
    """Return one random view of each picture: pixels uint8 (N, 3, S, S) -> images (N, 3, s, s).

    Small pictures of that size are flipped and cropped after padding by 4, as on CIFAR; others get
    antialiased random resized crops, as on ImageNet; at a smallest crop of 1 they are shown whole.
    """
    if pixels.shape[-1] == size <= SMALL_SIDE:
        return _PADDED(to_images(pixels), rng)
    boxes, flips = draw_boxes(rng, pixels.shape[-1], smallest_crop)
    if smallest_crop == 1:
        boxes = torch.tensor([0, 0, *pixels.shape[-2:]], device=boxes.device).expand_as(boxes)
    return resized(pixels, boxes, flips, size) / WHITE


def draw_boxes(rng: Rng, side: int, smallest_crop: float) -> tuple[Tensor, Tensor]:
    """Draw whole-pixel crops of squares: (N, 4) of top, left, height, width, and flips (N,).

    The area is smallest_crop … 1 of the square and the aspect 3/4 … 4/3, cut where it sticks out.
    """
    area, aspect, down, across, flip = rng.uniform(5).unbind(1)
    across_root = torch.exp((aspect - 0.5) * math.log(16 / 9)).sqrt()
    length = side * (smallest_crop + (1 - smallest_crop) * area).sqrt()
    height = (length / across_root).clamp(1, side).floor()
    width = (length * across_root).clamp(1, side).floor()
    top = (down * (side - height + 1)).floor()
    left = (across * (side - width + 1)).floor()
    return torch.stack([top, left, height, width], dim=1), flip < 0.5


def resized(pixels: Tensor, boxes: Tensor, flips: Tensor, size: int) -> Tensor:
    """Bring crops to a square size with antialiasing: float32 (N, 3, s, s), 0…255.

    Bilinear interpolation with antialias: on a CPU picture by picture, a fifth of the work;
    elsewhere all at once, which reads no number: two products with matrices of triangle weights.
    """
    if pixels.device.type == PICTURE_BY_PICTURE:
        return _one_by_one(pixels, boxes, flips, size)
    top, left, height, width = boxes.unbind(1)
    side = pixels.shape[-1]
    down = _triangles(top, height, side, size)
    across = _triangles(left, width, side, size)
    across = torch.where(flips[:, None, None], across.flip(1), across)
    count, channels = pixels.shape[:2]
    narrow = pixels.float().flatten(1, 2) @ across.mT
    wide = narrow.view(count, channels, side, size).transpose(1, 2).reshape(count, side, -1)
    small = down @ wide
    return small.view(count, size, channels, size).transpose(1, 2).contiguous()


def _one_by_one(pixels: Tensor, boxes: Tensor, flips: Tensor, size: int) -> Tensor:
    """Return what `resized` does, without work for what lies outside the crops."""
    views = torch.empty(*pixels.shape[:2], size, size)
    for view, picture, box, flip in zip(views, pixels, boxes.int().tolist(), flips, strict=True):
        top, left, height, width = box
        crop = picture[None, :, top : top + height, left : left + width].float()
        small = F.interpolate(crop, (size, size), mode="bilinear", antialias=True)[0]
        view.copy_(small.flip(-1) if flip else small)
    return views


def _triangles(start: Tensor, length: Tensor, side: int, size: int) -> Tensor:
    """Return the weights (N, size, side) of pixels in the resized stretches, which sum to 1."""
    places = torch.arange(side, device=start.device) + 0.5 - start[:, None]
    scale = (length / size)[:, None]
    centres = (torch.arange(size, device=start.device) + 0.5) * scale
    distances = (places[:, None, :] - centres[:, :, None]).abs()
    weights = (1 - distances / scale.clamp(min=1)[:, :, None]).clamp(min=0)
    inside = (places > 0) & (places < length[:, None])
    weights = weights * inside[:, None, :]
    return weights / weights.sum(dim=2, keepdim=True)


def resized_whole(pixels: Tensor, size: int) -> Tensor:
    """Return whole pictures as a network is shown them: uint8 at a size, antialiased."""
    if pixels.shape[-1] == size:
        return pixels
    parts = [
        F.interpolate(part.float(), (size, size), mode="bilinear", antialias=True)
        for part in pixels.split(_CHUNK)
    ]
    return torch.cat(parts).round().clamp(0, WHITE).to(torch.uint8)
