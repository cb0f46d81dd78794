"""What an audit says it will cost: passes are counted exactly, seconds grow with the work."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.making import CPU, few_examples
from unlearn.audits.budgets import BUDGETS, budget_of, trained_by
from unlearn.audits.costs import Costs, dealt, estimate, seen
from unlearn.audits.plan import WHOLE, AuditPlan, Cell, Training
from unlearn.audits.worker import file_name
from unlearn.errors import UsageProblem
from unlearn.methods import MinMaxMin
from unlearn.methods.motifs import Motifs
from unlearn.radius import Radius

NONE, FOUR = Radius.of_levels(0), Radius.of_levels(4)
TRAINING = Training(16, 16, epochs=3, batch_size=4, pgd_steps=5)


def cell(arm="protected", rho_a=FOUR, fraction=WHOLE, seed=101) -> Cell:
    return Cell(arm, "resnet-small", rho_a, fraction, "none", "cosine", seed)


@pytest.mark.parametrize(
    ("arm", "fraction", "expected"),
    [("clean", WHOLE, (24, 6)), ("remainder", Fraction(1, 2), (12, 3))],
)
def test_a_victim_is_shown_whole_batches_of_each_epoch(arm, fraction, expected):
    assert seen(TRAINING, cell(arm, fraction=fraction), 10) == expected


def test_passes_are_those_of_updates_and_of_the_adversary():
    plan = AuditPlan(TRAINING, ("resnet-small",), (NONE, FOUR), placebo=False, motif=False)
    costs = estimate(plan, 10, ("a", "b"), CPU)
    assert costs.passes == 2 * 24 + 2 * 24 * (5 + 1)
    once = replace(plan, training=replace(TRAINING, adversary="n-fgsm"), motif=True)
    assert estimate(once, 10, ("a", "b"), CPU).passes == 3 * 24 + 3 * 24 * (1 + 1)
    assert costs.by_cell[cell()] > costs.by_cell[cell(rho_a=NONE)] > 0


def test_time_is_shared_by_workers_but_for_the_longest_victim():
    costs = Costs({cell(seed=n): float(n) for n in (1, 2, 9)}, 0)
    assert costs.seconds(1) == 12
    assert costs.seconds(2) == 9
    assert costs.seconds(0) == 12


@pytest.mark.parametrize("name", BUDGETS)
@pytest.mark.parametrize("side", [32, 500])
def test_every_budget_makes_a_plan(name, side):
    training = budget_of(name).training(side)
    assert training.source_size >= training.image_size
    assert (training.source_size == training.image_size) == (side == 32)


def test_recipes_are_small_under_the_quick_budget_only():
    assert trained_by("min-max-min", "paper") == (MinMaxMin(), "resnet18")
    quick, network = trained_by("min-max-min", "quick")
    assert (quick.schedule.steps, quick.noise.attack.views, network) == (600, 1, "resnet-small")
    with pytest.raises(UsageProblem, match="min-max-min"):
        trained_by("minmax", "quick")


def test_a_generator_s_trainings_are_cut_to_so_many_steps_and_to_nothing_else():
    whole, _ = trained_by("clusters", "quick")
    cut, _ = trained_by("clusters", "quick", steps=400)
    lengths = (cut.schedule.steps, cut.pattern_schedule.steps)
    assert lengths == (400, 300)  # a shorter training stays as it is
    same = {"schedule": whole.schedule, "pattern_schedule": whole.pattern_schedule}
    assert replace(cut, **same) == whole
    assert trained_by("motifs", "quick", "strong", 5)[0] == Motifs.recipes()["strong"]


def test_file_names_of_cells_are_plain_and_differ():
    names = {
        file_name(cell(arm, fraction=f))
        for arm in ("clean", "placebo")
        for f in (WHOLE, Fraction(1, 2))
    }
    assert len(names) == 4
    assert all(name.replace("_", "").replace("-", "").replace(".", "").isalnum() for name in names)


@pytest.mark.parametrize(
    ("side", "image_size", "network", "source"),
    [
        (32, None, "resnet-small", 32),
        (32, 24, "resnet-small", 24),
        (500, None, "resnet-small-imagenet64", 224),
        (500, 224, "resnet-small-imagenet", 224),
        (500, 256, "resnet-small-imagenet", 256),
        (100, None, "resnet-small-imagenet64", 100),
    ],
)
def test_the_small_network_has_the_stem_for_what_it_sees(side, image_size, network, source):
    quick = budget_of("quick")
    training = quick.training(side, image_size)
    assert quick.networks(training) == (network,)
    assert training.source_size == source
    assert budget_of("standard").networks(training) == ("resnet18",)


def test_a_network_that_sees_more_of_a_photo_costs_more():
    plan = AuditPlan(Training(16, 64, epochs=1), ("resnet-small", "resnet-small@64"), (NONE,))
    costs = {cell.architecture: cost for cell, cost in estimate(plan, 8, "ab", CPU).by_cell.items()}
    assert costs["resnet-small@64"] > costs["resnet-small"]


@few_examples
@given(st.lists(st.floats(0.1, 100), max_size=12), st.integers(1, 5))
def test_cells_are_dealt_so_that_no_rank_could_have_stopped_a_cell_earlier(seconds, ranks):
    cells = [cell(seed=n) for n in range(len(seconds))]
    by_cell = dict(zip(cells, seconds, strict=True))
    hands = dealt(cells, by_cell, ranks)
    assert sorted((c for hand in hands for c in hand), key=cells.index) == cells
    assert len(hands) == ranks
    for hand in hands:
        assert hand == sorted(hand, key=cells.index)
    loads = [sum(by_cell[c] for c in hand) for hand in hands]
    for hand, load in zip(hands, loads, strict=True):
        if hand:  # its shortest was dealt last, when it had least to do
            assert load - min(by_cell[c] for c in hand) <= min(loads) + 1e-9


def test_the_longest_cells_are_dealt_first():
    costs = {cell(seed=n): cost for n, cost in enumerate((1, 1, 1, 3))}
    assert [[c.seed for c in hand] for hand in dealt(list(costs), costs, 2)] == [[3], [0, 1, 2]]
