"""Early stopping: a copier with a few clean pictures of their own keeps the best epoch."""

from fractions import Fraction

from unlearn.countermeasures.base import Countermeasure

EARLY_STOPPING = Countermeasure(
    "early-stopping",
    "The copier keeps the epoch that does best on clean pictures of their own, a tenth of the "
    "held-out ones (the share is our choice).",
    clean=Fraction(1, 10),
)
