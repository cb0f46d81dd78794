"""Methods by name."""

from unlearn.attack import Pgd
from unlearn.methods.base import Method, Spec
from unlearn.methods.min_max_min import MinMaxMin
from unlearn.radius import Radius

METHODS: dict[str, type[MinMaxMin]] = {MinMaxMin.name: MinMaxMin}

_NO_ADVERSARY = Pgd(Radius.of_levels(0), Radius.of_levels(0), steps=0)

# Error-minimising noise (Huang et al., 2021) is the first stage with a surrogate trained plainly.
RECIPES: dict[str, MinMaxMin] = {
    "min-max-min": MinMaxMin(),
    "error-minimising": MinMaxMin(adversary=_NO_ADVERSARY, randomness_weight=0.0),
}

__all__ = ["METHODS", "RECIPES", "Method", "MinMaxMin", "Spec"]
