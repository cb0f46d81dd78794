"""Projection of second order: patterns that move no mean, found by how much their class varies."""

import pytest
import torch
import torch.nn.functional as F

from tests.support.making import CLASSES, make_labels, make_rng
from tests.support.sweeps import few
from unlearn.countermeasures import find
from unlearn.countermeasures.projection import linear_weights, principal_directions, without
from unlearn.datasets.labelled import LabelledPictures

SIZE, COUNT = 12, 400


def patterns():
    """Return one pattern of ±8 for each class, (4, 3, 12, 12)."""
    return 16.0 * make_rng(4, 99).integers(2, 3, SIZE, SIZE) - 8


def stripes():
    """Return stripes of ±8 for each class, as many across as it has a number, (4, 3, 12, 12)."""
    places = torch.arange(SIZE) * 2 * torch.pi / SIZE
    waves = torch.stack([torch.sin(wave * places + 0.1) for wave in range(1, 5)])
    return 8 * waves[:, None, None, :].expand(-1, 3, SIZE, -1)


def planted(noise, seed=0):
    """Return random pictures with noise (N, 3, 12, 12) in them."""
    spread = make_rng(COUNT, seed).uniform(3, SIZE, SIZE, low=-20, high=20)
    pixels = (128 + spread + noise).round().to(torch.uint8)
    return LabelledPictures(pixels, make_labels(COUNT), CLASSES)


def signed():
    """Return each picture's class pattern under a sign of the picture's own."""
    signs = 2.0 * make_rng(COUNT, 5).integers(2, 1, 1, 1) - 1
    return signs * patterns()[make_labels(COUNT)]


def rolled():
    """Return each picture's class stripes, begun at a place of the picture's own."""
    offsets = make_rng(COUNT, 6).integers(SIZE).tolist()
    own = stripes()[make_labels(COUNT)]
    return torch.stack([one.roll(by, dims=-1) for one, by in zip(own, offsets, strict=True)])


def share_inside(noise, directions):
    """Return the share of the energy of noise (N, 3, S, S) in the span of directions."""
    basis = torch.linalg.qr(directions).Q
    return float((noise.flatten(1) @ basis).square().sum() / noise.square().sum())


@pytest.mark.parametrize("size", [8, 64])  # more pictures than values, and far more values
def test_weights_are_those_of_gradient_descent_in_double_precision(size):
    stream = torch.Generator().manual_seed(1)
    labels = torch.arange(60) % 3
    own = torch.rand(3, 3, size, size, generator=stream)[labels]
    light = torch.rand(60, 1, 1, 1, generator=stream)
    pixels = (255 * (light + own + torch.rand(own.shape, generator=stream)) / 3).to(torch.uint8)
    data = LabelledPictures(pixels, labels, ("a", "b", "c"))
    found = linear_weights(data, 5)
    rows, stream = pixels.flatten(1).double() / 255, torch.Generator().manual_seed(5)
    start = torch.rand(3, rows.shape[1], generator=stream) * 2 - 1
    weights = (start / rows.shape[1] ** 0.5).double()
    for epoch in range(980):
        rate = 0.1 * 0.1 ** ((epoch >= 490) + (epoch >= 735))
        order = torch.randperm(60, generator=stream)
        errors = (rows[order] @ weights.T).softmax(1) - F.one_hot(labels[order], 3)
        weights -= rate * errors.T @ rows[order] / 60
    assert (found - weights).abs().max() < 2e-2 * weights.abs().max()
    if size == 64:
        assert (found - weights).abs().max() < 1e-5 * weights.abs().max()


@pytest.mark.parametrize("noise", few([signed, rolled], signed))
def test_the_second_order_finds_what_moves_no_mean_and_the_first_does_not(noise):
    data = planted(noise())
    directions = principal_directions(data, 0)
    assert torch.allclose(directions.T @ directions, torch.eye(24), atol=1e-4)
    assert share_inside(noise(), directions) > 0.85
    assert share_inside(noise(), linear_weights(data, 0).T) < 0.4


@pytest.mark.parametrize("noise", [signed, rolled])
def test_its_removal_leaves_the_pictures_and_little_of_the_noise(noise):
    """Random pictures have as much energy in any direction: 24 of 432 are 6 %."""
    data, clean = planted(noise()), planted(torch.zeros(()))
    changed = without(data, principal_directions(data, 0))
    left = changed.pixels.double().flatten(1)
    kept = clean.pixels.double().flatten(1)
    wanted = noise().double().flatten(1)
    strength = ((left - kept) * wanted).sum() / wanted.square().sum()
    assert abs(strength) < 0.2  # 1 before
    left, kept = (part - part.mean(dim=0) for part in (left, kept))
    assert torch.nn.functional.cosine_similarity(left, kept).mean() > 0.85


def test_the_countermeasure_takes_out_both_orders_at_once():
    data = planted(signed()).subset(torch.arange(40))
    both = torch.cat([linear_weights(data, 3).T, principal_directions(data, 3)], dim=1)
    expected = without(data, both)
    assert torch.equal(find("projection2").once(data, 3).pixels, expected.pixels)


def test_directions_are_removed_from_every_picture_not_only_from_their_class():
    data = planted(signed())
    directions = principal_directions(data, 0)
    rest = without(data, directions).pixels.double().flatten(1) / 255
    parts = rest @ directions.double()
    before = data.pixels.double().flatten(1) / 255 @ directions.double()
    for label in range(4):
        own = data.labels == label
        assert parts[own].std() < 0.1 * before[own].std()


def test_many_classes_leave_half_of_the_leading_components():
    classes = tuple(f"class {number}" for number in range(12))
    pixels = make_rng(1200).integers(256, 3, 8, 8).to(torch.uint8)
    data = LabelledPictures(pixels, torch.arange(1200) % 12, classes)
    assert principal_directions(data, 0).shape[1] == 24  # 2 of each class among 50


def test_a_class_without_pictures_and_one_of_a_single_picture_are_no_trouble():
    data = planted(signed()).subset(torch.tensor([0, 1, 5]))
    changed = find("projection2").once(data, 0)
    assert changed.pixels.shape == data.pixels.shape
    alone = data.subset(torch.tensor([0]))
    assert find("projection2").once(alone, 0).pixels.shape == alone.pixels.shape
