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
    noise_of,
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
PUBLISHED = {"noise", "adversary", "randomness", "randomness_weight", "schedule"}


def published_step(method, module, batch):
    """Algorithm I for one batch, without any of the later options."""
    images, labels, rng = to_images(batch.pixels), batch.labels, batch.rng
    views = method.noise.views

    def seen(x):
        return cross_entropy(network(views(x, rng)), labels)

    with frozen(module, "fp32") as network:
        delta = pgd(seen, images, method.noise.attack, "minimise", rng)
    delta = to_delta(to_levels(project(delta, images, method.bound), method.bound))
    noisy = views(images + delta, rng)
    with frozen(module, "fp32") as network:
        attack = pgd(
            lambda x: cross_entropy(network(x), labels), noisy, method.adversary, "maximise", rng
        )
    clean = views(images, rng)
    error = cross_entropy(module(noisy + attack), labels).mean()
    spread = randomness(module(clean), method.randomness).mean()
    loss = error + method.randomness_weight * spread
    return {"loss": loss, "cross_entropy": error.detach(), "randomness": spread.detach()}


def test_every_later_option_is_off_by_default():
    method = MinMaxMin()
    off = {"final": None, "final_views": None, "joint": False}
    off_in_stage_one = {"window": 0, "shared": Radius.of_levels(0), "against": None}
    assert {name: getattr(method, name) for name in off} == off
    assert {name: getattr(method.noise, name) for name in off_in_stage_one} == off_in_stage_one
    assert {field.name for field in fields(method)} == PUBLISHED | off.keys()
    assert {field.name for field in fields(method.noise)} == {"attack", "views"} | (
        off_in_stage_one.keys()
    )


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

    def losses(model, batch):
        return published_step(method, model, batch)

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
        fine = without_casts(noisy - images, method.noise.window)
        clipped = project(fine.detach(), images, method.bound)
        colour = (images + fine + (clipped - fine).detach()).expand(-1, 3, -1, -1)
        views = torch.cat([method.final_views(colour, rng) for _ in range(method.final.views)])
        errors = cross_entropy(network(views), labels.repeat(method.final.views))
        return errors.view(method.final.views, -1).sum(dim=0)

    rng = make_rng(2)
    single = type(method.final)(method.bound, method.final.step, method.final.steps)
    with frozen(generator.module, "fp32") as network:
        delta = pgd(losses, images, single, "minimise", rng)
    expected = project(without_casts(delta, method.noise.window), images, method.bound)
    noise = noise_of(method, generator.module, images, labels, make_rng(2))
    assert torch.equal(noise, expected)
    assert calls == method.final.steps


def test_the_artefact_of_a_plain_method_holds_one_network_and_nothing_else():
    names = set(NoiseGenerator.load(BASE, CPU).module.state_dict())
    assert names == set(make_network("resnet-small", 10).state_dict())


def test_pictures_of_the_published_recipe_cost_844_passes():
    assert MinMaxMin().cost(50_000).a_picture == 844


def test_a_plain_training_remembers_nothing():
    class Look:
        def started(self, state):
            self.memory = state.memory

        def stepped(self, state, terms):
            assert self.memory == {}

    make_method().fit(make_network(), make_stripes(6), CPU, Look())
