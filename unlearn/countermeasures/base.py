"""Countermeasure: what a copier may do to pictures so that noise in them works less."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from PIL import Image
from torch import Tensor

from unlearn.datasets.labelled import LabelledPictures
from unlearn.rng import Rng

Stored = Callable[[Image.Image, int], Image.Image]  # an RGB picture and its own seed -> RGB
# The training set and the victim's seed -> what it trains on.
Once = Callable[[LabelledPictures, int], LabelledPictures]
Each = Callable[[Tensor, Tensor, Rng], tuple[Tensor, Tensor]]
# images float [0, 1] (N, 3, S, S) after flip and crop, targets float (N, K) -> both, any values


def _as_stored(picture: Image.Image, _seed: int) -> Image.Image:
    return picture


def _as_given(data: LabelledPictures, _seed: int) -> LabelledPictures:
    return data


def _as_drawn(images: Tensor, targets: Tensor, _rng: Rng) -> tuple[Tensor, Tensor]:
    return images, targets


@dataclass(frozen=True)
class Countermeasure:
    """One countermeasure, at the place of the copier's pipeline where it acts.

    stored changes each picture at its full size before it is brought to the training size, once
    the set as a whole (pictures may change, their ids stay: they are the keys of random streams),
    each every batch after flip and crop, to images and targets of the same shape and range. With
    draws above 1 a victim draws `each` so often and keeps, image by image, the draw with the
    highest loss (UEraser-max). clean is the share of the held-out clean pictures that the copier
    owns, to stop early with. smallest_crop takes the place of the training's, where pictures are
    shown through random crops.
    """

    name: str
    summary: str  # one sentence with its parameters and source, for reports
    stored: Stored = _as_stored
    once: Once = _as_given
    each: Each = _as_drawn
    draws: int = 1
    clean: Fraction = Fraction(0)
    smallest_crop: Fraction | None = None
