"""Draws that countermeasures share: partners in a batch, and seeds for others' code."""

from collections.abc import Callable

import torch
from torch import Tensor

from unlearn.rng import Rng

_BITS = 24  # of a float32 in [0, 1)


def partners(rng: Rng) -> Tensor:
    """Return for each image of a batch another image's number, int64 (N,).

    The images stand in a ring in the order of a draw and each is paired with the next, so none is
    paired with itself, and the order of the batch does not matter.
    """
    order = rng.uniform().argsort(stable=True)
    chosen = torch.empty_like(order)
    chosen[order] = order.roll(-1)
    return chosen


def image_by_image(change: Callable[[Tensor], Tensor], images: Tensor, rng: Rng) -> Tensor:
    """Apply a change that draws from PyTorch's CPU generator to each image (3, S, S) alone.

    The generator is seeded from the image's stream and put back afterwards: the result depends on
    image and stream only, and nobody else's numbers move.
    """
    high, low = rng.integers(1 << _BITS, 2).unbind(1)
    changed = torch.empty_like(images)
    with torch.random.fork_rng(devices=[]):
        for number, seed in enumerate(((high << _BITS) + low).tolist()):
            torch.default_generator.manual_seed(seed)
            changed[number] = change(images[number])
    return changed.clamp(0, 1)
