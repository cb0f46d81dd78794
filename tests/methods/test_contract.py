"""The contract of every method: an entry in METHODS joins these tests by itself."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.made_pictures import noise_image
from tests.support.making import (
    CLASSES,
    CPU,
    few_examples,
    flags_of,
    make_images,
    make_labels,
    make_method,
    make_pgd,
    make_pixels,
    make_stripes,
    noise_of,
    numbers_of,
    same_numbers,
    seeded,
)
from tests.support.sweeps import few
from unlearn.checkpoint import Checkpoint
from unlearn.config import from_plain, to_plain
from unlearn.datasets.labelled import LabelledPictures
from unlearn.errors import UsageProblem
from unlearn.generators.artefact import NoiseGenerator, generator_from
from unlearn.generators.model_card import model_card
from unlearn.generators.recipes import settings_of, with_settings
from unlearn.methods import METHODS, Cost, Spec
from unlearn.methods.em import Em
from unlearn.protection.options import ProtectOptions
from unlearn.protection.run import protect
from unlearn.radius import WIDEST, Radius
from unlearn.rng import Rng
from unlearn.tensors import add_levels, to_images, to_levels
from unlearn.training import SILENT, Schedule
from unlearn.verification.options import VerifyOptions
from unlearn.verification.run import verify
from unlearn.views import Views

SMALL = {name: method.example() for name, method in METHODS.items()}
SMALL |= {
    "min-max-min, all options": make_method(
        attack=make_pgd(8, 2, steps=2),
        views=Views(flip=False, pad=1, grey=0.3, jpeg=0.3, shrink=0.3, blur=0.3),
        window=3,
        shared=Radius.of_levels(2),
        final=make_pgd(8, 4, steps=2, views=2),
        joint=True,
        schedule=Schedule(steps=5, batch_size=4, learning_rate=0.05),
    ),
    "em, shared by class": replace(Em.example(), shared=True, part=Fraction(1, 2)),
}
SQUARER = pytest.param((12, 9), marks=pytest.mark.slow)
SPEC = Spec("resnet-small", len(CLASSES), 8)
# One of each kind: trained in steps, in sweeps, on patterns, closed form, unbounded, and by class.
KINDS = (
    *("min-max-min, all options", "em, shared by class", "tue", "clusters", "motifs"),
    *("lsp", "cuda"),
)
every = pytest.mark.parametrize("name", SMALL)
some = pytest.mark.parametrize("name", few(SMALL, *KINDS))
kinds = pytest.mark.parametrize("kind", METHODS.values(), ids=METHODS.keys())


@pytest.fixture(scope="module")
def fitted():
    """The modules of all methods, trained; nothing in these tests may change them."""
    made: dict[str, Any] = {}

    def of(name):
        if name not in made:
            made[name] = fit(SMALL[name])
        return made[name]

    return of


@pytest.fixture(scope="module")
def generators():
    """The generators of all methods; nothing in these tests may change them."""
    made: dict[str, NoiseGenerator] = {}

    def of(name):
        if name not in made:
            data = make_stripes(12)
            made[name] = generator_from(data, SMALL[name], SPEC.architecture, CPU, name="made")
        return made[name]

    return of


def fit(method, observer=SILENT, count=12):
    module = seeded(lambda: method.build(SPEC))
    method.fit(module, make_stripes(count), CPU, observer)
    return module


def noise(name, module, images, ids=None, seed=0):
    ids = torch.arange(len(images)) if ids is None else ids
    return noise_of(SMALL[name], module, images, make_labels(50)[ids], Rng.for_images(seed, ids))


class Count:
    steps = 0

    def started(self, state):
        self.steps += state.finished

    def stepped(self, state, terms):
        assert torch.isfinite(terms["loss"].detach())
        self.steps += 1


class Stopping:
    """Restores a training; saves it after a number of steps in all and stops it there."""

    def __init__(self, path, after=None):
        self.checkpoint = Checkpoint(path, "plan")
        self.after = after

    def started(self, state):
        self.checkpoint.restore(state)

    def stepped(self, state, terms):
        if self.after is not None:
            self.after -= 1
        if self.after == 0:
            self.checkpoint.save(state, {})
            raise KeyboardInterrupt


@kinds
def test_a_method_is_listed_under_its_name_with_its_idea_in_a_line(kind):
    assert METHODS[kind.name] is kind
    assert 10 < len(kind.summary) < 80
    assert "\n" not in kind.summary
    assert isinstance(kind.example(), kind)


@kinds
def test_a_method_has_its_published_settings_among_its_recipes(kind):
    recipes = kind.recipes()
    assert next(iter(recipes)) == "paper"
    assert recipes["paper"] == kind()
    assert all(isinstance(recipe, kind) for recipe in recipes.values())


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
    facts = method.facts()
    assert all(isinstance(text, str) for row in facts.items() for text in row)


@kinds
def test_every_setting_of_a_method_can_be_set_to_what_it_is(kind):
    def texts() -> Iterator[str]:
        for setting, value in settings_of(kind.name, "paper").items():
            text = (
                ",".join(map(str, value))
                if isinstance(value, list)
                else json.dumps(value).strip('"')
            )
            yield f"{setting}={'none' if value is None else text}"

    assert with_settings(kind(), list(texts())) == kind()
    with pytest.raises(UsageProblem, match=f"{kind.name}: unknown field 'zzz'; known: "):
        with_settings(kind(), ["zzz=1"])


@some
@pytest.mark.parametrize("levels", [0.5, 1.6, 4, 8])
def test_the_noise_of_a_method_keeps_any_ball_exactly_in_levels(name, levels, fitted):
    method = SMALL[name].at(Radius.of_levels(levels))
    assert method.bound == Radius.of_levels(levels)
    images, labels = make_images(6), make_labels(6)
    delta = noise_of(method, fitted(name), images, labels, Rng.for_images(0, torch.arange(6)))
    steps, pixels = to_levels(delta, method.bound), (images * 255).round().to(torch.uint8)
    moved = add_levels(pixels, steps).int() - pixels.int()
    assert float(delta.abs().max()) <= float(method.bound) + 1e-7
    assert int(moved.abs().max()) <= int(levels)


@some
def test_the_noise_of_a_method_reaches_every_picture(name, fitted):
    delta = noise(name, fitted(name), make_images(6))
    mean = delta.abs().flatten(1).mean(1) * 255
    assert float(mean.min()) > 0.1 * (SMALL[name].bound or Radius.of_levels(8)).levels
    assert not delta.requires_grad


@some
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), SQUARER])
def test_a_method_takes_grey_and_colour_of_any_size(name, channels, shape, fitted):
    images = make_images(2, 12, channels=channels)[:, :, : shape[0], : shape[1]]
    delta = noise(name, fitted(name), images)
    assert delta.shape == images.shape
    assert torch.isfinite(delta).all()


@some
def test_the_noise_of_a_picture_does_not_depend_on_its_batch(name, fitted):
    images, ids, module = make_images(6), torch.arange(6) + 40, fitted(name)
    together = noise(name, module, images, ids)
    turned = noise(name, module, images.flip(0), ids.flip(0)).flip(0)
    alone = torch.cat(
        [noise(name, module, images[n : n + 1], ids[n : n + 1]) for n in range(len(ids))]
    )
    # Convolutions may add up in another order for another batch: a few signs near zero may differ.
    for other in (turned, alone):
        assert float((together - other).abs().gt(1e-6).float().mean()) < 0.01


@some
def test_the_noise_of_a_method_is_repeatable_bit_by_bit(name, fitted):
    images, module = make_images(4), fitted(name)
    assert torch.equal(noise(name, module, images), noise(name, module, images))


@some
def test_making_noise_changes_neither_module_nor_pictures(name, fitted):
    module, images = fitted(name), make_images(4)
    flags, numbers, before = flags_of(module), numbers_of(module), images.clone()
    noise(name, module, images)
    assert flags_of(module) == flags
    assert same_numbers(numbers_of(module), numbers)
    assert torch.equal(images, before)


@some
def test_what_makes_noise_stays_as_it_is_when_the_module_changes(name, fitted):
    method, module, images = SMALL[name], deepcopy(fitted(name)), make_images(3)
    maker, rng = method.ready(module, CPU), Rng.for_images(0, torch.arange(3))
    targets = maker.targets(images, make_labels(3), rng)
    before = maker(images, targets, Rng.for_images(0, torch.arange(3)))
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.zero_()
    assert torch.equal(maker(images, targets, Rng.for_images(0, torch.arange(3))), before)


@some
def test_labels_are_needed_where_a_method_says_so(name, fitted):
    method, images, rng = SMALL[name], make_images(3), Rng.for_images(0, torch.arange(3))
    maker = method.ready(fitted(name), CPU)
    if method.needs_labels:
        assert torch.equal(maker.targets(images, make_labels(3), rng), make_labels(3))
        with pytest.raises(UsageProblem, match="needs a class for each picture"):
            maker.targets(images, None, rng)
    else:
        assert torch.equal(
            maker.targets(images, None, rng), maker.targets(images, make_labels(3), rng)
        )


@some
def test_fitting_takes_the_steps_that_it_costs_and_is_repeatable_bit_by_bit(name, fitted):
    observer = Count()
    module = fit(SMALL[name], observer)
    assert observer.steps == SMALL[name].cost(12).steps
    assert same_numbers(numbers_of(module), numbers_of(fitted(name)))
    assert not any(part.training for part in module.modules())
    assert all(torch.isfinite(tensor).all() for tensor in module.state_dict().values())


# What methods learn from: one picture, one class, uneven classes, odd sizes, no whole batches.
COUNTS = {"uneven": (5, 1, 1), "one": (1, 0), "one class": (3,)}
ODD = {
    "one picture": (11, [0, 0, 0, 1]),
    "one class": (8, [5]),
    "uneven classes": (7, [1, 9, 1, 2]),
    "two classes of odd pictures": (13, [4, 3]),
    "more classes than a batch": (8, [1] * 9),
}


@some
@pytest.mark.parametrize("odd", few(ODD, *list(ODD)[:2]))
def test_a_method_learns_from_odd_sets_or_says_why_not(name, odd):
    size, counts = ODD[odd]
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    names = tuple(f"class {number}" for number in range(len(counts)))
    data = LabelledPictures(make_pixels(len(labels), size), labels, names)
    try:
        module = seeded(lambda: SMALL[name].build(Spec("resnet-small", len(counts), size)))
        SMALL[name].fit(module, data, CPU, SILENT)
    except UsageProblem as problem:
        assert odd.startswith("one")
        assert len(str(problem).split()) > 5  # noqa: PT017
        return
    made = noise_of(
        SMALL[name], module, to_images(data.pixels), labels, Rng.for_images(0, data.ids)
    )
    assert torch.isfinite(made).all()
    assert (made.flatten(1).abs().amax(dim=1) > 1 / 255).all()


@some
def test_a_training_that_was_stopped_ends_where_an_undisturbed_one_does(name, tmp_path, fitted):
    expected = numbers_of(fitted(name))
    for after in range(1, SMALL[name].cost(12).steps):
        path = tmp_path / f"{after}"
        with pytest.raises(KeyboardInterrupt):
            fit(SMALL[name], Stopping(path, after))
        assert same_numbers(numbers_of(fit(SMALL[name], Stopping(path))), expected)


@some
@pytest.mark.parametrize("kind", few(COUNTS, "uneven"))
def test_a_method_takes_few_or_uneven_pictures_of_an_odd_size_or_says_why_not(name, kind):
    counts = COUNTS[kind]
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    classes = tuple("abc"[: len(counts)])
    data = LabelledPictures(make_pixels(len(labels), 7), labels, classes)
    try:
        made = generator_from(data, SMALL[name], SPEC.architecture, CPU, name="made")
    except UsageProblem as problem:
        assert counts != (5, 1, 1)
        assert re.search(r"\d", str(problem))  # noqa: PT017
        return
    images, rng = to_images(data.pixels), Rng.for_images(0, data.ids)
    delta = made.maker(images, made.maker.targets(images, labels, rng), rng)
    assert delta.shape == images.shape
    assert torch.isfinite(delta).all()
    assert (delta.flatten(1).abs().amax(dim=1) * 255 >= 0.5).all()


@every
def test_the_cost_of_a_picture_is_its_share_of_the_training_and_its_noise(name):
    for count in (1, 12, 1000):
        cost = SMALL[name].cost(count)
        assert cost.final + cost.training / count <= cost.a_picture
        assert cost.a_picture < cost.final + cost.training / count + 1
        assert bool(cost.training) == bool(cost.steps)
        assert (cost == Cost()) == (not list(SMALL[name].build(SPEC).parameters()))


@some
def test_a_generator_saves_loads_and_protects_equal_and_says_what_it_is(name, tmp_path, generators):
    method, data, made = SMALL[name], make_stripes(12), generators(name)
    made.save(tmp_path / "made.safetensors")
    loaded = NoiseGenerator.load(tmp_path / "made.safetensors", CPU)
    assert loaded.method == method
    assert loaded.header == made.header
    assert same_numbers(numbers_of(loaded.module), numbers_of(made.module))
    images, rng = to_images(data.pixels), Rng.for_images(0, data.ids)
    targets = made.maker.targets(images, data.labels, rng)
    before = made.maker(images, targets, Rng.for_images(0, data.ids))
    assert torch.equal(loaded.maker(images, targets, Rng.for_images(0, data.ids)), before)
    assert made.header.classes == (() if method.any_classes else CLASSES)
    assert made.header.rho == (None if method.bound is None else str(method.bound))
    card = model_card(made.header)
    for row, text in method.facts().items():
        assert f"| {row} | {text} |" in card


@some
def test_files_that_a_method_protects_keep_its_bound_when_they_are_decoded(
    name, tmp_path, generators
):
    method = SMALL[name]
    generators(name).save(tmp_path / "made.safetensors")
    for number, label in enumerate((*CLASSES[:3], *CLASSES[:3])):
        path = tmp_path / "photos" / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise_image((20 + number, 16), 60, number).save(path)
    options = ProtectOptions(
        inputs=(str(tmp_path / "photos"),),
        out=tmp_path / "out",
        generator=str(tmp_path / "made.safetensors"),
        key=tmp_path / "key",
        device="cpu",
        workers=0,
        preview=0,
        allow_unbounded=method.bound is None,
    )
    (tmp_path / "key").write_bytes(bytes(range(32)))
    result = protect(options, lambda event: None)
    assert len(result.protected) == 6
    radius = WIDEST if method.bound is None else options.rho
    for record in result.protected:
        before, after = (
            np.asarray(Image.open(folder / name).convert("RGB"), np.int16)
            for folder, name in ((tmp_path / "photos", record.src), (tmp_path / "out", record.out))
        )
        assert 1 <= np.abs(after - before).max() == record.linf <= radius.levels
    assert verify(None, tmp_path / "out", VerifyOptions()).ok


@every
@few_examples
@given(levels=st.fractions(0, 254, max_denominator=100))
def test_a_method_takes_any_radius_or_says_why_not(name, levels):
    radius = Radius(levels / 255)
    try:
        assert SMALL[name].at(radius).bound == radius
    except UsageProblem as problem:
        assert levels == 0
        assert "0/255" in str(problem)  # noqa: PT017
