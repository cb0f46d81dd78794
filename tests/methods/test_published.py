"""With every option off the method is the published recipe, bit for bit: written out once more."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch

import unlearn
from tests.support.making import (
    CPU,
    make_images,
    make_labels,
    make_method,
    make_network,
    make_rng,
    make_stripes,
    numbers_of,
    same_numbers,
)
from unlearn.attack import frozen, pgd
from unlearn.generators.artefact import NoiseGenerator
from unlearn.methods import MinMaxMin
from unlearn.objectives import cross_entropy, randomness
from unlearn.radius import Radius
from unlearn.tensors import project, to_delta, to_images, to_levels, without_casts
from unlearn.training import train

BASE = Path(unlearn.__file__).with_name("generators") / "base.safetensors"
PUBLISHED = {"unlearn", "adversary", "randomness", "randomness_weight", "views", "schedule"}


def published_step(method, module, pixels, labels, rng):
    """Algorithm I for one batch, without any of the later options."""
    images = to_images(pixels)

    def seen(x):
        return cross_entropy(network(method.views(x, rng)), labels)

    with frozen(module, "fp32") as network:
        delta = pgd(seen, images, method.unlearn, "minimise", rng)
    delta = to_delta(to_levels(project(delta, images, method.radius), method.radius))
    noisy = method.views(images + delta, rng)
    with frozen(module, "fp32") as network:
        attack = pgd(
            lambda x: cross_entropy(network(x), labels), noisy, method.adversary, "maximise", rng
        )
    clean = method.views(images, rng)
    error = cross_entropy(module(noisy + attack), labels).mean()
    spread = randomness(module(clean), method.randomness).mean()
    loss = error + method.randomness_weight * spread
    return {"loss": loss, "cross_entropy": error.detach(), "randomness": spread.detach()}


def test_every_later_option_is_off_by_default():
    method = MinMaxMin()
    off = {
        "final": None,
        "joint": False,
        "final_views": None,
        "window": 0,
        "shared": Radius.of_levels(0),
        "patterns": 1,
        "jitter": Radius.of_levels(0),
        "adversary_range": None,
        "cosine_weight": 0.0,
        "architectures": (),
        "averaged": 1,
        "warm": False,
    }
    assert {name: getattr(method, name) for name in off} == off
    assert {field.name for field in fields(method)} == PUBLISHED | set(off)


def test_training_without_options_is_the_published_algorithm_bit_by_bit(monkeypatch):
    monkeypatch.setattr("unlearn.methods.stage_one._VIEWS_TOGETHER", 0)
    method, data, terms = make_method(), make_stripes(10), ([], [])

    class Terms:
        def __init__(self, kept):
            self.kept = kept

        def started(self, state):
            pass

        def stepped(self, state, terms):
            self.kept.append({name: float(term.detach()) for name, term in terms.items()})

    def losses(model, pixels, labels, rng):
        return published_step(method, model, pixels, labels, rng)

    by_method, by_hand = make_network(), make_network()
    method.fit(by_method, data, CPU, Terms(terms[0]))
    train(by_hand, losses, data, method.schedule, CPU, Terms(terms[1]))
    assert terms[0] == terms[1]
    assert len(terms[0]) == method.schedule.steps
    assert same_numbers(numbers_of(by_method), numbers_of(by_hand))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_bundled_generator_makes_the_noise_that_its_settings_always_meant(channels):
    generator = NoiseGenerator.load(BASE, CPU)
    method = generator.method
    assert method.final
    assert method.final_views
    images, labels = make_images(2, 24, channels=channels), make_labels(2)
    calls = 0

    def losses(noisy):
        nonlocal calls
        calls += 1
        fine = without_casts(noisy - images, method.window)
        clipped = project(fine.detach(), images, method.radius)
        colour = (images + fine + (clipped - fine).detach()).expand(-1, 3, -1, -1)
        views = torch.cat([method.final_views(colour, rng) for _ in range(method.final.views)])
        errors = cross_entropy(network(views), labels.repeat(method.final.views))
        return errors.view(method.final.views, -1).sum(dim=0)

    rng = make_rng(2)
    single = type(method.final)(method.radius, method.final.step, method.final.steps)
    with frozen(generator.module, "fp32") as network:
        delta = pgd(losses, images, single, "minimise", rng)
    expected = project(without_casts(delta, method.window), images, method.radius)
    noise = method.noise(generator.module, images, labels, CPU, make_rng(2))
    assert torch.equal(noise, expected)
    assert calls == method.final.steps


def test_the_artefact_of_a_plain_method_holds_one_network_and_nothing_else():
    names = set(NoiseGenerator.load(BASE, CPU).module.state_dict())
    assert names == set(make_network("resnet-small", 10).state_dict())


def test_pictures_of_the_published_recipe_cost_844_passes():
    assert MinMaxMin().passes_per_image(50_000) == 844


def test_a_plain_training_remembers_nothing():
    class Look:
        def started(self, state):
            self.memory = state.memory

        def stepped(self, state, terms):
            assert self.memory == {}

    make_method().fit(make_network(), make_stripes(6), CPU, Look())
