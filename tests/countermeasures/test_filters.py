import math

import numpy as np
import torch
from PIL import Image

from unlearn.countermeasures import find
from unlearn.datasets.labelled import LabelledPictures


def set_of(pixels):
    pixels = torch.as_tensor(pixels, dtype=torch.uint8)
    return LabelledPictures(pixels, torch.zeros(len(pixels), dtype=torch.int64), ("only",))


def flat(*colours, size=8):
    return set_of(torch.tensor(colours)[:, :, None, None].expand(-1, 3, size, size))


def impulse(value=255, size=7):
    pixels = torch.zeros(1, 3, size, size)
    pixels[..., size // 2, size // 2] = value
    return set_of(pixels)


def test_grey_is_the_luma_of_bt_601_in_three_channels():
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 200, 60), (77, 77, 77)]
    grey = find("grey").once(flat(*colours), 0).pixels
    assert grey[:, :, 0, 0].tolist() == [[76] * 3, [150] * 3, [29] * 3, [127] * 3, [77] * 3]
    assert torch.equal(grey, grey[:, :1, :1, :1].expand_as(grey))


def test_bits2_keeps_the_two_highest_bits():
    ramp = torch.arange(256).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    kept = find("bits2").once(set_of(ramp), 0).pixels
    assert torch.equal(kept[0, 0].flatten().long(), 64 * (torch.arange(256) // 64))


def test_blur_spreads_a_point_by_the_weights_of_a_gaussian_of_sigma_0_8():
    side = math.exp(-1 / (2 * 0.8**2))
    row = torch.tensor([side, 1, side], dtype=torch.float64) / (1 + 2 * side)
    assert abs(float(row[1]) - 0.522) < 0.001  # the field's σ = 0.1 has 1.000 here
    expected = (255 * row[:, None] * row).round()
    blurred = find("blur").once(impulse(), 0).pixels
    assert torch.equal(blurred[0, 1, 2:5, 2:5].double(), expected)
    outside = blurred.clone()
    outside[..., 2:5, 2:5] = 0
    assert not outside.any()
    assert blurred[0, 0, 3, 3] == 69


def test_blur_leaves_flat_pictures_alone():
    data = flat((3, 128, 251))
    assert torch.equal(find("blur").once(data, 0).pixels, data.pixels)


def test_median_removes_a_single_odd_pixel_and_keeps_an_edge():
    assert not find("median").once(impulse(), 0).pixels.any()
    edge = torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 200
    assert torch.equal(find("median").once(set_of(edge), 0).pixels, set_of(edge).pixels)


def test_median_is_the_fifth_of_nine():
    pixels = torch.tensor([[9, 1, 8], [2, 7, 3], [6, 4, 5]]).expand(1, 3, 3, 3)
    assert find("median").once(set_of(pixels), 0).pixels[0, :, 1, 1].tolist() == [5, 5, 5]


def test_gaussian_noise_has_a_spread_of_eight_levels_and_no_direction():
    data = flat((128, 128, 128), size=96)
    change = find("gaussian-noise").once(data, 0).pixels.float() - 128
    assert abs(change.mean()) < 0.2
    assert abs(change.std() - math.sqrt(64 + 1 / 12)) < 0.15
    assert not torch.equal(change[0, 0], change[0, 1])


def test_gaussian_noise_stops_at_black_and_white():
    data = flat((0, 0, 0), (255, 255, 255), size=64)
    noisy = find("gaussian-noise").once(data, 0).pixels.float()
    below = 0.5 * (1 + math.erf(0.5 / 8 / math.sqrt(2)))  # what is rounded to 0 or less
    assert abs((noisy[0] == 0).float().mean() - below) < 0.02
    assert abs((noisy[1] == 255).float().mean() - below) < 0.02


def test_equal_pictures_of_equal_contents_get_equal_noise():
    data = flat((9, 99, 199), (9, 99, 199))
    noisy = find("gaussian-noise").once(data, 4).pixels
    assert torch.equal(noisy[0], noisy[1])


def test_grey_equals_pillow_on_any_picture():
    stream = np.random.default_rng(0)
    pixels = stream.integers(0, 256, (1, 3, 32, 32), dtype=np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(pixels[0].transpose(1, 2, 0)))
    expected = torch.from_numpy(np.asarray(picture.convert("L")).copy())
    assert torch.equal(find("grey").once(set_of(pixels), 0).pixels[0, 2], expected)
