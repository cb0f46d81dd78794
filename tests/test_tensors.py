from fractions import Fraction

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tests.support.making import make_images, make_pixels, make_rng, property_test
from unlearn.radius import Radius
from unlearn.tensors import add_levels, project, to_delta, to_images, to_levels, without_casts

radii = st.one_of(
    st.fractions(0, Fraction(99, 100), max_denominator=5000).map(Radius),
    st.integers(0, 40).map(Radius.of_levels),
    st.sampled_from(["0.03", "1.6/255", "0.5/255", "8/255", "2.5/255"]).map(Radius.parse),
)
seeds = st.integers(0, 2**40)


def test_images_are_pixels_as_shares_of_white():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert torch.equal(to_images(pixels), torch.tensor([0.0, 0.2, 1.0]))
    assert to_images(pixels).dtype == torch.float32


@property_test
@given(radii, seeds)
def test_projected_noise_keeps_the_bound_and_the_colour_range(radius, seed):
    images = make_images(2, 4, seed)
    delta = project(make_rng(2, seed).uniform(3, 4, 4, low=-2, high=2), images, radius)
    assert int(to_levels(delta, radius).abs().max()) <= radius.levels
    assert float(delta.abs().max()) <= float(radius) + 1e-7
    assert float((images + delta).min()) >= -1e-7
    assert float((images + delta).max()) <= 1 + 1e-7


@property_test
@given(radii, seeds)
def test_project_moves_nothing_that_is_inside(radius, seed):
    images = make_images(2, 4, seed)
    inside = project(make_rng(2, seed).uniform(3, 4, 4, low=-1, high=1), images, radius)
    assert torch.equal(project(inside, images, radius), inside)


def test_project_clips_each_value_to_the_nearest_allowed_one():
    images = torch.tensor([0.0, 0.01, 0.5, 0.99, 1.0]).view(1, 1, 1, 5)
    up, down = torch.full_like(images, 0.3), torch.full_like(images, -0.3)
    radius = Radius(Fraction(1, 10))
    risen, fallen = project(up, images, radius), project(down, images, radius)
    assert torch.allclose(risen.flatten(), torch.tensor([0.1, 0.1, 0.1, 0.01, 0.0]))
    assert torch.allclose(fallen.flatten(), torch.tensor([0.0, -0.01, -0.1, -0.1, -0.1]))


def test_project_keeps_the_gradient_of_saturated_pixels_that_can_still_move():
    images = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    delta = torch.tensor([0.02, -0.02]).view(1, 1, 1, 2).requires_grad_()
    project(delta, images, Radius.of_levels(8)).sum().backward()
    assert delta.grad.flatten().tolist() == [1.0, 1.0]


def test_project_changes_neither_argument():
    images, delta = make_images(2), make_rng(2).uniform(3, 8, 8)
    before = images.clone(), delta.clone()
    project(delta, images, Radius.of_levels(8))
    assert torch.equal(images, before[0])
    assert torch.equal(delta, before[1])


@property_test
@given(radii, seeds)
def test_levels_never_leave_the_radius_whatever_the_noise(radius, seed):
    delta = make_rng(2, seed).uniform(3, 4, 4, low=-1.5, high=1.5)
    levels = to_levels(delta, radius)
    assert levels.dtype == torch.int16
    assert int(levels.abs().max()) <= radius.levels
    assert Fraction(int(levels.abs().max()), 255) <= radius.value


@property_test
@given(radii, seeds)
def test_added_levels_keep_the_bound_exactly_on_every_pixel(radius, seed):
    pixels = make_pixels(2, 4, seed)
    pixels[:, :, 0], pixels[:, :, 1] = 0, 255
    levels = to_levels(make_rng(2, seed).uniform(3, 4, 4, low=-1.5, high=1.5), radius)
    added = add_levels(pixels, levels)
    moved = added.int() - pixels.int()
    assert added.dtype == torch.uint8
    assert int(moved.abs().max()) <= radius.levels
    inside = (pixels.int() + levels >= 0) & (pixels.int() + levels <= 255)
    assert torch.equal(moved[inside], levels.int()[inside])


def test_adding_levels_saturates_and_never_wraps_around():
    pixels = torch.tensor([0, 1, 254, 255], dtype=torch.uint8)
    assert add_levels(pixels, torch.full((4,), 8, dtype=torch.int16)).tolist() == [8, 9, 255, 255]
    assert add_levels(pixels, torch.full((4,), -8, dtype=torch.int16)).tolist() == [0, 0, 246, 247]
    assert add_levels(pixels, torch.full((4,), 300, dtype=torch.int16)).tolist() == [255] * 4


@property_test
@given(st.lists(st.integers(-255, 255), min_size=1, max_size=20))
def test_levels_survive_the_way_through_shares_of_the_range(values):
    levels = torch.tensor(values, dtype=torch.int16)
    assert torch.equal(
        to_levels(to_delta(levels), Radius(Fraction(9999, 10_000))), levels.clamp(-254, 254)
    )


def test_levels_round_to_the_nearest_step():
    delta = torch.tensor([0.4, 0.6, -0.6, 1.4]) / 255
    assert to_levels(delta, Radius.of_levels(8)).tolist() == [0, 1, -1, 1]


def test_without_casts_no_window_of_the_noise_shifts_its_area():
    delta = make_rng(2).uniform(3, 40, 30, low=-1)
    delta += torch.tensor([0.5, -0.3, 0.1])[None, :, None, None]
    fine = without_casts(delta, 5)
    inside = F.avg_pool2d(fine, 5, stride=1)
    assert inside.abs().max() < 0.3
    assert inside.mean(dim=(0, 2, 3)).abs().max() < 0.01
    constant = torch.full((1, 3, 20, 20), 0.7)
    assert torch.allclose(without_casts(constant, 5), torch.zeros_like(constant), atol=1e-6)


def test_without_casts_leaves_small_pictures_and_no_window_alone():
    delta = make_rng(1).uniform(3, 5, 9)
    assert torch.equal(without_casts(delta, 5), delta)
    assert torch.equal(without_casts(delta, 0), delta)
