"""Models on disk: what is read, that it is the network of diffusers, and what is refused."""

import json
import pickle

import pytest
import safetensors.torch
import torch

from tests.support.denoisers import CONFIG, OLD_CONFIG, save, wave, weights_of
from unlearn.countermeasures.denoiser import load_denoiser
from unlearn.errors import EnvironmentProblem

# What UNet2DModel of diffusers 0.42.1 gives for these weights, at pixel (2, 5) of the first
# picture and (6, 1) of the second.
PINNED = (
    [-0.6579366, -0.9230149, -0.7192006],
    [-0.7474210, -0.9848494, -0.7522712],
)
OLD_PINNED = (
    [-0.7557733, -0.9994043, -0.7727644],
    [-0.4623453, -0.6716275, -0.4165607],
)
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(("config", "pinned"), [(CONFIG, PINNED), (OLD_CONFIG, OLD_PINNED)])
def test_the_network_is_that_of_diffusers(config, pinned, tmp_path):
    network = load_denoiser(save(tmp_path, config)).network
    with torch.no_grad():
        noise = network(8 * wave(0, (2, 3, 8, 8)), torch.tensor([7, 940]))
    for picture, place, numbers in zip((0, 1), ((2, 5), (6, 1)), pinned, strict=True):
        assert torch.allclose(noise[(picture, slice(None), *place)], torch.tensor(numbers))


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


def test_a_folder_a_pipeline_and_a_file_mean_the_same_model(tmp_path):
    save(tmp_path / "unet")
    (tmp_path / "scheduler").mkdir()
    plain = {"num_train_timesteps": 1000, "beta_start": 0.0002, "beta_end": 0.01}
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(plain))
    for path in (tmp_path, tmp_path / "unet", tmp_path / "unet" / WEIGHTS):
        denoiser = load_denoiser(path)
        assert denoiser.side == 8
        assert denoiser.betas[[0, -1]].tolist() == [0.0002, 0.01]


def test_without_a_schedule_the_published_one_holds(tmp_path):
    betas = load_denoiser(save(tmp_path)).betas
    assert torch.equal(betas, torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))


def test_reading_moves_no_random_numbers_and_trains_nothing(tmp_path):
    before = torch.random.get_rng_state()
    network = load_denoiser(save(tmp_path)).network
    assert torch.equal(before, torch.random.get_rng_state())
    assert not network.training


def test_half_precision_weights_are_read_as_single(tmp_path):
    halves = {name: tensor.half() for name, tensor in weights_of(CONFIG).items()}
    network = load_denoiser(save(tmp_path, CONFIG, halves)).network
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}


def test_a_path_that_holds_nothing_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "away", tmp_path / "away.safetensors"):
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
    program = tmp_path / "program.pt2"
    program.write_bytes(pickle.dumps(Trap()))
    for path in (tmp_path, trap, program):
        with pytest.raises(EnvironmentProblem, match=r"other formats can run code"):
            load_denoiser(path)
    trap.rename(tmp_path / WEIGHTS)
    with pytest.raises(EnvironmentProblem, match="not a safetensors file"):
        load_denoiser(tmp_path)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"in_channels": 1}, "in_channels is 1; only models with 3"),
        ({"act_fn": "relu"}, "act_fn is 'relu'; only models with 'silu'"),
        ({"num_class_embeds": 10}, "num_class_embeds is 10"),
        ({"time_embedding_type": "fourier"}, "time_embedding_type is 'fourier'"),
        ({"down_block_types": ["DownBlock2D", "SkipDownBlock2D"]}, "SkipDownBlock2D"),
        ({"block_out_channels": [8, 16, 16]}, "are not 3 of"),
        ({"block_out_channels": [8, 18]}, "18 channels do not fall into 4 groups"),
        ({"block_out_channels": "many"}, "expected"),
        ({"norm_num_groups": 0}, "0 groups"),
        ({"layers_per_block": 0}, "1 to 16 layers, not 0"),
        ({"layers_per_block": 10**9}, "1 to 16 layers"),
        ({"block_out_channels": [8, 1 << 40]}, "cannot be built"),
        ({"freq_shift": 4}, "freq_shift are 0 or 1"),
        ({"block_out_channels": [8, 32]}, "do not fit config.json"),
        ({"layers_per_block": 3}, "do not fit config.json"),
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


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000])
def test_a_damaged_configuration_is_refused(text, tmp_path):
    save(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(EnvironmentProblem, match=r"config\.json: not"):
        load_denoiser(tmp_path)


def test_a_missing_or_huge_configuration_is_refused(tmp_path):
    save(tmp_path)
    (tmp_path / "config.json").write_text(" " * (1 << 21))
    with pytest.raises(EnvironmentProblem, match="too large"):
        load_denoiser(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(EnvironmentProblem, match="cannot be read"):
        load_denoiser(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"prediction_type": "v_prediction"},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"num_train_timesteps": 4000},
        {"beta_start": 0},
        {"beta_end": "large"},
    ],
)
def test_another_schedule_is_refused(change, tmp_path):
    save(tmp_path)
    (tmp_path / "scheduler_config.json").write_text(json.dumps(change))
    with pytest.raises(EnvironmentProblem, match=r"scheduler_config\.json"):
        load_denoiser(tmp_path)


def test_weights_cut_short_are_refused(tmp_path):
    path = save(tmp_path) / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(EnvironmentProblem, match="not a safetensors file"):
        load_denoiser(tmp_path)


def test_a_file_of_other_weights_is_refused(tmp_path):
    save(tmp_path)
    safetensors.torch.save_file({"weight": torch.ones(3)}, tmp_path / WEIGHTS)
    with pytest.raises(EnvironmentProblem, match="Missing key"):
        load_denoiser(tmp_path)
