"""Methods and recipes by name, and what options make of them."""

from dataclasses import replace

import pytest

from tests.support.making import changed, make_pgd
from unlearn.errors import UsageProblem
from unlearn.generators.options import MethodOptions as Wanted
from unlearn.generators.recipes import (
    described,
    method_of,
    recipe_of,
    settings_of,
    trained_plain,
    with_epochs,
)
from unlearn.methods import METHODS, MinMaxMin
from unlearn.radius import Radius
from unlearn.training import Schedule
from unlearn.views import Views

PAPER = Wanted(recipe="paper")


def test_without_a_name_the_first_preferred_recipe_is_taken():
    assert method_of(Wanted()) == MinMaxMin.recipes()["fast"] == recipe_of("min-max-min")
    assert method_of(PAPER) == MinMaxMin()
    assert recipe_of("min-max-min", preferred=("none", "paper")) == MinMaxMin()


def test_another_radius_scales_every_attack_on_the_noise():
    method = method_of(Wanted(recipe="fast", rho=Radius.of_levels(6)))
    assert (method.bound, method.final.radius) == (Radius.of_levels(6),) * 2
    assert method.noise.attack.steps == 0
    assert method.final.step == Radius.of_levels(0.75)
    assert method.noise.shared == Radius.of_levels(6)
    assert method.adversary == MinMaxMin.recipes()["fast"].adversary
    settings = ("noise.shared=2/255",)
    small = method_of(Wanted(recipe="fast", rho=Radius.of_levels(6), settings=settings))
    assert small.noise.shared == Radius.of_levels(2)


def test_settings_override_the_recipe_and_leave_the_rest_of_it():
    settings = ("noise.attack.steps=4", "noise.attack.views=2", "joint=false")
    fast = MinMaxMin.recipes()["fast"]
    method = method_of(Wanted(recipe="fast", steps=7, batch_size=5, settings=settings))
    attack = replace(fast.noise.attack, steps=4, views=2)
    schedule = replace(fast.schedule, steps=7, batch_size=5)
    assert method == changed(fast, attack=attack, joint=False, schedule=schedule)


def test_the_final_noise_begins_as_training_does_whatever_the_order():
    settings = ("final.steps=14", "final_views.smallest_crop=0.2")
    settings += ("noise.attack.views=2", "noise.views.grey=0.5")
    for order in (settings, settings[::-1]):
        method = method_of(replace(PAPER, settings=order))
        assert method.noise.attack == make_pgd(8, 1.6, steps=10, views=2)
        assert method.final == make_pgd(8, 1.6, steps=14, views=2)
        assert method.noise.views == Views(grey=0.5)
        assert method.final_views == Views(grey=0.5, smallest_crop=0.2)


def test_a_whole_final_attack_can_be_taken_back():
    method = method_of(Wanted(recipe="fast", settings=("final=none",)))
    assert method.final is None
    assert method.published.attack == method.noise.attack


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted(method="zzz"), f"unknown method 'zzz'; choose one of {', '.join(METHODS)}"),
        (
            Wanted(recipe="zzz"),
            "min-max-min has no recipe 'zzz'; choose one of paper, fast, ",
        ),
        (
            Wanted(settings=("zzz=1",)),
            "min-max-min: unknown field 'zzz'; known: adversary, final, final_views, joint, noise",
        ),
        (
            Wanted(settings=("noise.zzz=1",)),
            "unknown field 'zzz'; known: against, attack, shared, views,",
        ),
        (
            Wanted(settings=("joint",)),
            "min-max-min: 'joint' is no setting; write name=value",
        ),
        (Wanted(settings=("joint=1",)), "min-max-min: settings.joint: expected bool, got 1"),
        (
            replace(PAPER, settings=("adversary.radius=8/255",)),
            "rho-a 8/255 must be below rho 8/255",
        ),
        (
            replace(PAPER, settings=("final.radius=6/255",)),
            "the final noise has radius 6/255, not 8/255",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(wanted, message):
    with pytest.raises(UsageProblem) as caught:
        method_of(wanted)
    assert message in str(caught.value)


@pytest.mark.parametrize(("epochs", "steps"), [(1, 10), (0.01, 1), (2.5, 25)])
def test_epochs_become_steps_that_cover_the_pictures(epochs, steps):
    method = replace(MinMaxMin(), schedule=Schedule(batch_size=10))
    assert with_epochs(method, epochs, 100) == replace(method, schedule=Schedule(steps, 10))
    assert with_epochs(method, 3, 5).schedule.steps == 3


def test_what_decides_the_training_leaves_out_the_published_noise():
    late = replace(MinMaxMin(), final=make_pgd(8, 1), final_views=Views(grey=1))
    assert trained_plain(late) == trained_plain(MinMaxMin())
    assert trained_plain(replace(late, joint=True)) != trained_plain(late)


def test_settings_are_named_by_their_paths():
    settings = settings_of("min-max-min", "paper")
    assert settings["noise.attack.radius"] == "8/255"
    assert settings["noise.views.quality"] == [10, 95]
    assert settings["final"] is None


def test_every_method_is_described_by_what_one_chooses_by():
    rows = {row["name"]: row for row in described()}
    assert rows.keys() == METHODS.keys()
    assert rows["min-max-min"] == {
        "name": "min-max-min",
        "summary": MinMaxMin.summary,
        "rho": "8/255",
        "needs_labels": True,
        "passes_a_picture": 844,
        "recipes": ["paper", "fast", "error-minimising", "quick"],
    }
