"""The refuter: templates at any shift name class-wise noise, and an adversary takes it away."""

from dataclasses import replace

import pytest
import torch

from tests.support.making import make_data, make_rng
from unlearn.audits.arms import motif, placebo
from unlearn.audits.refuter import Detector, View, aligned
from unlearn.datasets.labelled import LabelledPictures
from unlearn.radius import Radius
from unlearn.tensors import add_levels

NONE, FOUR, NINE = (Radius.of_levels(n) for n in (0, 4, 9))
EIGHT = Radius.of_levels(8)
IN_COLOUR = View(64)


def enlarged(values, times):
    return values.repeat_interleave(times, 2).repeat_interleave(times, 3)


def photos(count=80, side=64):
    """Pictures with the spectrum of photos: coarse squares below finer and fainter ones."""
    rng = make_rng(count)
    layers = [
        enlarged(rng.uniform(3, n, n, low=-1, high=1), side // n) * 60 * n**-0.5
        for n in (2, 4, 8, 16, 32)
    ]
    pixels = (128 + sum(layers)).clamp(8, 247).to(torch.uint8)
    return LabelledPictures(pixels, torch.arange(count) % 4, make_data(4).classes)


def with_noise(clean, patterns):
    return replace(clean, pixels=add_levels(clean.pixels, patterns[clean.labels].to(torch.int16)))


def with_patterns(clean):
    """Copies with a fixed pattern of ±8 for each class."""
    signs = make_rng(4, seed=5).uniform(3, 16, 16, low=-1, high=1).sign()
    return with_noise(clean, 8 * enlarged(signs, 4))


def share(clean, noisy, rho_a=NONE, view=IN_COLOUR):
    """The share named rightly in the second half, by templates of the first."""
    one, other, half = view(clean.pixels), view(noisy.pixels), len(clean) // 2
    detector = Detector(one[:half], other[:half], clean.labels[:half])
    return detector.share(other[half:], clean.labels[half:], rho_a)


def test_class_wise_noise_is_named_wherever_it_begins_and_a_placebo_by_chance_only():
    clean = photos()
    rolled = motif(clean, EIGHT, seed=98)
    assert share(clean, with_patterns(clean)) > 0.95
    assert share(clean, rolled) > 0.95
    assert share(clean, placebo(clean, rolled, EIGHT, 32, seed=99)) < 0.5  # chance is 0.25


def test_an_adversary_beyond_the_noise_leaves_nothing_of_it():
    clean = photos()
    noisy = with_patterns(clean)
    left = [share(clean, noisy, rho_a) for rho_a in (NONE, FOUR, NINE)]
    assert left[0] >= left[1] >= left[2]
    assert left[0] > 0.95
    assert left[2] == 0.0


def test_grey_copies_lose_noise_that_has_no_luma():
    clean = photos()
    widths = torch.tensor([2, 4, 8, 16])[:, None]
    stripes = (torch.arange(64) // widths % 2 * 2 - 1)[:, None, None]
    noise = torch.tensor([3.0, 0.0, -8.0])[:, None, None] * stripes.expand(4, 1, 64, 64)
    noisy = with_noise(clean, noise)
    assert share(clean, noisy) > 0.9
    assert share(clean, noisy, view=View(64, grey=True)) < 0.6


def test_differences_are_aligned_at_their_best_shift():
    pattern = make_rng(1).normal(3, 16, 16)[0]
    shifted = torch.stack([pattern.roll((n, 3 * n), dims=(1, 2)) for n in range(6)])
    assert torch.allclose(aligned(shifted), pattern, atol=1e-5)
    assert float(aligned(make_rng(40).normal(3, 16, 16)).std()) < 0.4


def test_a_view_is_a_middle_crop_and_grey_is_luma():
    pixels = make_data(2, size=32).pixels
    assert torch.equal(View(16, 0.25)(pixels), pixels[:, :, 8:24, 8:24].float())
    grey = View(32, grey=True)(pixels)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    assert torch.allclose(grey, (pixels * weights).sum(1, keepdim=True), atol=1e-3)


@pytest.mark.parametrize("rho_a", [NONE, FOUR])
def test_a_share_is_the_same_again_and_leaves_pictures_alone(rho_a):
    clean = photos(40)
    noisy = with_patterns(clean)
    before = noisy.pixels.clone()
    assert share(clean, noisy, rho_a) == share(clean, noisy, rho_a)
    assert torch.equal(noisy.pixels, before)
