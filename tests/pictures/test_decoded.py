"""A part of a picture is the same whoever holds it."""

import numpy as np
import pytest

from unlearn.pictures.decoded import Picture, to_image


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("has_alpha", [True, False])
def test_a_crop_is_the_same_from_pillow_and_from_arrays(channels, has_alpha):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 30, channels), np.uint8)
    alpha = rng.integers(0, 256, (20, 30), np.uint8) if has_alpha else None
    picture = Picture(to_image(pixels, alpha))
    for held in (picture, picture.in_arrays()):
        colours, transparency = held.crop((3, 5, 21, 19))
        assert (colours == pixels[5:19, 3:21]).all()
        assert (transparency is None) is (alpha is None)
        assert alpha is None or (transparency == alpha[5:19, 3:21]).all()


def test_a_crop_of_sixteen_bits_has_sixteen():
    pixels = np.arange(600, dtype=np.uint16).reshape(20, 30, 1) * 100
    colours, _ = Picture(to_image(pixels)).crop((1, 2, 4, 7))
    assert colours.dtype == np.uint16
    assert (colours == pixels[2:7, 1:4]).all()
