import re
from dataclasses import replace
from fractions import Fraction

import pytest

from tests.support.bars import make_cell, make_result
from unlearn.audits.flags import FLAGS, find_flags, unjudged
from unlearn.audits.plan import AuditPlan, Training
from unlearn.audits.report import Subject
from unlearn.radius import Radius

TEN = tuple("abcdefghij")
SUBJECT = Subject(
    clean="clean",
    protected="protected",
    classes=TEN,
    trained=2000,
    tested=1000,
    fingerprint="f",
    rho="8/255",
    largest_change=8,
    mean_change=4.0,
    verified=2000,
    protection="base",
)
PLAN = AuditPlan(
    Training(32, 32),
    architectures=("resnet-small",),
    rho_a=(Radius.of_levels(0),),
    seeds=(101, 102),
)
PARTIAL = replace(PLAN, fractions=(Fraction(1, 2),))


def results(clean=0.8, placebo=0.79, protected=0.2, motif=0.4, *, seeds=(101, 102), **changes):
    """Two victims of each arm: a plain, trustworthy outcome unless something is changed."""
    values = {"clean": clean, "placebo": placebo, "motif": motif, "protected": protected}
    return [
        make_result(make_cell(arm, seed=seed), values[arm], tested=1000, **dict(changes))
        for arm in values
        for seed in seeds
    ]


def flagged(found, subject=SUBJECT, plan=PLAN):
    return [flag.name for flag in find_flags(plan, subject, found)]


def the_message(name, found, subject=SUBJECT, plan=PLAN):
    (message,) = [f.message for f in find_flags(plan, subject, found) if f.name == name]
    return message


def partial(mixed, remainder, clean=0.8):
    half = {"fraction": "1/2"}
    arms = (("clean", clean, {}), ("protected", mixed, half), ("remainder", remainder, half))
    return [
        make_result(make_cell(arm, seed=seed, **changes), last, tested=1000)
        for arm, last, changes in arms
        for seed in (101, 102)
    ]


def test_a_sound_audit_has_no_flags():
    assert flagged(results()) == []
    assert flagged(partial(mixed=0.70, remainder=0.72), plan=PARTIAL) == []


def test_names_are_slugs_and_flags_come_in_their_order():
    assert len(set(FLAGS)) == len(FLAGS)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in FLAGS)
    found = flagged(
        results(clean=0.15, seeds=(101,), train=0.1), replace(SUBJECT, duplicates=1, tested=20)
    )
    assert len(found) > 4
    assert sorted(found, key=FLAGS.index) == found


@pytest.mark.parametrize(
    ("clean", "raised"), [(0.1, True), (0.19, True), (0.22, True), (0.24, False), (0.9, False)]
)
def test_a_control_near_chance_is_flagged(clean, raised):
    assert ("control-did-not-learn" in flagged(results(clean=clean, protected=0.1))) == raised


def test_a_control_of_many_classes_must_stand_ten_points_above_chance():
    many = replace(SUBJECT, classes=tuple(map(str, range(100))), trained=20_000)
    assert "control-did-not-learn" in flagged(results(clean=0.10, protected=0.02), many)
    assert "control-did-not-learn" not in flagged(results(clean=0.15, protected=0.02), many)


def test_guessing_among_uneven_classes_is_to_name_the_largest():
    uneven = replace(SUBJECT, largest_share=0.7)
    assert the_message("control-did-not-learn", results(clean=0.8), uneven).endswith(
        "where guessing gives 70.0 %, so nothing can be concluded beside it"
    )
    assert "control-did-not-learn" not in flagged(results(clean=0.85), uneven)
    assert "less than the 70.0 % of guessing" in the_message(
        "below-chance", results(clean=0.9, placebo=0.9, motif=0.9, protected=0.5), uneven
    )
    most = replace(SUBJECT, largest_share=0.95)  # ten points above it there is nothing
    assert "control-did-not-learn" not in flagged(results(clean=0.995), most)


