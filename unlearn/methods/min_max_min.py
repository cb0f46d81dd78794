"""Min-max-min: robust unlearnable noise from an adversarially trained surrogate (CVPR 2024)."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.attack import Pgd, frozen, pgd
from unlearn.data.arrays import Data
from unlearn.device import Run
from unlearn.errors import UsageProblem
from unlearn.methods.base import Spec
from unlearn.models import build_classifier
from unlearn.objectives import Randomness, cross_entropy, randomness
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import project, to_delta, to_images, to_levels, without_casts
from unlearn.training import Observer, Schedule, train
from unlearn.views import Views

_VIEWS_TOGETHER = 32  # few pictures: all views in one pass cost little more than one of them


@dataclass(frozen=True)
class MinMaxMin:
    """Two-stage min-max-min optimisation with the average randomness constraint (Algorithm I).

    Stage 1 makes noise that lowers the surrogate's loss over random views (Eq. 2); stage 2 trains
    the surrogate adversarially on the noisy pictures and pushes its guesses on clean ones towards
    uniform (Eq. 8). joint puts the attacked and the clean batch through one forward pass, so that
    both share their batch statistics (the authors run two). final and final_views make the noise
    to publish; None takes what training uses. window keeps the noise from tinting areas wider than
    so many pixels (see without_casts; 0 as published). shared is the radius of a part of the noise
    that all pictures of a class share: it is learned along, one signed step a batch, and each
    picture's own noise starts from it (0 as published). Raises UsageProblem for ρa ≥ ρu.
    """

    name: ClassVar[str] = "min-max-min"

    unlearn: Pgd = Pgd(Radius.of_levels(8), Radius.of_levels(1.6), steps=10, views=5)
    adversary: Pgd = Pgd(Radius.of_levels(4), Radius.of_levels(0.8), steps=10)
    final: Pgd | None = None
    randomness: Randomness = "norm"
    randomness_weight: float = 1.0
    joint: bool = False
    views: Views = Views()
    final_views: Views | None = None
    window: int = 0
    shared: Radius = Radius.of_levels(0)
    schedule: Schedule = Schedule()

    def __post_init__(self) -> None:
        if self.adversary.radius >= self.unlearn.radius:
            raise UsageProblem(
                f"rho-a {self.adversary.radius} must be below rho {self.unlearn.radius}: noise no "
                "stronger than the adversary can suppress nothing that is learnable"
            )
        if self.window < 0 or (self.window and self.window % 2 == 0):
            raise UsageProblem(f"a window of {self.window} has no centre; use an odd number, or 0")
        if self.shared > self.unlearn.radius:
            raise UsageProblem(
                f"the shared part {self.shared} cannot be larger than rho {self.unlearn.radius}"
            )
        if self.final and self.final.radius != self.unlearn.radius:
            raise UsageProblem(
                f"the final noise has radius {self.final.radius}, not {self.unlearn.radius}"
            )

    @property
    def radius(self) -> Radius:
        return self.unlearn.radius

    @property
    def passes_per_step(self) -> int:
        """Forward+backward passes of the network for each picture of a training step."""
        extra = bool(self.randomness_weight) + bool(self.shared.value)  # clean batch, shared part
        return self.unlearn.passes + self.adversary.passes + 1 + extra

    @property
    def published(self) -> "MinMaxMin":
        """The method with the attack and the views of the final noise in place of training's."""
        attack, views = self.final or self.unlearn, self.final_views or self.views
        return replace(self, unlearn=attack, views=views, final=None, final_views=None)

    def within(self, radius: Radius) -> "MinMaxMin":
        """Return the method for noise of another radius ρu; ρa is halved if as large."""
        if radius == self.radius:
            return self
        adversary = self.adversary
        if adversary.radius >= radius:
            adversary = adversary.within(Radius(radius.value / 2))
        final = self.final and self.final.within(radius)
        return replace(
            self,
            unlearn=self.unlearn.within(radius),
            final=final,
            adversary=adversary,
            shared=min(self.shared, radius),
        )

    def build(self, spec: Spec) -> nn.Module:
        model = build_classifier(spec.architecture, spec.classes)
        if self.shared.value:
            part = torch.empty(spec.classes, 3, spec.size, spec.size)
            ball = float(self.shared)
            model.register_buffer("shared", part.uniform_(-ball, ball))
        return model

    def fit(self, module: nn.Module, data: Data, run: Run, observer: Observer) -> None:
        """Train the surrogate (Algorithm I, lines 5-19)."""

        def losses(model: nn.Module, pixels: Tensor, labels: Tensor, rng: Rng) -> dict[str, Tensor]:
            return self.step_losses(model, pixels, labels, run, rng)

        train(module, losses, data, self.schedule, run, observer)

    def noise(
        self, module: nn.Module, images: Tensor, labels: Tensor, run: Run, rng: Rng
    ) -> Tensor:
        """Eq. 2 with the trained surrogate; grey images (N, 1, H, W) get grey noise."""
        start = self._start(module, images, labels)
        with frozen(module, run.precision) as network:
            return self.published._minimum(network, images, labels, rng, start)

    def step_losses(
        self, module: nn.Module, pixels: Tensor, labels: Tensor, run: Run, rng: Rng
    ) -> dict[str, Tensor]:
        """Both stages (Eqs. 2, 8) on uint8 pixels: terms "loss", "cross_entropy", "randomness"."""
        images = to_images(pixels)
        with frozen(module, run.precision) as network:
            if self.shared.value:
                self._move_shared(network, module.get_buffer("shared"), images, labels, rng)
            start = self._start(module, images, labels)
            delta = self._minimum(network, images, labels, rng, start)
        noisy = self.views(images + to_delta(to_levels(delta, self.radius)), rng)
        attacked = noisy + self._attack(module, noisy, labels, run, rng)
        if not self.randomness_weight:
            with run.autocast():
                error = cross_entropy(module(attacked), labels).mean()
            return {"loss": error, "cross_entropy": error.detach()}
        clean = self.views(images, rng)
        with run.autocast():
            if self.joint:
                logits, guesses = module(torch.cat([attacked, clean])).chunk(2)
            else:
                logits, guesses = module(attacked), module(clean)
        error = cross_entropy(logits, labels).mean()
        spread = randomness(guesses, self.randomness).mean()
        loss = error + self.randomness_weight * spread
        return {"loss": loss, "cross_entropy": error.detach(), "randomness": spread.detach()}

    def _attack(
        self, module: nn.Module, images: Tensor, labels: Tensor, run: Run, rng: Rng
    ) -> Tensor:
        """Return δa, the inner maximum of Eq. 3."""
        if not self.adversary.steps:
            return torch.zeros_like(images)
        with frozen(module, run.precision) as network:
            return pgd(
                lambda x: cross_entropy(network(x), labels), images, self.adversary, "maximise", rng
            )

    def _move_shared(
        self, network: nn.Module, shared: Tensor, images: Tensor, labels: Tensor, rng: Rng
    ) -> None:
        """Move each class's part (K, 3, S, S) one signed step of a tenth of its radius, in place.

        The step follows the losses of the batch's pictures over one random view each.
        """
        middle = torch.full_like(shared, 0.5)  # as far from 0 and 1 as can be

        def losses(moved: Tensor) -> Tensor:
            noisy = (images + (moved - middle)[labels]).clamp(0, 1)
            return cross_entropy(network(self.views(noisy, rng)), labels)

        step = Pgd(self.shared, Radius(self.shared.value / 10), steps=1, random_start=False)
        shared.copy_(pgd(losses, middle, step, "minimise", rng, start=shared))

    def _start(self, module: nn.Module, images: Tensor, labels: Tensor) -> Tensor | None:
        """Return the classes' shared part, sized and coloured like the images, if there is one."""
        if not self.shared.value:
            return None
        part = module.get_buffer("shared")[labels]
        if part.shape[-2:] != images.shape[-2:]:
            part = F.interpolate(part, images.shape[-2:], mode="bilinear", align_corners=False)
        return part if images.shape[1] == 3 else part.mean(dim=1, keepdim=True)

    def _minimum(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        rng: Rng,
        start: Tensor | None = None,
    ) -> Tensor:
        """Return δu (Eq. 2) over fresh random views of each image, in three channels."""

        def seen(noisy: Tensor) -> Tensor:
            fine = without_casts(noisy - images, self.window)
            clipped = project(fine.detach(), images, self.radius)
            return images + fine + (clipped - fine).detach()

        attack, together = self.unlearn, 1
        if len(images) * attack.views <= _VIEWS_TOGETHER:
            attack, together = replace(attack, views=1), attack.views

        def losses(noisy: Tensor) -> Tensor:
            colour = (seen(noisy) if self.window else noisy).expand(-1, 3, -1, -1)
            views = torch.cat([self.views(colour, rng) for _ in range(together)])
            errors = cross_entropy(network(views), labels.repeat(together))
            return errors.view(together, -1).sum(dim=0)

        delta = pgd(losses, images, attack, "minimise", rng, start)
        return project(without_casts(delta, self.window), images, self.radius)
