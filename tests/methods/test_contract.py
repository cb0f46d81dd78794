"""The contract of every method: an entry in METHODS joins these tests by itself."""

import json
from dataclasses import fields, is_dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.making import (
    CLASSES,
    CPU,
    few_examples,
    flags_of,
    make_images,
    make_labels,
    make_method,
    make_pgd,
    make_stripes,
    numbers_of,
    same_numbers,
    seeded,
)
from unlearn.config import from_plain, to_plain
from unlearn.errors import UsageProblem
from unlearn.generators.artefact import NoiseGenerator, header_of
from unlearn.methods import METHODS, Spec
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import add_levels, to_images, to_levels
from unlearn.training import SILENT, Schedule
from unlearn.views import Views

SMALL = {
    "min-max-min": make_method(),
    "min-max-min, all options": make_method(
        final=make_pgd(8, 4, steps=2, views=2),
        joint=True,
        views=Views(flip=False, pad=1, grey=0.3, jpeg=0.3, shrink=0.3, blur=0.3),
        window=3,
        shared=Radius.of_levels(2),
        jitter=Radius.of_levels(2),
        adversary_range=(Radius.of_levels(1), Radius.of_levels(6)),
        cosine_weight=0.5,
        architectures=("resnet-small",),
        averaged=2,
        warm=True,
        schedule=Schedule(steps=5, batch_size=4, learning_rate=0.05),
    ),
}
SPEC = Spec("resnet-small", len(CLASSES), 8)
every = pytest.mark.parametrize("name", SMALL)


def build(name):
    return seeded(lambda: SMALL[name].build(SPEC)).eval()


def noise(name, images, labels, ids=None, seed=0):
    ids = torch.arange(len(images)) if ids is None else ids
    rng = Rng.for_images(seed, ids)
    return SMALL[name].noise(build(name), images, labels, CPU, rng)


class Count:
    steps = 0

    def started(self, state):
        self.steps = state.finished

    def stepped(self, state, terms):
        assert torch.isfinite(terms["loss"].detach())
        self.steps += 1


def test_every_method_has_a_small_form_and_is_listed_under_its_name():
    assert {method.name for method in SMALL.values()} == set(METHODS)
    for name, method in METHODS.items():
        assert method.name == name
        assert isinstance(SMALL[name], method)


@every
def test_a_method_is_a_frozen_dataclass_that_is_its_own_configuration(name):
    method = SMALL[name]
    assert is_dataclass(method)
    assert hash(method) == hash(SMALL[name])
    with pytest.raises(AttributeError):
        setattr(method, fields(method)[0].name, None)
    plain = json.loads(json.dumps(to_plain(method)))
    assert from_plain(type(method), plain) == method
    assert from_plain(type(method), {}) == type(method)()


@every
@pytest.mark.parametrize("levels", [0.5, 1.6, 4, 8])
def test_the_noise_of_a_method_keeps_its_bound_exactly_in_levels(name, levels):
    method = SMALL[name].within(Radius.of_levels(levels))
    assert method.radius == Radius.of_levels(levels)
    images, labels = make_images(6), make_labels(6)
    rng = Rng.for_images(0, torch.arange(6))
    delta = method.noise(build(name), images, labels, CPU, rng)
    steps, pixels = to_levels(delta, method.radius), (images * 255).round().to(torch.uint8)
    moved = add_levels(pixels, steps).int() - pixels.int()
    assert float(delta.abs().max()) <= float(method.radius) + 1e-7
    assert int(moved.abs().max()) <= int(levels)
    assert torch.equal(moved, steps.int())


@every
def test_the_noise_of_a_method_reaches_every_picture(name):
    delta = noise(name, make_images(6), make_labels(6))
    mean = delta.abs().flatten(1).mean(1) * 255
    assert float(mean.min()) > 0.25 * SMALL[name].radius.levels
    assert not delta.requires_grad


@every
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (12, 9)])
def test_a_method_takes_grey_and_colour_of_any_size(name, channels, shape):
    images = make_images(2, 12, channels=channels)[:, :, : shape[0], : shape[1]]
    delta = noise(name, images, make_labels(2))
    assert delta.shape == images.shape
    assert torch.isfinite(delta).all()


@every
def test_the_noise_of_a_picture_does_not_depend_on_its_batch(name):
    images, labels, ids = make_images(6), make_labels(6), torch.arange(6) + 40
    together = noise(name, images, labels, ids)
    turned = noise(name, images.flip(0), labels.flip(0), ids.flip(0)).flip(0)
    alone = torch.cat(
        [noise(name, *(part[one : one + 1] for part in (images, labels, ids))) for one in range(6)]
    )
    # Convolutions may add up in another order for another batch: a few signs near zero may differ.
    for other in (turned, alone):
        assert float((together - other).abs().gt(1e-6).float().mean()) < 0.01


@every
def test_the_noise_of_a_method_is_repeatable_bit_by_bit_and_its_seed_matters(name):
    images, labels = make_images(4), make_labels(4)
    one = noise(name, images, labels)
    assert torch.equal(noise(name, images, labels), one)
    assert not torch.equal(noise(name, images, labels, seed=1), one)


@every
def test_making_noise_changes_neither_module_nor_pictures(name):
    module, images, labels = build(name).train(), make_images(4), make_labels(4)
    flags, numbers, before = flags_of(module), numbers_of(module), images.clone()
    SMALL[name].noise(module, images, labels, CPU, Rng.for_images(0, torch.arange(4)))
    assert flags_of(module) == flags
    assert same_numbers(numbers_of(module), numbers)
    assert torch.equal(images, before)
    assert all(parameter.grad is None for parameter in module.parameters())


@every
def test_a_fitted_method_saves_and_loads_equal(name, tmp_path):
    method, module, observer = SMALL[name], build(name), Count()
    before = numbers_of(module)
    data = make_stripes(10)
    method.fit(module, data, CPU, observer)
    assert observer.steps == method.schedule.steps
    assert not same_numbers(numbers_of(module), before)
    assert not any(part.training for part in module.modules())
    header = header_of(
        method, architecture=SPEC.architecture, classes=CLASSES, image_size=8, working_size=8
    )
    generator = NoiseGenerator(method, module, header, run=CPU)
    generator.save(tmp_path / "noise.safetensors")
    loaded = NoiseGenerator.load(tmp_path / "noise.safetensors", CPU)
    assert loaded.method == method
    images = to_images(data.pixels)
    deltas = [
        made.method.noise(made.module, images, data.labels, CPU, Rng.for_images(0, data.ids))
        for made in (generator, loaded)
    ]
    assert torch.equal(*deltas)


@every
def test_fitting_is_repeatable_bit_by_bit(name):
    numbers = []
    for _ in range(2):
        module = build(name)
        SMALL[name].fit(module, make_stripes(10), CPU, SILENT)
        numbers.append(numbers_of(module))
    assert same_numbers(*numbers)


@every
@few_examples
@given(levels=st.fractions(0, 254, max_denominator=100))
def test_a_method_takes_any_radius_or_says_why_not(name, levels):
    radius = Radius(levels / 255)
    try:
        assert SMALL[name].within(radius).radius == radius
    except UsageProblem as problem:
        assert levels == 0
        assert "0/255" in str(problem)  # noqa: PT017
