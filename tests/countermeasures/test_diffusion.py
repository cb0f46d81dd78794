"""Purification with predictors known in closed form, and the models on disk that are read."""

import json
import math
import pickle
import socket
import sys

import pytest
import safetensors.torch
import torch

from tests.support.denoisers import CONFIG, OLD_CONFIG, save, weights_of
from tests.support.making import make_data, make_pixels, make_rng
from tests.support.sweeps import few
from unlearn.countermeasures.base import Countermeasure
from unlearn.countermeasures.diffusion import diffusion, load_denoiser, purified
from unlearn.countermeasures.sets import each_batch
from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.rng import Rng

BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
WEIGHTS = "diffusion_pytorch_model.safetensors"
# What a network of our own, which diffusers replaced, made of make_data(6): the first picture at
# (2, 5), the last at (6, 1).
PURE = ([255, 255, 98], [248, 181, 142])
OLD_PURE = ([255, 255, 104], [237, 167, 125])


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


@pytest.mark.slow
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
        diffusion(tmp_path, start=start)


@pytest.mark.parametrize(
    ("config", "pure"), few([(CONFIG, PURE), (OLD_CONFIG, OLD_PURE)], (CONFIG, PURE))
)
def test_a_known_model_makes_known_pictures(config, pure, tmp_path):
    pixels = diffusion(save(tmp_path, config)).once(make_data(6), 1).pixels.int()
    assert (pixels[0, :, 2, 5] - torch.tensor(pure[0])).abs().max() <= 1
    assert (pixels[5, :, 6, 1] - torch.tensor(pure[1])).abs().max() <= 1


def test_without_diffusers_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(EnvironmentProblem) as caught:
        load_denoiser(tmp_path)
    assert str(caught.value) == (
        "the countermeasure diffusion needs diffusers: pip install diffusers"
    )


def test_weights_with_the_old_names_of_attention_are_the_same(tmp_path):
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = weights_of(CONFIG)
    renamed = {}
    for name, tensor in weights.items():
        for new, before in old.items():
            name = name.replace(f".{new}.", f".{before}.")  # noqa: PLW2901
        renamed[name] = tensor
    assert renamed.keys() != weights.keys()
    network = load_denoiser(save(tmp_path, CONFIG, renamed)).network
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())


def test_a_folder_and_a_pipeline_mean_the_same_model(tmp_path):
    save(tmp_path / "unet")
    (tmp_path / "scheduler").mkdir()
    plain = {"num_train_timesteps": 1000, "beta_start": 0.0002, "beta_end": 0.01}
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(plain))
    for path in (tmp_path, tmp_path / "unet"):
        denoiser = load_denoiser(path)
        assert denoiser.side == 8
        assert denoiser.betas[[0, -1]].tolist() == pytest.approx([0.0002, 0.01])


def test_without_a_schedule_the_published_one_holds(tmp_path):
    betas = load_denoiser(save(tmp_path)).betas
    assert torch.allclose(betas, BETAS, rtol=1e-6)


def test_reading_moves_no_random_numbers_and_trains_nothing(tmp_path):
    save(tmp_path)
    before = torch.random.get_rng_state()
    network = load_denoiser(tmp_path).network
    assert torch.equal(before, torch.random.get_rng_state())
    assert not network.training


def test_half_precision_weights_are_read_as_single(tmp_path):
    halves = {name: tensor.half() for name, tensor in weights_of(CONFIG).items()}
    network = load_denoiser(save(tmp_path, CONFIG, halves)).network
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}


def test_a_path_that_holds_nothing_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "away", save(tmp_path / "model") / WEIGHTS):
        with pytest.raises(EnvironmentProblem, match="no diffusion model; expected a folder"):
            load_denoiser(path)


def test_a_pickle_is_refused_unread(tmp_path):
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return ran.touch, ()

    save(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    trap = tmp_path / "diffusion_pytorch_model.bin"
    trap.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(EnvironmentProblem, match=r"other formats can run code"):
        load_denoiser(tmp_path)
    trap.rename(tmp_path / WEIGHTS)
    with pytest.raises(EnvironmentProblem, match="not usable"):
        load_denoiser(tmp_path)
    assert not ran.exists()


@pytest.mark.parametrize("name", ["config.json", "scheduler_config.json"])
@pytest.mark.parametrize("text", ["", '"google/ddpm-cifar10-32"', "[1]", "{", "[" * 100_000])
def test_a_damaged_table_is_refused_and_no_hub_is_asked_for_another(
    name, text, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *place, **_: asked.append(place))
    save(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(EnvironmentProblem, match="not usable") as caught:
        load_denoiser(tmp_path)
    assert "\n" not in str(caught.value)
    assert asked == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"in_channels": 1}, "size mismatch"),
        ({"num_class_embeds": 10}, "Missing key"),
        ({"time_embedding_type": "fourier"}, "size mismatch"),
        ({"down_block_types": ["DownBlock2D", "NoBlock2D"]}, "NoBlock2D"),
        ({"block_out_channels": [8, 16, 16]}, "Must provide the same number"),
        ({"block_out_channels": "many"}, "many"),
        ({"norm_num_groups": 0}, "modulo by zero"),
        ({"block_out_channels": [8, 32]}, "size mismatch"),
    ],
)
def test_models_of_another_kind_are_refused_with_the_reason(change, reason, tmp_path):
    save(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | change))
    with pytest.raises(EnvironmentProblem) as caught:
        load_denoiser(tmp_path)
    assert reason in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"in_channels": 1}, "in_channels is 1; only models with 3"),
        ({"num_class_embeds": 10}, "num_class_embeds is 10"),
        ({"time_embedding_type": "fourier"}, "time_embedding_type is 'fourier'"),
    ],
)
def test_sound_models_that_purify_nothing_here_are_refused(change, reason, tmp_path):
    config = CONFIG | change
    with pytest.raises(EnvironmentProblem) as caught:
        load_denoiser(save(tmp_path, config))
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"prediction_type": "v_prediction"},
        {"beta_schedule": "no_such"},
        {"num_train_timesteps": 4000},
        {"beta_start": 0},
        {"beta_end": "large"},
    ],
)
def test_another_schedule_is_refused(change, tmp_path):
    save(tmp_path)
    (tmp_path / "scheduler_config.json").write_text(json.dumps(change))
    with pytest.raises(EnvironmentProblem, match="not usable: "):
        load_denoiser(tmp_path)


def test_weights_cut_short_or_of_something_else_are_refused(tmp_path):
    path = save(tmp_path) / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(EnvironmentProblem, match=r"not usable: .*incomplete"):
        load_denoiser(tmp_path)
    safetensors.torch.save_file({"weight": torch.ones(3)}, path)
    with pytest.raises(EnvironmentProblem, match="Missing key"):
        load_denoiser(tmp_path)
