"""What a person sees of a change: the published colour difference, blurred as the eye blurs."""

from dataclasses import astuple

import numpy as np
import pytest

from unlearn.pictures import visibility
from unlearn.pictures.decoded import Picture, to_image
from unlearn.pictures.visibility import PlainAreas, ciede2000, plain_blocks

PUBLISHED = np.array(
    [  # Sharma, Wu and Dalal (2005), table 1: two colours in CIELAB and their difference
        (50.0000, 2.6772, -79.7751, 50.0000, 0.0000, -82.7485, 2.0425),
        (50.0000, 3.1571, -77.2803, 50.0000, 0.0000, -82.7485, 2.8615),
        (50.0000, 2.8361, -74.0200, 50.0000, 0.0000, -82.7485, 3.4412),
        (50.0000, -1.3802, -84.2814, 50.0000, 0.0000, -82.7485, 1.0000),
        (50.0000, -1.1848, -84.8006, 50.0000, 0.0000, -82.7485, 1.0000),
        (50.0000, -0.9009, -85.5211, 50.0000, 0.0000, -82.7485, 1.0000),
        (50.0000, 0.0000, 0.0000, 50.0000, -1.0000, 2.0000, 2.3669),
        (50.0000, -1.0000, 2.0000, 50.0000, 0.0000, 0.0000, 2.3669),
        (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0009, 7.1792),
        (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0010, 7.1792),
        (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0011, 7.2195),
        (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0012, 7.2195),
        (50.0000, -0.0010, 2.4900, 50.0000, 0.0009, -2.4900, 4.8045),
        (50.0000, -0.0010, 2.4900, 50.0000, 0.0010, -2.4900, 4.8045),
        (50.0000, -0.0010, 2.4900, 50.0000, 0.0011, -2.4900, 4.7461),
        (50.0000, 2.5000, 0.0000, 50.0000, 0.0000, -2.5000, 4.3065),
        (50.0000, 2.5000, 0.0000, 73.0000, 25.0000, -18.0000, 27.1492),
        (50.0000, 2.5000, 0.0000, 61.0000, -5.0000, 29.0000, 22.8977),
        (50.0000, 2.5000, 0.0000, 56.0000, -27.0000, -3.0000, 31.9030),
        (50.0000, 2.5000, 0.0000, 58.0000, 24.0000, 15.0000, 19.4535),
        (50.0000, 2.5000, 0.0000, 50.0000, 3.1736, 0.5854, 1.0000),
        (50.0000, 2.5000, 0.0000, 50.0000, 3.2972, 0.0000, 1.0000),
        (50.0000, 2.5000, 0.0000, 50.0000, 1.8634, 0.5757, 1.0000),
        (50.0000, 2.5000, 0.0000, 50.0000, 3.2592, 0.3350, 1.0000),
        (60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644),
        (63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630),
        (61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731),
        (35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645),
        (22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373),
        (36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146),
        (90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441),
        (90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381),
        (6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377),
        (2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082),
    ]
)


def held(pixels, alpha=None):
    return Picture(to_image(pixels, alpha))


def grey(height, width, level=128):
    return np.full((height, width, 3), level, np.uint8)


