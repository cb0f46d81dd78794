import threading
from collections import OrderedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.support.making import (
    flags_of,
    linear_losses,
    make_images,
    make_labels,
    make_network,
    make_pgd,
    make_rng,
    make_small_net,
    numbers_of,
    property_test,
    same_numbers,
)
from unlearn.attack import Pgd, frozen, gaussian_start, n_fgsm, pgd
from unlearn.errors import UsageProblem
from unlearn.models.folding import Folded
from unlearn.objectives import cross_entropy
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import project, to_levels
from unlearn.views import Views
from unlearn.workers.abandoned import run_until

GOALS = ("minimise", "maximise")


def signs(count, size=8):
    """Weights far from zero, half of them negative."""
    draw = make_rng(count, seed=11).uniform(3, size, size, low=-1, high=1)
    return draw + draw.sign()


def classify(network, labels):
    return lambda images: cross_entropy(network(images), labels)


# The bound


@property_test
@given(
    st.fractions(0, 1, max_denominator=2000).filter(lambda x: x < 1),
    st.fractions(0, 1, max_denominator=20),
    st.integers(0, 4),
    st.booleans(),
    st.sampled_from(GOALS),
    st.integers(0, 2**40),
)
def test_pgd_keeps_the_bound_in_levels(radius, share, steps, random_start, goal, seed):
    config = Pgd(Radius(radius), Radius(radius * share), steps, 1, random_start)
    images = make_images(2, 4, seed)
    weights = make_rng(2, seed + 1).uniform(3, 4, 4, low=-1, high=1)
    delta = pgd(linear_losses(weights), images, config, goal, make_rng(2, seed))
    assert int(to_levels(delta, config.radius).abs().max()) <= config.radius.levels
    assert float(delta.abs().max()) <= float(radius) + 1e-7
    assert float((images + delta).min()) >= -1e-7
    assert float((images + delta).max()) <= 1 + 1e-7


@pytest.mark.parametrize("random_start", [False, True])
def test_a_radius_of_zero_gives_no_noise(random_start):
    config = make_pgd(0, 0, random_start=random_start)
    delta = pgd(linear_losses(signs(3)), make_images(3), config, "minimise", make_rng(3))
    assert torch.equal(delta, torch.zeros_like(delta))


# The direction


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("precision", [None, "fp32", "bf16"])
def test_pgd_moves_the_loss_of_every_image_the_right_way(goal, precision):
    model, images, labels = make_small_net(), make_images(12), make_labels(12)
    with frozen(model, precision) as network:
        losses = classify(network, labels)
        delta = pgd(losses, images, make_pgd(), goal, make_rng(12))
        with torch.no_grad():
            change = losses(images + delta) - losses(images)
    assert (change < 0).all() if goal == "minimise" else (change > 0).all()


def test_the_two_goals_are_opposites():
    losses, images = linear_losses(signs(4)), make_images(4)
    one = pgd(losses, images, make_pgd(), "maximise", make_rng(4))
    other = pgd(lambda x: -losses(x), images, make_pgd(), "minimise", make_rng(4))
    assert torch.equal(one, other)


# The oracle


def descended(losses, images, config, goal, rng):
    """The same in the words of Algorithm I: a new δ is projected anew after each step."""
    ball = float(config.radius)
    delta = torch.zeros_like(images)
    if config.random_start:
        delta = rng.uniform(*images.shape[1:], low=-ball, high=ball)
    delta = project(delta, images, config.radius)
    step = float(config.step) * (1 if goal == "maximise" else -1)
    for _ in range(config.steps):
        gradient = torch.zeros_like(images)
        for _ in range(config.views):
            noise = delta.clone().requires_grad_()
            gradient = gradient + torch.autograd.grad(losses(images + noise).sum(), noise)[0]
        delta = project(delta + step * gradient.sign(), images, config.radius)
    return delta


@property_test
@given(
    st.integers(0, 254),
    st.fractions(0, 1, max_denominator=20),
    st.integers(0, 4),
    st.integers(1, 3),
    st.sampled_from(GOALS),
    st.integers(0, 2**40),
)
def test_pgd_gives_the_bytes_of_the_steps_as_they_are_written(
    levels, share, steps, views, goal, seed
):
    radius = Radius.of_levels(levels)
    config = Pgd(radius, Radius(radius.value * share), steps, views, random_start=bool(seed % 2))
    images = make_images(2, 4, seed)
    images[0, 0] = 0.0  # no room below
    images[0, 1] = 1.0  # none above
    weights = make_rng(2, seed + 1).integers(3, 3, 4, 4) - 1  # a third of the gradients are 0

    def losses(noisy):
        return ((noisy - 0.5) ** 3 * weights).flatten(1).sum(1)

    delta = pgd(losses, images, config, goal, make_rng(2, seed))
    written = descended(losses, images, config, goal, make_rng(2, seed))
    assert torch.equal(delta.view(torch.int32), written.view(torch.int32))


