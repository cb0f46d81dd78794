"""The working grid and the noise brought back from it."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from unlearn.pictures.grid import Upsampling, add_noise, grid_size, moved, to_grid

DELTAS = npst.arrays(
    np.float32,
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])),
    elements=st.floats(-0.1875, 0.1875, width=32),
)


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(1, 300))
def test_the_grid_is_never_larger_than_the_picture_and_keeps_its_limits(width, height, working):
    w, h = grid_size(width, height, working)
    assert 1 <= w <= width
    assert 1 <= h <= height
    assert min(w, h) <= working
    assert max(w, h) <= 4 * working


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_the_grid_keeps_the_aspect_of_ordinary_pictures(width, height):
    w, h = grid_size(width, height, 224)
    if max(width, height) <= 4 * min(width, height):
        assert min(w, h) == min(width, height, 224)
        assert abs(w * height - h * width) <= max(width, height)


def test_a_picture_of_working_size_is_its_own_grid():
    pixels = np.zeros((32, 32, 3), np.uint8)
    assert to_grid(pixels, 32) is pixels


@pytest.mark.parametrize("channels", [1, 3])
def test_the_grid_of_a_flat_picture_is_flat(channels):
    pixels = np.full((90, 130, channels), 77, np.uint8)
    grid = to_grid(pixels, 16)
    assert grid.shape == (16, 23, channels)
    assert (grid == 77).all()


def test_the_grid_is_antialiased():
    stripes = np.zeros((64, 64, 1), np.uint8)
    stripes[:, ::2] = 200
    assert abs(to_grid(stripes, 16).astype(int) - 100).max() <= 10


def noise_levels(delta, size, levels, gain):
    upsampling = Upsampling(delta, size, levels, gain)
    return np.concatenate([upsampling.rows(*strip) for strip in upsampling.strips()])


def test_upsampling_a_ramp_is_the_closed_form():
    ramp = np.arange(8, dtype=np.float32)[None, :, None] * np.float32(4 / 255)
    levels = noise_levels(np.repeat(ramp, 3, axis=0), (64, 5), 255, 1.0)
    centre = np.clip((np.arange(64) + 0.5) / 8 - 0.5, 0, 7)
    assert (levels[..., 0] == np.rint(4 * centre)[None]).all()


def test_upsampling_down_a_column_is_the_closed_form():
    ramp = np.arange(8, dtype=np.float32)[:, None, None] * np.float32(4 / 255)
    levels = noise_levels(ramp, (1, 64), 255, 1.0)
    centre = np.clip((np.arange(64) + 0.5) / 8 - 0.5, 0, 7)
    assert (levels[:, 0, 0] == np.rint(4 * centre)).all()


@given(DELTAS, st.integers(0, 40), st.integers(0, 40))
def test_upsampled_noise_stays_in_the_range_of_what_it_comes_from(delta, wider, higher):
    size = (delta.shape[1] + wider, delta.shape[0] + higher)
    levels = noise_levels(delta, size, 255, 1.0)
    assert levels.shape == (size[1], size[0], delta.shape[2])
    assert levels.dtype == np.int16
    assert levels.max() <= np.rint(np.float32(255) * delta).max()
    assert levels.min() >= np.rint(np.float32(255) * delta).min()


@given(DELTAS, st.integers(1, 16), st.floats(0.5, 4))
def test_noise_never_exceeds_its_levels(delta, bound, gain):
    assert abs(noise_levels(delta, (33, 21), bound, gain)).max() <= bound


@given(DELTAS, st.floats(0.5, 4))
def test_noise_at_equal_size_is_rounded_and_nothing_else(delta, gain):
    levels = noise_levels(delta, (delta.shape[1], delta.shape[0]), 8, gain)
    expected = np.clip(np.rint(delta * np.float32(255 * gain)), -8, 8)
    assert (levels == expected).all()


def test_strips_equal_the_whole(monkeypatch):
    delta = np.random.default_rng(1).uniform(-0.03, 0.03, (7, 9, 3)).astype(np.float32)
    pixels = np.random.default_rng(2).integers(0, 256, (123, 57, 3), dtype=np.uint8)
    whole = noise_levels(delta, (57, 123), 8, 1.5)
    added = moved(pixels, whole)
    for values in (1, 171, 1000, 5000):
        monkeypatch.setattr("unlearn.pictures.grid._STRIP_VALUES", values)
        assert (noise_levels(delta, (57, 123), 8, 1.5) == whole).all()
        assert (add_noise(pixels, delta, 8, 1.5) == added).all()


@given(
    npst.arrays(np.uint8, (5, 4, 3)),
    npst.arrays(np.int16, (5, 4, 3), elements=st.integers(-255, 255)),
)
def test_levels_are_added_as_integers_and_clipped(pixels, levels):
    before = pixels.copy()
    expected = np.clip(pixels.astype(int) + levels, 0, 255)
    assert (moved(pixels, levels) == expected).all()
    assert (pixels == before).all()


@settings(max_examples=30)
@given(DELTAS)
def test_upsampling_leaves_its_argument_alone(delta):
    before = delta.copy()
    noise_levels(delta, (30, 30), 8, 2.0)
    assert (delta == before).all()


def test_adding_noise_needs_little_more_than_the_result():
    pixels = np.zeros((2000, 3000, 3), np.uint8)
    delta = np.full((20, 30, 3), 0.01, np.float32)
    tracemalloc.start()
    add_noise(pixels, delta, 8, 1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * pixels.nbytes
