"""Which noises and which victims the published tables need, at which scale, and in which order."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any

from unlearn.audits.plan import NONE, WHOLE, Arm, Cell, Decay, Training
from unlearn.config import to_plain
from unlearn.methods import MinMaxMin
from unlearn.radius import Radius
from unlearn.training import Schedule

LEVELS = Radius.of_levels
OURS, FAST, CLEAN, PLACEBO = "min-max-min", "fast", "clean", "placebo"
CIFAR10, CIFAR100 = "cifar10", "cifar100"
DATA = (CIFAR10, CIFAR100)
PICTURES = 50_000  # to train on, in both
SURROGATE, SURROGATE_SEED = "resnet18", 1
VICTIMS = ("vgg16", "resnet18", "resnet50", "densenet121-imagenet", "wrn-34-10")
OTHER_SURROGATES = ("vgg16", "resnet50", "densenet121-imagenet")
SHARES = tuple(Fraction(n, 5) for n in range(1, 5))
DECAYS: tuple[Decay, ...] = ("decayed", "constant")
SEEDS = (101, 102, 103)
TABLES = ("table3", "table4", "table6", "table5", "figure1")  # in the order of filling
_FIELDS = ("data", "method", "surrogate", "network", "rho-a", "share", "rate", "seed")

RECIPES = MinMaxMin.recipes()
METHODS: Mapping[str, MinMaxMin] = {
    OURS: RECIPES["paper"],
    FAST: RECIPES["fast"],
    "error-minimising": RECIPES["error-minimising"],
    "unconstrained": replace(RECIPES["paper"], randomness_weight=0.0),  # Figure 1: without Eq. 7
}


@dataclass(frozen=True)
class Noise:
    """One trained noise generator: the method, its surrogate network, and the data."""

    data: str
    method: str
    surrogate: str

    @property
    def fields(self) -> dict[str, str]:
        """What names it in a journal and for --only."""
        return {"data": self.data, "method": self.method, "surrogate": self.surrogate}


@dataclass(frozen=True)
class Victim:
    """One victim: what it is trained on, how, and its seed; table is the first that asks for it.

    share is that of the pictures that are protected; a clean victim with a share below 1 is the
    remainder of the others. Clean ones have no surrogate; the placebo is as strong as our noise.
    """

    table: str = field(compare=False)
    data: str
    method: str
    surrogate: str
    network: str
    rho_a: Radius
    share: Fraction
    decay: Decay
    seed: int

    @property
    def arm(self) -> Arm:
        """What the audit calls its training set."""
        if self.method == CLEAN:
            return "remainder" if self.share < 1 else "clean"
        return "placebo" if self.method == PLACEBO else "protected"

    @property
    def noise(self) -> Noise | None:
        """The generator whose pictures it needs."""
        if self.method == CLEAN:
            return None
        return Noise(self.data, OURS if self.method == PLACEBO else self.method, self.surrogate)

    @property
    def fields(self) -> dict[str, str]:
        """What names it in a journal and for --only."""
        return {
            "data": self.data,
            "method": self.method,
            "surrogate": self.surrogate,
            "network": self.network,
            "rho-a": str(self.rho_a),
            "share": str(self.share),
            "rate": self.decay,
            "seed": str(self.seed),
        }

    def cell(self, network: str) -> Cell:
        """The cell of an audit, with the network that this scale builds."""
        return Cell(self.arm, network, self.rho_a, self.share, NONE, self.decay, self.seed)


Unit = Noise | Victim


@dataclass(frozen=True)
class Scale:
    """How much of everything: the authors' setting, or just enough to run each plan to its end.

    pictures and tested are None for all of them; networks are what is built in place of others.
    schedule, views and steps (of both attacks) of generators are None where the method says them.
    """

    name: str
    training: Training
    schedule: Schedule | None = None
    views: int | None = None
    steps: int | None = None
    pictures: int | None = None
    tested: int | None = None
    seeds: tuple[int, ...] = SEEDS
    networks: tuple[tuple[str, str], ...] = ()

    def network(self, name: str) -> str:
        """Return the network that is built where the plan says name."""
        return dict(self.networks).get(name, name)

    def method(self, name: str) -> MinMaxMin:
        """Return a method with this scale's steps and views."""
        method = METHODS[name]
        unlearn, adversary = method.noise.attack, method.adversary
        if self.views is not None:
            unlearn = replace(unlearn, views=self.views)
        if self.steps is not None:
            unlearn = replace(unlearn, steps=self.steps)
            adversary = replace(adversary, steps=min(adversary.steps, self.steps))
        schedule = self.schedule or method.schedule
        noise = replace(method.noise, attack=unlearn)
        return replace(method, noise=noise, adversary=adversary, schedule=schedule)

    def settings(self, unit: Unit) -> str:
        """Return a short hash of all that decides a unit's numbers, but for its data and names."""
        noise = unit if isinstance(unit, Noise) else unit.noise
        return _settings(self, noise, unit.network if isinstance(unit, Victim) else None)

    def passes(self, unit: Unit) -> int:
        """Return the forward+backward passes of one picture that a unit takes.

        A generator's are those of its training and of the noise for all pictures.
        """
        pictures = self.pictures or PICTURES
        if isinstance(unit, Victim):
            adversary = self.training.pgd_steps if unit.rho_a.value else 0
            batch = min(self.training.batch_size, pictures)
            return self.training.steps_for(pictures) * batch * (adversary + 1)
        method = self.method(unit.method)
        cost = method.cost(pictures)
        return cost.training + pictures * cost.final