@pytest.mark.parametrize(("goal", "direction"), [("minimise", -1), ("maximise", 1)])
@pytest.mark.parametrize("levels", [1, 1.6, 8, 40])
@pytest.mark.parametrize("random_start", [False, True])
def test_pgd_on_a_linear_loss_lands_on_the_corner_of_the_ball(
    goal, direction, levels, random_start
):
    images, weights = make_images(6), signs(6)
    config = make_pgd(levels, levels / 4, steps=10, random_start=random_start)
    delta = pgd(linear_losses(weights), images, config, goal, make_rng(6))
    corner = float(config.radius) * direction * weights.sign()
    assert torch.equal(delta, project(corner, images, config.radius))


@pytest.mark.parametrize("goal", GOALS)
def test_pgd_finds_a_minimum_inside_the_ball_within_one_step(goal):
    images = torch.full((2, 3, 4, 4), 0.5)
    target = images + make_rng(2).uniform(3, 4, 4, low=-6 / 255, high=6 / 255)
    sign = 1 if goal == "minimise" else -1
    delta = pgd(
        lambda x: sign * (x - target).square().flatten(1).sum(1),
        images,
        make_pgd(8, 0.5, steps=40),
        goal,
        make_rng(2),
    )
    assert float((images + delta - target).abs().max()) <= 0.5 / 255 + 1e-6


def test_pgd_keeps_the_precision_of_its_images():
    images = make_images(3).double()
    weights = signs(3).double()
    delta = pgd(linear_losses(weights), images, make_pgd(8, 0.4, steps=2), "maximise", make_rng(3))
    start = make_rng(3).uniform(3, 8, 8, low=-8 / 255, high=8 / 255)
    moved = project(start.double(), images, Radius.of_levels(8))
    for _ in range(2):
        moved = project(moved + 0.4 / 255 * weights.sign(), images, Radius.of_levels(8))
    assert delta.dtype == torch.float64
    assert torch.allclose(delta, moved, rtol=0, atol=1e-15)


def test_a_gaussian_start_has_the_radius_as_its_deviation():
    images = torch.full((40, 3, 8, 8), 0.5, dtype=torch.float64)
    start = gaussian_start(images, Radius.of_levels(8), make_rng(40))
    assert start.dtype == torch.float64
    assert torch.equal(start, make_rng(40).normal(3, 8, 8).double() * (8 / 255))
    assert abs(float(start.std()) * 255 - 8) < 0.2
    assert float(start.abs().max()) > 2 * 8 / 255  # it is pgd that clips it


def test_no_steps_give_the_start():
    images = make_images(3)
    start = make_rng(3).uniform(3, 8, 8, low=-0.5, high=0.5)
    config = make_pgd(steps=0)
    given_start = pgd(linear_losses(signs(3)), images, config, "minimise", make_rng(3), start)
    assert torch.equal(given_start, project(start, images, config.radius))


def test_a_given_start_is_where_noise_begins():
    images = torch.full((2, 3, 8, 8), 0.5)
    start, weights = torch.full_like(images, 2 / 255), signs(2)
    config = make_pgd(8, 1, steps=3)
    delta = pgd(linear_losses(weights), images, config, "maximise", make_rng(2), start)
    assert torch.allclose(delta * 255, 2 + 3 * weights.sign(), atol=1e-4)


def test_a_random_start_is_one_uniform_draw_in_the_ball():
    images = torch.full((40, 3, 8, 8), 0.5)
    config = make_pgd(8, 1, steps=0, random_start=True)
    delta = pgd(linear_losses(signs(40)), images, config, "minimise", make_rng(40))
    drawn = make_rng(40).uniform(3, 8, 8, low=-8 / 255, high=8 / 255)
    assert torch.equal(delta, project(drawn, images, config.radius))
    assert abs(float(delta.mean())) < 0.1 / 255
    assert abs(float(delta.abs().mean()) - 4 / 255) < 0.1 / 255


def test_without_a_random_start_noise_begins_at_zero_and_nothing_is_drawn():
    rng, images = make_rng(3), make_images(3)
    config = make_pgd(steps=0, random_start=False)
    delta = pgd(linear_losses(signs(3)), images, config, "minimise", rng)
    assert torch.equal(delta, torch.zeros_like(images))
    assert torch.equal(rng.uniform(4), make_rng(3).uniform(4))


