"""Min-max-min: robust unlearnable noise from an adversarially trained surrogate (CVPR 2024)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import ClassVar, Self, cast

import torch
from torch import Tensor, nn

from unlearn.attack import Pgd, frozen, pgd
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.errors import UsageProblem
from unlearn.methods.base import PAPER, Cost, LabelledNoise, NoiseMaker, Spec
from unlearn.methods.stage_one import StageOne
from unlearn.models import build_classifier
from unlearn.models.classifier import Classifier
from unlearn.models.folding import settled
from unlearn.objectives import Randomness, cross_entropy, randomness
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import to_delta, to_images, to_levels
from unlearn.training import Batch, Observer, Schedule, train
from unlearn.views import Views

_SHARED = "shared"
_NO_ADVERSARY = Pgd(Radius.of_levels(0), Radius.of_levels(0), steps=0)
_THIRD = Radius(Fraction(8, 3 * 255))  # a third of the noise's radius, 2/3 of the adversary's


@dataclass(frozen=True)
class MinMaxMin:
    """Two-stage min-max-min optimisation with the average randomness constraint (Algorithm I).

    Stage 1 makes noise that lowers the surrogate's loss over random views (Eq. 2); stage 2 trains
    the surrogate adversarially on the noisy pictures and pushes its guesses on clean ones towards
    uniform (Eq. 8). Raises UsageProblem for what contradicts itself, such as ρa ≥ ρu.
    """

    name: ClassVar[str] = "min-max-min"
    summary: ClassVar[str] = "noise that keeps an adversarially trained copier guessing"
    needs_labels: ClassVar[bool] = True
    any_classes: ClassVar[bool] = False

    noise: StageOne = StageOne()  # stage 1, in training and for publishing
    adversary: Pgd = Pgd(Radius.of_levels(4), Radius.of_levels(0.8), steps=10)  # of stage 2
    # what makes the noise to publish instead
    final: Pgd | None = field(default=None, metadata={"like": "noise.attack"})
    final_views: Views | None = field(default=None, metadata={"like": "noise.views"})
    randomness: Randomness = "norm"  # the form of Eq. 7
    randomness_weight: float = 1.0
    joint: bool = False  # attacked and clean batch in one pass; the authors run two
    schedule: Schedule = Schedule()

    def __post_init__(self) -> None:
        _check(self)

    @property
    def bound(self) -> Radius:
        return self.noise.attack.radius

    @property
    def published(self) -> StageOne:
        """Stage 1 with the attack and the views of the final noise."""
        attack, views = self.final or self.noise.attack, self.final_views or self.noise.views
        return replace(self.noise, attack=attack, views=views)

    @property
    def passes_per_step(self) -> int:
        """Forward+backward passes of a network for each picture of a training step."""
        extra = bool(self.randomness_weight) + bool(self.noise.shared.value)
        return self.noise.passes + self.adversary.passes + 1 + extra

    def at(self, bound: Radius) -> Self:
        """Return the method for noise of another radius ρu; ρa is halved if as large."""
        if bound == self.bound:
            return self
        final, adversary = self.final and self.final.within(bound), self.adversary.below(bound)
        return replace(self, noise=self.noise.within(bound), final=final, adversary=adversary)

    def build(self, spec: Spec) -> nn.Module:
        model = build_classifier(spec.architecture, spec.classes)
        if self.noise.shared.value:
            part = torch.empty(spec.classes, 3, spec.size, spec.size)
            ball = float(self.noise.shared)
            model.register_buffer(_SHARED, part.uniform_(-ball, ball))
        return model

    def fit(self, module: nn.Module, data: LabelledPictures, run: Run, observer: Observer) -> None:
        """Train the surrogate (Algorithm I, lines 5-19)."""

        def losses(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
            return self.step_losses(model, batch, run)

        train(module, losses, data, self.schedule, run, observer)

    def ready(self, module: nn.Module, run: Run) -> NoiseMaker:
        """Eq. 2 with the trained surrogate; grey images (N, 1, H, W) get grey noise."""
        network = settled(cast(Classifier, module), run.precision, compiled=run.compiled)
        stage, learned = self.published, self._shared(module)
        shared = None if learned is None else learned.clone()

        def make(images: Tensor, labels: Tensor, rng: Rng) -> Tensor:
            start = stage.shared_part(shared, images, labels)
            return stage.minimum(network, images, labels, rng, start)

        return LabelledNoise(make)

    def cost(self, pictures: int) -> Cost:
        training = (self.schedule, self.passes_per_step)
        return Cost.of(pictures, self.published.passes, training)

    def facts(self) -> Mapping[str, str]:
        return {"rho-a": str(self.adversary.radius)}

    @classmethod
    def recipes(cls) -> Mapping[str, Self]:
        """Return the published settings, and what docs/results/ablations.md speaks for."""
        paper = cls()
        noise, bound = paper.noise, paper.bound
        one_view = replace(noise, attack=replace(noise.attack, views=1))
        return {
            PAPER: paper,
            # 66 passes a picture of 50,000, where the published recipe is 844: its noise is shared
            # by class and becomes each picture's own when it is published.
            "fast": cls(
                noise=StageOne(Pgd(bound, Radius.of_levels(1), steps=0), shared=bound),
                adversary=Pgd(paper.adversary.radius, _THIRD, steps=3),
                final=Pgd(bound, Radius.of_levels(1), steps=4),
                joint=True,
                schedule=Schedule(steps=4000, shape="cosine"),
            ),
            # Huang et al. (2021): the first stage with a surrogate that is trained plainly.
            "error-minimising": cls(adversary=_NO_ADVERSARY, randomness_weight=0.0),
            "quick": cls(noise=one_view, schedule=Schedule(steps=600)),
        }

    @classmethod
    def example(cls) -> Self:
        return cls(
            noise=StageOne(
                Pgd(Radius.of_levels(8), Radius.of_levels(2), steps=3, views=2),
                Views(flip=False, pad=1),
            ),
            adversary=Pgd(Radius.of_levels(4), Radius.of_levels(2), steps=2),
            schedule=Schedule(steps=3, batch_size=4, learning_rate=0.05),
        )

    def step_losses(self, module: nn.Module, batch: Batch, run: Run) -> dict[str, Tensor]:
        """Both stages (Eqs. 2, 8): terms "loss", "cross_entropy" and "randomness"."""
        images, labels, rng = to_images(batch.pixels), batch.labels, batch.rng
        noise, shared = self.noise, self._shared(module)
        with frozen(module, run.precision, compiled=run.compiled) as fixed:
            if shared is not None:
                noise.move_shared(fixed, shared, images, labels, rng)
            start = noise.shared_part(shared, images, labels)
            delta = noise.minimum(fixed, images, labels, rng, start)
        noisy = noise.views(images + to_delta(to_levels(delta, self.bound)), rng)
        attacked = noisy + _attack(module, noisy, labels, self.adversary, run, rng)
        if not self.randomness_weight:
            with run.autocast():
                error = cross_entropy(module(attacked), labels).mean()
            return {"loss": error, "cross_entropy": error.detach()}
        clean = noise.views(images, rng)
        with run.autocast():
            if self.joint:
                logits, guesses = module(torch.cat([attacked, clean])).chunk(2)
            else:
                logits, guesses = module(attacked), module(clean)
        error = cross_entropy(logits, labels).mean()
        spread = randomness(guesses, self.randomness).mean()
        loss = error + self.randomness_weight * spread
        return {"loss": loss, "cross_entropy": error.detach(), "randomness": spread.detach()}

    def _shared(self, module: nn.Module) -> Tensor | None:
        """Return the parts that classes share (K, 3, S, S), if there are."""
        return module.get_buffer(_SHARED) if self.noise.shared.value else None


def _attack(
    module: nn.Module, images: Tensor, labels: Tensor, adversary: Pgd, run: Run, rng: Rng
) -> Tensor:
    """Return δa, the inner maximum of Eq. 3."""
    if not adversary.steps:
        return torch.zeros_like(images)
    with frozen(module, run.precision, compiled=run.compiled) as network:
        return pgd(lambda x: cross_entropy(network(x), labels), images, adversary, "maximise", rng)


def _check(method: MinMaxMin) -> None:
    """Raise UsageProblem for settings that contradict each other or themselves."""
    bound, window = method.bound, method.noise.window
    for adversary in (method.adversary, method.noise.against or method.adversary):
        if adversary.radius >= bound:
            raise UsageProblem(
                f"rho-a {adversary.radius} must be below rho {bound}: noise no "
                "stronger than the adversary can suppress nothing that is learnable"
            )
    if window < 0 or (window and window % 2 == 0):
        raise UsageProblem(f"a window of {window} has no centre; use an odd number, or 0")
    if method.noise.shared > bound:
        raise UsageProblem(
            f"the shared part {method.noise.shared} cannot be larger than rho {bound}"
        )
    if method.final and method.final.radius != bound:
        raise UsageProblem(f"the final noise has radius {method.final.radius}, not {bound}")
