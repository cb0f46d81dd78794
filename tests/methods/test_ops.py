"""OPS against the numbers of its authors' code, and the mistakes that these numbers catch."""

from dataclasses import replace

import pytest
import torch

from tests.support.making import CPU, make_data, make_images, make_labels, make_rng
from tests.support.oracles import Oracle, carried, oracle
from unlearn.datasets.labelled import LabelledPictures
from unlearn.errors import UsageProblem
from unlearn.methods import Spec
from unlearn.methods.ops import Ops, corners, marked, scores, search
from unlearn.radius import Radius
from unlearn.training import SILENT

ORACLE = oracle("ops")
TEN = tuple(f"class {k}" for k in range(10))


def data(pixels=None):
    pixels = ORACLE["images_uint8"].permute(0, 3, 1, 2) if pixels is None else pixels
    return LabelledPictures(pixels.contiguous(), ORACLE["labels"], TEN)


def fitted(method, pictures):
    module = method.build(Spec("none", len(pictures.classes), pictures.size))
    method.fit(module, pictures, CPU, SILENT)
    return module


def rows_of(module, order=False):
    """What was chosen (K, P, 5): row, column, red, green, blue; if asked for sorted by place."""
    rows = torch.cat([module.places, module.colours.to(torch.int64)], dim=2).tolist()
    return torch.tensor([sorted(one) if order else one for one in rows])


def of_class(k):
    pictures = data()
    return scores(pictures.pixels[pictures.labels == k])


def test_scores_are_those_of_the_reference():
    found = torch.stack([of_class(k) for k in range(10)])
    torch.testing.assert_close(found, ORACLE["score_formula"], rtol=0, atol=1e-6)  # theirs: float32


@pytest.mark.parametrize("sparsity", [1, 3])
def test_the_chosen_pixels_are_those_of_the_reference(sparsity):
    chosen = rows_of(fitted(Ops(sparsity), data()), order=True)
    assert torch.equal(chosen, ORACLE[f"chosen_sparsity{sparsity}"])


