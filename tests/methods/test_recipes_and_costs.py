"""The recipes of min-max-min, and what they say of their cost."""

import pytest
import torch

from tests.support.making import (
    make_images,
    make_labels,
    make_method,
    make_network,
    make_pgd,
    make_rng,
    noise_of,
)
from unlearn.methods import Cost, MinMaxMin
from unlearn.radius import Radius
from unlearn.training import Schedule


def test_the_fast_recipe_costs_less_than_an_eighth_of_the_published_one():
    paper, fast = MinMaxMin.recipes()["paper"], MinMaxMin.recipes()["fast"]
    assert paper == MinMaxMin()
    assert paper.cost(50_000).a_picture == 844
    assert fast.passes_per_step == 3 + 3
    assert fast.cost(50_000).a_picture == 62 + 4
    assert fast.cost(50_000).a_picture * 8 <= paper.cost(50_000).a_picture


def test_the_fast_recipe_is_shared_joint_and_of_the_same_radii():
    paper, fast = MinMaxMin.recipes()["paper"], MinMaxMin.recipes()["fast"]
    assert (fast.bound, fast.adversary.radius) == (paper.bound, paper.adversary.radius)
    assert (fast.noise.attack.passes, fast.joint) == (0, True)
    assert fast.schedule.shape == "cosine"
    assert fast.adversary.steps < paper.adversary.steps
    assert fast.adversary.step > paper.adversary.step
    assert fast.noise.shared == fast.bound
    assert fast.final.steps * fast.final.step.value == fast.bound.value / 2  # most is shared


def test_error_minimising_noise_has_neither_adversary_nor_randomness():
    method = MinMaxMin.recipes()["error-minimising"]
    assert (method.adversary.radius, method.adversary.steps) == (Radius.of_levels(0), 0)
    assert method.randomness_weight == 0
    assert method.noise == MinMaxMin().noise


@pytest.mark.parametrize("count", [1, 100, 128, 50_000])
def test_passes_of_a_picture_are_its_share_of_all_steps_and_its_final_noise(count):
    method = make_method(final=make_pgd(8, 2, steps=4, views=5), schedule=Schedule(300, 128))
    cost = method.cost(count)
    assert (cost.steps, cost.final) == (300, 20)
    assert cost.training == 300 * min(128, count) * method.passes_per_step
    assert cost.training / count + 20 <= cost.a_picture < cost.training / count + 21


def test_costs_of_trainings_add_up_and_no_training_costs_nothing():
    one, other = Schedule(10, 4), Schedule(3, 100)
    assert Cost.of(20, 7, (one, 5), (other, 2)) == Cost(13, 200 + 120, 7, 16 + 7)
    assert Cost.of(20, 0) == Cost() == Cost(0, 0, 0, 0)


@pytest.mark.parametrize("count", [2, 20])
def test_published_noise_makes_as_many_passes_as_it_says(count):
    method = make_method(final=make_pgd(8, 2, steps=2, views=3), schedule=Schedule(10, 1))
    module, passes = make_network().eval(), 0
    real = torch.autograd.grad

    def counting(outputs, *args, **options):
        nonlocal passes
        passes += 1
        return real(outputs, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unlearn.methods.stage_one._VIEWS_TOGETHER", 0)
        patch.setattr(torch.autograd, "grad", counting)
        noise_of(method, module, make_images(count), make_labels(count), make_rng(count))
    assert passes == method.cost(1).final == 2 * 3
    assert method.cost(1).a_picture == 10 * method.passes_per_step + passes
    assert method.cost(10).a_picture == method.passes_per_step + passes
