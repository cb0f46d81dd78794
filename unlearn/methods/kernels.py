"""Neural tangent kernels in closed form: networks of infinite width (Jacot et al., 2018)."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Network = Literal["fnn", "cnn"]
_WEIGHT, _BIAS = 1.76, 0.18  # variances at the start (Yuan and Wu, 2021)
_NEAR = 1e-12  # pictures so alike, relatively, are equal: there the kernel has no gradient


@dataclass(frozen=True)
class Layer:
    """What pairs of pictures share in a layer: covariances, theirs with themselves, and tangents.

    both and tangent are (N, M, ...), one (N, 1, ...) and other (1, M, ...).
    """

    both: Tensor
    one: Tensor
    other: Tensor
    tangent: Tensor

    def linear(self) -> "Layer":
        """Return the next layer, dense."""
        both, one, other = (_WEIGHT * part + _BIAS for part in (self.both, self.one, self.other))
        return Layer(both, one, other, _WEIGHT * self.tangent + both)

    def convolution(self) -> "Layer":
        """Return the next layer, of 5 x 5 taps at every other place, zeros outside."""
        means = (_taps(part) for part in (self.both, self.one, self.other, self.tangent))
        return Layer(*means).linear()

    def erf(self) -> "Layer":
        """Return the layer behind the error function."""
        both, one, other = (2 * part for part in (self.both, self.one, self.other))
        product = (1 + one) * (1 + other)
        slope = 4 / math.pi / (product - both.square()).sqrt()
        both, one, other = (
            2 / math.pi * torch.asin(part)
            for part in (both / product.sqrt(), one / (1 + one), other / (1 + other))
        )
        return Layer(both, one, other, self.tangent * slope)

    def relu(self) -> "Layer":
        """Return the layer behind the rectifier."""
        product = self.one * self.other
        gap = product - self.both.square()
        apart = gap > _NEAR * product
        root = torch.where(apart, torch.where(apart, gap, 1.0).sqrt(), 0.0)
        left = math.pi - torch.atan2(root, self.both)
        both = (root + left * self.both) / (2 * math.pi)
        return Layer(both, self.one / 2, self.other / 2, self.tangent * left / (2 * math.pi))

    def flat(self) -> "Layer":
        """Return the layer that lists all places."""
        parts = (self.both, self.one, self.other, self.tangent)
        return Layer(*(part.mean(dim=(2, 3)) for part in parts))


def last_layer(images: Tensor, others: Tensor, network: Network) -> Layer:
    """Return the outputs of a network: dense and erf five times, or two convolutions and three.

    images (N, 3, H, W) and others (M, 3, H, W) in [0, 1]; the convolutional one ends in three dense
    layers with nothing between them, as that of the authors of NTGA does.
    """
    if network == "fnn":
        images, others = images.flatten(1), others.flatten(1)
        both = images @ others.T / images.shape[1]
    else:
        both = torch.einsum("nchw,mchw->nmhw", images, others) / images.shape[1]
    one, other = (held.square().mean(dim=1) for held in (images, others))
    layer = Layer(both, one[:, None], other[None], torch.zeros_like(both))
    if network == "cnn":
        layer = layer.convolution().relu().convolution().relu().flat()
        return layer.linear().linear().linear()
    for _ in range(5):
        layer = layer.linear().erf()
    return layer


def tangent_kernel(images: Tensor, others: Tensor, network: Network) -> Tensor:
    """Return the neural tangent kernel (N, M) of pictures (see last_layer)."""
    return last_layer(images, others, network).tangent


def _taps(covariances: Tensor) -> Tensor:
    """Return means (N, M, h, w) over 5 x 5 places of (N, M, H, W), every other one, as XLA pads."""
    pads = [max(0, (math.ceil(size / 2) - 1) * 2 + 5 - size) for size in covariances.shape[-2:]]
    (top, bottom), (left, right) = ((pad // 2, pad - pad // 2) for pad in pads)
    return F.avg_pool2d(F.pad(covariances, (left, right, top, bottom)), 5, stride=2)
