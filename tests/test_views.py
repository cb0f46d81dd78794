import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.support.making import make_images, make_pixels, make_rng, property_test
from unlearn.errors import UsageProblem
from unlearn.lossy import shrunk
from unlearn.rng import Rng
from unlearn.tensors import to_images
from unlearn.views import Views, padded_crop, resized_crop, to_grey

EVERY = [
    Views(),
    Views(flip=False),
    Views(pad=0),
    Views(pad=2, grey=0.5),
    Views(smallest_crop=0.3),
    Views(smallest_crop=0.3, flip=False, grey=0.5),
    Views(flip=False, pad=0, jpeg=0.6),
    Views(flip=False, pad=0, shrink=0.6),
    Views(flip=False, pad=0, blur=0.6),
    Views(smallest_crop=0.3, grey=0.5, jpeg=0.5, quality=(50, 90), shrink=0.5, blur=0.5),
]
QUIET = [Views(flip=False, pad=0), Views(flip=False, pad=0, grey=0)]


def crop_one(image, pad, down, across, flip):
    """The same view of one image (C, H, W), step by step."""
    channels, height, width = image.shape
    padded = np.zeros((channels, height + 2 * pad, width + 2 * pad), image.dtype)
    padded[:, pad : pad + height, pad : pad + width] = image
    crop = padded[:, down : down + height, across : across + width]
    return crop[:, :, ::-1] if flip else crop


def stretch_one(image, box):
    """Sample one image (C, H, W) at the centres of a stretched box, one pixel after the other."""
    _, height, width = image.shape
    across_scale, down_scale, centre_x, centre_y = box
    result = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            x = across_scale * ((2 * column + 1) / width - 1) + centre_x
            y = down_scale * ((2 * row + 1) / height - 1) + centre_y
            x = min(max(((x + 1) * width - 1) / 2, 0), width - 1)
            y = min(max(((y + 1) * height - 1) / 2, 0), height - 1)
            left, top = math.floor(x), math.floor(y)
            right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
            upper = image[:, top, left] * (1 - x + left) + image[:, top, right] * (x - left)
            lower = image[:, bottom, left] * (1 - x + left) + image[:, bottom, right] * (x - left)
            result[:, row, column] = upper * (1 - y + top) + lower * (y - top)
    return result


@property_test
@given(st.data(), st.integers(1, 7), st.integers(1, 7), st.integers(0, 9))
def test_one_gather_equals_padding_cropping_and_flipping_each_image(data, height, width, pad):
    images = make_images(3, 8)[:, :, :height, :width]
    shift = st.integers(0, 2 * pad)
    shifts = torch.tensor([[data.draw(shift), data.draw(shift)] for _ in images])
    flips = torch.tensor([data.draw(st.booleans()) for _ in images])
    views = padded_crop(images, pad, shifts, flips)
    for view, image, (down, across), flip in zip(views, images, shifts, flips, strict=True):
        expected = crop_one(image.numpy(), pad, int(down), int(across), bool(flip))
        assert np.array_equal(view.numpy(), expected)


