"""A small task that a victim learns in seconds, and what the tests of victims share."""

from fractions import Fraction
from typing import Any

import torch

from tests.support.making import CPU, make_labels, make_rng
from unlearn.audits.plan import NONE, WHOLE, Cell, Training
from unlearn.audits.report import Point, Result
from unlearn.audits.victim import Surroundings
from unlearn.countermeasures.base import Countermeasure
from unlearn.datasets.labelled import LabelledPictures
from unlearn.radius import Radius
from unlearn.tensors import add_levels

CLASSES = ("across-wide", "down-wide", "across-narrow", "down-narrow")
NOTHING = Countermeasure(NONE, "nothing")
TRAINING = Training(image_size=16, source_size=16, epochs=6, batch_size=32, learning_rate=0.05)


def make_bars(count: int, seed: int = 0, grain: float = 0.25) -> LabelledPictures:
    """Four classes of 16x16 pictures, told apart by their bars, which flips keep."""
    rng, labels = make_rng(count, seed), make_labels(count)
    down, across = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    places = torch.stack([down, across, down, across])[labels]
    pace = torch.tensor([0.7, 0.7, 1.6, 1.6])[labels][:, None, None]
    wave = torch.sin(places * pace + 6.28 * rng.uniform(1, 1))[:, None]
    colour = rng.uniform(3, 1, 1, low=0.3, high=1.0)
    noise = rng.uniform(3, 16, 16, low=-grain, high=grain)
    pictures = (0.5 + 0.2 * wave * colour + noise).clamp(0, 1)
    return LabelledPictures((pictures * 255).round().to(torch.uint8), labels, CLASSES)


def with_shortcut(data: LabelledPictures, levels: int = 8) -> LabelledPictures:
    """The same pictures with a tint that tells the class: learned at once, absent from others."""
    signs = torch.tensor([[1, 1, -1], [1, -1, 1], [-1, 1, 1], [-1, -1, -1]], dtype=torch.int16)
    noise = (signs[data.labels] * levels)[:, :, None, None].expand(data.pixels.shape)
    return LabelledPictures(add_levels(data.pixels, noise), data.labels, data.classes)


def make_cell(arm: str = "clean", **changes) -> Cell:
    values: dict[str, Any] = {
        "arm": arm,
        "architecture": "resnet-small",
        "rho_a": Radius.of_levels(0),
        "fraction": WHOLE,
        "countermeasure": NONE,
        "decay": "cosine",
        "seed": 101,
    }
    if "fraction" in changes:
        changes["fraction"] = Fraction(changes["fraction"])
    return Cell(**(values | changes))


def around(countermeasure: Countermeasure = NOTHING, **changes) -> Surroundings:
    return Surroundings(CPU, countermeasure, **changes)


def make_result(cell: Cell, last: float, **changes) -> Result:
    """A result as fit_victim returns it, with a straight curve."""
    epochs, train = changes.pop("epochs", 2), changes.pop("train", 0.95)
    values = {
        "accuracy_last": last,
        "accuracy_best": changes.pop("best", last),
        "best_epoch": epochs,
        "train_accuracy": train,
        "trained": 1000,
        "tested": 400,
        "curve": tuple(Point(n, last * n / epochs, train) for n in range(1, epochs + 1)),
        "seconds": 1.5,
    }
    return Result(cell=cell, **(values | changes))
