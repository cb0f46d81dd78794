import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import safetensors.torch
import torch

from tests.support.making import (
    CLASSES,
    CPU,
    make_generator,
    make_method,
    make_network,
    make_pgd,
    make_pixels,
    numbers_of,
    same_numbers,
)
from unlearn.config import to_plain
from unlearn.device import Run
from unlearn.errors import EnvironmentProblem
from unlearn.generators.artefact import NoiseGenerator
from unlearn.generators.header import KEY
from unlearn.methods import METHODS
from unlearn.radius import Radius
from unlearn.views import Views


@pytest.fixture
def path(tmp_path):
    return tmp_path / "noise.safetensors"


def write(path, tensors=None, **fields):
    """Write the artefact of an untrained generator with other header fields or tensors."""
    generator = make_generator()
    stored = generator.module.state_dict() if tensors is None else tensors
    text = json.dumps(to_plain(generator.header) | fields)
    path.write_bytes(safetensors.torch.save(stored, {KEY: text}))


def refusal(path):
    with pytest.raises(EnvironmentProblem) as caught:
        NoiseGenerator.load(path, CPU)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert len(message) < len(str(path)) + 400
    return message


def make_picture(height, width, channels=3, seed=0):
    whole = make_pixels(1, max(height, width), seed, channels)[0, :, :height, :width]
    return np.ascontiguousarray(whole.permute(1, 2, 0).numpy())


def digest(pixels):
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def noise(generator, pixels, target=1, seed=5, radius=None):
    return generator.noise_for_picture(pixels, target, seed, digest(pixels), radius)


# Save and load


def test_a_generator_loads_as_it_was_saved(path):
    generator = make_generator()
    sha256 = generator.save(path)
    loaded = NoiseGenerator.load(path, CPU)
    assert loaded.method == generator.method
    assert loaded.header == generator.header
    assert same_numbers(numbers_of(loaded.module), numbers_of(generator.module))
    assert loaded.sha256 == sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not any(module.training for module in loaded.module.modules())
    assert (loaded.classes, loaded.working_size) == (CLASSES, 8)
    assert loaded.bound == Radius.of_levels(8)


def test_a_loaded_generator_makes_the_same_noise(path):
    generator = make_generator()
    generator.save(path)
    picture = make_picture(8, 8)
    loaded = NoiseGenerator.load(path, CPU)
    assert np.array_equal(noise(loaded, picture), noise(generator, picture))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("shared", [0, 3])
def test_threads_make_the_noise_of_one_picture_after_the_other(path, precision, shared):
    run = Run(torch.device("cpu"), precision)
    generator = make_generator(make_method(shared=Radius.of_levels(shared)), run=run)
    generator = replace(generator, header=replace(generator.header, image_size=32))
    generator.save(path)
    loaded = NoiseGenerator.load(path, run)
    before = numbers_of(loaded.module)
    pictures = [make_picture(8 + number % 3, 9, seed=number) for number in range(6)]
    alone = [noise(generator, picture) for picture in pictures]
    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(partial(noise, loaded), pictures))
    assert all(map(np.array_equal, together, alone))
    assert same_numbers(numbers_of(loaded.module), before)


def test_saving_twice_gives_equal_bytes_whatever_the_memory_layout(path, tmp_path):
    generator, again = make_generator(), tmp_path / "again.safetensors"
    laid_out = replace(generator, module=make_generator().module)
    laid_out.module.to(memory_format=torch.channels_last)
    generator.save(path)
    laid_out.save(again)
    assert path.read_bytes() == again.read_bytes()
    NoiseGenerator.load(path, CPU).save(again)
    assert path.read_bytes() == again.read_bytes()


def test_a_generator_runs_where_and_how_it_is_told(path):
    make_generator().save(path)
    run = Run(torch.device("cpu"), "bf16", 3)
    assert NoiseGenerator.load(path, run).run == run
    assert NoiseGenerator.load(path).run.device.type in ("cpu", "cuda")


# What is refused


def test_truncated_files_are_refused(path):
    make_generator().save(path)
    content = path.read_bytes()
    for length in (0, 4, 8, 9, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refusal(path)


def test_longer_files_are_refused(path):
    make_generator().save(path)
    path.write_bytes(path.read_bytes() + b"more")
    assert "not a generator this version can use" in refusal(path)


def test_unknown_methods_are_refused_with_the_choices(path):
    write(path, method="max-min-max")
    known = ", ".join(METHODS)
    assert refusal(path).endswith(f"unknown method 'max-min-max'; this unlearn has {known}")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"architecture": "resnet19"}, "unknown architecture 'resnet19'"),
        ({"classes": []}, "at least one class, not 0"),
        ({"classes": ["a", "b", "c"]}, "size mismatch for head.weight"),
        ({"architecture": "resnet18"}, "Missing key(s) in state_dict"),
        ({"config": {"unknown": 1}}, "method: unknown field 'unknown'"),
        ({"config": {"noise": {"attack": {}}}}, "method.noise.attack: missing field 'radius'"),
        (
            {"config": {"noise": {"attack": {"radius": "8", "step": "1/255"}}}},
            "did you mean 8/255?",
        ),
        (
            {"config": {"adversary": {"radius": "9/255", "step": "1/255"}}},
            "rho-a 9/255 must be below rho 8/255",
        ),
        ({"config": {"schedule": {"decay_every": "1/0"}}}, "method.schedule.decay_every"),
        ({"config": {"schedule": {"decay_every": "1e99999999"}}}, "method.schedule.decay_every"),
    ],
)
def test_headers_that_do_not_fit_are_refused_with_the_reason(path, fields, reason):
    write(path, **fields)
    assert reason in refusal(path)


