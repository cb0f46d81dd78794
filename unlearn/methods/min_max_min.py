"""Min-max-min: robust unlearnable noise from an adversarially trained surrogate (CVPR 2024)."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearn.attack import Pgd, frozen, pgd
from unlearn.datasets.labelled import Data
from unlearn.device import Run
from unlearn.methods.base import Spec
from unlearn.methods.checks import check
from unlearn.methods.stage_one import StageOne
from unlearn.methods.surrogates import Surrogates, all_frozen, on_turn
from unlearn.methods.visits import Visit, Visits, no_noise
from unlearn.models import build_classifier
from unlearn.objectives import Randomness, cross_entropy, randomness
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import to_delta, to_images, to_levels
from unlearn.training import Observer, Schedule, train
from unlearn.views import Views

_NONE = Radius.of_levels(0)


@dataclass(frozen=True)
class MinMaxMin:
    """Two-stage min-max-min optimisation with the average randomness constraint (Algorithm I).

    Stage 1 makes noise that lowers the surrogate's loss over random views (Eq. 2); stage 2 trains
    the surrogate adversarially on the noisy pictures and pushes its guesses on clean ones towards
    uniform (Eq. 8). final and final_views make the noise to publish; None takes what training uses.
    The other fields are not published and off: joint puts the attacked and the clean batch through
    one forward pass, so that both share their batch statistics (the authors run two). window keeps
    the noise from tinting areas wider than so many pixels (see without_casts). shared is the radius
    of a part of the noise that all pictures of a class share: it is learned along, one signed step
    a batch, and each picture's own noise starts from it. patterns is how many such parts a class
    has, of which each picture draws one. jitter is the radius of uniform noise that each view of
    stage 1 gets (Liu et al., SEM, 2024). adversary_range is where ρa is drawn from for each step,
    in place of the adversary's own. cosine_weight weighs the cosines of features in stage 1's loss.
    architectures are further networks, trained in turn with the Spec's. averaged is how many late
    states of each network the published noise is made against. With warm, training starts a
    picture's noise from where its last visit left it. Raises UsageProblem for what
    contradicts itself, such as ρa ≥ ρu.
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
    shared: Radius = _NONE
    patterns: int = 1
    jitter: Radius = _NONE
    adversary_range: tuple[Radius, Radius] | None = None
    cosine_weight: float = 0.0
    architectures: tuple[str, ...] = ()
    averaged: int = 1
    warm: bool = False
    schedule: Schedule = Schedule()

    def __post_init__(self) -> None:
        check(self)

    @property
    def radius(self) -> Radius:
        return self.unlearn.radius

    @property
    def passes_per_step(self) -> int:
        """Forward+backward passes of a network for each picture of a training step."""
        extra = bool(self.randomness_weight) + bool(self.shared.value)  # clean batch, shared part
        return self.unlearn.passes + self.adversary.passes + 1 + extra

    def passes_per_image(self, count: int) -> int:
        """Return the passes for each of `count` pictures, in training and for its final noise."""
        visits = Fraction(self.schedule.steps * min(self.schedule.batch_size, count), count)
        networks = self.averaged * (1 + len(self.architectures))
        return math.ceil(visits * self.passes_per_step) + self.published.attack.passes * networks

    @property
    def learned(self) -> StageOne:
        """Stage 1 as training runs it."""
        return StageOne(
            self.unlearn,
            self.views,
            self.window,
            self.jitter,
            self.cosine_weight,
            self.shared,
            self.patterns,
        )

    @property
    def published(self) -> StageOne:
        """Stage 1 with the attack and the views of the final noise."""
        attack, views = self.final or self.unlearn, self.final_views or self.views
        return replace(self.learned, attack=attack, views=views)

    def within(self, radius: Radius) -> "MinMaxMin":
        """Return the method for noise of another radius ρu; ρa is halved if as large."""
        if radius == self.radius:
            return self
        adversary, drawn, half = self.adversary, self.adversary_range, Radius(radius.value / 2)
        if adversary.radius >= radius:
            adversary = adversary.within(half)
        if drawn and drawn[1] >= radius:
            drawn = (Radius(half.value * drawn[0].value / drawn[1].value), half)
        return replace(
            self,
            unlearn=self.unlearn.within(radius),
            final=self.final and self.final.within(radius),
            adversary=adversary,
            adversary_range=drawn,
            shared=min(self.shared, radius),
        )

    def build(self, spec: Spec) -> nn.Module:
        names = (spec.architecture, *self.architectures)
        networks = [build_classifier(name, spec.classes) for name in names]
        model: nn.Module = networks[0]
        if len(networks) > 1 or self.averaged > 1:
            model = Surrogates(networks, self.averaged - 1)
        if self.shared.value:
            part = torch.empty(spec.classes * self.patterns, 3, spec.size, spec.size)
            ball = float(self.shared)
            model.register_buffer("shared", part.uniform_(-ball, ball))
        return model

    def fit(self, module: nn.Module, data: Data, run: Run, observer: Observer) -> None:
        """Train the surrogate (Algorithm I, lines 5-19)."""
        late = module.keepings(self.schedule.steps) if isinstance(module, Surrogates) else {}
        kept = no_noise(data, self.radius, run) if self.warm else None
        watch = Visits(observer, kept, late)

        def losses(model: nn.Module, pixels: Tensor, labels: Tensor, rng: Rng) -> dict[str, Tensor]:
            return self.step_losses(model, pixels, labels, run, rng, watch.visit())

        train(module, losses, data, self.schedule, run, watch)

    def noise(
        self, module: nn.Module, images: Tensor, labels: Tensor, run: Run, rng: Rng
    ) -> Tensor:
        """Eq. 2 with the trained surrogate; grey images (N, 1, H, W) get grey noise."""
        start = self.learned.shared_part(module, images, self.learned.places(labels, rng))
        with all_frozen(module, run) as networks:
            return self.published.minimum(networks, images, labels, rng, start)

    def step_losses(
        self,
        module: nn.Module,
        pixels: Tensor,
        labels: Tensor,
        run: Run,
        rng: Rng,
        visit: Visit = Visit(),  # noqa: B008 - only read
    ) -> dict[str, Tensor]:
        """Both stages (Eqs. 2, 8) on uint8 pixels: terms "loss", "cross_entropy", "randomness"."""
        images, network = to_images(pixels), on_turn(module, visit.step)
        with frozen(network, run.precision, compiled=run.compiled) as fixed:
            places = self.learned.places(labels, rng)
            if self.shared.value:
                part = module.get_buffer("shared")
                self.learned.move_shared(fixed, part, images, labels, places, rng)
            shared = self.learned.shared_part(module, images, places)
            start = visit.start(shared)
            delta = self.learned.minimum([fixed], images, labels, rng, start)
        visit.keep(delta, shared, self.radius)
        noisy = self.views(images + to_delta(to_levels(delta, self.radius)), rng)
        adversary = self.adversary_at(run.seed, visit.step)
        attacked = noisy + _attack(network, noisy, labels, adversary, run, rng)
        if not self.randomness_weight:
            with run.autocast():
                error = cross_entropy(network(attacked), labels).mean()
            return {"loss": error, "cross_entropy": error.detach()}
        clean = self.views(images, rng)
        with run.autocast():
            if self.joint:
                logits, guesses = network(torch.cat([attacked, clean])).chunk(2)
            else:
                logits, guesses = network(attacked), network(clean)
        error = cross_entropy(logits, labels).mean()
        spread = randomness(guesses, self.randomness).mean()
        loss = error + self.randomness_weight * spread
        return {"loss": loss, "cross_entropy": error.detach(), "randomness": spread.detach()}

    def adversary_at(self, seed: int, step: int) -> Pgd:
        """Return the adversary of a step: one radius, and a step size to it, for all pictures."""
        if not self.adversary_range:
            return self.adversary
        low, high = (radius.value for radius in self.adversary_range)
        share = Fraction(float(Rng.for_images(seed, torch.tensor([step])).uniform()))
        return self.adversary.within(Radius(low + (high - low) * share))


def _attack(
    module: nn.Module, images: Tensor, labels: Tensor, adversary: Pgd, run: Run, rng: Rng
) -> Tensor:
    """Return δa, the inner maximum of Eq. 3."""
    if not adversary.steps:
        return torch.zeros_like(images)
    with frozen(module, run.precision, compiled=run.compiled) as network:
        return pgd(lambda x: cross_entropy(network(x), labels), images, adversary, "maximise", rng)