def changes(value: Any) -> Any:
    """Return as JSON values what differs from the defaults of a dataclass, at every depth.

    So a setting that is added later, off by default, leaves the journal as it is.
    """
    if isinstance(value, Radius) or not is_dataclass(value):
        return to_plain(value)
    values = {f.name: getattr(value, f.name) for f in fields(value)}
    usual = {f.name: f.default for f in fields(value)}
    return {name: changes(v) for name, v in values.items() if v != usual[name]}


@cache
def _settings(scale: Scale, noise: Noise | None, network: str | None) -> str:
    """Return the hash for a generator, or, with a network, for a victim."""
    plain: dict[str, object] = {"counts": [scale.pictures, scale.tested], "seed": SURROGATE_SEED}
    if noise:
        plain["method"] = changes(scale.method(noise.method))
        plain["surrogate"] = scale.network(noise.surrogate)
    if network:
        plain["training"] = changes(scale.training)
        plain["network"] = scale.network(network)
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]


SCALES: Mapping[str, Scale] = {
    "paper": Scale("paper", Training(32, 32, epochs=1, steps=40_000)),
    "mini": Scale(
        "mini",
        Training(32, 32, epochs=1, steps=3, batch_size=16, pgd_steps=2, step_share=Fraction(1, 2)),
        Schedule(steps=3, batch_size=16),
        views=2,
        steps=2,
        pictures=500,  # five of each of 100 classes, so that 4/5 of them leave a remainder
        tested=100,
        seeds=SEEDS[:2],
        networks=(
            ("vgg16", "resnet-small"),
            ("resnet18", "resnet-small"),
            ("resnet50", "resnet18-thin"),
            ("densenet121-imagenet", "resnet-small"),
            ("wrn-34-10", "resnet18-thin"),
        ),
    ),
}


def units(table: str, scale: Scale) -> tuple[Unit, ...]:
    """Return what a table needs, each once, in the order of filling; "all" is every table."""
    return tuple(dict.fromkeys(_everything(scale) if table == "all" else _table(table, scale)))


def matches(unit: Unit, wanted: Iterable[str]) -> bool:
    """Tell whether a unit has every wanted field, each "name=value" or "name=value,value".

    Raises ValueError for a field that no unit has.
    """
    for text in wanted:
        name, _, values = text.partition("=")
        if name not in _FIELDS:
            raise ValueError(f"--only {text}: write name=value, as in rho-a=4/255 or method=clean")
        if unit.fields.get(name) not in values.split(","):
            return False
    return True


