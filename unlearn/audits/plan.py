"""The plan of an audit: which victims are trained, on what, and how."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, get_args

from unlearn.audits.options import LARGEST_VIEW, Adversary, CounteredAt
from unlearn.errors import UsageProblem
from unlearn.radius import Radius

Arm = Literal["clean", "placebo", "motif", "remainder", "protected"]
ARMS: tuple[Arm, ...] = get_args(Arm)  # controls first
Decay = Literal["cosine", "decayed", "constant"]

NONE = "none"  # the name of the countermeasure that does nothing
WHOLE = Fraction(1)
_MEASUREMENTS = 20  # of a training whose length is given in steps
SMALL_SIDE = 64  # pictures up to this side are shown whole, larger ones through random crops


def network_and_view(architecture: str) -> tuple[str, int | None]:
    """Split "resnet18@64" into the network and the side that it sees, None where it has no own.

    Raises UsageProblem for a side that is no number of pixels.
    """
    name, at, side = architecture.partition("@")
    if at and not (side.isdecimal() and 8 <= int(side) <= LARGEST_VIEW):
        raise UsageProblem(
            f"{architecture}: {side!r} is no side of what a network sees; write for instance "
            f"{name}@224, from 8 to {LARGEST_VIEW}"
        )
    return name, int(side) if at else None


@dataclass(frozen=True, order=True)
class Cell:
    """One victim: what it is trained on, which network it is, and its seed.

    fraction is the share of the training pictures that are protected (or placebo); the remainder
    arm trains on the other pictures alone. A clean, motif or whole set has fraction 1.
    """

    arm: Arm
    architecture: str
    rho_a: Radius
    fraction: Fraction
    countermeasure: str
    decay: Decay
    seed: int

    @property
    def key(self) -> str:
        """The cell in one line, for journals and file names of its state."""
        parts = (self.arm, self.architecture, self.rho_a, self.fraction, self.countermeasure)
        return " ".join(str(part) for part in (*parts, self.decay, self.seed))

    @property
    def words(self) -> str:
        """The cell for people: what is usual is left out."""
        parts = [self.arm, self.architecture, f"ρa {self.rho_a if self.rho_a.value else 0}"]
        parts += [f"share {self.fraction}"] if self.fraction < 1 else []
        parts += [self.countermeasure] if self.countermeasure != NONE else []
        parts += [f"{self.decay} rate"] if self.decay != "cosine" else []
        return ", ".join([*parts, f"seed {self.seed}"])


@dataclass(frozen=True)
class Training:
    """How a victim trains: SGD, flips and crops, and an adversary against itself where ρa > 0.

    image_size is the side of what the network sees, unless its name has another ("resnet18@64"),
    source_size the side of the stored squares it is cropped from: small pictures of one size get
    flips and padded crops (pad 4), others random resized crops of at least smallest_crop of the
    area. steps, if given, take the place of epochs. The PGD step is step_share of ρa (authors: 10
    steps of ρa/5).
    """

    image_size: int
    source_size: int
    epochs: int = 20
    steps: int | None = None
    adversarial_epochs: int | None = None
    batch_size: int = 128
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    pgd_steps: int = 10
    step_share: Fraction = Fraction(1, 5)
    smallest_crop: float = 0.25
    adversary: Adversary = "pgd"

    def __post_init__(self) -> None:
        if self.source_size < self.image_size:
            raise UsageProblem(
                f"pictures stored at {self.source_size} pixels cannot be shown at {self.image_size}"
            )
        if self.epochs < 1 or (self.steps is not None and self.steps < 1):
            raise UsageProblem("a victim that takes no step learns nothing; use at least 1 epoch")
        if self.batch_size < 1 or self.pgd_steps < 1:
            raise UsageProblem("batch size and PGD steps must be at least 1")
        if not 0 < self.step_share <= 1:
            raise UsageProblem(f"a PGD step of {self.step_share} ρa leaves the radius ρa at once")
        if not 0 < self.smallest_crop <= 1:
            raise UsageProblem(f"a smallest crop of {self.smallest_crop} is no share of the area")

    @property
    def padded(self) -> bool:
        """Whether pictures are shown whole, in padded crops, and not in random resized ones."""
        return self.source_size == self.image_size <= SMALL_SIDE

    def seen_by(self, architecture: str) -> "Training":
        """Return the training of a network, with the side of what it sees."""
        _, view = network_and_view(architecture)
        return self if view is None else replace(self, image_size=view)

    def of(self, cell: Cell) -> "Training":
        """Return the training of one cell, with its number of epochs and its view."""
        own = self.seen_by(cell.architecture)
        if self.adversarial_epochs is None or not cell.rho_a.value:
            return own
        return replace(own, epochs=self.adversarial_epochs, adversarial_epochs=None)

    def steps_for(self, pictures: int) -> int:
        """Return how many steps of SGD a training set of so many pictures gets."""
        if self.steps is not None:
            return self.steps
        return self.epochs * max(1, pictures // min(self.batch_size, pictures))

    def period(self, pictures: int) -> int:
        """Return after how many steps a victim is tried: an epoch, or a twentieth of its steps."""
        if self.steps is not None:
            return max(1, self.steps // _MEASUREMENTS)
        return max(1, self.steps_for(pictures) // self.epochs)

    @property
    def passes(self) -> int:
        """Forward+backward passes of the adversary for a picture."""
        return 1 if self.adversary == "n-fgsm" else self.pgd_steps


@dataclass(frozen=True)
class AuditPlan:
    """Everything that decides the numbers of an audit, besides the pictures."""

    training: Training
    architectures: tuple[str, ...] = ("resnet18",)
    rho_a: tuple[Radius, ...] = (Radius.of_levels(0), Radius.of_levels(4))
    fractions: tuple[Fraction, ...] = (WHOLE,)
    countermeasures: tuple[str, ...] = (NONE,)
    decays: tuple[Decay, ...] = ("cosine",)
    seeds: tuple[int, ...] = (101,)
    placebo: bool = True
    motif: bool = True
    countermeasures_at: CounteredAt = "smallest"

    def __post_init__(self) -> None:
        for fraction in self.fractions:
            if not 0 < fraction <= 1:
                raise UsageProblem(f"--fraction {fraction} is not a share above 0, at most 1")
        for name in ("architectures", "rho_a", "fractions", "countermeasures", "decays", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise UsageProblem(f"an audit needs {name}, each once; got {values}")

    @property
    def views(self) -> tuple[int, ...]:
        """The sides of what the networks see, the smallest first."""
        return tuple(sorted({self.training.seen_by(n).image_size for n in self.architectures}))

    def cells(self) -> tuple[Cell, ...]:
        """Return every victim to train, controls first, seed by seed within a setting.

        Countermeasures other than none are tried at the smallest ρa, or at all of them, and on
        wholly protected sets, each with a clean control that suffers the same; fractions get no
        countermeasure.
        """
        found = dict.fromkeys(cell for cell in self._settings())
        return tuple(sorted(found, key=lambda c: (c.countermeasure != NONE, ARMS.index(c.arm))))

    def _settings(self) -> Iterator[Cell]:
        for architecture in self.architectures:
            for decay in self.decays:
                for rho_a in self.rho_a:
                    for arm, fraction, countermeasure in self._arms(rho_a):
                        for seed in self.seeds:
                            yield Cell(
                                arm, architecture, rho_a, fraction, countermeasure, decay, seed
                            )

    def _arms(self, rho_a: Radius) -> Iterator[tuple[Arm, Fraction, str]]:
        """Yield arm, fraction and countermeasure of the cells at one ρa."""
        if NONE in self.countermeasures:
            yield "clean", WHOLE, NONE
            for fraction in self.fractions:
                wanted = {"placebo": self.placebo, "motif": self.motif and fraction == WHOLE}
                wanted |= {"remainder": fraction < 1, "protected": True}
                yield from ((arm, fraction, NONE) for arm in ARMS if wanted.get(arm))
        if self.countermeasures_at == "all" or rho_a == min(self.rho_a):
            for name in self.countermeasures:
                if name != NONE:
                    yield "clean", WHOLE, name
                    yield "protected", WHOLE, name
