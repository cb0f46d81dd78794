"""Audits whose outcome is known beforehand: an instrument that measures must get them right."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from tests.support.bars import (
    CLASSES,
    NOTHING,
    TRAINING,
    around,
    make_bars,
    make_cell,
    with_shortcut,
)
from unlearn.audits.arms import chosen, motif, placebo, training_set
from unlearn.audits.flags import find_flags
from unlearn.audits.plan import AuditPlan
from unlearn.audits.report import Subject
from unlearn.audits.statistics import summarise
from unlearn.audits.victim import fit_victim
from unlearn.datasets.labelled import LabelledPictures
from unlearn.radius import Radius

LEVELS = 16
CHANCE = 1 / len(CLASSES)
CLEAN, TEST = make_bars(400), make_bars(200, seed=1)
ROBUST = replace(TRAINING, epochs=5, pgd_steps=3, step_share=Fraction(1, 2))


def sets_of(protected):
    noise = placebo(CLEAN, protected, Radius.of_levels(LEVELS), grid=16, seed=99)
    signs = motif(CLEAN, Radius.of_levels(LEVELS), seed=98)
    return {"protected": protected, "placebo": noise, "motif": signs}


def fit(cell, sets, **changes):
    training = replace(ROBUST, **changes)
    data = training_set(cell, CLEAN, sets.get(cell.arm))
    return fit_victim(cell, training, data, TEST, around())


def make_subject(rho, change):
    return Subject(
        clean="c",
        protected="p",
        classes=CLASSES,
        trained=400,
        tested=200,
        fingerprint="f",
        rho=rho,
        largest_change=change,
        mean_change=float(change),
        verified=400,
        protection="a tint",
    )


@pytest.fixture(scope="module")
def shortcut():
    """The sets of a protection that tints every class, which is learned before anything else."""
    return sets_of(with_shortcut(CLEAN, LEVELS))


@pytest.fixture(scope="module")
def audited(shortcut):
    """The plan of an ordinary audit of the shortcut, and what its victims learned."""
    plan = AuditPlan(
        ROBUST,
        architectures=("resnet-small",),
        rho_a=(Radius.of_levels(0),),
        fractions=(Fraction(1),),
        seeds=(101, 102),
    )
    return plan, [fit(cell, shortcut) for cell in plan.cells()]


@pytest.mark.slow
def test_a_shortcut_is_learned_instead_of_the_pictures(shortcut):
    clean, protected = (fit(make_cell(arm), shortcut) for arm in ("clean", "protected"))
    assert clean.accuracy_last > 0.9
    assert protected.accuracy_last < 0.6
    assert protected.train_accuracy > 0.9


@pytest.mark.slow
def test_a_shortcut_costs_most_of_the_accuracy_a_motif_much_and_a_placebo_nothing(audited):
    clean, noisy, signs, protected = summarise(*audited)
    assert clean.last.mean > 0.95
    assert noisy.last.mean > 0.95
    assert protected.last.mean < 0.5
    assert protected.last.high < signs.last.low
    assert signs.last.high < clean.last.low
    assert protected.train > 0.95
    assert noisy.found == (None, None)
    assert all(epoch is not None for epoch in protected.found)


@pytest.mark.slow
def test_the_audit_of_a_shortcut_raises_no_flag(audited):
    subject = make_subject("16/255", 16)
    assert find_flags(audited[0], subject, audited[1]) == ()


@pytest.mark.slow
def test_noise_that_is_zero_changes_nothing_at_all():
    zero = sets_of(with_shortcut(CLEAN, 0))
    results = [fit(make_cell(arm), zero, epochs=2) for arm in ("clean", "protected", "placebo")]
    curves = {result.curve for result in results}
    assert len(curves) == 1


@pytest.mark.slow
def test_shuffled_labels_give_chance_and_the_audit_says_so():
    order = torch.randperm(len(CLEAN), generator=torch.Generator().manual_seed(0))
    shuffled = LabelledPictures(CLEAN.pixels, CLEAN.labels[order], CLASSES)
    result = fit_victim(make_cell(), TRAINING, shuffled, TEST, around())
    assert abs(result.accuracy_last - CHANCE) < 0.12
    subject = make_subject("8/255", 0)
    names = {flag.name for flag in find_flags(AuditPlan(TRAINING), subject, [result])}
    assert {"control-did-not-learn", "victim-did-not-fit"} <= names


@pytest.mark.slow
def test_a_copier_whose_adversary_reaches_as_far_as_the_shortcut_overcomes_it():
    tinted = sets_of(with_shortcut(CLEAN, 12))
    ordinary = fit(make_cell("protected"), tinted)
    robust = fit(make_cell("protected", rho_a=Radius.of_levels(12)), tinted)
    assert ordinary.accuracy_last < 0.6
    assert robust.accuracy_last > 0.9


def test_half_of_a_set_protected_trains_on_exactly_these_pictures(shortcut):
    seen = []

    def once(data, seed):
        seen.append(data)
        return data

    cell = make_cell("protected", fraction="1/2")
    surroundings = around(replace(NOTHING, once=once))
    training = replace(TRAINING, epochs=1)
    fit_victim(cell, training, training_set(cell, CLEAN, shortcut["protected"]), TEST, surroundings)
    (data,) = seen
    picked = set(chosen(CLEAN, Fraction(1, 2)).tolist())
    assert len(picked) == 200
    for n in range(len(CLEAN)):
        source = shortcut["protected"] if n in picked else CLEAN
        assert torch.equal(data.pixels[n], source.pixels[n])
    assert torch.equal(data.labels, CLEAN.labels)


@pytest.mark.slow
def test_half_a_set_of_clean_pictures_saves_the_copier(shortcut):
    mixed = fit(make_cell("protected", fraction="1/2"), shortcut, epochs=6)
    remainder = fit(make_cell("remainder", fraction="1/2"), shortcut, epochs=6)
    assert remainder.trained == 200
    assert mixed.trained == 400
    assert remainder.accuracy_last > 0.75
    assert mixed.accuracy_last > 0.9
