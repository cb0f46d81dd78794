"""Floating-point operations of a network, counted by PyTorch while one picture goes through."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from unlearn.models import build_classifier, fresh_name


def pass_flops(architecture: str, side: int) -> int:
    """Return the operations of a forward and a backward pass of a picture, `side` pixels wide.

    A multiply-add is two. Backward counts twice the forward pass: the gradients of inputs and of
    weights. Attacks need only the first, so it is an upper bound for them.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        network = build_classifier(fresh_name(architecture), 1).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 3, side, side))
    return 3 * int(counter.get_total_flops())
