"""Countermeasures by name: what a copier may do about the noise in the pictures."""

import difflib
from collections.abc import Iterable

from unlearn.countermeasures.base import Countermeasure
from unlearn.countermeasures.colours import COLOUR_JITTER, GREY_WORLD
from unlearn.countermeasures.compression import JPEG10, JPEG75, RESIZE256
from unlearn.countermeasures.cropping import CROP8, WHOLE
from unlearn.countermeasures.filters import BITS2, BLUR, GAUSSIAN_NOISE, GREY, MEDIAN
from unlearn.countermeasures.labels import LABEL_NOISE
from unlearn.countermeasures.mixing import CUTMIX, CUTOUT, MIXUP
from unlearn.countermeasures.notch import NOTCH
from unlearn.countermeasures.projection import PROJECTION, PROJECTION2
from unlearn.countermeasures.randaugment import RANDAUGMENT
from unlearn.countermeasures.stopping import EARLY_STOPPING
from unlearn.countermeasures.ueraser import UERASER
from unlearn.errors import UsageProblem

NONE = Countermeasure("none", "Pictures are trained on as they are.")

COUNTERMEASURES: dict[str, Countermeasure] = {
    "none": NONE,
    "grey": GREY,
    "grey-world": GREY_WORLD,
    "colour-jitter": COLOUR_JITTER,
    "jpeg75": JPEG75,
    "jpeg10": JPEG10,
    "bits2": BITS2,
    "resize256": RESIZE256,
    "blur": BLUR,
    "median": MEDIAN,
    "gaussian-noise": GAUSSIAN_NOISE,
    "crop8": CROP8,
    "whole": WHOLE,
    "cutout": CUTOUT,
    "mixup": MIXUP,
    "cutmix": CUTMIX,
    "randaugment": RANDAUGMENT,
    "ueraser": UERASER,
    "projection": PROJECTION,
    "projection2": PROJECTION2,
    "notch": NOTCH,
    "label-noise": LABEL_NOISE,
    "early-stopping": EARLY_STOPPING,
}

# Lists by a name of their own. That of photos is the copier's suite of docs/countermeasures.md.
SUITES: dict[str, tuple[str, ...]] = {
    "all": tuple(COUNTERMEASURES),
    "photos": (
        "none",
        "grey",
        "grey-world",
        "colour-jitter",
        "jpeg75",
        "resize256",
        "crop8",
        "whole",
        "early-stopping",
        "projection",
        "projection2",
        "notch",
    ),
}


def expanded(names: Iterable[str]) -> tuple[str, ...]:
    """Return names with those of suites replaced by their members, each once, in their order."""
    members = (member for name in names for member in SUITES.get(name, (name,)))
    return tuple(dict.fromkeys(members))


def find(name: str) -> Countermeasure:
    """Return the countermeasure of a name; raises UsageProblem with a suggestion."""
    if name in COUNTERMEASURES:
        return COUNTERMEASURES[name]
    if name == "diffusion":
        raise UsageProblem(
            'the countermeasure "diffusion" needs a diffusion model of yours; see '
            "docs/purification.md"
        )
    close = difflib.get_close_matches(name, COUNTERMEASURES, n=1)
    hint = f'did you mean "{close[0]}"?' if close else f"choose one of {', '.join(COUNTERMEASURES)}"
    raise UsageProblem(f'unknown countermeasure "{name}"; {hint}')


__all__ = ["COUNTERMEASURES", "NONE", "SUITES", "Countermeasure", "expanded", "find"]