def photo(height, width):
    """A picture with plain and busy places, and what 8 levels of blocks make of it."""
    rng = np.random.default_rng(0)
    down = np.linspace(40, 210, height)[:, None, None]
    busy = (np.arange(width) / width)[None, :, None] * 30
    clean = np.clip(down + busy * rng.standard_normal((height, width, 3)), 0, 255)
    signs = rng.choice([-8, 8], (height // 6 + 1, width // 6 + 1, 3)).repeat(6, 0).repeat(6, 1)
    clean = clean.astype(np.uint8)
    return clean, np.clip(clean + signs[:height, :width], 0, 255).astype(np.uint8)


def seen(clean, protected, alpha=None):
    return PlainAreas(held(clean, alpha)).compared(held(protected, alpha))


def cells_of(side, height=96, width=96, levels=8):
    """Chequered grey, so many levels up and down."""
    rows, columns = np.arange(height)[:, None] // side, np.arange(width) // side
    signs = np.where((rows + columns) % 2, levels, -levels)
    return (grey(height, width) + signs[..., None]).astype(np.uint8)


def test_the_colour_difference_is_the_published_one_for_all_34_pairs():
    found = ciede2000(PUBLISHED[:, 0:3], PUBLISHED[:, 3:6])
    assert np.abs(found - PUBLISHED[:, 6]).max() < 1e-4


def test_the_colour_difference_is_the_same_both_ways_and_zero_of_a_colour_to_itself():
    first, second = PUBLISHED[:, 0:3], PUBLISHED[:, 3:6]
    assert np.abs(ciede2000(first, second) - ciede2000(second, first)).max() < 1e-9
    assert (ciede2000(first, first) == 0).all()


def test_an_unchanged_picture_differs_by_nothing():
    clean, _ = photo(100, 120)
    assert seen(clean, clean) == visibility.Visibility()


def test_a_flat_difference_is_unchanged_by_the_blur():
    found = seen(grey(300, 200), grey(300, 200, 136))
    light = [116 * ((level / 255 + 0.055) / 1.055) ** (2.4 / 3) - 16 for level in (128, 136)]
    away = (sum(light) / 2 - 50) ** 2
    difference = (light[1] - light[0]) / (1 + 0.015 * away / (20 + away) ** 0.5)
    assert found.mean == pytest.approx(difference, rel=1e-4)
    assert found.seen_mean == pytest.approx(found.mean, rel=1e-3)
    assert found.seen_high == pytest.approx(found.high, rel=1e-3)


def test_a_pattern_is_seen_the_less_the_finer_it_is_though_it_differs_as_much():
    found = {side: seen(grey(96, 96), cells_of(side)) for side in (1, 2, 4, 8, 16)}
    means = [found[side].seen_mean for side in (1, 2, 4, 8, 16)]
    assert means == sorted(means)
    assert means[0] < found[1].mean / 10
    assert means[-1] > found[16].mean / 2
    assert all(one.mean == pytest.approx(found[1].mean, rel=0.01) for one in found.values())


@pytest.mark.parametrize("size", [(300, 420), (129, 257), (40, 700), (5, 9), (1, 1)])
def test_tiles_and_bands_change_no_value(size, monkeypatch):
    clean, protected = photo(*size)
    areas = PlainAreas(held(clean))
    parts = areas.compared(held(protected))
    monkeypatch.setattr(visibility, "_TILE", 1024)
    monkeypatch.setattr(visibility, "_BAND", 1024)
    whole = PlainAreas(held(clean))
    assert len(whole._tiles) == 1
    assert astuple(parts) == pytest.approx(astuple(whole.compared(held(protected))), rel=1e-5)


def test_wide_blurs_of_cells_are_those_of_pixels(monkeypatch):
    clean, protected = photo(200, 240)
    fast = seen(clean, protected)
    monkeypatch.setattr(visibility, "_CELL", 1)
    slow = seen(clean, protected)
    assert fast.seen_mean == pytest.approx(slow.seen_mean, rel=2e-3)
    assert fast.seen_high == pytest.approx(slow.seen_high, rel=1e-2)


def test_a_large_picture_is_sampled_always_in_the_same_places(monkeypatch):
    clean, protected = photo(600, 900)
    whole = seen(clean, protected)
    monkeypatch.setattr(visibility, "_ENOUGH", 1 << 15)
    areas = PlainAreas(held(clean))
    sample = areas.compared(held(protected))
    assert sum(int(tile.plain.sum()) for tile in areas._tiles) < 600 * 900 / 6
    assert sample == seen(clean, protected)
    assert sample.mean == pytest.approx(whole.mean, rel=0.1)
    assert sample.seen_mean == pytest.approx(whole.seen_mean, rel=0.1)


def test_the_plain_third_is_a_third_and_plain():
    pixels = grey(60, 90, 90)
    pixels[:, 30:] = np.random.default_rng(0).integers(0, 255, (60, 60, 3))
    blocks = plain_blocks(held(pixels))
    assert blocks.shape == (8, 12)
    assert blocks[:, :3].all()
    assert blocks.mean() == pytest.approx(1 / 3, abs=0.02)


def test_all_of_flat_artwork_is_plain():
    pixels = grey(64, 64)
    pixels[:, :32] = 20
    pixels[:, 56:] = np.random.default_rng(0).integers(0, 255, (64, 8, 3))
    blocks = plain_blocks(held(pixels))
    assert blocks[:, :7].all()
    assert not blocks[:, 7].any()


def test_only_what_can_be_seen_counts():
    clean, protected = photo(64, 64)
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:, 16:40] = 255
    loud = protected.copy()
    loud[alpha == 0] = 255 - clean[alpha == 0]
    assert not plain_blocks(held(clean, alpha))[:, [0, 1, 5, 6, 7]].any()
    assert seen(clean, loud, alpha).mean == seen(clean, protected, alpha).mean
    assert seen(clean, loud, np.zeros_like(alpha)) == visibility.Visibility()


def test_grey_is_measured_like_colours_that_are_grey_and_sixteen_bits_like_eight():
    clean, protected = (pixels[..., :1] for pixels in photo(80, 90))
    narrow = seen(clean, protected)
    assert narrow == seen(clean.repeat(3, 2), protected.repeat(3, 2))
    deep = seen(clean.astype(np.uint16) * 257, protected.astype(np.uint16) * 257)
    assert deep.mean == pytest.approx(narrow.mean, rel=1e-5)


def test_noise_half_as_strong_is_seen_about_half_as_much():
    eight, four = (seen(grey(96, 96), cells_of(8, levels=levels)) for levels in (8, 4))
    assert four.mean == pytest.approx(eight.mean / 2, rel=0.05)
    assert four.seen_mean == pytest.approx(eight.seen_mean / 2, rel=0.05)