def test_victims_that_diverged_or_stand_beside_no_control_cannot_be_judged():
    def judged(*found):
        return unjudged(PLAN, SUBJECT, found)

    assert judged(*results()) == ()
    assert judged(*results(clean=0.15)) == (
        "clean control (resnet-small, ρa 0, cosine) did not learn",
    )
    assert len(judged(*results(clean=0.15, protected=0.9))) == 1
    *others, last = results()
    assert judged(*others, replace(last, diverged=True)) == (
        "protected (resnet-small, ρa 0, cosine) diverged",
    )
    clean, *rest = results()
    (reason,) = judged(replace(clean, diverged=True), *rest)
    assert reason == "clean control (resnet-small, ρa 0, cosine) diverged"
    grey = make_result(make_cell("protected", countermeasure="grey"), 0.2, tested=1000)
    alone = replace(grey.cell, arm="clean")
    assert judged(*results(), grey, make_result(alone, 0.1, tested=1000)) == (
        "clean control (resnet-small, ρa 0, cosine, grey) did not learn",
    )
    placebo = results()[2]
    assert placebo.cell.arm == "placebo"
    assert judged(*results(), replace(placebo, diverged=True)) == ()


def test_the_message_on_a_control_has_its_numbers():
    message = the_message("control-did-not-learn", results(clean=0.15))
    assert "clean control (resnet-small, ρa 0, cosine) reaches 15.0 %" in message
    assert "guessing gives 10.0 %" in message


@pytest.mark.parametrize(
    ("rho_a", "countermeasure", "train", "raised"),
    [
        (0, "none", 0.54, True),
        (0, "none", 0.56, False),
        (4, "none", 0.32, True),
        (4, "none", 0.33, False),
        (0, "mixup", 0.32, True),
        (0, "mixup", 0.33, False),
    ],
)
def test_a_victim_that_does_not_fit_its_own_pictures_is_flagged(
    rho_a, countermeasure, train, raised
):
    cell = make_cell("protected", rho_a=Radius.of_levels(rho_a), countermeasure=countermeasure)
    found = flagged([make_result(cell, 0.2, train=train)])
    assert ("victim-did-not-fit" in found) == raised


def test_a_placebo_or_remainder_that_does_not_fit_is_not_flagged():
    cells = [make_cell("placebo"), make_cell("remainder", fraction="1/2")]
    assert "victim-did-not-fit" not in flagged([make_result(c, 0.5, train=0.1) for c in cells])


def test_one_seed_is_flagged_with_how_many_settings_it_stands_for():
    message = the_message("one-seed", results(seeds=(101,)))
    assert message.startswith("4 of 4 settings")


def test_held_out_pictures_that_are_trained_on_are_flagged():
    message = the_message("test-in-training", results(), replace(SUBJECT, duplicates=12))
    assert message.startswith("12 of 1000 held-out pictures (1.2 %)")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": ("a",)}, "1 class leaves"),
        ({"trained": 490}, "49 training pictures"),
        ({"smallest_class": 7}, "7 training pictures"),
        ({"tested": 99}, "99 held-out pictures"),
    ],
)
def test_thin_data_is_flagged(changes, said):
    assert the_message("too-few", results(), replace(SUBJECT, **changes)).startswith(said)
    assert flagged(results(), replace(SUBJECT, smallest_class=50, trained=500, tested=100)) == []


def test_an_accuracy_below_chance_is_flagged_only_beyond_the_interval():
    assert "below-chance" in flagged(results(protected=0.05))
    assert "below-chance" not in flagged(results(protected=0.09))
    assert "less than the 10.0 % of guessing" in the_message(
        "below-chance", results(protected=0.05)
    )


def test_a_placebo_with_half_of_the_effect_is_flagged():
    assert "placebo-as-strong" in flagged(results(0.8, 0.7, 0.6))
    assert "placebo-as-strong" not in flagged(results(0.8, 0.71, 0.6))
    message = the_message("placebo-as-strong", results(0.8, 0.7, 0.6))
    assert "loses 10.0 points to random noise, and 20.0 points to protective noise" in message


def test_a_placebo_is_not_blamed_where_protection_has_no_effect():
    assert "placebo-as-strong" not in flagged(results(0.8, 0.77, 0.76))


def test_protection_that_does_not_beat_a_random_motif_is_flagged():
    assert "motif-as-strong" in flagged(results(protected=0.4, motif=0.4))
    assert "motif-as-strong" in flagged(results(protected=0.5, motif=0.4))
    assert "motif-as-strong" not in flagged(results(protected=0.39, motif=0.4))
    message = the_message("motif-as-strong", results(protected=0.5, motif=0.4, best=0.6))
    assert "reaches 50.0 % (best epoch 60.0 %) and motif (resnet-small" in message
    assert "40.0 % (60.0 %)" in message