def test_missing_unknown_and_misshapen_tensors_are_refused(path):
    whole = make_network().state_dict()
    write(path, {name: tensor for name, tensor in whole.items() if name != "head.bias"})
    assert 'Missing key(s) in state_dict: "head.bias"' in refusal(path)
    write(path, whole | {"more": torch.ones(1)})
    assert 'Unexpected key(s) in state_dict: "more"' in refusal(path)
    write(path, whole | {"head.bias": torch.ones(5)})
    assert "size mismatch for head.bias" in refusal(path)
    write(path, {})
    assert "Missing key(s) in state_dict" in refusal(path)


def test_a_missing_generator_is_refused(tmp_path):
    assert "No such file or directory" in refusal(tmp_path / "none.safetensors")


def test_what_is_no_generator_is_refused_before_anything_is_built(path, monkeypatch):
    def built(*_):
        pytest.fail("a network was built")

    monkeypatch.setattr("unlearn.models.build_classifier", built)
    torch.save({}, path)
    assert "is a pickle and can run code" in refusal(path)
    write(path, format=3)
    assert "artefact format 3, made by a newer unlearn" in refusal(path)


# Noise


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (33, 21), (8, 8)])
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_has_the_shape_of_the_picture_and_keeps_the_bound(precision, shape, channels):
    generator = make_generator(run=replace(CPU, precision=precision))
    picture = make_picture(*shape, channels)
    delta = noise(generator, picture)
    assert delta.shape == (*shape, channels)
    assert delta.dtype == np.float32
    assert delta.flags.c_contiguous
    assert float(np.abs(delta).max()) <= 8 / 255 + 1e-7
    assert int(np.abs(np.round(delta * 255)).max()) <= 8
    shares = picture / 255
    assert float((shares + delta).min()) >= -1e-6
    assert float((shares + delta).max()) <= 1 + 1e-6
    assert float(np.abs(delta).mean()) > 1 / 255


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_noise_of_a_picture_depends_on_that_picture_alone(precision):
    shapes = [(1, 1), (7, 5), (33, 21), (8, 8), (7, 5)]
    pictures = [make_picture(*shape, seed=number) for number, shape in enumerate(shapes)]
    run = replace(CPU, precision=precision)
    shared = make_generator(run=run)
    forth = [noise(shared, picture) for picture in pictures]
    back = [noise(shared, picture) for picture in reversed(pictures)][::-1]
    alone = [noise(make_generator(run=run), picture) for picture in pictures]
    for one, other, third in zip(forth, back, alone, strict=True):
        assert np.array_equal(one, other)
        assert np.array_equal(one, third)
    assert not np.array_equal(forth[1], forth[4])


def test_noise_depends_on_the_target_the_seed_and_the_content():
    generator, picture = make_generator(), make_picture(8, 8)
    one = noise(generator, picture)
    assert not np.array_equal(noise(generator, picture, target=2), one)
    assert not np.array_equal(noise(generator, picture, seed=6), one)
    other = generator.noise_for_picture(picture, 1, 5, "ab" * 32)
    assert not np.array_equal(other, one)
    assert np.array_equal(noise(generator, picture), one)


def test_the_largest_seed_is_a_seed():
    assert noise(make_generator(), make_picture(7, 5), seed=2**63 - 1).shape == (7, 5, 3)


@pytest.mark.parametrize(("levels", "most"), [(1, 1), (2.5, 2), (4, 4), (12, 12)])
def test_another_radius_is_kept(levels, most):
    picture = make_picture(9, 9)
    delta = noise(make_generator(), picture, radius=Radius.of_levels(levels))
    assert float(np.abs(delta).max()) <= levels / 255 + 1e-7
    assert float(np.abs(delta).max()) > 0.9 * most / 255


def test_the_own_radius_is_the_default():
    generator, picture = make_generator(), make_picture(9, 9)
    assert np.array_equal(
        noise(generator, picture), noise(generator, picture, radius=Radius.of_levels(8))
    )


def test_making_noise_leaves_picture_and_network_alone():
    generator, picture = make_generator(), make_picture(8, 8)
    before, numbers = picture.copy(), numbers_of(generator.module)
    noise(generator, picture)
    assert np.array_equal(picture, before)
    assert same_numbers(numbers_of(generator.module), numbers)
    assert all(parameter.requires_grad for parameter in generator.module.parameters())
    assert all(parameter.grad is None for parameter in generator.module.parameters())


def test_a_read_only_view_of_a_picture_is_taken():
    picture = make_picture(16, 16)
    turned = picture[::-2, ::-2]
    turned.flags.writeable = False
    expected = noise(make_generator(), np.ascontiguousarray(turned))
    assert np.array_equal(
        make_generator().noise_for_picture(turned, 1, 5, digest(np.ascontiguousarray(turned))),
        expected,
    )


def test_noise_draws_the_picture_towards_its_target():
    method = make_method(attack=make_pgd(8, 2, steps=8, views=1), views=Views(False, 0))
    generator = make_generator(method)
    for target in range(4):
        picture = make_picture(8, 8, seed=target)
        delta = noise(generator, picture, target)
        images = torch.from_numpy(np.stack([picture / 255, picture / 255 + delta])).float()
        with torch.no_grad():
            clean, noisy = generator.module(images.permute(0, 3, 1, 2)).log_softmax(1)[:, target]
        assert noisy > clean


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    generator = make_generator()
    with torch.no_grad():
        next(generator.module.parameters()).flatten()[0] = value
    path = tmp_path / "broken.safetensors"
    generator.save(path)
    with pytest.raises(EnvironmentProblem, match="holds numbers that are not finite"):
        NoiseGenerator.load(path)
