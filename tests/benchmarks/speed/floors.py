"""The floor: how long the work of a case takes at the machine's measured best.

Operations are multiply-adds of convolutions and linear layers; everything else in a network is
small beside them. Their floor is a matrix product of that many on the same threads and in the same
precision. Bytes count once for each read and each write; their floor is a plain copy.
"""

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor, nn

from tests.benchmarks.speed.measure import Bench, auto_precision, seconds_of

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_SIDES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192)}
_QUICK_SIDES = (256,)
_COPIED_BYTES = (64 << 20, 128 << 20)  # more than a cache holds
_TRIES = 5


class Operations:
    """Multiply-adds of the passes that go through a network while it is being watched.

    A layer costs as much again as its forward pass for the gradient of its input, and once more for
    the gradient of its weights, if they are wanted.
    """

    def __init__(self) -> None:
        self.forward = 0
        self.backward = 0

    @property
    def total(self) -> int:
        return self.forward + self.backward

    def count(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Add one layer: each value of its output is a product with one filter or row."""
        weight = layer.get_parameter("weight")
        operations = output.numel() * weight[0].numel()
        self.forward += operations
        self.backward += operations * (inputs[0].requires_grad + weight.requires_grad)


@contextmanager
def counted(network: nn.Module) -> Iterator[Operations]:
    """Count what goes through a network's convolutions and linear layers."""
    operations = Operations()
    hooks = [
        layer.register_forward_hook(operations.count)
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    try:
        yield operations
    finally:
        for hook in hooks:
            hook.remove()


def attack_operations(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the multiply-adds of one pass (N, 3, H, W) forward and back to the pictures."""
    return _operations(network, shape, of_images=True)


def training_operations(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the multiply-adds of one pass (N, 3, H, W) forward and back to the weights."""
    return _operations(network, shape, of_images=False)


def _operations(network: nn.Module, shape: tuple[int, ...], *, of_images: bool) -> int:
    """Count a pass of shapes alone, no numbers."""
    outline = copy.deepcopy(network).to("meta").train(not of_images)
    outline.requires_grad_(not of_images)
    with counted(outline) as operations:
        outline(torch.empty(shape, device="meta", requires_grad=of_images))
    return operations.total


@cache
def rates(bench: Bench) -> dict[str, float]:
    """Return multiply-adds a second for each precision in use, and bytes a second ("copy").

    Products are made on the bench's threads, a copy by one.
    """
    torch.set_num_threads(bench.threads)
    sides = _QUICK_SIDES if bench.quick else _SIDES[bench.device.type]
    precisions = sorted({"fp32", auto_precision(bench.device)})
    found: dict[str, float] = {
        precision: matmul_rate(precision, bench.device, sides) for precision in precisions
    }
    return {**found, "copy": copy_rate()}


def matmul_rate(precision: str, device: torch.device, sides: Sequence[int]) -> float:
    """Return the multiply-adds a second of the best of several square matrix products."""
    best = 0.0
    with _as_convolutions():
        for side in sides:
            pair = [torch.randn(side, side, device=device).to(DTYPES[precision]) for _ in "ab"]
            work = partial(torch.mm, *pair)
            work()
            fastest = min(seconds_of(work, device) for _ in range(_TRIES))
            best = max(best, side**3 / fastest)
    return best


@contextmanager
def _as_convolutions() -> Iterator[None]:
    """Let products of float32 round as convolutions may (TF32 on CUDA, unless it is turned off)."""
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        matmul.allow_tf32 = before


def copy_rate() -> float:
    """Return the bytes a second that one thread reads and writes in a plain copy of memory."""
    best = 0.0
    for size in _COPIED_BYTES:
        source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
        for _ in range(_TRIES):
            began = time.perf_counter()
            np.copyto(target, source)
            best = max(best, 2 * size / (time.perf_counter() - began))
    return best
