"""EM: noise that leaves a plainly trained network nothing to learn, and is learned along with it.

"Unlearnable Examples" (Huang et al., 2021). Training and sweeps take turns: the surrogate takes a
few steps on noisy pictures, then the noise of all pictures moves on. Deviations from the authors'
code: noisy pictures are clipped to [0, 1] in training too; a training ends with its schedule even
if mistakes stay; noise of classes is published as it is learned, but noise of single pictures is
made anew with the final surrogate, for pictures that it was not trained on have none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import ClassVar, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.attack import Pgd, frozen, pgd, usual_start
from unlearn.datasets.folders import pick_evenly
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.errors import UsageProblem
from unlearn.methods.base import PAPER, Cost, LabelledNoise, NoiseMaker, Spec
from unlearn.methods.stage_one import resized
from unlearn.methods.supervised import classifier_for
from unlearn.methods.tap import in_colour
from unlearn.models.classifier import Classifier
from unlearn.models.folding import settled
from unlearn.objectives import cross_entropy
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import to_images
from unlearn.training import Batch, Enough, Observer, Schedule, Stage, train

_PATTERNS = "patterns"


@dataclass(frozen=True)
class Em:
    """Error-minimising noise of pictures or, shared, of classes; the defaults are published ones.

    They are those of README.md, perturbation.py and configs/cifar10/resnet18.yaml, which know no
    end of the schedule. every is how many steps the surrogate takes from sweep to sweep, part the
    share of the pictures that a sweep takes, and enough that of mistakes among them which ends the
    training; with 0 it never ends early. Raises UsageProblem for sweeps of nothing.
    """

    name: ClassVar[str] = "em"
    summary: ClassVar[str] = "noise that leaves a plainly trained network nothing to learn"
    needs_labels: ClassVar[bool] = True
    any_classes: ClassVar[bool] = False

    attack: Pgd = Pgd(Radius.of_levels(8), Radius.of_levels(0.8), steps=20, random_start=False)
    shared: bool = False  # by all pictures of a class
    every: int = 10
    part: Fraction = Fraction(1)
    enough: Fraction = Fraction(1, 100)
    schedule: Schedule = Schedule(steps=500, batch_size=512, decay=1.0, clip_norm=5.0)

    def __post_init__(self) -> None:
        if self.every < 1 or not 0 < self.part <= 1:
            raise UsageProblem(
                f"a sweep of a share of {self.part} every {self.every} steps makes no noise"
            )

    @property
    def bound(self) -> Radius:
        return self.attack.radius

    def at(self, bound: Radius) -> Self:
        return replace(self, attack=self.attack.within(bound))

    def build(self, spec: Spec) -> nn.Module:
        network = classifier_for(self.name, spec)
        if self.shared:
            patterns = torch.zeros(spec.classes, 3, spec.size, spec.size)
            network.register_buffer(_PATTERNS, patterns)
        return network

    def fit(self, module: nn.Module, data: LabelledPictures, run: Run, observer: Observer) -> None:
        """Train the surrogate and its noise in turns, until few mistakes are left."""
        sweeps, done = Sweeps.of(self, data, run), False

        def losses(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
            nonlocal done
            if batch.step and batch.step % self.every == 0:
                sweeps.renew(model)
                done = self.enough > 0 and sweeps.mistakes(model) <= self.enough
            if done:
                raise Enough
            noisy = sweeps.noisy(to_images(batch.pixels), batch.index)
            with run.autocast():
                logits = model(noisy)
            return {"loss": cross_entropy(logits, batch.labels).mean()}

        memory = {"noise": sweeps.noise}
        train(module, losses, data, self.schedule, run, Stage(observer, memory=memory))
        if self.shared:
            if not done:
                sweeps.renew(module)
            module.get_buffer(_PATTERNS).copy_(sweeps.noise)

    def ready(self, module: nn.Module, run: Run) -> NoiseMaker:
        """Return what looks up a class's noise, or takes the steps of one sweep from no noise."""
        network = settled(cast(Classifier, module), run.precision, compiled=run.compiled)
        patterns = module.get_buffer(_PATTERNS).clone() if self.shared else None
        ball = float(self.bound)

        def make(images: Tensor, labels: Tensor, rng: Rng) -> Tensor:
            if patterns is None:
                return own_noise(network, images, labels, self.attack, rng)
            return resized(patterns[labels], images).clamp(-ball, ball)

        return LabelledNoise(make)

    def cost(self, pictures: int) -> Cost:
        """Return the most that it costs: few mistakes end a training early."""
        sweeps = (self.schedule.steps - 1) // self.every + self.shared
        besides = sweeps * ceil(pictures * self.part) * self.attack.passes
        final = 0 if self.shared else self.attack.passes
        return Cost.of(pictures, final, (self.schedule, 1), besides=besides)

    def facts(self) -> Mapping[str, str]:
        return {"shared noise": "by all pictures of a class" if self.shared else "none"}

    @classmethod
    def recipes(cls) -> Mapping[str, Self]:
        paper = cls()
        one, fifth, tenth = replace(paper.attack, steps=1), Fraction(1, 5), Fraction(1, 10)
        ten = Pgd(Radius.of_levels(8), Radius.of_levels(1.6), steps=10, random_start=False)
        return {
            PAPER: paper,
            "by-class": cls(one, shared=True, part=fifth, enough=tenth),
            "quick": cls(ten, schedule=replace(paper.schedule, steps=150, batch_size=128)),
        }

    @classmethod
    def example(cls) -> Self:
        return cls(
            attack=Pgd(Radius.of_levels(8), Radius.of_levels(4), steps=2, random_start=False),
            every=2,
            enough=Fraction(0),
            schedule=Schedule(steps=3, batch_size=4, learning_rate=0.05, clip_norm=5.0),
        )


