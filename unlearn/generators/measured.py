"""What the bundled generators were measured to do; the reports are in docs/results."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Measured:
    """Accuracies in percent, (mean, standard deviation) of three victims after their training.

    Five classes of ImageNet, 2,000 photos to train on and 500 to try, a small residual network, 25
    epochs, no countermeasure, one key; guessing is 20. `adversarial`: of protected and of clean
    pictures at ρa 4/255, None if that was not measured.
    """

    protected: tuple[float, float]
    clean: tuple[float, float]
    placebo: tuple[float, float]
    adversarial: tuple[tuple[float, float], tuple[float, float]] | None = None


_FOUND: Final = {
    ("7adfa61e788b", "2/255"): Measured((80.5, 1.6), (80.8, 0.9), (82.3, 0.4)),  # base
    ("7adfa61e788b", "4/255"): Measured((71.9, 4.5), (80.8, 0.9), (81.7, 0.4)),
    ("7adfa61e788b", "8/255"): Measured(
        (46.9, 2.7), (80.8, 0.9), (81.3, 0.8), ((68.8, 0.4), (68.4, 0.5))
    ),
    ("9dd86c891f41", "8/255"): Measured(  # casts
        (51.1, 1.5), (81.7, 1.3), (81.8, 1.5), ((62.5, 1.3), (72.7, 0.6))
    ),
    ("4749730fdc05", "8/255"): Measured((31.0, 6.3), (80.8, 0.9), (81.9, 1.2)),  # motifs
    ("00f6a1cb74ac", "8/255"): Measured((23.7, 1.1), (80.8, 0.9), (81.3, 0.7)),  # strong
}


def measured(sha256: str, rho: str) -> Measured | None:
    """Return what a generator was measured to do at a bound, None if it was not."""
    return _FOUND.get((sha256[:12], rho))
