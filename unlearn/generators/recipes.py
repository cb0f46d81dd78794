"""A method by name, with one of its recipes and some of its settings changed."""

from collections.abc import Sequence
from dataclasses import fields
from math import ceil
from typing import Any

from unlearn.config import Plain, apply_settings, from_plain, to_plain
from unlearn.errors import UsageProblem
from unlearn.generators.options import MethodOptions
from unlearn.methods import METHODS, Method
from unlearn.methods.base import PAPER
from unlearn.training import Schedule

_PREFERRED = ("fast", PAPER)  # what is taken where no recipe is named
_SCHEDULE = "schedule"
_USUAL_PICTURES = 50_000  # of CIFAR-10, which published costs are counted for


def method_of(wanted: MethodOptions) -> Method:
    """Return the method: its recipe, in the ball of rho, then with settings ("views.grey=0.1").

    Raises UsageProblem for unknown methods, recipes and fields, naming the known ones, and for
    settings that contradict another.
    """
    base = recipe_of(wanted.method, wanted.recipe)
    if wanted.rho is not None:
        base = base.at(wanted.rho)
    lengths = {"steps": wanted.steps, "batch_size": wanted.batch_size}
    asked = [f"{_SCHEDULE}.{name}={n}" for name, n in lengths.items() if n is not None]
    return with_settings(base, [*asked, *wanted.settings])


def recipe_of(
    name: str, recipe: str | None = None, preferred: Sequence[str] = _PREFERRED
) -> Method:
    """Return a recipe of a method: the one named, else the first of the preferred that it has."""
    if name not in METHODS:
        raise UsageProblem(f"unknown method {name!r}; choose one of {', '.join(METHODS)}")
    recipes = METHODS[name].recipes()
    if recipe is not None and recipe not in recipes:
        raise UsageProblem(f"{name} has no recipe {recipe!r}; choose one of {', '.join(recipes)}")
    return recipes[recipe or next(one for one in preferred if one in recipes)]


def with_settings(method: Method, settings: Sequence[str]) -> Method:
    """Return a method with fields changed as texts "name=value" say."""
    if not settings:
        return method
    plain = to_plain(method)
    try:
        apply_settings(type(method), plain, settings)
        changed: Method = from_plain(type(method), plain, "settings")
    except UsageProblem as problem:
        raise UsageProblem(f"{method.name}: {problem}") from problem
    return changed


def with_epochs(method: Method, epochs: float, pictures: int) -> Method:
    """Return a method that trains for so many passes over so many pictures.

    Raises UsageProblem for a method that does not train.
    """
    schedule = to_plain(method).get(_SCHEDULE)
    if schedule is None:
        raise UsageProblem(f"{method.name} has no {_SCHEDULE}: it trains nothing for any epochs")
    steps = max(1, ceil(epochs * pictures / min(pictures, schedule["batch_size"])))
    return with_settings(method, [f"{_SCHEDULE}.steps={steps}"])


def with_at_most(method: Method, steps: int) -> Method:
    """Return a method whose trainings take at most so many steps each, and are alike otherwise."""
    found = {field.name: getattr(method, field.name) for field in fields(method)}  # type: ignore[arg-type]
    lengths = {name: one.steps for name, one in found.items() if isinstance(one, Schedule)}
    return with_settings(method, [f"{k}.steps={min(n, steps)}" for k, n in lengths.items()])


def trained_plain(method: Method) -> Plain:
    """Return what decides a method's training as plain values: all but the published noise."""
    late = {field.name for field in fields(method) if "like" in field.metadata}  # type: ignore[arg-type]
    return {name: value for name, value in to_plain(method).items() if name not in late}


def described() -> list[dict[str, Any]]:
    """Return what a person chooses among methods by: one row each, of their published settings."""
    rows = []
    for name, kind in METHODS.items():
        paper = kind.recipes()[PAPER]
        rows.append(
            {
                "name": name,
                "summary": kind.summary,
                "rho": "none" if paper.bound is None else str(paper.bound),
                "needs_labels": kind.needs_labels,
                "passes_a_picture": paper.cost(_USUAL_PICTURES).a_picture,
                "recipes": list(kind.recipes()),
            }
        )
    return rows


def settings_of(name: str, recipe: str | None = None) -> dict[str, Plain]:
    """Return the settings of a recipe by the names that --set knows them under."""
    return _flat(to_plain(recipe_of(name, recipe)))


def _flat(plain: Plain, prefix: str = "") -> dict[str, Plain]:
    """Return the values in tables by their paths."""
    found: dict[str, Plain] = {}
    for name, value in plain.items():
        path = f"{prefix}{name}"
        found |= _flat(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return found
