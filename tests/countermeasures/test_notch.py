"""The notch: frequencies that stand out are found without a key and taken out of every picture."""

import pytest
import torch

from tests.support.making import CLASSES, make_labels, make_rng
from unlearn.countermeasures import find
from unlearn.countermeasures.notch import peaks
from unlearn.datasets.labelled import LabelledPictures

SIZE, COUNT = 64, 48


def photos():
    """Return pictures with a spectrum like that of photos: power falls with the square, (N, 3)."""
    white = make_rng(COUNT, 1).uniform(3, SIZE, SIZE) - 0.5
    cycles = torch.fft.fftfreq(SIZE, 1 / SIZE)
    fall = 1 / torch.hypot(cycles[:, None], cycles).clamp(min=1)
    planes = torch.fft.ifft2(torch.fft.fft2(white) * fall).real
    return 128 + 25 * planes / planes.std()


def stripes(colours=(1.0, -1.0, 1.0), period=8):
    """Return ±8 in stripes of a class's own direction, begun anywhere, (N, 3, S, S)."""
    places = torch.arange(SIZE)
    offsets = make_rng(COUNT, 2).integers(period).tolist()
    made = []
    for label, offset in zip(make_labels(COUNT).tolist(), offsets, strict=True):
        across, down = ((1, 0), (0, 1), (1, 1), (2, 1))[label]
        phase = (across * places + down * places[:, None] + offset) % period
        made.append(torch.where(2 * phase < period, 8.0, -8.0))
    return torch.stack(made)[:, None] * torch.tensor(colours)[:, None, None]


def set_of(images):
    return LabelledPictures(images.round().clamp(0, 255).byte(), make_labels(COUNT), CLASSES)


def left_of(noise, pixels, clean):
    """Return the share of the energy of noise that is left in pixels of clean pictures."""
    strength = ((pixels.double() - clean) * noise).sum() / noise.square().sum()
    return float(strength)


@pytest.mark.parametrize("colours", [(1, -1, 1), (1, 1, 1), (1, 0, -1)])
def test_stripes_are_found_in_any_colour_and_taken_out(colours):
    noise, clean = stripes(colours), photos()
    data = set_of(clean + noise)
    changed = find("notch").once(data, 0).pixels
    assert left_of(noise, data.pixels, clean) > 0.9
    assert abs(left_of(noise, changed, clean)) < 0.1


def test_the_frequencies_are_those_of_the_period():
    found = peaks(set_of(photos() + stripes()))
    magenta = found[2]
    assert magenta[0, 8]  # 64 pixels of stripes of 8
    assert magenta[8, 0]
    assert magenta[8, 8]
    assert found[:, :4, :4].sum() == 0
    assert found.float().mean() < 0.1


def test_a_period_that_does_not_fit_the_picture_is_found_too():
    noise, clean = stripes(period=10), photos()
    changed = find("notch").once(set_of(clean + noise), 0).pixels
    assert abs(left_of(noise, changed, clean)) < 0.25


def test_photos_without_noise_keep_nearly_all_of_themselves():
    clean = set_of(photos())
    assert peaks(clean).float().mean() < 0.005
    change = find("notch").once(clean, 0).pixels.double() - clean.pixels.double()
    assert change.square().mean() < 0.02 * clean.pixels.double().var()


def test_upright_and_level_edges_are_no_peak():
    lines = 60 * make_rng(COUNT, 4).uniform(2, SIZE) - 30
    grid = lines[:, 0, :, None] + lines[:, 1, None, :]
    assert peaks(set_of(photos() / 3 + 85 + grid[:, None])).float().mean() < 0.01


def test_all_pictures_lose_the_same_frequencies_so_that_no_gap_tells_the_class():
    data = set_of(photos() + stripes())
    changed = find("notch").once(data, 0).pixels.double()
    turn = torch.tensor([1.0, -2.0, 1.0], dtype=torch.float64) / 6**0.5
    powers = torch.fft.fft2(torch.einsum("c,nchw->nhw", turn, changed)).abs().square()
    for label in range(4):
        assert powers[data.labels == label][:, 0, 8].mean() < 0.02 * SIZE**4
