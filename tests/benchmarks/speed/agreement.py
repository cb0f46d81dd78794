"""Whether the fast copies of a network take the steps that the plain one takes."""

from typing import get_args

import torch
from torch import Tensor, nn

from unlearn.attack import Pgd, frozen, pgd
from unlearn.models.folding import Precision
from unlearn.objectives import cross_entropy
from unlearn.radius import Radius
from unlearn.rng import Rng

_STEP = Pgd(Radius.of_levels(8), Radius.of_levels(1.6), steps=1, random_start=False)
_SMALLEST = 4  # one in so many gradients counts as next to nothing
_PICTURES = 32  # as many as are looked at


def agreements(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, list[float]]:
    """Return for fp32 and bf16 how many signs of the first step are those of the plain network.

    Three shares each: of all values, without the smallest quarter of the plain gradients, and with
    each value weighted by its plain gradient.
    """
    images, labels = images[:_PICTURES], labels[:_PICTURES]
    plain, weights = step(model, images, labels, None), gradient(model, images, labels)
    return {
        precision: shares(step(model, images, labels, precision), plain, weights)
        for precision in get_args(Precision)
    }


def step(model: nn.Module, images: Tensor, labels: Tensor, precision: Precision | None) -> Tensor:
    """Return δ after one step from zero."""
    rng = Rng.for_images(0, torch.arange(len(images), device=images.device))
    with frozen(model, precision) as network:
        delta = pgd(lambda x: cross_entropy(network(x), labels), images, _STEP, "minimise", rng)
    return delta.cpu()


def gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the plain gradient of the loss."""
    with frozen(model) as network:
        images = images.clone().requires_grad_()
        (found,) = torch.autograd.grad(cross_entropy(network(images), labels).sum(), images)
    return found.cpu()


def shares(delta: Tensor, plain: Tensor, weights: Tensor) -> list[float]:
    """Return the share of equal signs: of all, of the larger three quarters, weighted."""
    equal = (delta.sign() == plain.sign()).double()
    size = weights.abs().double()
    large = size > size.flatten().kthvalue(max(1, size.numel() // _SMALLEST)).values
    weighted = (equal * size).sum() / size.sum()
    return [float(equal.mean()), float(equal[large].mean()), float(weighted)]
