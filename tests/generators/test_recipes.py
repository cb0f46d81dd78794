"""Recipes by name, and what options make of them."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.making import make_pgd, property_test
from unlearn.errors import UsageProblem
from unlearn.generators.recipes import NAMES, Attacks, method_of
from unlearn.methods import RECIPES, MinMaxMin
from unlearn.radius import Radius
from unlearn.training import Schedule
from unlearn.views import Views

PAPER = MinMaxMin(final=make_pgd(8, 1.6, steps=10, views=5), final_views=Views())


def test_paper_is_the_published_recipe_with_its_final_noise_spelled_out():
    assert method_of("paper", Attacks(), ()) == PAPER
    assert method_of("paper", Attacks(rho=Radius.of_levels(8)), ()) == PAPER
    assert PAPER.published == MinMaxMin().published
    assert PAPER.passes_per_image(50_000) == 844


@pytest.mark.parametrize("name", NAMES)
def test_without_changes_a_recipe_is_itself(name):
    recipe, method = RECIPES[NAMES[name]], method_of(name, Attacks(), ())
    assert replace(method, final=recipe.final, final_views=recipe.final_views) == recipe
    assert method.published == recipe.published


@property_test
@given(st.integers(1, 60), st.integers(0, 60), st.fractions(Fraction(1, 255), Fraction(1, 5)))
def test_the_published_recipe_steps_twice_its_radius_over_the_number_of_steps(steps, more, rho):
    attacks = Attacks(
        rho=Radius(rho), rho_a=Radius(rho / 2), unlearn_steps=steps, adversary_steps=more
    )
    method = method_of("paper", attacks, ())
    assert method.unlearn.step.value == min(rho, 2 * rho / steps)
    assert method.adversary.step.value == min(rho / 2, rho / max(1, more))
    assert (method.unlearn.steps, method.adversary.steps) == (steps, more)
    assert method.final == method.unlearn


def test_final_noise_follows_training_until_it_is_told_something_else():
    attacks = Attacks(unlearn_steps=7, views=2, final_steps=14, final_views=3)
    method = method_of("paper", attacks, ["views.grey=0.5", "final_views.smallest_crop=0.2"])
    assert method.unlearn.step.value == Fraction(16, 7 * 255)
    assert method.final == replace(
        method.unlearn, steps=14, views=3, step=Radius(Fraction(16, 14 * 255))
    )
    assert method.views == Views(grey=0.5)
    assert method.final_views == Views(grey=0.5, smallest_crop=0.2)


def test_the_order_of_settings_of_training_and_of_the_final_noise_does_not_matter():
    settings = ["final_views.jpeg=0.1", "views.jpeg=0.9", "unlearn.steps=3", "final.steps=4"]
    methods = [method_of("paper", Attacks(), order) for order in (settings, settings[::-1])]
    assert methods[0] == methods[1]
    assert (methods[0].views.jpeg, methods[0].final_views.jpeg) == (0.9, 0.1)
    assert (methods[0].unlearn.steps, methods[0].final.steps) == (3, 4)


def test_options_override_the_fast_recipe_and_leave_the_rest_of_it():
    fast = RECIPES["fast"]
    method = method_of("fast", Attacks(unlearn_steps=4, views=2), ["warm=true", "averaged=3"])
    assert method.unlearn == make_pgd(8, 4, steps=4, views=2)  # the published way, fast has none
    assert method.final == fast.final
    assert method.adversary == fast.adversary
    assert (method.warm, method.averaged, method.joint) == (True, 3, True)
    assert method.shared == fast.shared


def test_another_radius_scales_every_attack_on_the_noise():
    method = method_of("fast", Attacks(rho=Radius.of_levels(6)), ())
    assert (method.radius, method.final.radius) == (Radius.of_levels(6),) * 2
    assert method.unlearn.steps == 0
    assert method.final.step == Radius.of_levels(0.75)
    assert method.shared == Radius.of_levels(6)
    assert method.adversary == RECIPES["fast"].adversary
    small = method_of("fast", Attacks(rho=Radius.of_levels(6)), ["shared=2/255"])
    assert small.shared == Radius.of_levels(2)


def test_every_option_can_be_set_at_once_whatever_the_order():
    settings = ["averaged=2", "schedule.steps=5", "adversary_range=1/255,7/255", "jitter=4/255"]
    settings += ["cosine_weight=0.5", "architectures=vgg16,resnet50", "warm=true"]
    for order in (settings, settings[::-1]):
        method = method_of("paper", Attacks(), order)
        assert method == replace(
            PAPER,
            averaged=2,
            schedule=Schedule(steps=5),
            adversary_range=(Radius.of_levels(1), Radius.of_levels(7)),
            jitter=Radius.of_levels(4),
            cosine_weight=0.5,
            architectures=("vgg16", "resnet50"),
            warm=True,
        )


def test_what_settings_contradict_is_refused():
    with pytest.raises(UsageProblem, match="rho-a 4/255 must be below rho 3/255"):
        method_of("paper", Attacks(rho=Radius.of_levels(3)), ())
    with pytest.raises(UsageProblem, match="the final noise has radius 6/255, not 8/255"):
        method_of("paper", Attacks(), ["final.radius=6/255"])