def test_stretched_boxes_equal_bilinear_sampling_of_each_image():
    images = make_images(6, 8)[:, :, :7, :5]
    boxes = Views(smallest_crop=0.2)._boxes(make_rng(6))
    views = resized_crop(images, boxes)
    for view, image, box in zip(views, images, boxes, strict=True):
        expected = stretch_one(image.double().numpy(), box.double().tolist())
        assert np.allclose(view.numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("size", [1, 5, 8])
def test_the_full_box_is_the_picture_itself(size):
    images = make_images(2, size)
    full, mirrored = torch.tensor([1.0, 1, 0, 0]), torch.tensor([-1.0, 1, 0, 0])
    assert torch.allclose(resized_crop(images, full.expand(2, 4)), images, atol=1e-6)
    assert torch.allclose(resized_crop(images, mirrored.expand(2, 4)), images.flip(3), atol=1e-6)


@property_test
@given(st.floats(0.01, 0.999), st.integers(0, 2**40))
def test_boxes_stay_inside_the_picture_and_keep_their_area_and_aspect(smallest, seed):
    width, height, across, down = Views(smallest_crop=smallest)._boxes(make_rng(40, seed)).unbind(1)
    assert float((width.abs() + across.abs()).max()) <= 1 + 1e-6
    assert float((height + down.abs()).max()) <= 1 + 1e-6
    assert float((width.abs() * height).max()) <= 1 + 1e-6
    inside = (width.abs() < 1) & (height < 1)  # a side that reached the border was cut off
    area, aspect = (width.abs() * height)[inside], (width.abs() / height)[inside]
    assert torch.all(area >= smallest - 1e-5)
    assert torch.all((aspect >= 3 / 4 - 1e-5) & (aspect <= 4 / 3 + 1e-5))


def test_half_of_the_views_are_mirrored_and_the_crops_reach_every_place():
    shifts, flips = Views(pad=2)._shifts(make_rng(20_000))
    counts = torch.bincount(shifts[:, 0] * 5 + shifts[:, 1], minlength=25).float()
    assert float(((counts - 800) ** 2 / 800).sum()) < 51.2  # 24 degrees of freedom, 1 in 1000
    assert 0.48 < float(flips.float().mean()) < 0.52
    turned = Views(smallest_crop=0.5)._boxes(make_rng(20_000))[:, 0] < 0
    assert 0.48 < float(turned.float().mean()) < 0.52


def test_views_without_flip_never_mirror():
    assert not Views(flip=False)._shifts(make_rng(500))[1].any()
    assert (Views(flip=False, smallest_crop=0.5)._boxes(make_rng(500))[:, 0] > 0).all()


def test_grey_equals_what_pillow_makes_within_one_level():
    pixels = make_pixels(4, 32)
    grey = (to_grey(to_images(pixels)) * 255).round()
    for picture, levels in zip(pixels, grey, strict=True):
        image = Image.fromarray(picture.permute(1, 2, 0).numpy())
        known = torch.from_numpy(np.array(image.convert("L")).astype(np.float32))
        assert float((levels - known).abs().max()) <= 1
        assert torch.equal(levels[0], levels[1])
        assert torch.equal(levels[0], levels[2])


@pytest.mark.parametrize(("grey", "low", "high"), [(0.0, 0, 0), (0.3, 0.25, 0.35), (1.0, 1, 1)])
def test_grey_is_a_probability_for_each_picture(grey, low, high):
    images = make_images(1500, 2)
    views = Views(flip=False, pad=0, grey=grey)(images, make_rng(1500))
    is_grey = (views[:, 0] == views[:, 1]).flatten(1).all(1)
    assert low <= float(is_grey.float().mean()) <= high
    assert torch.equal(views[~is_grey], images[~is_grey])


@pytest.mark.parametrize("name", ["jpeg", "shrink", "blur"])
@pytest.mark.parametrize(("chance", "low", "high"), [(0.3, 0.25, 0.35), (1.0, 1, 1)])
def test_what_befalls_files_is_a_probability_for_each_picture(name, chance, low, high):
    images = make_images(1000, 4)
    views = Views(flip=False, pad=0, **{name: chance})(images, make_rng(1000))
    changed = (views != images).flatten(1).any(1)
    assert low <= float(changed.float().mean()) <= high
    assert torch.equal(views[~changed], images[~changed])


def test_views_without_chances_draw_the_numbers_they_always_drew():
    for views, draws in ((Views(), 1), (Views(grey=0.5), 2), (Views(jpeg=0.5, blur=0.5), 3)):
        rng, images = make_rng(3), make_images(3)
        views(images, rng)
        assert rng._draws == draws


def test_the_quality_of_a_view_is_a_whole_number_from_its_range(monkeypatch):
    seen = []

    def spy(images, quality):
        seen.append(quality)
        return images

    monkeypatch.setattr("unlearn.views.jpeg", spy)
    Views(jpeg=1.0, quality=(30, 33))(make_images(4000, 2), make_rng(4000))
    (quality,) = seen
    values, counts = quality.unique(return_counts=True)
    assert values.tolist() == [30, 31, 32, 33]
    assert counts.min() > 850


def test_half_of_the_shrunk_views_lose_half_of_their_sides():
    images = make_images(1000, 8)
    views = Views(flip=False, pad=0, shrink=1.0)(images, make_rng(1000))
    half = (views == shrunk(images, 1 / 2)).flatten(1).all(1)
    more = (views == shrunk(images, 3 / 4)).flatten(1).all(1)
    assert torch.all(half ^ more)
    assert 450 < int(half.sum()) < 550


@pytest.mark.parametrize("views", QUIET)
def test_views_that_change_nothing_return_equal_images(views):
    images = make_images(3)
    assert torch.equal(views(images, make_rng(3)), images)


@pytest.mark.parametrize("views", EVERY)
def test_a_view_depends_on_its_own_picture_and_stream_alone(views):
    images, ids = make_images(6), torch.arange(6)
    together = views(images, Rng.for_images(1, ids))
    assert torch.equal(views(images.flip(0), Rng.for_images(1, ids.flip(0))).flip(0), together)
    for one in range(6):
        alone = views(images[one : one + 1], Rng.for_images(1, ids[one : one + 1]))
        assert torch.equal(alone[0], together[one])


@pytest.mark.parametrize("views", EVERY)
def test_views_keep_shape_and_range_and_leave_their_images_alone(views):
    images = make_images(6)
    before = images.clone()
    first, again = views(images, make_rng(6)), views(images, make_rng(6))
    assert first.shape == images.shape
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1 + 1e-6
    assert torch.equal(images, before)
    assert torch.equal(first, again)


@pytest.mark.parametrize("views", EVERY)
def test_the_next_view_is_another_one(views):
    rng, images = make_rng(32), make_images(32)
    assert not torch.equal(views(images, rng), views(images, rng))


@settings(deadline=None, max_examples=4, derandomize=True)
@given(st.integers(0, 2**40))
def test_gradients_flow_exactly_through_every_part_of_a_view(seed):
    images = make_images(2, 4, seed).double().requires_grad_()
    shifts, flips = Views(pad=1)._shifts(make_rng(2, seed))
    boxes = Views(smallest_crop=0.3)._boxes(make_rng(2, seed)).double()
    assert torch.autograd.gradcheck(lambda x: padded_crop(x, 1, shifts, flips), images)
    assert torch.autograd.gradcheck(lambda x: resized_crop(x, boxes), images)
    assert torch.autograd.gradcheck(to_grey, images)


@pytest.mark.parametrize(
    "wrong",
    [{"smallest_crop": 0}, {"smallest_crop": 1.1}, {"grey": -0.1}, {"grey": 1.5}, {"pad": -1}]
    + [{name: wrong} for name in ("jpeg", "shrink", "blur") for wrong in (-0.1, 1.1)]
    + [{"quality": wrong} for wrong in ((0, 50), (60, 50), (50, 101))],
)
def test_views_that_cannot_be_drawn_are_refused(wrong):
    with pytest.raises(UsageProblem, match="cannot be drawn"):
        Views(**wrong)
