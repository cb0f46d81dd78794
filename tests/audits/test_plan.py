from dataclasses import replace
from fractions import Fraction

import pytest

from tests.support.bars import make_cell
from unlearn.audits.plan import NONE, AuditPlan, Training, network_and_view
from unlearn.config import from_plain, to_plain
from unlearn.errors import UsageProblem
from unlearn.radius import Radius

TRAINING = Training(32, 32)


def rows(plan):
    return [(c.arm, str(c.rho_a), str(c.fraction), c.countermeasure) for c in plan.cells()]


def test_every_setting_has_a_clean_control_a_placebo_and_a_motif():
    assert rows(AuditPlan(TRAINING)) == [
        ("clean", "0/255", "1", NONE),
        ("clean", "4/255", "1", NONE),
        ("placebo", "0/255", "1", NONE),
        ("placebo", "4/255", "1", NONE),
        ("motif", "0/255", "1", NONE),
        ("motif", "4/255", "1", NONE),
        ("protected", "0/255", "1", NONE),
        ("protected", "4/255", "1", NONE),
    ]
    without = rows(AuditPlan(TRAINING, placebo=False, motif=False))
    assert [row[0] for row in without] == ["clean", "clean", "protected", "protected"]


def test_a_fraction_is_tried_beside_the_remainder_alone():
    plan = AuditPlan(TRAINING, rho_a=(Radius.of_levels(0),), fractions=(Fraction(1, 5),))
    assert [row[0] for row in rows(plan)] == ["clean", "placebo", "remainder", "protected"]


def test_countermeasures_come_last_at_the_smallest_radius_with_a_control_of_their_own():
    plan = AuditPlan(TRAINING, countermeasures=(NONE, "grey"))
    assert rows(plan)[-2:] == [("clean", "0/255", "1", "grey"), ("protected", "0/255", "1", "grey")]
    alone = AuditPlan(TRAINING, countermeasures=("grey",))
    assert rows(alone) == rows(plan)[-2:]
    everywhere = replace(plan, countermeasures_at="all")
    assert rows(everywhere)[-4:] == [
        (arm, rho_a, "1", "grey") for arm in ("clean", "protected") for rho_a in ("0/255", "4/255")
    ]
    assert rows(everywhere)[:-4] == rows(plan)[:-2]


def test_no_cell_comes_twice_and_seeds_follow_each_other():
    plan = AuditPlan(
        TRAINING,
        architectures=("resnet18", "vgg16"),
        fractions=(Fraction(1, 2), Fraction(1)),
        countermeasures=(NONE, "grey"),
        decays=("decayed", "constant"),
        seeds=(101, 102),
    )
    cells = plan.cells()
    assert len(set(cells)) == len(cells) == len({cell.key for cell in cells})
    pairs = list(zip(cells[::2], cells[1::2], strict=True))
    assert all(replace(one, seed=102) == other for one, other in pairs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source_size": 16}, "cannot be shown"),
        ({"epochs": 0}, "no step"),
        ({"steps": 0}, "no step"),
        ({"batch_size": 0}, "at least 1"),
        ({"pgd_steps": 0}, "at least 1"),
        ({"step_share": Fraction(6, 5)}, "leaves the radius"),
        ({"step_share": Fraction(0)}, "leaves the radius"),
        ({"smallest_crop": 0.0}, "share of the area"),
    ],
)
def test_trainings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(UsageProblem, match=message):
        replace(TRAINING, **changes)


def test_steps_take_the_place_of_epochs():
    training = replace(TRAINING, epochs=3, batch_size=10)
    assert training.steps_for(45) == 12
    assert training.steps_for(4) == 3
    assert replace(training, steps=7).steps_for(45) == 7


@pytest.mark.parametrize(
    "changes",
    [
        {"fractions": (Fraction(0),)},
        {"fractions": (Fraction(3, 2),)},
        {"seeds": ()},
        {"seeds": (101, 101)},
        {"rho_a": (Radius.of_levels(4), Radius.parse("4/255"))},
    ],
)
def test_plans_that_make_no_sense_are_refused(changes):
    with pytest.raises(UsageProblem):
        AuditPlan(TRAINING, **changes)


def test_plans_and_cells_are_kept_as_json():
    plan = AuditPlan(TRAINING, fractions=(Fraction(1, 3),), rho_a=(Radius.of_levels(1.6),))
    assert from_plain(AuditPlan, to_plain(plan)) == plan
    cell = make_cell("protected", fraction="1/3", rho_a=Radius.of_levels(0))
    assert from_plain(type(cell), to_plain(cell)) == cell


def test_adversarial_victims_may_have_epochs_of_their_own():
    training = replace(TRAINING, epochs=25, adversarial_epochs=15)
    ordinary, adversarial = make_cell(), make_cell(rho_a=Radius.of_levels(4))
    assert training.of(ordinary).epochs == 25
    assert training.of(adversarial).epochs == 15
    assert replace(training, adversarial_epochs=None).of(adversarial).epochs == 25


def test_a_network_may_carry_the_side_that_it_sees():
    assert network_and_view("torchvision:resnet18@96") == ("torchvision:resnet18", 96)
    assert network_and_view("resnet18") == ("resnet18", None)
    training = Training(64, 224)
    assert training.of(make_cell(architecture="resnet-small@224")).image_size == 224
    assert training.of(make_cell()) == training
    plan = AuditPlan(training, architectures=("vit", "resnet18@224", "resnet18"))
    assert plan.views == (64, 224)


@pytest.mark.parametrize("side", ["", "0", "7", "513", "64.5", "-64", "big"])
def test_a_view_that_is_none_is_refused(side):
    with pytest.raises(UsageProblem, match="resnet18@224"):
        network_and_view(f"resnet18@{side}")


def test_a_view_larger_than_the_stored_pictures_is_refused():
    with pytest.raises(UsageProblem, match="stored at 32 pixels cannot be shown at 64"):
        TRAINING.seen_by("resnet18@64")


def test_only_small_pictures_are_shown_whole():
    assert TRAINING.padded
    assert not Training(64, 224).padded
    assert not Training(224, 224).padded
