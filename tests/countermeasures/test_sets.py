"""Projection, label noise, early stopping: what acts on the set as a whole."""

from fractions import Fraction

import pytest
import torch

from tests.support.making import CLASSES, make_labels, make_rng
from unlearn.countermeasures import find
from unlearn.countermeasures.projection import linear_weights
from unlearn.datasets.labelled import LabelledPictures


def make_shortcuts(count, size=8, seed=0):
    """Noisy pictures with a pattern of their class's own added: eight levels up or down a pixel."""
    labels = make_labels(count)
    patterns = 16 * make_rng(4, 99).integers(2, 3, size, size) - 8
    noise = make_rng(count, seed).uniform(3, size, size, low=-40, high=40)
    pixels = (128 + noise + patterns[labels]).round().to(torch.uint8)
    return LabelledPictures(pixels, labels, CLASSES)


def found(data, weights):
    rows = data.pixels.flatten(1).float() / 255
    return float(((rows @ weights.T).argmax(1) == data.labels).float().mean())


def test_the_linear_classifier_finds_class_wise_noise():
    data = make_shortcuts(600)
    weights = linear_weights(data, 0)
    assert weights.shape == (4, 192)
    assert found(data, weights) > 0.95


@pytest.mark.slow
def test_the_linear_classifier_learns_from_pictures_in_order_of_class():
    data = make_shortcuts(600)
    ordered = data.subset(data.labels.argsort(stable=True))
    assert found(ordered, linear_weights(ordered, 0)) > 0.95


@pytest.mark.slow
def test_projection_leaves_what_is_orthogonal_to_the_weights():
    data = make_shortcuts(300)
    weights = linear_weights(data, 7).double()
    rows = data.pixels.flatten(1).double() / 255
    inside = rows @ torch.linalg.pinv(weights) @ weights
    expected = ((rows - inside).clamp(0, 1) * 255).reshape(data.pixels.shape)
    changed = find("projection").once(data, 7).pixels
    assert (changed - expected).abs().max() < 0.51
    assert not torch.equal(changed, data.pixels)


def test_projection_takes_the_shortcut_away():
    data = make_shortcuts(600)
    weights = linear_weights(data, 0)
    assert found(find("projection").once(data, 0), weights) < 0.5


@pytest.mark.slow
def test_projection_keeps_large_pictures_finite():
    data = make_shortcuts(8, size=64)
    weights = linear_weights(data, 0)
    assert weights.isfinite().all()
    assert find("projection").once(data, 0).pixels.shape == (8, 3, 64, 64)


def many(count=4000, classes=CLASSES):
    pixels = make_rng(count).integers(256, 3, 2, 2).to(torch.uint8)
    return LabelledPictures(pixels, make_labels(count, len(classes)), classes)


def test_label_noise_replaces_fifteen_of_a_hundred_labels_by_others():
    data = many()
    labels = find("label-noise").once(data, 0).labels
    wrong = labels != data.labels
    assert abs(wrong.float().mean() - 0.15) < 0.02
    steps = ((labels - data.labels) % 4)[wrong]
    shares = torch.bincount(steps, minlength=4) / len(steps)
    assert shares[0] == 0
    assert (shares[1:] - 1 / 3).abs().max() < 0.07


def test_label_noise_leaves_a_single_class_and_the_pictures_alone():
    alone = many(50, ("only",))
    assert find("label-noise").once(alone, 0) is alone
    data = many(50)
    assert torch.equal(find("label-noise").once(data, 0).pixels, data.pixels)


def test_early_stopping_only_owns_a_tenth_of_the_clean_pictures():
    one, nothing = find("early-stopping"), find("none")
    assert one.clean == Fraction(1, 10)
    assert (one.stored, one.once, one.each) == (nothing.stored, nothing.once, nothing.each)
    assert [c for c in map(find, ("grey", "mixup", "projection")) if c.clean] == []
