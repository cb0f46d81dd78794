"""CUDA against the numbers of its authors' code, and the mistakes that these numbers catch."""

import numpy as np
import pytest
import torch

from tests.support.making import CPU, make_images, make_labels, make_rng
from tests.support.oracles import EXACT, Oracle, carried, oracle
from unlearn.errors import UsageProblem
from unlearn.methods import Spec
from unlearn.methods.cuda import Cuda, class_filters, filtered
from unlearn.radius import Radius
from unlearn.rng import Rng

ORACLE = oracle("cuda")
SETS = pytest.mark.parametrize("part", ["A", "B"])


def filters(part):
    return ORACLE[f"{part}_kernels"][ORACLE["labels"]]


def check_pictures(part, change=lambda weights: weights):
    images = filtered(ORACLE.images, change(filters(part)))
    cut = (images * 255 + 1e-9).floor().to(torch.uint8)
    assert torch.equal(cut, ORACLE[f"{part}_poisoned_uint8"])


@SETS
def test_pictures_are_those_of_the_reference(part):
    check_pictures(part)


def test_a_picture_before_rounding_is_that_of_the_reference():
    # The reference's filters are float32; the number was worked out from them in float64.
    image = filtered(ORACLE.images[:1], filters("A")[:1])[0]
    torch.testing.assert_close(image, ORACLE["check_float_class0_image0"], **EXACT)


def test_the_tool_rounds_where_the_reference_cuts():
    images = ORACLE.images
    delta = filtered(images, filters("A")) - images
    steps = ORACLE["A_poisoned_uint8"].int() - ORACLE["images_uint8"].int()
    apart = (delta * 255).round().int() - steps
    assert set(apart.unique().tolist()) == {0, 1}
    assert 0.4 < float((apart == 1).double().mean()) < 0.6


@pytest.mark.parametrize(("seed", "name"), [(0, "A_kernels"), (3, "B_kernels")])
def test_filters_are_made_as_those_of_the_reference(seed, name):
    stream, weights = np.random.RandomState(seed), ORACLE[name]
    for expected in weights:
        drawn = stream.uniform(0, 0.3, (3, 1, 3, 3))[0, 0]
        drawn[stream.randint(3), stream.randint(3)] = 1
        torch.testing.assert_close(torch.from_numpy(drawn), expected, rtol=0, atol=1e-7)


def test_the_first_filters_of_ten_classes_are_those_of_four():
    assert torch.equal(ORACLE["kernels_seed0_K10"][:4], ORACLE["A_kernels"])


def test_drawn_filters_are_spread_as_those_of_the_reference():
    drawn = class_filters(3, float(ORACLE["blur"]), make_rng(400))
    ones = drawn == 1
    assert torch.equal(ones.flatten(1).sum(dim=1), torch.ones(400, dtype=torch.int64))
    assert abs(float(drawn[~ones].mean()) - float(ORACLE["dist_mean_other"])) < 0.005
    assert 0.299 < float(drawn[~ones].max()) < 0.3
    theirs = ORACLE["dist_position_counts"]
    assert abs(int(ones.sum(dim=0).min()) - int(theirs.min())) < 15
    assert abs(int(ones.sum(dim=0).max()) - int(theirs.max())) < 15


MISTAKES = {
    "mirrored filters, as a convolution has": lambda weights: weights.flip(1, 2),
    "columns before rows": lambda weights: weights.transpose(1, 2),
    "the filter of another class": lambda weights: weights.roll(1, dims=0),
    "no weight of one": lambda weights: weights.clamp(max=0.3),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@SETS
def test_the_numbers_of_the_reference_catch(mistake, part):
    with pytest.raises(AssertionError):
        check_pictures(part, MISTAKES[mistake])


def test_the_numbers_of_the_reference_catch_one_largest_value_for_all_pictures(monkeypatch):
    each = filtered

    def together(images, weights):
        images = each(images, weights) * torch.linspace(0.5, 1, len(images))[:, None, None, None]
        return images / images.max()

    monkeypatch.setattr(f"{__name__}.filtered", together)
    with pytest.raises(AssertionError):
        check_pictures("A")


# The defects of the reference


@pytest.mark.parametrize("side", [1, 3, 5, 9])
def test_filters_of_any_odd_side_leave_pictures_their_size(side):
    images = make_images(2, 7)[:, :, :5]
    weights = torch.zeros(2, side, side)
    weights[:, side // 2, side // 2] = 0.5
    image = filtered(images, weights)
    torch.testing.assert_close(image, images / images.amax(dim=(1, 2, 3), keepdim=True))


def test_a_black_picture_stays_black():
    images = torch.zeros(2, 3, 4, 4)
    assert torch.equal(filtered(images, class_filters(3, 0.3, make_rng(2))), images)


# The method


def noise(method, images, labels, seed=0):
    maker = method.ready(method.build(Spec("none", 2)), CPU)
    return maker(images, labels, Rng.for_images(seed, torch.arange(len(images))))


def test_the_key_draws_a_filter_for_each_class_that_no_other_class_changes():
    images = make_images(1, 12).expand(5, -1, -1, -1)
    labels = torch.tensor([3, 0, 3, 12345, 1])
    delta = noise(Cuda(), images, labels)
    assert torch.equal(delta[0], delta[2])
    assert len(delta.flatten(1).unique(dim=0)) == 4
    assert torch.equal(noise(Cuda(), images[1:2], labels[1:2])[0], delta[1])
    assert not torch.equal(noise(Cuda(), images, labels, seed=1), delta)


def test_the_published_settings_are_the_defaults_and_keep_no_ball():
    assert (Cuda().side, Cuda().blur, Cuda().bound) == (3, 0.3, None)
    paper = Cuda.recipes()["imagenet"]
    assert (paper.side, paper.blur) == (9, 0.06)
    assert float(noise(Cuda(), make_images(8, 32), make_labels(8)).abs().max()) > 64 / 255


def test_in_a_ball_the_noise_is_the_same_but_smaller():
    images, labels = make_images(6, 12), make_labels(6)
    free, kept = (
        noise(method, images, labels) for method in (Cuda(), Cuda().at(Radius.of_levels(4)))
    )
    shares = 4 / 255 / free.abs().amax(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(kept, free * shares)
    wide = noise(Cuda().at(Radius.of_levels(254)), images, labels)
    assert torch.equal(wide[0], free[0])


@pytest.mark.parametrize(("side", "blur"), [(2, 0.3), (0, 0.3), (3, 1.5), (3, -0.1)])
def test_what_is_no_filter_is_refused(side, blur):
    with pytest.raises(UsageProblem, match=f"side {side} and blur"):
        Cuda(side=side, blur=blur)


def test_what_the_checkout_carries_is_enough_for_the_pictures(monkeypatch):
    monkeypatch.setattr(f"{__name__}.ORACLE", Oracle(carried("cuda")))
    check_pictures("A")
    check_pictures("B")
