"""The sheet shows the picture, its protected version and the noise, and nothing else."""

import numpy as np
import pytest
from PIL import Image

from unlearn.errors import PictureError
from unlearn.pictures.decoded import to_image
from unlearn.pictures.metadata.kept import Metadata
from unlearn.pictures.preview import busiest_box, preview_sheet
from unlearn.pictures.read import Picture


def picture_of(size, channels=3, alpha=None, icc=None):
    width, height = size
    pixels = np.random.default_rng(0).integers(20, 236, (height, width, channels), dtype=np.uint8)
    return Picture(to_image(pixels, alpha), metadata=Metadata(icc))


def sheet_of(tmp_path, picture, protected, caption="a/b.png"):
    noisy = Picture(to_image(protected, picture.alpha))
    preview_sheet(picture, noisy, tmp_path / "sheet.png", caption)
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    with Image.open(tmp_path / "sheet.png") as image:
        image.load()
    return image


def panel(sheet, place, cell, size):
    left = 16 + place * (cell + 16)
    return np.asarray(sheet)[40 : 40 + size[1], left : left + size[0]]


def test_the_panels_are_the_crop_pixel_by_pixel(tmp_path):
    picture = picture_of((700, 600))
    noise = np.random.default_rng(1).integers(-8, 9, picture.pixels.shape)
    protected = (picture.pixels + noise).astype(np.uint8)
    sheet = sheet_of(tmp_path, picture, protected)
    left, top, right, bottom = busiest_box(picture.pixels)
    crop = np.s_[top:bottom, left:right]
    assert (right - left, bottom - top) == (512, 512)
    assert (panel(sheet, 0, 512, (512, 512)) == picture.pixels[crop]).all()
    assert (panel(sheet, 1, 512, (512, 512)) == protected[crop]).all()
    assert (panel(sheet, 2, 512, (512, 512)) == 128 + 10 * noise[crop]).all()


def test_tiny_pictures_are_enlarged_in_squares(tmp_path):
    picture = picture_of((32, 32))
    sheet = sheet_of(tmp_path, picture, picture.pixels + np.uint8(1))
    enlarged = picture.pixels.repeat(8, axis=0).repeat(8, axis=1)
    assert (panel(sheet, 0, 256, (256, 256)) == enlarged).all()
    assert (panel(sheet, 2, 256, (256, 256)) == 138).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (513, 40), (40, 2049)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_shape_makes_a_sheet(tmp_path, size, channels):
    picture = picture_of(size, channels)
    sheet = sheet_of(tmp_path, picture, picture.pixels, caption="name " * 100)
    assert sheet.mode == "RGB"
    assert max(sheet.size) < 1700


def test_transparent_places_show_no_noise(tmp_path):
    alpha = np.full((20, 20), 255, np.uint8)
    alpha[:10] = 0
    picture = picture_of((20, 20), alpha=alpha)
    sheet = sheet_of(tmp_path, picture, picture.pixels + np.uint8(5))
    noise = panel(sheet, 2, 240, (240, 240))
    assert (noise[:120] == 128).all()
    assert (noise[120:] == 178).all()
    assert set(panel(sheet, 0, 240, (240, 240))[:120].ravel()) <= {205, 235}


def test_the_window_is_where_the_picture_varies_most():
    pixels = np.full((2000, 3000, 3), 128, np.uint8)
    pixels[1300:1700, 2200:2600] = np.random.default_rng(0).integers(
        0, 256, (400, 400, 3), dtype=np.uint8
    )
    left, top, right, bottom = busiest_box(pixels)
    assert (right - left, bottom - top) == (512, 512)
    assert left <= 2210
    assert right >= 2590
    assert top <= 1310
    assert bottom >= 1690


def test_the_colour_profile_stays_with_colours(tmp_path):
    for channels, expected in ((3, b"profile"), (1, None)):
        picture = picture_of((8, 8), channels, icc=b"profile")
        sheet = sheet_of(tmp_path, picture, picture.pixels)
        assert sheet.info.get("icc_profile") == expected


def test_grey_that_came_back_in_three_channels_makes_the_same_sheet(tmp_path):
    picture = picture_of((40, 30), 1)
    protected = picture.pixels + np.uint8(3)
    one = np.asarray(sheet_of(tmp_path, picture, protected))
    assert (one == np.asarray(sheet_of(tmp_path, picture, protected.repeat(3, axis=2)))).all()


def test_a_sheet_that_cannot_be_written_is_a_picture_error(tmp_path):
    picture = picture_of((8, 8))
    with pytest.raises(PictureError, match="cannot be written"):
        preview_sheet(picture, picture, tmp_path / "none" / "sheet.png", "")
