import io

import numpy as np
import pytest
import torch
from PIL import Image

from unlearn.countermeasures import find
from unlearn.datasets.labelled import LabelledPictures


def flat(level, size=(16, 16)):
    return Image.new("RGB", size, (level, level, level))


def stripes(one, other, size=(64, 64)):
    """Columns of two colours in turn."""
    picture = Image.new("RGB", size, one)
    for column in range(1, size[0], 2):
        picture.paste(other, (column, 0, column + 1, size[1]))
    return picture


def jpeg10(level):
    pixels = torch.full((1, 3, 16, 16), level, dtype=torch.uint8)
    data = LabelledPictures(pixels, torch.zeros(1, dtype=torch.int64), ("only",))
    return find("jpeg10").once(data, 0).pixels


def test_jpeg75_keeps_every_flat_grey():
    # Quality 75 quantises the mean of a block in steps of 8 / 8 = 1 level.
    for level in range(0, 256, 17):
        assert np.unique(np.asarray(find("jpeg75").stored(flat(level), 0))).tolist() == [level]


@pytest.mark.parametrize("level", [128, 130, 134, 141, 155])
def test_jpeg10_knows_flat_greys_in_steps_of_ten_levels_only(level):
    # Quality 10 quantises the mean of a block in steps of 80 / 8 = 10 levels from 128.
    assert jpeg10(level).unique().tolist() == [128 + 10 * round((level - 128) / 10)]


def test_jpeg_keeps_colour_at_half_the_resolution():
    picture = stripes((180, 60, 60), (60, 60, 180))
    chroma = np.asarray(find("jpeg75").stored(picture, 0).convert("YCbCr"))[..., 1:].astype(int)
    before = np.asarray(picture.convert("YCbCr"))[..., 1:].astype(int)
    assert np.abs(np.diff(before, axis=1)).min() > 50
    assert np.abs(np.diff(chroma, axis=1)).max() <= 6


def test_jpeg75_gives_what_a_file_of_quality_75_gives():
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", quality=75)
    expected = Image.open(file).convert("RGB")
    assert find("jpeg75").stored(Image.fromarray(noise), 0).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((600, 300), (512, 256)),
        ((300, 1000), (256, 853)),
        ((256, 256), (256, 256)),
        ((257, 4000), (256, 3984)),
        ((200, 100), (200, 100)),
        ((900, 255), (900, 255)),
    ],
)
def test_resize256_brings_the_short_side_to_256_and_never_enlarges(before, after):
    assert find("resize256").stored(flat(128, before), 0).size == after


def test_resize256_wipes_out_noise_finer_than_the_pixels_that_are_left():
    fine = stripes((120, 120, 120), (136, 136, 136), (512, 512))
    left = np.asarray(find("resize256").stored(fine, 0)).astype(int)
    assert np.abs(left - 128).max() <= 1


def test_resize256_encodes_small_pictures_again_too():
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", quality=80, subsampling="4:2:0")
    expected = Image.open(file).convert("RGB")
    assert find("resize256").stored(Image.fromarray(noise), 0).tobytes() == expected.tobytes()


def test_jpeg10_is_harsher_on_a_picture_than_jpeg75():
    ramp = torch.arange(32).expand(1, 3, 32, 32) * 6 + 30
    pixels = (ramp + 8 * (-1) ** torch.arange(32)).to(torch.uint8)
    data = LabelledPictures(pixels, torch.zeros(1, dtype=torch.int64), ("only",))
    harsh = find("jpeg10").once(data, 0).pixels.float() - pixels
    picture = Image.fromarray(pixels[0].permute(1, 2, 0).contiguous().numpy())
    mild = np.asarray(find("jpeg75").stored(picture, 0)).astype(float)
    assert harsh.abs().mean() > 2 * np.abs(mild.transpose(2, 0, 1) - pixels[0].numpy()).mean()