def test_protection_beats_a_motif_by_more_than_seeds_vary():
    def found(*lasts):
        return [
            replace(r, accuracy_last=last, accuracy_best=last)
            for r, last in zip(
                results(protected=0.35, motif=0.4), [0.8] * 4 + [*lasts], strict=True
            )
        ]

    assert "motif-as-strong" in flagged(found(0.36, 0.44, 0.33, 0.37))  # 5 of 5.7 points
    assert "motif-as-strong" not in flagged(found(0.39, 0.41, 0.33, 0.37))


def test_with_one_seed_protection_beats_a_motif_by_more_than_pictures_leave_open():
    one = {"motif": 0.4, "seeds": (101,)}
    assert "motif-as-strong" in flagged(results(protected=0.38, **one))
    assert "motif-as-strong" not in flagged(results(protected=0.36, **one))


def test_a_better_best_epoch_beats_a_motif_too():
    best = {"motif": 0.6, "protected": 0.4}
    found = [
        replace(r, accuracy_best=best.get(r.cell.arm, r.accuracy_last))
        for r in results(protected=0.2, motif=0.2)
    ]
    assert "motif-as-strong" not in flagged(found)


def test_a_motif_is_compared_with_wholly_protected_pictures_only():
    half = partial(0.79, 0.78)
    motif = [make_result(make_cell("motif", seed=seed), 0.2) for seed in (101, 102)]
    assert "motif-as-strong" not in flagged([*half, *motif], plan=PARTIAL)


def test_noise_without_effect_is_flagged_where_all_pictures_have_it():
    assert "no-effect" in flagged(results(0.8, 0.8, 0.76))
    assert "no-effect" not in flagged(results(0.8, 0.8, 0.74))
    assert "no-effect" not in flagged(partial(0.79, 0.78), plan=PARTIAL)
    assert "reaches 76.0 % and its clean control 80.0 %" in the_message(
        "no-effect", results(0.8, 0.8, 0.76)
    )


def test_a_best_epoch_far_above_the_last_is_flagged():
    found = [
        replace(r, accuracy_best=r.accuracy_last + 0.1) if r.cell.arm == "protected" else r
        for r in results()
    ]
    assert flagged(found) == ["best-far-above-last"]
    assert "30.0 % in its best epoch and 20.0 %" in the_message("best-far-above-last", found)
    clean = [
        replace(r, accuracy_best=r.accuracy_last + 0.1) if r.cell.arm == "clean" else r
        for r in results()
    ]
    assert flagged(clean) == []


def test_protected_pictures_that_help_the_copier_are_flagged():
    message = the_message("protected-helps", partial(0.74, 0.72), plan=PARTIAL)
    assert "protected 1/2 (resnet-small" in message
    assert "help the copier by 2.0 points" in message


def test_a_control_below_the_protected_victim_is_flagged_beyond_the_interval():
    assert "control-below-protected" in flagged(results(clean=0.7, protected=0.8))
    assert "control-below-protected" not in flagged(results(clean=0.79, protected=0.8))


def test_a_diverged_victim_is_named_with_its_seed():
    found = results()
    found[1] = replace(found[1], diverged=True)
    assert flagged(found) == ["diverged"]
    assert "with seed 102 diverged" in the_message("diverged", found)


def test_settings_are_compared_with_their_own_control_only():
    weak = [
        make_result(make_cell("clean", countermeasure="grey", seed=s), 0.4, tested=1000)
        for s in (101, 102)
    ]
    strong = [
        make_result(make_cell("protected", countermeasure="grey", seed=s), 0.6, tested=1000)
        for s in (101, 102)
    ]
    plan = replace(PLAN, countermeasures=("none", "grey"))
    message = the_message("control-below-protected", [*results(), *weak, *strong], plan=plan)
    assert "cosine, grey) reaches 60.0 %, more than the 40.0 %" in message


def test_every_message_is_one_sentence_with_numbers():
    bad = results(clean=0.15, placebo=0.05, protected=0.04, seeds=(101,), train=0.1, best=0.9)
    bad[0] = replace(bad[0], diverged=True)
    subject = replace(SUBJECT, classes=("a",) * 10, duplicates=3, tested=20)
    flags = find_flags(PLAN, subject, bad) + find_flags(PARTIAL, SUBJECT, partial(0.9, 0.8))
    flags += find_flags(PLAN, SUBJECT, results(0.8, 0.8, 0.8))
    assert {flag.name for flag in flags} == set(FLAGS)
    for flag in flags:
        assert re.search(r"\d", flag.message)
        assert "\n" not in flag.message
        assert not flag.message.endswith(".")