@dataclass(frozen=True)
class Sweeps:
    """The noise of a training, changed in place: a row (3, S, S) for each picture or each class.

    rows (N,) tell which is a picture's, and taken which pictures a sweep takes.
    """

    method: Em
    data: LabelledPictures
    run: Run
    noise: Tensor
    rows: Tensor
    taken: Tensor

    @classmethod
    def of(cls, method: Em, data: LabelledPictures, run: Run) -> "Sweeps":
        """Return the noise before the first sweep; raises UsageProblem for classes of nothing."""
        classes, counts = len(data.classes), data.labels.bincount(minlength=len(data.classes))
        if method.shared and not counts.all():
            raise UsageProblem(
                f"class {int(counts.argmin())} of {classes} has no pictures to learn noise from"
            )
        taken = pick_evenly(data, max(classes, ceil(len(data) * method.part)), run.seed)
        data = data.to(run.device)
        ids = torch.arange(classes, device=run.device) if method.shared else data.ids
        rows = data.labels if method.shared else torch.arange(len(data), device=run.device)
        like = torch.zeros(len(ids), *data.pixels.shape[1:], device=run.device)
        noise = usual_start(like, method.attack, Rng.for_images(run.seed, ids))
        return cls(method, data, run, noise, rows, taken.to(run.device))

    def noisy(self, images: Tensor, index: Tensor) -> Tensor:
        """Return images (N, 3, S, S), those at index (N,) of the data, with their noise."""
        return (images + self.noise[self.rows[index]]).clamp(0, 1)

    def renew(self, model: nn.Module) -> None:
        """Move the noise by the attack's steps on the model, batch after batch."""
        attack, run, data = self.method.attack, self.run, self.data
        make = shared_noise if self.method.shared else own_noise
        with frozen(model, run.precision, compiled=run.compiled) as network:
            for index in self.taken.split(self.method.schedule.batch_size):
                images, labels = to_images(data.pixels[index]), data.labels[index]
                rng = Rng.for_images(run.seed, data.ids[index])
                start = self.noisy(images, index) - images
                moved = make(network, images, labels, attack, rng, start)
                if self.method.shared:
                    self.noise.copy_(mean_noise(moved, labels, self.noise))
                else:
                    self.noise[index] = moved

    @torch.no_grad()
    def mistakes(self, model: nn.Module) -> float:
        """Return the share of noisy pictures that the model mistakes, and wait for the device."""
        wrong = torch.zeros((), device=self.noise.device)
        with frozen(model, self.run.precision) as network:
            for index in self.taken.split(self.method.schedule.batch_size):
                guesses = network(self.noisy(to_images(self.data.pixels[index]), index))
                wrong += (guesses.argmax(dim=1) != self.data.labels[index]).sum()
        return float(wrong) / len(self.taken)


def own_noise(
    network: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    attack: Pgd,
    rng: Rng,
    start: Tensor | None = None,
) -> Tensor:
    """Return δ that lowers the loss of each picture, the inner minimum of Eq. 2."""
    return pgd(
        lambda x: cross_entropy(network(in_colour(x)), labels),
        images,
        attack,
        "minimise",
        rng,
        start,
    )


def shared_noise(
    network: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    attack: Pgd,
    rng: Rng,
    start: Tensor,
) -> Tensor:
    """Return δ like own_noise, but the last step of which may leave the pictures' range.

    Others may have room where this picture has none, and their mean is what a class gets.
    """
    one, middle, delta = replace(attack, steps=1), torch.full_like(images, 0.5), start

    def losses(moved: Tensor) -> Tensor:
        return cross_entropy(network(images + (moved - middle)), labels)

    for _ in range(attack.steps):
        inside = (images + delta).clamp(0, 1) - images
        delta = pgd(losses, middle, one, "minimise", rng, inside)
    return delta


def mean_noise(delta: Tensor, labels: Tensor, before: Tensor) -> Tensor:
    """Return the mean noise (K, C, H, W) of each class of δ (N, C, H, W), or that of before.

    The sums are a product of matrices, which adds up in the same order on every run.
    """
    members = F.one_hot(labels, len(before)).to(delta.dtype).T
    counts = members.sum(dim=1)[:, None]
    means = members @ delta.flatten(1) / counts.clamp(min=1)
    return torch.where(counts > 0, means, before.flatten(1)).view_as(before)
