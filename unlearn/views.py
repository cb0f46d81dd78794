"""Random differentiable views: what a copier's training pipeline makes of a picture."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.errors import UsageProblem
from unlearn.lossy import blurred, jpeg, shrunk
from unlearn.rng import Rng
from unlearn.tensors import constant

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow converts to grey
_SHRUNK = (1 / 2, 3 / 4)  # shares of the sides that pictures are shrunk to
_BLURRED = 1 / 3  # largest share of a neighbour; sigma 0.8, the audit's blur, is 0.24


@dataclass(frozen=True)
class Views:
    """A random view per image: what befell the file, flip, a padded or a resized crop, grey.

    pad pixels of black around the picture and a crop back to its size is the CIFAR habit
    (published: 4); smallest_crop below 1 is the photo habit (random resized crop; the crop's
    smallest share of the area, its aspect within 3/4 … 4/3), and takes the place of padding. jpeg,
    shrink, blur and grey are probabilities: of a JPEG file with a whole quality drawn from the
    range, of one shrunk to 1/2 or 3/4 of its sides and enlarged again, of a 3x3 blur of random
    strength (these three before the crop, as in a stored file), and of a grey view.
    """

    flip: bool = True
    pad: int = 4
    smallest_crop: float = 1.0
    grey: float = 0.0
    jpeg: float = 0.0
    quality: tuple[int, int] = (10, 95)
    shrink: float = 0.0
    blur: float = 0.0

    def __post_init__(self) -> None:
        chances = (self.grey, self.jpeg, self.shrink, self.blur)
        if not 0 < self.smallest_crop <= 1 or self.pad < 0:
            raise UsageProblem(f"these views cannot be drawn: {self}")
        if not all(0 <= chance <= 1 for chance in chances):
            raise UsageProblem(f"these views cannot be drawn, chances are 0 … 1: {self}")
        if not 1 <= self.quality[0] <= self.quality[1] <= 100:
            raise UsageProblem(f"these views cannot be drawn, quality is 1 … 100: {self}")

    def __call__(self, images: Tensor, rng: Rng) -> Tensor:
        """Return one view of each image (N, C, H, W) at the same size; gradients flow through."""
        images = self._stored(images, rng)
        if self.smallest_crop < 1:
            images = resized_crop(images, self._boxes(rng))
        elif self.pad or self.flip:
            images = padded_crop(images, self.pad, *self._shifts(rng))
        if self.grey:
            images = torch.where(rng.uniform(1, 1, 1) < self.grey, to_grey(images), images)
        return images

    def _stored(self, images: Tensor, rng: Rng) -> Tensor:
        """Let happen to some of the images what happens to files; without chances draw nothing."""
        if self.jpeg:
            chance, quality = rng.uniform(2, 1, 1, 1).unbind(1)
            low, high = self.quality
            quality = (low + quality * (high + 1 - low)).floor().clamp(max=high)
            images = torch.where(chance < self.jpeg, jpeg(images, quality.flatten()), images)
        if self.shrink:
            chance, choice = rng.uniform(2, 1, 1, 1).unbind(1)
            half, more = (shrunk(images, share) for share in _SHRUNK)
            images = torch.where(
                chance < self.shrink, torch.where(choice < 0.5, half, more), images
            )
        if self.blur:
            chance, share = rng.uniform(2, 1, 1, 1).unbind(1)
            images = torch.where(
                chance < self.blur, blurred(images, _BLURRED * share.flatten()), images
            )
        return images

    def _shifts(self, rng: Rng) -> tuple[Tensor, Tensor]:
        """Draw integer shifts (N, 2) in 0 … 2 pad and flips bool (N,)."""
        draw = rng.uniform(3)
        shifts = (draw[:, :2] * (2 * self.pad + 1)).to(torch.int64).clamp(max=2 * self.pad)
        return shifts, self.flip & (draw[:, 2] < 0.5)

    def _boxes(self, rng: Rng) -> Tensor:
        """Draw crops (N, 4): width, height (shares of the sides; mirrored if negative), centre."""
        area, aspect, flip, across, down = rng.uniform(5).unbind(1)
        area = self.smallest_crop + (1 - self.smallest_crop) * area
        root = torch.exp((aspect - 0.5) * math.log(16 / 9)).sqrt()
        width, height = (area.sqrt() * root).clamp(max=1), (area.sqrt() / root).clamp(max=1)
        centre_x, centre_y = (2 * across - 1) * (1 - width), (2 * down - 1) * (1 - height)
        turned = torch.where(self.flip & (flip < 0.5), -width, width)
        return torch.stack([turned, height, centre_x, centre_y], dim=1)


@dataclass(frozen=True)
class SmoothViews:
    """A random flip and a shift by parts of pixels, as the poisons of Fowl et al. (2021) are seen.

    shift is the largest move in pixels each way; what comes into sight there has the colour fill.
    """

    shift: float = 4.0
    flip: bool = True
    fill: float = 0.5

    def __call__(self, images: Tensor, rng: Rng) -> Tensor:
        """Return one view of each image (N, C, H, W) at the same size; gradients flow through."""
        draw = rng.uniform(3).to(images.dtype)
        shifts, flips = (2 * draw[:, :2] - 1) * self.shift, self.flip & (draw[:, 2] > 0.5)
        return smooth_shift(images - self.fill, shifts, flips) + self.fill


def smooth_shift(images: Tensor, shifts: Tensor, flips: Tensor) -> Tensor:
    """Mirror (N, C, H, W) at flips (N,), then look shifts (N, 2) pixels to the right and down.

    Between pixels it is bilinear, outside the images zero.
    """
    height, width = images.shape[-2:]
    across = torch.arange(width, device=images.device) + shifts[:, :1]
    across = torch.where(flips[:, None], width - 1 - across, across)
    down = torch.arange(height, device=images.device) + shifts[:, 1:]
    grid = torch.stack(
        [
            _centred(across, width)[:, None, :].expand(-1, height, -1),
            _centred(down, height)[:, :, None].expand(-1, -1, width),
        ],
        dim=3,
    )
    return F.grid_sample(images, grid, align_corners=True)


def _centred(places: Tensor, size: int) -> Tensor:
    """Turn pixel places 0 … size - 1 into -1 … 1."""
    return 2 * places / max(size - 1, 1) - 1


def padded_crop(images: Tensor, pad: int, shifts: Tensor, flips: Tensor) -> Tensor:
    """Pad (N, C, H, W) with black, crop back at shifts (N, 2), mirror at flips (N,): one gather."""
    count, channels, height, width = images.shape
    padded = F.pad(images, (pad, pad, pad, pad))
    across = torch.arange(width, device=images.device).expand(count, width)
    across = torch.where(flips[:, None], width - 1 - across, across) + shifts[:, 1:]
    down = torch.arange(height, device=images.device) + shifts[:, :1]
    index = (down[:, :, None] * (width + 2 * pad) + across[:, None, :]).flatten(1)
    picked = padded.flatten(2).gather(2, index[:, None, :].expand(count, channels, -1))
    return picked.reshape(images.shape)


def resized_crop(images: Tensor, boxes: Tensor) -> Tensor:
    """Stretch the boxes (N, 4) of images (N, C, H, W) to full size, bilinearly."""
    width, height, centre_x, centre_y = boxes.unbind(1)
    zero = torch.zeros_like(width)
    affine = torch.stack([width, zero, centre_x, zero, height, centre_y], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def to_grey(images: Tensor) -> Tensor:
    """Turn (N, 3, H, W) into its luma in three equal channels."""
    weights = constant(_LUMA, torch.float32, images.device).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True).expand_as(images)
