"""A recipe of min-max-min with some of its settings changed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from unlearn.attack import Pgd
from unlearn.config import apply_settings, from_plain, to_plain
from unlearn.methods import RECIPES, MinMaxMin
from unlearn.radius import Radius

NAMES = {"paper": "min-max-min", "fast": "fast"}  # the recipes that train-generator offers
_FINAL = "final"


@dataclass(frozen=True)
class Attacks:
    """Radii, PGD steps and views of a recipe's attacks; None is what the recipe has."""

    rho: Radius | None = None
    rho_a: Radius | None = None
    unlearn_steps: int | None = None
    adversary_steps: int | None = None
    views: int | None = None
    final_steps: int | None = None
    final_views: int | None = None


def method_of(recipe: str, attacks: Attacks, settings: Sequence[str]) -> MinMaxMin:
    """Return a recipe of NAMES with its attacks and then its fields changed ("views.grey=0.1").

    An attack of another number of steps keeps the length of its way, 2 ρ if it had none: the
    published steps are 2 ρ over their number. The final noise takes what training uses, unless the
    recipe or a setting says something else. Raises UsageProblem for unknown fields and for settings
    that contradict another.
    """
    base = RECIPES[NAMES[recipe]]
    learned, adversary = base.unlearn, base.adversary
    plain = to_plain(base)
    plain["unlearn"] = to_plain(
        _changed(learned, attacks.rho, attacks.unlearn_steps, attacks.views)
    )
    plain["shared"] = to_plain(_in_proportion(base.shared, learned.radius, attacks.rho))
    plain["adversary"] = to_plain(_changed(adversary, attacks.rho_a, attacks.adversary_steps))
    early = [setting for setting in settings if not setting.strip().startswith(_FINAL)]
    apply_settings(MinMaxMin, plain, early)
    last = base.final or from_plain(Pgd, plain["unlearn"], "unlearn")
    rho = Radius.parse(plain["unlearn"]["radius"])
    plain["final"] = to_plain(_changed(last, rho, attacks.final_steps, attacks.final_views))
    plain["final_views"] = plain["final_views"] or dict(plain["views"])
    late = [setting for setting in settings if setting not in early]
    apply_settings(MinMaxMin, plain, late)
    return from_plain(MinMaxMin, plain, "settings")


def _in_proportion(shared: Radius, of: Radius, to: Radius | None) -> Radius:
    """Return the radius of the shared part for noise of another radius."""
    return shared if to is None else Radius(shared.value * to.value / of.value)


def _changed(
    attack: Pgd, radius: Radius | None, steps: int | None, views: int | None = None
) -> Pgd:
    """Return an attack in another ball, of other steps and views."""
    scaled = attack if radius is None else attack.within(radius)
    if steps is not None and steps != scaled.steps:
        way = scaled.step.value * scaled.steps or 2 * scaled.radius.value
        step = min(scaled.radius.value, way * Fraction(1, max(1, steps)))
        scaled = replace(scaled, step=Radius(step), steps=steps)
    return scaled if views is None else replace(scaled, views=views)
