"""Crop strength: what a victim is shown under crop8, whole and neither."""

from fractions import Fraction

import pytest
import torch

from tests.support.bars import around, make_cell
from tests.support.making import make_rng
from unlearn.audits.crops import cropped
from unlearn.audits.plan import Training
from unlearn.audits.victim import step_losses
from unlearn.countermeasures import find
from unlearn.models import build_classifier
from unlearn.training import Batch

SIDE = 112
COUNT = 64


def seen(name, monkeypatch, side=SIDE):
    """Return the smallest crop that a victim's step asks for, and what it is shown."""
    shown = []

    def spy(pixels, size, smallest, rng):
        shown.append((smallest, cropped(pixels, size, smallest, rng)))
        return shown[-1][1]

    monkeypatch.setattr("unlearn.audits.victim.cropped", spy)
    training = Training(image_size=16, source_size=side, epochs=1)
    losses = step_losses(make_cell("protected"), training, 4, around(find(name)))
    ramp = torch.arange(side, dtype=torch.uint8).expand(COUNT, 3, side, side)
    labels = torch.arange(COUNT) % 4
    batch = Batch(ramp, labels, torch.arange(COUNT), 0, make_rng(COUNT))
    losses(build_classifier("resnet-small", 4), batch)
    return shown[0]


def widths(images):
    """Return how many columns of a ramp each crop spans, roughly: (N,)."""
    ends = images[:, 0, 0] * 255
    return (ends[:, -1] - ends[:, 0]).abs()


@pytest.mark.parametrize(("name", "smallest"), [("none", 0.25), ("crop8", 0.08), ("whole", 1)])
def test_the_countermeasure_decides_the_smallest_crop(name, smallest, monkeypatch):
    assert seen(name, monkeypatch)[0] == smallest


def test_crops_of_eight_percent_are_smaller_than_the_usual_ones(monkeypatch):
    usual, strong = (widths(seen(name, monkeypatch)[1]) for name in ("none", "crop8"))
    assert strong.min() < usual.min()
    assert strong.mean() < usual.mean()


def test_whole_pictures_are_whole_and_some_are_mirrored(monkeypatch):
    images = seen("whole", monkeypatch)[1]
    whole = torch.nn.functional.interpolate(
        torch.arange(SIDE).float().expand(1, 3, SIDE, SIDE), (16, 16), mode="area"
    )[0]
    rows = images[:, 0, 3] * 255
    mirrored = rows[:, 0] > rows[:, -1]
    assert 0 < mirrored.sum() < COUNT
    rows = torch.where(mirrored[:, None], rows.flip(1), rows)
    assert (rows[:, 1:-1] - whole[0, 0, 1:-1]).abs().max() < 0.01


def test_shares_are_exact():
    assert find("crop8").smallest_crop == Fraction(2, 25)
    assert find("grey").smallest_crop is None
