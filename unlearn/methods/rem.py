"""REM and SEM: noise that a copier who trains adversarially learns from all the same.

"Robust Unlearnable Examples" (Fu et al., 2022) attacks every view that its noise is made for;
"Stable Unlearnable Example" (Liu et al., 2024) adds random noise there, for a ninth of the passes.
Both are min-max-min without its randomness term. Deviations from the authors' code: noise is kept
inside the pictures' range instead of clipping the pictures, so that saturated values are not stuck
at their random start; no picture is left out of a training or of the last pass; SEM is SEM for any
data, where its script for ImageNet runs REM.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import nn

from unlearn.attack import Pgd
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.methods.base import PAPER, Cost, NoiseMaker, Spec
from unlearn.methods.min_max_min import MinMaxMin
from unlearn.methods.stage_one import StageOne
from unlearn.methods.supervised import classifier_for
from unlearn.radius import Radius
from unlearn.training import Observer, Schedule
from unlearn.views import Views

_ATTACK = Pgd(Radius.of_levels(8), Radius.of_levels(1.6), steps=10, views=5)
_ADVERSARY = Pgd(Radius.of_levels(4), Radius.of_levels(0.8), steps=10)


@dataclass(frozen=True)
class Rem:
    """Robust error-minimising noise; the defaults are those of its scripts/cifar10/gen_rem.sh.

    inner attacks the views that the noise is made for, adversary those that the surrogate learns
    from. Raises UsageProblem for one that is as strong as the noise.
    """

    name: ClassVar[str] = "rem"
    summary: ClassVar[str] = "noise that lowers the loss even of attacked pictures"
    needs_labels: ClassVar[bool] = True
    any_classes: ClassVar[bool] = False

    attack: Pgd = _ATTACK
    inner: Pgd = _ADVERSARY
    adversary: Pgd = _ADVERSARY
    views: Views = Views()
    schedule: Schedule = Schedule()

    def __post_init__(self) -> None:
        _ = self.stages  # raises for settings that contradict each other

    @property
    def stages(self) -> MinMaxMin:
        """The same as settings of min-max-min."""
        noise = StageOne(self.attack, self.views, against=self.inner)
        return MinMaxMin(noise, self.adversary, randomness_weight=0.0, schedule=self.schedule)

    @property
    def bound(self) -> Radius:
        return self.attack.radius

    def at(self, bound: Radius) -> Self:
        inner, adversary = self.inner.below(bound), self.adversary.below(bound)
        return replace(self, attack=self.attack.within(bound), inner=inner, adversary=adversary)

    def build(self, spec: Spec) -> nn.Module:
        return classifier_for(self.name, spec)

    def fit(self, module: nn.Module, data: LabelledPictures, run: Run, observer: Observer) -> None:
        self.stages.fit(module, data, run, observer)

    def ready(self, module: nn.Module, run: Run) -> NoiseMaker:
        """Return what attacks pictures as the training does, with the surrogate as it is now."""
        return self.stages.ready(module, run)

    def cost(self, pictures: int) -> Cost:
        return self.stages.cost(pictures)

    def facts(self) -> Mapping[str, str]:
        return {"rho-a": str(self.inner.radius)}

    @classmethod
    def recipes(cls) -> Mapping[str, Self]:
        one_view = Pgd(Radius.of_levels(8), Radius.of_levels(1.6), steps=10)
        few_steps = Pgd(Radius.of_levels(4), Radius.of_levels(2), steps=3)
        quick = cls(one_view, few_steps, few_steps, schedule=Schedule(steps=300))
        return {PAPER: cls(), "quick": quick}

    @classmethod
    def example(cls) -> Self:
        return cls(
            attack=Pgd(Radius.of_levels(8), Radius.of_levels(2), steps=3, views=2),
            inner=Pgd(Radius.of_levels(4), Radius.of_levels(2), steps=2),
            adversary=Pgd(Radius.of_levels(4), Radius.of_levels(2), steps=1),
            views=Views(flip=False, pad=1),
            schedule=Schedule(steps=3, batch_size=4, learning_rate=0.05),
        )


@dataclass(frozen=True)
class Sem:
    """Stable error-minimising noise; the defaults are those of its scripts/cifar10/gen_sem.sh.

    draw is the radius of the random noise in the views that the noise is made for; adversary
    attacks those that the surrogate learns from. Raises UsageProblem for one that is as large as
    the noise.
    """

    name: ClassVar[str] = "sem"
    summary: ClassVar[str] = "noise that lowers the loss even of randomly disturbed pictures"
    needs_labels: ClassVar[bool] = True
    any_classes: ClassVar[bool] = False

    attack: Pgd = _ATTACK
    draw: Radius = Radius.of_levels(4)
    adversary: Pgd = _ADVERSARY
    views: Views = Views()
    schedule: Schedule = Schedule()

    def __post_init__(self) -> None:
        _ = self.robust

    @property
    def robust(self) -> Rem:
        """The same as settings of REM, whose inner attack ends at its random start."""
        inner = Pgd(self.draw, self.draw, steps=0)
        return Rem(self.attack, inner, self.adversary, self.views, self.schedule)

    @property
    def bound(self) -> Radius:
        return self.attack.radius

    def at(self, bound: Radius) -> Self:
        other = self.robust.at(bound)
        return replace(
            self, attack=other.attack, draw=other.inner.radius, adversary=other.adversary
        )

    def build(self, spec: Spec) -> nn.Module:
        return classifier_for(self.name, spec)

    def fit(self, module: nn.Module, data: LabelledPictures, run: Run, observer: Observer) -> None:
        self.robust.fit(module, data, run, observer)

    def ready(self, module: nn.Module, run: Run) -> NoiseMaker:
        """Return what attacks pictures as the training does, with the surrogate as it is now."""
        return self.robust.ready(module, run)

    def cost(self, pictures: int) -> Cost:
        return self.robust.cost(pictures)

    def facts(self) -> Mapping[str, str]:
        return {"rho-a": str(self.adversary.radius), "random noise": str(self.draw)}

    @classmethod
    def recipes(cls) -> Mapping[str, Self]:
        quick = Rem.recipes()["quick"]
        return {
            PAPER: cls(),
            "quick": cls(quick.attack, adversary=quick.adversary, schedule=Schedule(steps=600)),
        }

    @classmethod
    def example(cls) -> Self:
        like = Rem.example()
        return cls(like.attack, Radius.of_levels(4), like.adversary, like.views, like.schedule)
