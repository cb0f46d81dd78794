"""The one inner optimiser: projected gradient descent on a perturbation, for any loss per image."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor, nn

from unlearn.errors import UsageProblem
from unlearn.models.folding import Precision, folded
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import bounds
from unlearn.workers.abandoned import leave_if_abandoned

Losses = Callable[[Tensor], Tensor]  # images (N, C, H, W) -> one loss per image (N,)
Goal = Literal["minimise", "maximise"]


@dataclass(frozen=True)
class Pgd:
    """The settings of projected gradient descent (Madry et al., 2018) inside an ℓ∞ ball.

    views is the number of gradients summed before each sign step; they differ only if the losses
    draw random views. Raises UsageProblem for a step beyond the radius.
    """

    radius: Radius
    step: Radius
    steps: int = 10
    views: int = 1
    random_start: bool = True

    def __post_init__(self) -> None:
        if self.step > self.radius:
            raise UsageProblem(f"a step of {self.step} leaves the radius {self.radius} at once")
        if self.steps < 0 or self.views < 1:
            raise UsageProblem(f"{self.steps} steps of {self.views} views cannot be taken")

    @property
    def passes(self) -> int:
        """Forward+backward passes of the network for each image."""
        return self.steps * self.views

    def within(self, radius: Radius) -> "Pgd":
        """Return the same attack in another ball, with the step scaled alike."""
        step = self.step.value * (
            radius.value / self.radius.value if self.radius.value else Fraction(0)
        )
        return Pgd(radius, Radius(step), self.steps, self.views, self.random_start)

    def below(self, radius: Radius) -> "Pgd":
        """Return the same attack, in a ball half of a radius that is no larger than its own."""
        return self if self.radius < radius else self.within(Radius(radius.value / 2))


def pgd(
    losses: Losses,
    images: Tensor,
    config: Pgd,
    goal: Goal,
    rng: Rng,
    start: Tensor | None = None,
) -> Tensor:
    """Return δ (N, C, H, W) in the ball that moves the loss of every image towards the goal.

    images are float32 [0, 1], and so is images + δ. Each image is treated alone as long as its loss
    depends on it alone. δ begins at start, or uniformly in the ball with one draw from rng, or at
    zero (Eq. 2; inner maximum of Eq. 3; Algorithm 1, lines 7-15).
    """
    if start is None:
        start = usual_start(images, config, rng)
    least, largest = bounds(images, config.radius)
    delta = start.clamp(least, largest)
    step = float(config.step) * (1 if goal == "maximise" else -1)
    for _ in range(config.steps):
        gradient = torch.zeros_like(images)
        for _ in range(config.views):
            leave_if_abandoned()
            gradient += _gradient(losses, images, delta)
        delta.add_(gradient.sign_(), alpha=step).clamp_(least, largest)
    return delta


def usual_start(images: Tensor, config: Pgd, rng: Rng) -> Tensor:
    """Draw where pgd begins unless it is told: uniformly in the ball, or at zero."""
    ball = float(config.radius)
    if not config.random_start:
        return torch.zeros_like(images)
    return rng.uniform(*images.shape[1:], low=-ball, high=ball)


def n_fgsm(losses: Losses, images: Tensor, radius: Radius, rng: Rng) -> Tensor:
    """Return δ of one step of the radius from uniform noise of twice the radius, not projected.

    images are float32 [0, 1], and so is images + δ; |δ| is up to three times the radius. It costs
    one pass and is for training (N-FGSM; de Jorge et al., 2022).
    """
    ball = float(radius)
    noise = rng.uniform(*images.shape[1:], low=-2 * ball, high=2 * ball)
    step = _gradient(losses, images, noise).sign_() * ball
    return (noise + step).clamp(-images, 1 - images)


def gaussian_start(images: Tensor, radius: Radius, rng: Rng) -> Tensor:
    """Draw a start for pgd, which clips it: normal, with the radius as its deviation."""
    return rng.normal(*images.shape[1:]).to(images.dtype) * float(radius)


def _gradient(losses: Losses, images: Tensor, delta: Tensor) -> Tensor:
    """Return the gradient of the summed losses at images + delta."""
    with torch.enable_grad():
        delta = delta.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(losses(images + delta).sum(), delta)
    return gradient


@contextmanager
def frozen(
    model: nn.Module, precision: Precision | None = None, *, compiled: bool = False
) -> Iterator[nn.Module]:
    """Put a model into eval mode without parameter gradients; restore every flag on the way out.

    With a precision a fast copy stands in for a Classifier (channels_last, batch norm folded into
    the convolutions, weights as they are now; compiled if asked for); without one it is the model
    itself, in float32.
    """
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval().requires_grad_(False)
        yield model if precision is None else folded(model, precision, compiled=compiled)
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