def _everything(scale: Scale) -> Iterator[Unit]:
    """Yield CIFAR-10 table by table, then CIFAR-100, then the baseline and the curves."""
    for data in DATA:
        for plan in _OF_ONE.values():
            yield from plan(data, scale)
    yield from _baseline(scale)
    yield from _figure1()


def _table(name: str, scale: Scale) -> Iterator[Unit]:
    """Yield what one table needs, CIFAR-10 first."""
    if name == "figure1":
        yield from _figure1()
        return
    for data in DATA:
        yield from _OF_ONE[name](data, scale)
    if name == "table3":
        yield from _baseline(scale)


def _victims(
    table: str,
    data: str,
    seeds: tuple[int, ...],
    *,
    rho_a: tuple[int, ...] = (4,),
    methods: tuple[str, ...] = (OURS, CLEAN),
    shares: tuple[Fraction, ...] = (WHOLE,),
    networks: tuple[str, ...] = (SURROGATE,),
    surrogate: str = SURROGATE,
    decays: tuple[Decay, ...] = DECAYS,
) -> Iterator[Victim]:
    """Yield the victims of one block, the first seed of all of them first."""
    order = product(seeds, rho_a, shares, networks, methods, decays)
    for seed, levels, share, network, method, decay in order:
        source = "" if method == CLEAN else surrogate
        yield Victim(table, data, method, source, network, LEVELS(levels), share, decay, seed)


def _table3(data: str, scale: Scale) -> Iterator[Victim]:
    """Yield ρa 4 and 0, their placebos with one seed, the fast recipe, then the other radii.

    Radii of 6 and 8 were not published; these and the fast recipe are tried on CIFAR-10 only.
    """
    others = (1, 2, 3, 6, 8) if data == CIFAR10 else (1, 2, 3)
    for rho_a in ((4, 0), others):
        yield from _victims("table3", data, scale.seeds, rho_a=rho_a)
        yield from _victims("table3", data, scale.seeds[:1], rho_a=rho_a, methods=(PLACEBO,))
        if data == CIFAR10 and rho_a != others:
            yield from _victims("table3", data, scale.seeds, rho_a=rho_a, methods=(FAST,))


def _table4(data: str, scale: Scale) -> Iterator[Victim]:
    """Yield the five victims at ρa 4."""
    yield from _victims("table4", data, scale.seeds, networks=VICTIMS)


def _table5(data: str, scale: Scale) -> Iterator[Victim]:
    """Yield the five victims of the noise of other surrogates, and their clean controls."""
    for surrogate in OTHER_SURROGATES:
        yield from _victims(
            "table5", data, scale.seeds, networks=VICTIMS, methods=(OURS,), surrogate=surrogate
        )
    yield from _table4(data, scale)


def _table6(data: str, scale: Scale) -> Iterator[Victim]:
    """Yield partly protected sets and their clean remainders alone, then all and nothing."""
    for levels in (4, 2):
        yield from _victims("table6", data, scale.seeds, rho_a=(levels,), shares=SHARES)
        yield from _victims("table6", data, scale.seeds, rho_a=(levels,))


def _baseline(scale: Scale) -> Iterator[Victim]:
    """Yield our error-minimising noise on CIFAR-10, the column EM of Table 3."""
    methods = ("error-minimising",)
    yield from _victims("table3", CIFAR10, scale.seeds, rho_a=(4, 0), methods=methods)


def _figure1() -> Iterator[Noise]:
    """Yield the generators whose training is watched: ours, without Eq. 7, and plain."""
    for method in METHODS:
        if method == FAST:
            continue
        yield Noise(CIFAR10, method, SURROGATE)


_OF_ONE: Mapping[str, Callable[[str, Scale], Iterator[Victim]]] = {
    "table3": _table3,
    "table4": _table4,
    "table6": _table6,
    "table5": _table5,
}
