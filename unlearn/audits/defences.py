"""Countermeasures by name, with the files that some of them need."""

from pathlib import Path

from unlearn.countermeasures import COUNTERMEASURES, find
from unlearn.countermeasures.base import Countermeasure
from unlearn.errors import UsageProblem

DIFFUSION = "diffusion"


def countermeasure_of(name: str, purifier: Path | None) -> Countermeasure:
    """Return a countermeasure; raises UsageProblem for unknown ones and a missing purifier."""
    if name != DIFFUSION:
        return find(name)
    if purifier is None:
        raise UsageProblem(
            "the countermeasure diffusion needs a diffusion model of yours: --purifier FOLDER "
            "(docs/purification.md says which)"
        )
    from unlearn.countermeasures.diffusion import diffusion

    return diffusion(purifier)


def acts_on_files(countermeasure: Countermeasure) -> bool:
    """Tell whether a countermeasure changes the stored pictures at their full size."""
    return countermeasure.stored is not COUNTERMEASURES["none"].stored
