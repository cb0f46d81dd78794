"""What a person sees of a change: CIEDE2000 on the plain third, bare and as seen."""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_WHITE = (0.95047, 1.0, 1.08883)
_OPPONENT = ((0.279, 0.72, -0.107), (-0.449, 0.29, -0.077), (0.086, -0.59, 0.501))
# Zhang and Wandell (1997): weights and spreads in degrees of the eye's blur, channel by channel;
# without the third part of luma, of 4.3 degrees, which is wider than the pictures.
_BLURS = (
    ((0.921, 0.0283), (0.105, 0.133)),
    ((0.531, 0.0392), (0.330, 0.494)),
    ((0.488, 0.0536), (0.371, 0.386)),
)
PER_DEGREE = 60
_BLOCK = 8


def to_xyz(pixels: Tensor) -> Tensor:
    """Return uint8 sRGB pixels (N, 3, H, W) as XYZ, white being 1."""
    unit = pixels.double() / 255
    linear = torch.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    return torch.einsum("ij,njhw->nihw", torch.tensor(_TO_XYZ, dtype=torch.float64), linear)


def to_lab(xyz: Tensor) -> Tensor:
    """Return XYZ as CIELAB."""
    share = xyz / torch.tensor(_WHITE, dtype=xyz.dtype).view(1, 3, 1, 1)
    root = share.clamp(min=0) ** (1 / 3)
    root = torch.where(share > (6 / 29) ** 3, root, share * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = root.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def blurred(xyz: Tensor, per_degree: float = PER_DEGREE) -> Tensor:
    """Return XYZ as the eye's optics and nerves pass it on, with so many pixels to a degree."""
    turn = torch.tensor(_OPPONENT, dtype=xyz.dtype)
    opponent = torch.einsum("ij,njhw->nihw", turn, xyz)
    parts = [_passed(opponent[:, n : n + 1], blur, per_degree) for n, blur in enumerate(_BLURS)]
    return torch.einsum("ij,njhw->nihw", torch.linalg.inv(turn), torch.cat(parts, dim=1))


def _passed(plane: Tensor, blur: tuple[tuple[float, float], ...], per_degree: float) -> Tensor:
    """Blur one plane by a sum of Gaussians whose weights are brought to 1."""
    total = sum(weight for weight, _ in blur)
    return sum(
        (weight / total * _gaussian(plane, spread * per_degree) for weight, spread in blur),
        torch.zeros_like(plane),
    )


def _gaussian(plane: Tensor, spread: float) -> Tensor:
    """Blur with exp(-(r / spread)^2), mirrored at the borders as far as there is picture."""
    for axis in (2, 3):
        length = plane.shape[axis]
        reach = min(max(1, math.ceil(2.5 * spread)), length - 1)
        places = torch.arange(-reach, reach + 1, dtype=plane.dtype)
        weights = torch.exp(-((places / spread) ** 2))
        weights /= weights.sum()
        sides = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        shape = (1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)
        plane = F.conv2d(F.pad(plane, sides, mode="reflect"), weights.view(shape))
    return plane


def ciede2000(first: Tensor, second: Tensor) -> Tensor:
    """Return the colour difference (N, H, W) of CIELAB pictures (Sharma, Wu and Dalal, 2005)."""
    (l1, a1, b1), (l2, a2, b2) = first.unbind(1), second.unbind(1)
    mean_chroma = (torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2
    grey = 0.5 * (1 - torch.sqrt(mean_chroma**7 / (mean_chroma**7 + 25.0**7)))
    a1, a2 = a1 * (1 + grey), a2 * (1 + grey)
    c1, c2 = torch.hypot(a1, b1), torch.hypot(a2, b2)
    h1, h2 = torch.atan2(b1, a1) % math.tau, torch.atan2(b2, a2) % math.tau
    turn = h2 - h1
    turn = torch.where(turn > math.pi, turn - math.tau, turn)
    turn = torch.where(turn < -math.pi, turn + math.tau, turn)
    turn = torch.where(c1 * c2 == 0, torch.zeros_like(turn), turn)
    hue_step = 2 * torch.sqrt(c1 * c2) * torch.sin(turn / 2)
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    hue = (h1 + h2) / 2
    hue = torch.where(((h1 - h2).abs() > math.pi) & (h1 + h2 < math.tau), hue + math.pi, hue)
    hue = torch.where(((h1 - h2).abs() > math.pi) & (h1 + h2 >= math.tau), hue - math.pi, hue)
    hue = torch.where(c1 * c2 == 0, h1 + h2, hue)
    weight = (
        1
        - 0.17 * torch.cos(hue - math.radians(30))
        + 0.24 * torch.cos(2 * hue)
        + 0.32 * torch.cos(3 * hue + math.radians(6))
        - 0.20 * torch.cos(4 * hue - math.radians(63))
    )
    bend = torch.exp(-(((torch.rad2deg(hue) - 275) / 25) ** 2))
    rotation = -torch.sin(math.radians(60) * bend) * 2
    rotation = rotation * torch.sqrt(chroma**7 / (chroma**7 + 25.0**7))
    s_light = 1 + 0.015 * (light - 50) ** 2 / torch.sqrt(20 + (light - 50) ** 2)
    s_chroma, s_hue = 1 + 0.045 * chroma, 1 + 0.015 * chroma * weight
    d_light, d_chroma, d_hue = (l2 - l1) / s_light, (c2 - c1) / s_chroma, hue_step / s_hue
    square = d_light**2 + d_chroma**2 + d_hue**2 + rotation * d_chroma * d_hue
    return square.clamp(min=0).sqrt()


def plain(pixels: Tensor) -> Tensor:
    """Return which third of each picture has the least spread of luma nearby: bool (N, H, W)."""
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(1, 3, 1, 1)
    luma = (pixels.double() * weights).sum(1, keepdim=True)
    half = _BLOCK // 2
    window: dict[str, Any] = {
        "kernel_size": _BLOCK + 1,
        "stride": 1,
        "padding": half,
        "count_include_pad": False,
    }
    spread = F.avg_pool2d(luma**2, **window) - F.avg_pool2d(luma, **window) ** 2
    flat = spread[:, 0].flatten(1)
    bar = flat.kthvalue(max(1, flat.shape[1] // 3), dim=1).values
    return spread[:, 0] <= bar[:, None, None]


def visibility(clean: Tensor, changed: Tensor, per_degree: float = PER_DEGREE) -> dict[str, float]:
    """Return mean and 95th percentile of CIEDE2000 on plain thirds, unfiltered and as seen."""
    where = plain(clean)
    first, second = to_xyz(clean), to_xyz(changed)
    bare = ciede2000(to_lab(first), to_lab(second))[where].numpy()
    seen = ciede2000(to_lab(blurred(first, per_degree)), to_lab(blurred(second, per_degree)))[
        where
    ].numpy()
    return {
        "unfiltered": round(float(bare.mean()), 2),
        "unfiltered_p95": round(float(np.percentile(bare, 95)), 2),
        "seen": round(float(seen.mean()), 2),
        "seen_p95": round(float(np.percentile(seen, 95)), 2),
    }
