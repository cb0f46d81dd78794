"""Purification, with predictors whose answer is known in closed form."""

import math

import pytest
import torch

from tests.support.denoisers import CONFIG, save
from tests.support.making import make_data, make_pixels, make_rng
from unlearn.countermeasures.base import Countermeasure
from unlearn.countermeasures.diffusion import diffusion, purified
from unlearn.countermeasures.sets import each_batch
from unlearn.errors import UsageProblem
from unlearn.rng import Rng

BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)


def exact_predictor(mean, spread):
    """The noise in x_t that is expected when pixels are normal with this mean and spread."""
    kept = (1 - BETAS).cumprod(0)

    def predict(noisy, steps):
        left = kept[steps].float().view(-1, 1, 1, 1)
        variance = left * spread**2 + 1 - left
        return (1 - left).sqrt() * (noisy - left.sqrt() * mean) / variance

    return predict


def expected(value, mean, spread, start):
    """Mean and spread of what becomes of a value when exact_predictor denoises it, step by step."""
    kept = (1 - BETAS).cumprod(0).tolist()
    at, variance = math.sqrt(kept[start - 1]) * value, 1 - kept[start - 1]
    for step in reversed(range(start)):
        beta, left, before = float(BETAS[step]), kept[step], kept[step - 1] if step else 1.0
        pull = beta / (left * spread**2 + 1 - left)
        scale = 1 / math.sqrt(1 - beta)
        at = scale * (at - pull * (at - math.sqrt(left) * mean))
        variance = (scale * (1 - pull)) ** 2 * variance
        variance += beta * (1 - before) / (1 - left)
    return at, math.sqrt(variance)


def test_pictures_become_the_mean_of_data_that_has_no_spread():
    pixels = make_pixels(3, 8)
    pure = purified(pixels, exact_predictor(0.2, 0.0), BETAS[:100], make_rng(3))
    assert pure.dtype == torch.uint8
    assert pure.unique().tolist() == [round((0.2 + 1) * 127.5)]


@pytest.mark.parametrize("start", [1, 20, 100])
@pytest.mark.parametrize("level", [128, 150])
def test_each_pixel_moves_towards_the_data_as_far_as_the_closed_form_says(level, start):
    pixels = torch.full((8, 3, 64, 64), level, dtype=torch.uint8)
    pure = purified(pixels, exact_predictor(-0.2, 0.1), BETAS[:start], make_rng(8)).double()
    mean, spread = expected(level / 127.5 - 1, -0.2, 0.1, start)
    error = 127.5 * spread / pixels.numel() ** 0.5
    assert abs(pure.mean() - (mean + 1) * 127.5) < 5 * error + 0.01
    assert abs(pure.std() - math.sqrt((127.5 * spread) ** 2 + 1 / 12)) < 5 * error + 0.05


def test_a_hundred_steps_drown_noise_of_eight_levels():
    clean = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
    protected = clean + 16 * make_rng(1).integers(2, 3, 32, 32).to(torch.uint8) - 8
    predict = exact_predictor(0.0, 0.02)
    pure = purified(protected, predict, BETAS[:100], make_rng(1)).float() - 128
    noise = protected.float() - 128
    assert (pure * noise).sum() / (noise * noise).sum() < 0.1
    assert pure.abs().mean() < 4


def test_a_picture_in_a_batch_is_purified_as_it_is_alone():
    pixels, rng = make_pixels(4), make_rng(4)
    together = purified(pixels, exact_predictor(0.1, 0.3), BETAS[:30], rng)
    alone = purified(pixels[2:3], exact_predictor(0.1, 0.3), BETAS[:30], Rng(rng.keys[2:3]))
    assert torch.equal(together[2:3], alone)


def test_steps_are_counted_down_to_nought():
    seen = []

    def predict(noisy, steps):
        seen.append(steps.unique().tolist())
        return torch.zeros_like(noisy)

    purified(make_pixels(2), predict, BETAS[:4], make_rng(2))
    assert seen == [[3], [2], [1], [0]]


def test_the_countermeasure_purifies_the_set_and_keeps_labels_and_ids(tmp_path):
    data = make_data(6)
    one = diffusion(save(tmp_path), start=5)
    before = torch.random.get_rng_state()
    pure = one.once(data, 1)
    assert pure.pixels.shape == data.pixels.shape
    assert pure.pixels.dtype == torch.uint8
    assert not torch.equal(pure.pixels, data.pixels)
    assert torch.equal(pure.labels, data.labels)
    assert torch.equal(pure.ids, data.ids)
    assert torch.equal(data.pixels, make_data(6).pixels)
    assert torch.equal(pure.pixels, diffusion(tmp_path, start=5).once(data, 1).pixels)
    assert not torch.equal(pure.pixels, one.once(data, 2).pixels)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_summary_names_the_number_of_steps(tmp_path):
    one = diffusion(save(tmp_path))
    assert one.name == "diffusion"
    assert "100 of 1000 steps" in one.summary


def test_pictures_that_the_model_does_not_know_are_refused(tmp_path):
    with pytest.raises(UsageProblem, match="knows pictures of 8 pixels, these have 16"):
        diffusion(save(tmp_path / "one")).once(make_data(2, size=16), 0)
    free = save(tmp_path / "other", CONFIG | {"sample_size": None})
    with pytest.raises(UsageProblem, match="multiples of 2, not 7"):
        diffusion(free).once(make_data(2, size=7), 0)


def test_a_predictor_in_python_makes_a_countermeasure_too():
    predict = exact_predictor(0.2, 0.0)
    one = Countermeasure(
        "mine",
        "My own.",
        once=each_batch(lambda pixels, rng: purified(pixels, predict, BETAS[:10], rng)),
    )
    assert one.once(make_data(3), 0).pixels.unique().tolist() == [153]


@pytest.mark.parametrize("start", [0, 1001])
def test_a_start_outside_the_schedule_is_refused(start, tmp_path):
    with pytest.raises(UsageProblem, match="1 to 1000"):
        diffusion(save(tmp_path), start=start)
