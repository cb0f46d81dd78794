"""What befalls files: JPEG against Pillow and closed forms, blur, shrinking, gradients."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.making import few_examples, make_images, make_pixels, make_rng, property_test
from unlearn.countermeasures.compression import encoded_again
from unlearn.lossy import _CHROMINANCE, _LUMINANCE, _cosines, _tables, blurred, jpeg, shrunk
from unlearn.tensors import to_images


def of_quality(quality, count=1):
    return torch.full((count,), float(quality))


def waves(height=40, width=56):
    """Smooth colours, uint8 (3, H, W), whose sides are no multiples of a block."""
    down, across = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    red, green = 128 + 90 * torch.sin(down / 6 + across / 9), 128 + 100 * torch.cos(across / 5)
    return torch.stack([red, green, 60 + 2.0 * down]).round().clamp(0, 255).to(torch.uint8)


def encoded(pixels, quality):
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    return torch.from_numpy(np.array(encoded_again(picture, quality))).permute(2, 0, 1)


# JPEG


@pytest.mark.parametrize("quality", [5, 10, 30, 50, 75, 90, 100])
@pytest.mark.parametrize("pixels", [waves(), make_pixels(1, 48)[0]], ids=["waves", "noise"])
def test_jpeg_is_what_pillow_makes_of_the_file(pixels, quality):
    here = jpeg(to_images(pixels[None]), of_quality(quality))[0] * 255
    there = encoded(pixels, quality).float()
    assert float((here - there).abs().mean()) < 3
    change = (there - pixels).abs().mean()
    assert float((here - there).abs().mean()) < max(1, 0.5 * float(change))


def test_at_quality_100_grey_pictures_come_back_within_three_levels():
    images = make_images(3, 24)[:, :1].expand(-1, 3, -1, -1)
    again = jpeg(images, of_quality(100, 3))
    assert float((again - images).abs().max()) * 255 < 3  # 64 roundings of half a step, spread
    assert float((again - images).abs().mean()) * 255 < 0.5


def test_one_colour_comes_back_at_high_quality_and_keeps_its_place_at_low():
    for levels in [(255, 0, 0), (0, 0, 255), (17, 130, 203), (0, 0, 0), (255, 255, 255)]:
        images = torch.tensor(levels).view(1, 3, 1, 1).expand(1, 3, 11, 7) / 255
        assert float((jpeg(images, of_quality(100)) - images).abs().max()) * 255 < 1.5
        low = jpeg(images, of_quality(1))
        assert torch.allclose(low, low[..., :1, :1].expand_as(low), atol=1e-5)


def test_tables_are_those_of_the_standard_scaled_as_libjpeg_does():
    for base in (_LUMINANCE, _CHROMINANCE):
        table = torch.tensor(base, dtype=torch.float32)
        assert table.shape == (8, 8)
        ten, half, best = _tables(base, torch.tensor([10.0, 50.0, 100.0]))
        assert torch.equal(half, table)
        assert torch.equal(ten, (table * 5).clamp(max=255))
        assert torch.equal(best, torch.ones(8, 8))


def test_the_cosine_transform_is_orthogonal_and_begins_with_the_mean():
    turn = _cosines()
    assert torch.allclose(turn @ turn.T, torch.eye(8, dtype=turn.dtype), atol=1e-12)
    assert torch.allclose(turn[0], torch.full((8,), 8**-0.5, dtype=turn.dtype))


def test_gradients_of_jpeg_are_those_of_its_parts_without_rounding():
    images = (0.3 + 0.4 * make_images(1, 16)).requires_grad_()
    weights = make_rng(1, 3).uniform(3, 16, 16)
    (gradient,) = torch.autograd.grad((jpeg(images, of_quality(20)) * weights).sum(), images)
    grey = torch.zeros(1, 3, 16, 16)
    grey[0, :, 5, 9] = 1.0  # a grey change stays as it is, chroma is not touched
    expected = float((weights * grey).sum())
    assert float((gradient * grey).sum()) == pytest.approx(expected, abs=1e-3)
    assert float(gradient.abs().min()) > 0


def test_saturated_pixels_keep_their_gradients_through_jpeg():
    images = torch.ones(1, 3, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(jpeg(images, of_quality(30)).sum(), images)
    assert torch.allclose(gradient, torch.ones_like(gradient), atol=1e-4)


@few_examples
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 100))
def test_jpeg_keeps_any_shape_and_the_range(height, width, quality):
    images = make_images(2, 40)[:, :, :height, :width]
    before = images.clone()
    again = jpeg(images, of_quality(quality, 2))
    assert again.shape == images.shape
    assert float(again.min()) >= -1e-6
    assert float(again.max()) <= 1 + 1e-6
    assert torch.equal(images, before)


# Blur


@property_test
@given(st.floats(0, 1 / 3), st.floats(0, 1))
def test_the_blur_of_one_colour_is_that_colour(share, level):
    images = torch.full((1, 3, 5, 4), level)
    assert torch.allclose(blurred(images, torch.tensor([share])), images, atol=1e-6)


def test_the_blur_of_a_point_is_the_product_of_its_shares():
    images = torch.zeros(2, 1, 5, 5)
    images[:, :, 2, 2] = 1
    for view, share in zip(blurred(images, torch.tensor([0.0, 0.2])), (0.0, 0.2), strict=True):
        row = torch.tensor([share, 1 - 2 * share, share])
        expected = F.pad(row[:, None] * row, (1, 1, 1, 1))
        assert torch.allclose(view[0], expected, atol=1e-7)


def test_a_third_is_the_mean_of_the_neighbours():
    images = make_images(2, 9)
    mean = F.avg_pool2d(images, 3, stride=1)
    inner = blurred(images, torch.full((2,), 1 / 3))[..., 1:-1, 1:-1]
    assert torch.allclose(inner, mean, atol=1e-6)


# Shrinking


def test_half_of_pairs_is_their_weighted_mean_and_one_colour_stays():
    images = torch.full((1, 3, 7, 5), 0.3)
    assert torch.allclose(shrunk(images, 0.5), images, atol=1e-6)
    checks = (
        (torch.arange(16)[:, None] + torch.arange(16)).remainder(2).float().expand(1, 3, -1, -1)
    )
    inner = shrunk(checks, 0.5)[..., 3:-3, 3:-3]
    assert torch.allclose(inner, torch.full_like(inner, 0.5), atol=1e-6)


def test_the_whole_size_is_the_picture_itself_and_a_pixel_stays_one():
    images = make_images(2, 9)
    assert torch.allclose(shrunk(images, 1.0), images, atol=1e-6)
    assert torch.allclose(shrunk(images[..., :1, :1], 0.5), images[..., :1, :1], atol=1e-6)


def test_gradients_flow_exactly_through_blur_and_shrinking():
    images = make_images(2, 6).double().requires_grad_()
    share = torch.tensor([0.1, 0.3], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: blurred(x, share), images)
    assert torch.autograd.gradcheck(lambda x: shrunk(x, 0.5), images)
