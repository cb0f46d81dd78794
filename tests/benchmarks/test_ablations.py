"""The ablations: equal visits at every scale, and a page that says no more than its journal."""

import math

import pytest

from tests.benchmarks.ablation_table import difference, page, verdict
from tests.benchmarks.ablations import (
    ARMS,
    BASE_NAME,
    CONTROLS,
    MAIN,
    PICTURES,
    SEEDS,
    cells,
    mini,
    proof_controls,
)
from unlearn.methods import RECIPES


def victim(arm, seed, last, rho_a="4/255", countermeasure="none"):
    where = {"arm": arm, "rho_a": rho_a, "countermeasure": countermeasure, "seed": seed}
    return where | {"last": last, "best": last + 0.01, "torch": "2", "machine": "m"}


def test_the_mini_scale_keeps_the_passes_of_each_picture():
    for method in (*RECIPES.values(), *(arm.method for arm in ARMS.values())):
        assert abs(mini(method).passes_per_image(PICTURES) - method.passes_per_image(50_000)) <= 1
    assert mini(RECIPES["min-max-min"]).passes_per_image(PICTURES) == 844


def test_difference_and_its_error_have_a_closed_form():
    gap, error = difference([10.0, 12.0, 14.0], [20.0, 20.0, 20.0])
    assert gap == -8
    assert error == pytest.approx(2 / math.sqrt(3))
    assert math.isnan(difference([1.0], [2.0, 3.0])[1])


@pytest.mark.parametrize(
    ("gap", "error", "words"),
    [(-3, 1, "lower"), (3, 1, "higher"), (2, 1, "no difference seen"), (9, math.nan, "too few")],
)
def test_a_verdict_needs_two_standard_errors(gap, error, words):
    assert verdict(gap, error).startswith(words)


def test_every_arm_differs_from_the_base_and_meets_the_same_victims():
    options = [name for name in ARMS if name not in (*MAIN, CONTROLS)]
    assert all(ARMS[name].method != ARMS[BASE_NAME].method for name in options)
    attacked = [{cell for cell in cells(name) if cell.rho_a.value} for name in options]
    assert len(attacked[0]) == 3
    assert all(found == attacked[0] for found in attacked)
    assert {(cell.arm, cell.countermeasure) for cell in cells(CONTROLS)} == {
        ("clean", "projection")
    }


def test_the_controls_of_the_proof_were_trained_alike_with_the_same_seeds():
    found = {(line["arm"], line["rho_a"], line["seed"]) for line in proof_controls()}
    assert {seed for arm, _, seed in found if arm == "clean"} == set(SEEDS)
    assert {rho_a for _, rho_a, _ in found} == {"0/255", "4/255"}


def test_the_page_shows_the_numbers_and_leaves_out_what_was_not_measured():
    words = {name: arm.words for name, arm in ARMS.items() if name != CONTROLS}
    made = {"arm": "jitter", "passes": 86, "cpu_seconds": 1234}
    base = [victim("base", seed, last) for seed, last in ((101, 0.29), (102, 0.30), (103, 0.31))]
    low = [victim("jitter", seed, last) for seed, last in ((101, 0.24), (102, 0.25), (103, 0.26))]
    text = page([made, *base, *low, victim("clean", 101, 0.44)], words, MAIN)
    jitter = next(line for line in text.splitlines() if line.startswith(f"| {words['jitter']}"))
    assert "| 86 | 1,234 | 25.0 ± 1.0 (26.0) | -5.0 ± 0.8 | lower |" in jitter
    assert "| clean |  |  | 44.0 (45.0, 1 seed) |  |  |" in text
    assert words["cold"] not in text