def test_views_sum_their_gradients_before_the_sign_is_taken():
    images, calls = torch.full((1, 3, 4, 4), 0.5), []
    slopes = (1.0, -3.0, 1.0)  # the first, the last and the most are +, their sum is -

    def losses(x):
        calls.append(x)
        return slopes[(len(calls) - 1) % 3] * x.flatten(1).sum(1)

    config = make_pgd(8, 1, steps=2, views=3, random_start=False)
    delta = pgd(losses, images, config, "maximise", make_rng(1))
    assert torch.allclose(delta * 255, torch.tensor(-2.0), atol=1e-5)
    assert len(calls) == config.passes == 6
    assert all(torch.equal(call, calls[0]) for call in calls[:3])
    assert not torch.equal(calls[3], calls[0])


# Independence


def test_pgd_treats_each_image_alone():
    images, ids = make_images(6), torch.arange(6)
    weights, views = signs(6), Views(pad=2, grey=0.3)

    def noise(index):
        rng = Rng.for_images(5, ids[index])

        def losses(x):
            return (views(x, rng) * weights[index]).square().flatten(1).sum(1)

        return pgd(losses, images[index], make_pgd(views=3), "minimise", rng)

    together = noise(ids)
    assert torch.equal(noise(ids.flip(0)).flip(0), together)
    for one in range(6):
        assert torch.equal(noise(ids[one : one + 1])[0], together[one])


@pytest.mark.parametrize("precision", [None, "fp32"])
def test_pgd_through_a_network_treats_each_image_alone(precision):
    model, images, labels = make_network(), make_images(4), make_labels(4)
    with frozen(model, precision) as network:

        def noise(index):
            losses = classify(network, labels[index])
            rng = Rng.for_images(0, torch.arange(4)[index])
            return pgd(losses, images[index], make_pgd(), "minimise", rng)

        together = noise(slice(0, 4))
        alone = torch.cat([noise(slice(one, one + 1)) for one in range(4)])
    # Convolutions may add up in another order for another batch: a few signs near zero may differ.
    assert float((together - alone).abs().gt(1e-6).float().mean()) < 0.01


# Repeatability


@pytest.mark.parametrize("precision", [None, "fp32", "bf16"])
def test_pgd_is_repeatable_bit_by_bit(precision):
    model, images, labels = make_network(), make_images(4), make_labels(4)
    with frozen(model, precision) as network:
        losses = classify(network, labels)
        one = pgd(losses, images, make_pgd(), "minimise", make_rng(4))
        other = pgd(losses, images, make_pgd(), "minimise", make_rng(4))
    assert torch.equal(one, other)


# Restored state


def test_pgd_changes_none_of_its_arguments_and_leaves_no_gradients():
    model, images, labels = make_small_net(), make_images(4), make_labels(4)
    start = make_rng(4).uniform(3, 8, 8, low=-0.02, high=0.02)
    before, numbers = (images.clone(), start.clone()), numbers_of(model)
    delta = pgd(classify(model.eval(), labels), images, make_pgd(), "minimise", make_rng(4), start)
    assert torch.equal(images, before[0])
    assert torch.equal(start, before[1])
    assert same_numbers(numbers_of(model), numbers)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not delta.requires_grad
    assert not images.requires_grad
    assert not start.requires_grad


def test_pgd_finds_gradients_where_they_are_switched_off():
    weights = signs(2)
    with torch.no_grad():
        delta = pgd(linear_losses(weights), make_images(2), make_pgd(), "minimise", make_rng(2))
        assert not torch.is_grad_enabled()
    assert delta.abs().max() > 0


def test_pgd_in_an_abandoned_thread_is_left_before_the_next_pass():
    flag, passes = threading.Event(), []

    def losses(images):
        passes.append(len(images))
        if len(passes) == 3:
            flag.set()
        return images.flatten(1).sum(1)

    attack = Pgd(Radius.of_levels(8), Radius.of_levels(2), steps=100, views=2)
    run_until(flag, lambda: pgd(losses, make_images(2), attack, "minimise", make_rng(2)))
    assert len(passes) == 3


@pytest.mark.parametrize("precision", [None, "fp32", "bf16"])
def test_frozen_restores_every_mode_and_flag(precision):
    model = mixed_model()
    flags, numbers = flags_of(model), numbers_of(model)
    with frozen(model, precision) as network:
        assert not any(flags_of(model))
        assert not any(parameter.requires_grad for parameter in network.parameters())
        network(make_images(2))
    assert flags_of(model) == flags
    assert same_numbers(numbers_of(model), numbers)


