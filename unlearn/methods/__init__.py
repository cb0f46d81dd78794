"""Methods by name."""

from unlearn.methods.base import Method, Spec
from unlearn.methods.min_max_min import MinMaxMin

METHODS: dict[str, type[MinMaxMin]] = {MinMaxMin.name: MinMaxMin}

__all__ = ["METHODS", "Method", "MinMaxMin", "Spec"]
