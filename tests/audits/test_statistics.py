from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.bars import make_cell, make_result
from tests.support.making import property_test
from unlearn.audits.plan import AuditPlan, Training
from unlearn.audits.statistics import summarise, wilson

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
    assert len(found) == 2 * (1 + 2 * 2 + 1)  # at each ρa: clean, two halves and wholes, remainder


def test_results_of_no_setting_in_the_plan_come_last():
    stranger = make_cell(architecture="vgg16")
    found = summarise(PLAN, [make_result(stranger, 0.5), make_result(PLAN.cells()[0], 0.5)])
    assert [summary.cell.architecture for summary in found] == ["resnet18", "vgg16"]