@pytest.mark.parametrize("precision", [None, "fp32"])
def test_frozen_restores_every_mode_and_flag_after_an_exception(precision):
    model = mixed_model()
    flags = flags_of(model)
    with pytest.raises(KeyboardInterrupt), frozen(model, precision):
        raise KeyboardInterrupt
    assert flags_of(model) == flags


def test_frozen_restores_every_mode_and_flag_if_the_copy_cannot_be_made(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("out of memory")

    model = mixed_model()
    flags = flags_of(model)
    monkeypatch.setattr("unlearn.attack.folded", fail)
    with pytest.raises(RuntimeError, match="out of memory"), frozen(model, "fp32"):
        pass
    assert flags_of(model) == flags


def test_frozen_inside_frozen_restores_the_outer_state():
    model = mixed_model()
    flags = flags_of(model)
    with frozen(model):
        with frozen(model, "fp32"):
            pass
        assert not any(flags_of(model))
    assert flags_of(model) == flags


def test_frozen_without_a_precision_is_the_model_itself():
    model = make_small_net()
    with frozen(model) as network:
        assert network is model
    with frozen(model, "fp32") as network:
        assert isinstance(network, Folded)


def test_frozen_models_that_are_no_classifiers_come_as_they_are():
    model = nn.Sequential(OrderedDict(a=nn.Flatten(), b=nn.Linear(192, 4)))
    with frozen(model, "bf16") as network:
        assert network is model


def mixed_model():
    """Parts in train mode, parts in eval mode; parts with gradients, parts without."""
    model = make_small_net().train()
    model.body[1].eval()
    model.body[0].weight.requires_grad_(False)
    model.head.bias.requires_grad_(False)
    return model


# Settings


@pytest.mark.parametrize(("levels", "step"), [(8, 8.5), (1, 2), (0, 0.1)])
def test_a_step_beyond_the_radius_is_refused(levels, step):
    with pytest.raises(UsageProblem) as caught:
        make_pgd(levels, step)
    assert f"{step:g}/255" in str(caught.value)
    assert f"the radius {levels}/255" in str(caught.value)


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"views": 0}])
def test_counts_that_cannot_be_taken_are_refused(wrong):
    with pytest.raises(UsageProblem, match="cannot be taken"):
        make_pgd(**wrong)


@pytest.mark.parametrize("levels", [1, 4, 8, 12.5])
def test_an_attack_in_another_ball_scales_its_step(levels):
    config = make_pgd(8, 1.6, steps=7, views=3, random_start=False)
    other = config.within(Radius.of_levels(levels))
    assert other == make_pgd(levels, levels / 5, steps=7, views=3, random_start=False)
    assert other.within(config.radius) == config


def test_an_attack_without_a_radius_has_no_step_to_scale():
    assert make_pgd(0, 0).within(Radius.of_levels(8)).step == Radius.of_levels(0)
    assert make_pgd(8, 2).within(Radius.of_levels(0)).step == Radius.of_levels(0)


# One step from wide noise


def test_n_fgsm_takes_one_step_of_the_radius_from_noise_of_twice_the_radius():
    images, weights = 0.4 + 0.2 * make_images(6), signs(6)
    delta = n_fgsm(linear_losses(weights), images, Radius.of_levels(8), make_rng(6))
    noise = make_rng(6).uniform(3, 8, 8, low=-16 / 255, high=16 / 255)
    assert torch.allclose(delta, noise + weights.sign() * 8 / 255, atol=1e-6)
    assert 16 / 255 < float(delta.abs().max()) <= 24 / 255 + 1e-6


def test_n_fgsm_costs_one_pass_keeps_pictures_pictures_and_treats_each_alone():
    images, labels, model = make_images(6), make_labels(6), make_small_net()
    calls = []

    def losses(x):
        calls.append(len(x))
        return cross_entropy(model(x), labels[: len(x)])

    with frozen(model):
        delta = n_fgsm(losses, images, Radius.of_levels(8), make_rng(6))
        assert calls == [6]
        assert float((images + delta).min()) >= -1e-7
        assert float((images + delta).max()) <= 1 + 1e-7
        assert (losses(images + delta) > losses(images)).all()
        alone = n_fgsm(losses, images[:2], Radius.of_levels(8), make_rng(2))
    assert torch.allclose(alone, delta[:2], atol=1e-6)
