"""The combinations of min-max-min's settings that contradict themselves."""

from typing import TYPE_CHECKING

from unlearn.errors import UsageProblem
from unlearn.methods.surrogates import LATE

if TYPE_CHECKING:
    from unlearn.methods.min_max_min import MinMaxMin


def check(method: "MinMaxMin") -> None:
    """Raise UsageProblem for settings that contradict each other or themselves."""
    _check_adversary(method)
    _check_noise(method)
    steps, most = method.schedule.steps, 1 + method.schedule.steps // LATE
    if not 1 <= method.averaged <= most:
        raise UsageProblem(
            f"{method.averaged} late states (averaged) cannot be kept: {steps} steps have 1 … "
            f"{most} in their last fifth"
        )


def _check_adversary(method: "MinMaxMin") -> None:
    """Refuse an adversary as strong as the noise, and a range of radii that is none."""
    drawn = method.adversary_range or (method.adversary.radius,) * 2
    strongest = max(method.adversary.radius, *drawn)
    if strongest >= method.unlearn.radius:
        raise UsageProblem(
            f"rho-a {strongest} must be below rho {method.unlearn.radius}: noise no "
            "stronger than the adversary can suppress nothing that is learnable"
        )
    if drawn[0] > drawn[1]:
        raise UsageProblem(f"adversary_range begins at {drawn[0]} and ends below, at {drawn[1]}")
    if method.adversary_range and not (method.adversary.steps and method.adversary.step.value):
        raise UsageProblem("adversary_range needs an adversary that takes steps")


def _check_noise(method: "MinMaxMin") -> None:
    """Refuse noise that cannot be made as it is asked for."""
    window, radius = method.window, method.unlearn.radius
    if window < 0 or (window and window % 2 == 0):
        raise UsageProblem(f"a window of {window} has no centre; use an odd number, or 0")
    if method.shared > radius:
        raise UsageProblem(f"the shared part {method.shared} cannot be larger than rho {radius}")
    if method.patterns < 1 or (method.patterns > 1 and not method.shared.value):
        raise UsageProblem(f"{method.patterns} patterns a class need a shared part, and at least 1")
    if method.final and method.final.radius != radius:
        raise UsageProblem(f"the final noise has radius {method.final.radius}, not {radius}")
    if not 0 <= method.cosine_weight < float("inf"):
        raise UsageProblem(f"a cosine weight of {method.cosine_weight} weighs nothing; at least 0")
