"""Budgets: how much an audit may cost, from minutes on a CPU to the published schedule."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from unlearn.audits.plan import NONE, SMALL_SIDE, Decay, Training
from unlearn.errors import UsageProblem
from unlearn.generators.recipes import recipe_of, with_at_most
from unlearn.methods import Method
from unlearn.methods.base import PAPER

_SMALL = "resnet-small"  # whose form for photos goes by the side that it sees
_SMALL_FOR_PHOTOS = "resnet-small-imagenet64", "resnet-small-imagenet"
_FROM_SIDE = 112  # from which side on a stem of stride 4 is cheaper and sees enough


@dataclass(frozen=True)
class Budget:
    """The settings that a budget stands for; every one of them can be overridden.

    pictures caps the training set. photo_size is the side that networks see of photos, photo_source
    the largest side that they are stored at, so that crops are those of photos; small pictures keep
    theirs.
    """

    summary: str
    architectures: tuple[str, ...]
    epochs: int
    countermeasures: tuple[str, ...]
    seeds: int = 3
    batch_size: int = 128
    pgd_steps: int = 10
    step_share: Fraction = Fraction(1, 5)
    photo_size: int = 64
    photo_source: int = 224
    steps: int | None = None
    adversarial_epochs: int | None = None  # where ρa > 0; None: as many
    pictures: int | None = None
    decays: tuple[Decay, ...] = ("cosine",)

    def networks(self, training: Training) -> tuple[str, ...]:
        """Return the networks for what a training shows; the small one has the stem for it."""
        form = _SMALL_FOR_PHOTOS[training.image_size >= _FROM_SIDE]
        small = _SMALL if training.padded else form
        return tuple(small if name == _SMALL else name for name in self.architectures)

    def training(self, side: int, image_size: int | None = None) -> Training:
        """Return how victims train on pictures that are `side` pixels wide, or photos if wider.

        image_size is the side that networks see, if the person chose one.
        """
        photos = side > SMALL_SIDE
        seen = image_size or (self.photo_size if photos else side)
        return Training(
            image_size=seen,
            source_size=max(seen, min(side, self.photo_source)) if photos else seen,
            epochs=self.epochs,
            steps=self.steps,
            adversarial_epochs=self.adversarial_epochs,
            batch_size=self.batch_size,
            pgd_steps=self.pgd_steps,
            step_share=self.step_share,
        )


BUDGETS: Mapping[str, Budget] = {
    "quick": Budget(
        "minutes on two CPU cores: a small network, one seed, 2,000 pictures, PGD-3",
        ("resnet-small",),
        seeds=1,
        epochs=25,  # at 15 a victim has not found the bundled generator's noise yet
        adversarial_epochs=15,
        batch_size=64,
        pgd_steps=3,
        step_share=Fraction(1, 2),
        countermeasures=(NONE, "grey"),
        pictures=2000,
    ),
    "standard": Budget(
        "about an hour on a GPU: ResNet-18, three seeds, the usual countermeasures, PGD-10",
        ("resnet18",),
        epochs=30,
        countermeasures=(NONE, "grey", "jpeg75", "jpeg10", "resize256", "blur", "early-stopping"),
    ),
    "thorough": Budget(
        "most of a day on a GPU: four architectures, three seeds, all countermeasures, PGD-10",
        ("resnet18", "vgg16", "densenet121", "resnet50"),
        epochs=60,
        countermeasures=("all",),
        photo_size=128,
    ),
    "paper": Budget(
        "the authors' schedule: ResNet-18, 40,000 steps, PGD-10, the rate decayed and constant",
        ("resnet18",),
        epochs=1,
        countermeasures=(NONE,),
        photo_size=224,
        photo_source=256,
        steps=40_000,
        decays=("decayed", "constant"),
    ),
}


def budget_of(name: str) -> Budget:
    """Return a budget by name; raises UsageProblem for an unknown one."""
    if name not in BUDGETS:
        raise UsageProblem(f"unknown budget {name!r}; choose one of {', '.join(BUDGETS)}")
    return BUDGETS[name]


def trained_by(
    name: str, budget: str, recipe: str | None = None, steps: int | None = None
) -> tuple[Method, str]:
    """Return a method's recipe and network: as published, or small for the quick budget.

    No training takes more than so many steps. Raises UsageProblem for an unknown method or recipe.
    """
    quick = budget == "quick"
    method = recipe_of(name, recipe, ("quick", PAPER) if quick else (PAPER,))
    if steps is not None:
        method = with_at_most(method, steps)
    return method, "resnet-small" if quick else "resnet18"