def test_two_classes_of_the_same_pictures_choose_as_in_the_reference():
    # The oracle's twins are classes 0 and 1, both with the pictures of class 0.
    one = of_class(0)
    chosen = search([one, one], 1)[:, 0]
    expected = ORACLE["twin_chosen"]
    rows = torch.stack([chosen // 8 // 6, chosen // 8 % 6, *corners()[chosen % 8].T], dim=1)
    assert torch.equal(rows, expected)


def changed(method=Ops()):  # noqa: B008
    pictures = data()
    maker = method.ready(fitted(method, pictures), CPU)
    images = pictures.pixels.to(torch.float64) / 255
    return maker(images, pictures.labels, make_rng(50))


def check_noise(delta):
    expected = ORACLE["perturbation_sparsity1"].permute(0, 3, 1, 2)
    torch.testing.assert_close(delta, expected, rtol=0, atol=1e-7)  # theirs: float32


def test_noise_and_pictures_are_those_of_the_reference():
    delta = changed()
    check_noise(delta)
    noisy = data().pixels + (delta * 255).round()
    assert torch.equal(noisy.to(torch.uint8).permute(0, 2, 3, 1), ORACLE["poisoned_uint8"])


# The mistakes


def by_variance(k):
    """Mean over variance of the sum over channels, as the paper may have it."""
    pictures = data()
    pixels = pictures.pixels[pictures.labels == k].to(torch.float64).flatten(2) / 255
    sums = (corners()[:, None, :, None] - pixels).abs().sum(dim=2)
    return (sums.mean(dim=1) / sums.var(dim=1, unbiased=False)).T


def test_mean_over_variance_of_the_sums_would_choose_other_pixels_for_every_class():
    best = [int(by_variance(k).flatten().argmax()) for k in range(10)]
    rows = torch.tensor([[n // 8 // 6, n // 8 % 6, *corners()[n % 8]] for n in best])
    assert torch.equal(rows, ORACLE["variant_sum_over_variance_argmax"])
    assert (rows != ORACLE["chosen_sparsity1"][:, 0]).any(dim=1).all()


MISTAKES = {
    "columns for rows": lambda pixels: pixels.transpose(2, 3),
    "blue for red": lambda pixels: pixels.flip(1),
    "the nearest colour": lambda pixels: 255 - pixels,
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_numbers_of_the_reference_catch(mistake):
    wrong = rows_of(fitted(Ops(), data(MISTAKES[mistake](data().pixels))))
    assert not torch.equal(wrong, ORACLE["chosen_sparsity1"])


def test_two_classes_of_the_same_pictures_share_no_pixel():
    one = of_class(0)
    assert len(search([one, one, one], 2).flatten().unique()) == 6


# The defects of the reference


def test_a_pixel_that_is_alike_in_a_whole_class_is_best_if_it_differs_and_worst_if_not():
    pixels = data().pixels.clone()
    pixels[ORACLE["labels"] == 0, :, 2, 3] = 0  # the case in which the reference protects nothing
    assert float(ORACLE["nan_case_max_abs_perturbation_class0"]) == 0
    chosen = rows_of(fitted(Ops(), data(pixels)))[0, 0]
    assert chosen.tolist() == [2, 3, 1, 1, 1]
    found = scores(pixels[ORACLE["labels"] == 0])
    assert torch.isfinite(found).all()
    assert float(found[2 * 6 + 3, 0]) == 0
    assert int(found.argmax()) == (2 * 6 + 3) * 8 + 7


def test_of_pixels_that_are_alike_in_a_whole_class_the_farthest_from_its_colour_is_best():
    pixels = torch.full((4, 3, 2, 2), 128, dtype=torch.uint8)
    pixels[:, :, 0, 1] = 3
    assert int(scores(pixels).argmax()) == 1 * 8 + 7


@pytest.mark.parametrize("shape", [(1, 1), (6, 4), (4, 6), (13, 20), (3, 2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_pixel_of_the_search_covers_its_share_of_a_picture_and_at_least_a_pixel(shape, channels):
    images = torch.full((36, channels, *shape), 0.25)
    places = torch.cartesian_prod(torch.arange(6), torch.arange(6))[:, None]
    noisy = marked(images, places, torch.tensor([1.0, 0.0, 0.5]).expand(36, 1, 3), 6)
    there = (noisy != 0.25).any(dim=1)
    assert (there.flatten(1).sum(dim=1) >= 1).all()
    assert there.any(dim=0).all() or min(shape) < 6
    if min(shape) >= 6:
        assert (there.sum(dim=0) == 1).all()
    colour = [0.5] if channels == 1 else [1.0, 0.0, 0.5]
    for picture, where in zip(noisy, there, strict=True):
        assert picture[:, where].T.unique(dim=0).tolist() == [colour]


# The method


def test_every_class_of_uneven_ones_gets_a_pixel_of_its_own():
    labels = torch.tensor([0] * 9 + [1] + [3] * 2)  # no picture of class 2
    pictures = replace(make_data(12), labels=labels)
    chosen = rows_of(fitted(Ops(), pictures))
    assert len(chosen.flatten(1).unique(dim=0)) == 4


def test_one_picture_of_one_class_is_marked():
    pictures = LabelledPictures(make_data(1).pixels, torch.zeros(1, dtype=torch.int64), ("one",))
    maker = Ops().ready(fitted(Ops(), pictures), CPU)
    delta = maker(pictures.pixels / 255, pictures.labels, make_rng(1))
    assert int((delta != 0).any(dim=1).sum()) == 1


def test_in_a_ball_the_pixel_moves_towards_its_colour_as_far_as_it_may():
    images, labels, module = make_images(8), make_labels(8), fitted(Ops(), make_data(40))
    free, kept = (
        method.ready(module, CPU)(images, labels, make_rng(8))
        for method in (Ops(), Ops().at(Radius.of_levels(8)))
    )
    assert Ops().bound is None
    torch.testing.assert_close(kept.abs().amax(dim=(1, 2, 3)), torch.full((8,), 8 / 255))
    largest = free.abs().amax(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(kept, free * (8 / 255 / largest))


def test_more_pixels_than_there_are_colours_for_are_refused():
    with pytest.raises(UsageProblem, match="8 pixels in 8 colours, too few for 1 in each of 9"):
        Ops().build(Spec("none", 9, 1))
    assert Ops().build(Spec("none", 8, 1))
    with pytest.raises(UsageProblem, match="at least 1"):
        Ops(sparsity=0)


def test_what_the_checkout_carries_is_enough_for_the_noise(monkeypatch):
    monkeypatch.setattr(f"{__name__}.ORACLE", Oracle(carried("ops")))
    check_noise(changed())
