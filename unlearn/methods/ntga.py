"""NTGA: noise that misleads infinitely wide networks, which are kernels and need no training.

"Neural Tangent Generalization Attacks" (Yuan and Wu, 2021). Their code moves a block of pictures
together against others that are held out. Here a picture is moved alone: it takes the place of the
picture it is most like in a block that the artefact holds. So the noise of a picture of the block
begins as theirs does, and no noise depends on which pictures are protected together. Pictures that
are held are shrunk; noise of a larger picture then has one value for each of their pixels.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.attack import Losses, Pgd, pgd
from unlearn.datasets.folders import pick_evenly
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.errors import UsageProblem
from unlearn.methods.base import PAPER, Cost, LabelledNoise, NoiseMaker, Spec
from unlearn.methods.held import keep, with_room
from unlearn.methods.kernels import Network, tangent_kernel
from unlearn.methods.tap import in_colour
from unlearn.radius import WHITE, Radius
from unlearn.rng import Rng
from unlearn.training import Observer

Error = Literal["cross-entropy", "squared"]
_HELD = ("block", "block_labels", "others", "others_labels")
_TOGETHER = 30  # held-out pictures whose kernel is computed at a time, as in the authors' code
_RIDGE = 1e-4  # of the mean of the kernel's diagonal
_NEAR = 1e-5  # eigenvalues this near to each other, relatively, count as one


@dataclass(frozen=True)
class Ntga:
    """Neural tangent generalisation attacks; the defaults are those of the authors' code.

    time is how long the network has been trained whose predictions the noise spoils; block and
    others are the largest numbers of pictures that the artefact holds, to learn from and held out
    (of few pictures a fifth), and side the largest side that they have. reference takes the one
    step of the whole radius that the authors' code takes in place of ten, by mistake.
    """

    name: ClassVar[str] = "ntga"
    summary: ClassVar[str] = "noise that misleads infinitely wide networks; no training"
    needs_labels: ClassVar[bool] = True
    any_classes: ClassVar[bool] = True

    attack: Pgd = Pgd(Radius.of_levels(8), Radius.of_levels(0.88), steps=10, random_start=False)
    network: Network = "fnn"
    time: float = 64.0
    error: Error = "cross-entropy"
    block: int = 512
    others: int = 10_000
    side: int = 32
    reference: bool = False

    def __post_init__(self) -> None:
        if min(self.block, self.others, self.side) < 1 or not self.time > 0:
            raise UsageProblem(
                f"a block of {self.block}, {self.others} others, {self.side} pixels and a time of "
                f"{self.time} make no kernel; all must be above 0"
            )

    @property
    def bound(self) -> Radius:
        return self.attack.radius

    def at(self, bound: Radius) -> Self:
        return replace(self, attack=self.attack.within(bound))

    def build(self, spec: Spec) -> nn.Module:
        side = min(self.side, spec.size)
        pixels = torch.empty(0, 3, side, side, dtype=torch.uint8)
        labels = torch.empty(0, dtype=torch.int64)
        held = {name: labels if name.endswith("labels") else pixels for name in _HELD}
        return with_room(nn.Module(), **held)

    def fit(self, module: nn.Module, data: LabelledPictures, run: Run, observer: Observer) -> None:  # noqa: ARG002
        """Draw the pictures to hold; nothing is learned from them before there is one to protect.

        A single picture is held as both.
        """
        if len(data.classes) < 2:
            raise UsageProblem("ntga makes predictions wrong; with 1 class none can be")
        apart = pick_evenly(data, min(self.others, max(1, len(data) // 5)), run.seed)
        rest = torch.ones(len(data), dtype=torch.bool).index_fill(0, apart, value=False)
        block = data.subset(rest.nonzero()[:, 0]) if len(data) > 1 else data
        block, others = block.subset(pick_evenly(block, self.block, run.seed)), data.subset(apart)
        for held, name in ((block, "block"), (others, "others")):
            pixels = (self._shrunk(held.pixels / WHITE) * WHITE).round().to(torch.uint8)
            keep(module, **{name: pixels, f"{name}_labels": held.labels})
        module.to(run.device).eval()

    def _shrunk(self, images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images, min(self.side, *images.shape[-2:]))

    def ready(self, module: nn.Module, run: Run) -> NoiseMaker:
        # Apple's GPUs know neither float64 nor eigenvalues.
        device = torch.device("cpu") if run.device.type == "mps" else run.device
        held = (module.get_buffer(name).to(device, copy=True) for name in _HELD)
        surroundings = Surroundings(self, *held)

        def make(images: Tensor, labels: Tensor, rng: Rng) -> Tensor:
            losses = surroundings.losses(images.to(device), labels.to(device))
            attack = self.attack
            if self.reference:
                attack = replace(attack, step=attack.radius, steps=1)
            delta = pgd(losses, images.to(device), attack, "maximise", rng)
            return delta.to(images.device)

        return LabelledNoise(make)

    def cost(self, pictures: int) -> Cost:  # noqa: ARG002
        return Cost()

    def facts(self) -> Mapping[str, str]:
        steps = 1 if self.reference else self.attack.steps
        return {
            "network": f"infinitely wide {self.network}, {steps} solutions a picture",
            "holds": f"up to {self.block + self.others} of its pictures, {self.side} pixels a side",
        }

    @classmethod
    def recipes(cls) -> Mapping[str, Self]:
        return {PAPER: cls(), "quick": cls(block=128, others=500)}

    @classmethod
    def example(cls) -> Self:
        attack = Pgd(Radius.of_levels(8), Radius.of_levels(4), steps=3, random_start=False)
        return cls(attack=attack, block=6, others=4)


class Surroundings:
    """The kernels of the held pictures, and what a picture among them does to predictions."""

    def __init__(
        self, method: Ntga, block: Tensor, labels: Tensor, others: Tensor, truth: Tensor
    ) -> None:
        self.method, self.labels, self.truth = method, labels, truth
        self.block, self.others = (held.to(torch.float64) / WHITE for held in (block, others))
        self.within = tangent_kernel(self.block, self.block, method.network)
        parts = [
            tangent_kernel(part, self.block, method.network)
            for part in self.others.split(_TOGETHER)
        ]
        self.across = torch.cat(parts)
        # Guesses are wrong only where there is a second class, which may have no picture here.
        self.classes = max(2, 1 + int(torch.cat([labels, truth]).max()))

    def losses(self, images: Tensor, labels: Tensor) -> Losses:
        """Return the held-out errors that pictures cause, each alone in the place it takes."""
        places = [int(self._apart(image).argmin()) for image in images]
        of_each = [self._losses(place, label) for place, label in zip(places, labels, strict=True)]

        def losses(noisy: Tensor) -> Tensor:
            return torch.stack([of(image) for of, image in zip(of_each, noisy, strict=True)])

        return losses

    def _seen(self, image: Tensor) -> Tensor:
        """Return a picture (C, H, W) as those that are held are: (1, 3, S, S)."""
        shrunk = F.adaptive_avg_pool2d(image.to(torch.float64), self.block.shape[-1])
        return in_colour(shrunk[None])

    def _apart(self, image: Tensor) -> Tensor:
        return (self.block - self._seen(image)).square().sum(dim=(1, 2, 3))

    def _losses(self, place: int, label: Tensor) -> Callable[[Tensor], Tensor]:
        labels = self.labels.index_fill(0, torch.tensor(place, device=label.device), label)
        classes = max(self.classes, int(label) + 1)
        at = torch.arange(len(labels), device=labels.device) == place
        targets = F.one_hot(labels, classes).to(torch.float64)
        network = self.method.network

        def loss(image: Tensor) -> Tensor:
            seen = self._seen(image)
            own = tangent_kernel(seen, seen, network)[0]
            row = torch.where(at, own, tangent_kernel(seen, self.block, network)[0])
            kernel = torch.where(at[:, None], row, torch.where(at, row[:, None], self.within))
            column = tangent_kernel(self.others, seen, network)
            solved = flowed(kernel, targets, self.method.time)
            moved = (column - self.across[:, place, None]) * solved[place]
            return held_out_error(self.across @ solved + moved, self.truth, self.method.error)

        return loss


def held_out_error(predictions: Tensor, labels: Tensor, error: Error) -> Tensor:
    """Return the summed cross entropy, or half the mean square, of predictions (N, K)."""
    if error == "cross-entropy":
        return F.cross_entropy(predictions, labels, reduction="sum")
    wanted = F.one_hot(labels, predictions.shape[1]).to(predictions.dtype)
    return (predictions - wanted).square().mean() / 2


def flowed(kernel: Tensor, targets: Tensor, time: float) -> Tensor:
    """Return what gradient flow on squared errors has learned: weights (N, K) of the N pictures.

    The kernel between other pictures and these times the weights are the predictions at a time,
    which may be infinite. With eigenvalues w of the kernel (N, N), ridge included, and s = time /
    (N K) it is (1 - exp(-w s)) / w (Lee et al., 2019). The gradient is that of Daleckii and Krein:
    unlike that of an eigendecomposition it is finite where eigenvalues are equal, as they are for
    equal pictures.
    """
    kernel = kernel + _RIDGE * kernel.diagonal().mean() * torch.eye(len(kernel)).to(kernel)
    span = time / targets.numel()
    with torch.no_grad():
        values, vectors = torch.linalg.eigh(kernel)
        learned = -torch.expm1(-values * span) / values
        turned = vectors.T @ targets
        quotients = _divided(values, learned, span)
    moved = vectors.T @ (kernel - kernel.detach()) @ vectors  # zero, with the kernel's gradient
    solved: Tensor = vectors @ (learned[:, None] * turned + (quotients * moved) @ turned)
    return solved


def _divided(values: Tensor, learned: Tensor, span: float) -> Tensor:
    """Return the divided differences (N, N) of the function that takes values to learned."""
    middle = (values[:, None] + values) / 2
    left = torch.exp(-middle * span)
    decay = torch.zeros_like(left) if math.isinf(span) else span * left
    slopes = (decay + torch.expm1(-middle * span) / middle) / middle
    gaps = values[:, None] - values
    near = gaps.abs() <= _NEAR * middle.clamp(min=1 / span)
    return torch.where(near, slopes, (learned[:, None] - learned) / gaps)
