from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.bars import make_cell, make_result
from tests.support.making import property_test
from unlearn.audits.plan import AuditPlan, Training
from unlearn.audits.report import Point
from unlearn.audits.statistics import found_epochs, summarise, wilson

PLAN = AuditPlan(Training(32, 32), seeds=(101, 102, 103), fractions=(Fraction(1, 2), Fraction(1)))


def test_the_interval_is_that_of_wilson():
    # 8 of 10, as in Wilson's own form with z = 1.96
    low, high = wilson(0.8, 10)
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0.5, 10_000) == pytest.approx((0.4902, 0.5098), abs=1e-4)


@property_test
@given(st.integers(1, 5000), st.data())
def test_the_interval_holds_the_accuracy_and_stays_a_share(tested, data):
    accuracy = data.draw(st.integers(0, tested)) / tested
    low, high = wilson(accuracy, tested)
    assert 0 <= low <= accuracy + 1e-12
    assert accuracy - 1e-12 <= high <= 1
    assert low < high


def test_more_pictures_narrow_the_interval_and_none_leave_everything_open():
    widths = [high - low for low, high in (wilson(0.7, n) for n in (10, 100, 1000))]
    assert widths[0] > widths[1] > widths[2]
    assert wilson(0.0, 0) == (0.0, 1.0)


def test_seeds_of_a_setting_become_mean_and_spread():
    results = [
        make_result(make_cell(seed=seed), last, best=last + 0.1, train=0.9, tested=400)
        for seed, last in ((101, 0.5), (102, 0.6), (103, 0.7))
    ]
    (summary,) = summarise(PLAN, results)
    assert summary.count == 3
    assert summary.last.mean == pytest.approx(0.6)
    assert summary.last.spread == pytest.approx(0.1)
    assert (summary.last.low, summary.last.high) == wilson(summary.last.mean, 400)
    assert summary.best.mean == pytest.approx(0.7)
    assert summary.train == pytest.approx(0.9)
    assert summary.setting == make_cell(seed=0)


def test_one_seed_has_no_spread():
    (summary,) = summarise(PLAN, [make_result(make_cell(), 0.5)])
    assert summary.count == 1
    assert summary.last.spread is None


def test_settings_come_in_the_plans_order_whatever_the_results_order():
    cells = PLAN.cells()
    results = [make_result(cell, 0.5) for cell in reversed(cells)]
    found = [summary.cell for summary in summarise(PLAN, results)]
    assert found == [cell for cell in cells if cell.seed == 101]
    assert len(found) == 2 * (1 + 2 * 2 + 2)  # at each ρa: clean, halves, wholes, remainder, motif


def test_results_of_no_setting_in_the_plan_come_last():
    stranger = make_cell(architecture="vgg16")
    found = summarise(PLAN, [make_result(stranger, 0.5), make_result(PLAN.cells()[0], 0.5)])
    assert [summary.cell.architecture for summary in found] == ["resnet18", "vgg16"]


def trained(arm, *accuracies, **changes):
    """A victim with these accuracies on its own pictures after each epoch."""
    curve = tuple(Point(n, 0.5, accuracy) for n, accuracy in enumerate(accuracies, 1))
    return make_result(make_cell(arm, **changes), 0.5, curve=curve)


CLEAN = trained("clean", 0.3, 0.4, 0.5, 0.6)


@pytest.mark.parametrize(
    ("accuracies", "epoch"),
    [
        ((0.4, 0.5, 0.6, 0.7), 1),
        ((0.2, 0.4, 0.9, 0.9), 3),  # equal is not above
        ((0.4, 0.3, 0.9, 0.9), 3),  # it fell back once
        ((0.2, 0.3, 0.4, 0.9), 4),
        ((0.9, 0.9, 0.9, 0.59), None),  # it fell back at the end
        ((0.9, 0.4, 0.9, 0.6), 1),  # both may end at the same accuracy
        ((0.34, 0.44, 0.54, 0.64), None),  # so little may be chance
        ((0.4, 0.5), 1),  # it diverged
    ],
)
def test_noise_is_found_where_the_training_accuracy_passes_the_clean_one_for_good(
    accuracies, epoch
):
    victim = trained("protected", *accuracies)
    assert found_epochs([victim, CLEAN]) == {victim.cell: epoch}


def test_noise_is_found_beside_the_control_of_its_own_seed_and_setting_only():
    other = trained("clean", 0.9, 0.9, 0.9, 0.9, seed=102)
    half = trained("motif", 0.1, 0.8, 0.8, 0.8, seed=101)
    lonely = trained("protected", 0.9, 0.9, 0.9, 0.9, countermeasure="grey")
    mixed = trained("protected", 0.1, 0.1, 0.8, 0.8, fraction="1/2")
    rest = trained("remainder", 0.9, 0.9, 0.9, 0.9, fraction="1/2")
    found = found_epochs([other, half, lonely, mixed, rest, CLEAN])
    assert found == {half.cell: 2, mixed.cell: 3}


def test_a_summary_has_the_epoch_of_each_seed():
    late = trained("protected", 0.1, 0.1, 0.8, 0.8, seed=102)
    clean = trained("clean", 0.3, 0.4, 0.5, 0.6, seed=102)
    never = trained("protected", 0.1, 0.1, 0.1, 0.1)
    found = {s.cell.arm: s.found for s in summarise(PLAN, [late, clean, never, CLEAN])}
    assert found == {"clean": (), "protected": (None, 3)}
