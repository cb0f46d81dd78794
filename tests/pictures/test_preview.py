"""The sheet shows the picture, its protected version and the noise, and nothing else."""

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.support.sweeps import few
from unlearn.errors import PictureError
from unlearn.pictures.decoded import to_image
from unlearn.pictures.metadata.kept import Metadata
from unlearn.pictures.preview import contact_sheet, plainest_box, preview_sheet, show
from unlearn.pictures.read import Picture
from unlearn.pictures.visibility import PlainAreas


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
    return np.asarray(sheet)[76 : 76 + size[1], left : left + size[0]]


def test_the_panels_are_the_crop_pixel_by_pixel(tmp_path):
    picture = picture_of((700, 600))
    noise = np.random.default_rng(1).integers(-8, 9, picture.pixels.shape)
    protected = (picture.pixels + noise).astype(np.uint8)
    sheet = sheet_of(tmp_path, picture, protected)
    left, top, right, bottom = plainest_box(picture, protected)
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
@pytest.mark.parametrize("channels", few([1, 3], 3))
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
    noise = panel(sheet, 2, 256, (240, 240))
    assert (noise[:120] == 128).all()
    assert (noise[120:] == 178).all()
    assert set(panel(sheet, 0, 256, (240, 240))[:120].ravel()) <= {205, 235}


def test_the_window_is_where_the_picture_is_plain_and_the_change_is_seen():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2000, 3000, 3), dtype=np.uint8)
    pixels[1300:1900, 2200:2900] = 128  # plain, and changed
    pixels[:1000, :700] = 128  # plain, and left alone
    protected = pixels ^ np.uint8(4)
    protected[:1000, :700] = 128
    left, top, right, bottom = plainest_box(Picture(to_image(pixels)), protected)
    assert (right - left, bottom - top) == (512, 512)
    assert left >= 2190
    assert right <= 2910
    assert top >= 1290
    assert bottom <= 1910


def test_the_window_is_not_where_nothing_can_be_seen():
    pixels = np.full((600, 1400, 3), 128, np.uint8)
    alpha = np.full((600, 1400), 255, np.uint8)
    alpha[:, :800] = 0
    protected = pixels.copy()
    protected[:, :800] = 228
    protected[:, 800:] = 132
    left, _, right, _ = plainest_box(Picture(to_image(pixels, alpha)), protected)
    assert (left >= 796, right) == (True, left + 512)


def test_a_sheet_of_several_pictures_has_a_row_for_each(tmp_path):
    shown = [show(picture_of(size), picture_of(size), "x") for size in ((40, 30), (700, 600))]
    contact_sheet(shown, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert (
        sheet[76 : 76 + 180, 16 : 16 + 240] == shown[0].original.repeat(6, 0).repeat(6, 1)
    ).all()
    alone = [
        sheet_of(tmp_path, picture_of(size), picture_of(size).pixels, "x")
        for size in ((40, 30), (700, 600))
    ]
    assert len(sheet) == 36 + sum(one.height - 36 for one in alone)
    assert sheet.shape[1] == max(one.width for one in alone)


def test_what_is_shown_says_how_much_and_how_visible_the_change_is():
    picture = picture_of((100, 90))
    shown = show(picture, Picture(to_image(picture.pixels + np.uint8(5))), "a")
    assert (shown.linf, shown.size, shown.box) == (5, (100, 90), (0, 0, 100, 90))
    assert shown.visibility == PlainAreas(picture).compared(
        Picture(to_image(picture.pixels + np.uint8(5)))
    )


def test_colours_are_shown_by_their_profile_and_a_broken_one_does_no_harm():
    pixels = np.full((8, 8, 3), (200, 30, 30), np.uint8)
    pixels[:4] = 128
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for icc in (None, lab, b"profile"):
        picture = Picture(to_image(pixels), metadata=Metadata(icc))
        assert np.abs(show(picture, picture, "").original.astype(int) - pixels).max() <= 1


def test_grey_that_came_back_in_three_channels_makes_the_same_sheet(tmp_path):
    picture = picture_of((40, 30), 1)
    protected = picture.pixels + np.uint8(3)
    one = np.asarray(sheet_of(tmp_path, picture, protected))
    assert (one == np.asarray(sheet_of(tmp_path, picture, protected.repeat(3, axis=2)))).all()


def test_a_sheet_that_cannot_be_written_is_a_picture_error(tmp_path):
    picture = picture_of((8, 8))
    with pytest.raises(PictureError, match="cannot be written"):
        preview_sheet(picture, picture, tmp_path / "none" / "sheet.png", "")
