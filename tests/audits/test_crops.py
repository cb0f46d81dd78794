import pytest
import torch
import torch.nn.functional as F

from tests.support.making import make_pixels, make_rng
from unlearn.audits import crops
from unlearn.audits.crops import cropped, draw_boxes, resized, resized_whole
from unlearn.tensors import to_images
from unlearn.views import Views


def whole(count, side):
    return torch.tensor([[0.0, 0.0, side, side]]).expand(count, 4)


@pytest.mark.parametrize(
    ("side", "size"), [(28, 16), (23, 16), (33, 32), (40, 7), (16, 15), (20, 33), (72, 72)]
)
@pytest.mark.parametrize("device", ["cpu", "elsewhere"])
def test_resized_crops_are_bilinear_interpolation_with_antialias(monkeypatch, side, size, device):
    monkeypatch.setattr(crops, "PICTURE_BY_PICTURE", device)
    pixels = make_pixels(24, side)
    boxes, flips = draw_boxes(make_rng(24), side, smallest_crop=0.1)
    found = resized(pixels, boxes, flips, size)
    for n, (top, left, height, width) in enumerate(boxes.int().tolist()):
        crop = pixels[n : n + 1, :, top : top + height, left : left + width].float()
        expected = F.interpolate(crop, (size, size), mode="bilinear", antialias=True)[0]
        expected = expected.flip(-1) if flips[n] else expected
        assert torch.allclose(found[n], expected, atol=255e-5)


def test_boxes_lie_inside_and_have_the_asked_area_and_aspect():
    boxes, flips = draw_boxes(make_rng(3000), 112, smallest_crop=0.25)
    top, left, height, width = boxes.unbind(1)
    assert torch.equal(boxes, boxes.round())
    assert float(torch.stack([top, left]).min()) >= 0
    assert float((top + height).max()) <= 112
    assert float((left + width).max()) <= 112
    assert 0.24 < float((height * width / 112**2).min()) < 0.27
    assert float((height * width / 112**2).max()) > 0.95
    assert 0.73 < float((width / height).min()) < 0.78
    assert 1.28 < float((width / height).max()) < 1.37
    assert float((top == 112 - height).float().mean()) > 0.005
    assert 0.46 < float(flips.float().mean()) < 0.54


def test_the_whole_crop_of_a_picture_is_the_picture():
    boxes, _ = draw_boxes(make_rng(50), 16, smallest_crop=1.0)
    assert float(boxes[:, 2:].max()) == 16
    pixels = make_pixels(4, 16)
    same = resized(pixels, whole(4, 16), torch.zeros(4, dtype=torch.bool), 16)
    assert torch.allclose(same, pixels.float(), atol=1e-3)


def test_larger_pictures_are_cropped_into_images_of_the_asked_size():
    views = cropped(make_pixels(6, 28), 16, 0.25, make_rng(6))
    assert views.shape == (6, 3, 16, 16)
    assert views.dtype == torch.float32
    assert 0 <= float(views.min()) <= float(views.max()) <= 1 + 1e-6


def test_pictures_of_the_right_size_get_flips_and_padded_crops():
    pixels = make_pixels(6, 16)
    expected = Views(flip=True, pad=4)(to_images(pixels), make_rng(6))
    assert torch.equal(cropped(pixels, 16, 0.25, make_rng(6)), expected)


def test_photos_of_the_right_size_get_random_resized_crops_all_the_same():
    pixels = make_pixels(3, 72)
    boxes, flips = draw_boxes(make_rng(3), 72, 0.25)
    expected = resized(pixels, boxes, flips, 72) / 255
    assert torch.equal(cropped(pixels, 72, 0.25, make_rng(3)), expected)


@pytest.mark.parametrize("side", [16, 28])
def test_a_pictures_view_depends_on_its_own_stream_only(side):
    pixels = make_pixels(6, side)
    before = pixels.clone()
    together = cropped(pixels, 16, 0.25, make_rng(6))
    rng = make_rng(6)
    rng.keys = rng.keys[2:3]
    alone = cropped(pixels[2:3], 16, 0.25, rng)
    assert torch.allclose(alone, together[2:3], atol=1e-6)
    assert torch.equal(cropped(pixels, 16, 0.25, make_rng(6)), together)
    assert not torch.equal(cropped(pixels, 16, 0.25, make_rng(6, seed=1)), together)
    assert torch.equal(pixels, before)


def test_test_pictures_are_shown_whole_and_rounded():
    pixels = make_pixels(300, 28)
    small = resized_whole(pixels, 16)
    assert small.dtype == torch.uint8
    exact = F.interpolate(pixels.float(), (16, 16), mode="bilinear", antialias=True)
    assert torch.equal(small, exact.round().to(torch.uint8))
    assert resized_whole(small, 16) is small
