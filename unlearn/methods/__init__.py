"""Methods by name."""

from unlearn.methods.base import Cost, Method, NoiseMaker, Spec
from unlearn.methods.min_max_min import MinMaxMin

METHODS: dict[str, type[Method]] = {
    MinMaxMin.name: MinMaxMin,
}

__all__ = ["METHODS", "Cost", "Method", "MinMaxMin", "NoiseMaker", "Spec"]
