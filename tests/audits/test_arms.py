from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.bars import make_bars, make_cell, with_shortcut
from tests.support.making import few_examples, make_data, make_pixels, property_test
from unlearn.audits.arms import chosen, motif, placebo, split, training_set
from unlearn.datasets.labelled import LabelledPictures
from unlearn.errors import UsageProblem
from unlearn.radius import Radius

EIGHT = Radius.of_levels(8)
shares = st.fractions(Fraction(1, 100), Fraction(99, 100), max_denominator=100)


def make_sets(count=40):
    clean = make_data(count)
    protected = LabelledPictures(clean.pixels ^ 1, clean.labels, clean.classes)
    noise = LabelledPictures(clean.pixels ^ 2, clean.labels, clean.classes)
    return {"clean": clean, "protected": protected, "placebo": noise}


def permuted(data, seed=0):
    return data.subset(torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)))


def ids(data, index):
    return set(data.ids[index].tolist())


def change(data, clean):
    return (data.pixels.int() - clean.pixels.int()).abs()


# Splitting


@property_test
@given(st.integers(8, 60), shares)
def test_a_split_is_complete_and_takes_the_share_of_every_class(count, share):
    data = make_data(count)
    kept, held_out = split(data, share)
    assert sorted(kept.tolist() + held_out.tolist()) == list(range(count))
    assert kept.tolist() == sorted(kept.tolist())
    assert held_out.tolist() == sorted(held_out.tolist())
    for label in range(4):
        members = int((data.labels == label).sum())
        taken = int((data.labels[held_out] == label).sum())
        assert taken == min(max(round(share * members), 1), members - 1)


def test_a_split_depends_on_contents_not_on_their_order():
    data = make_data(40)
    other = permuted(data)
    for one, two in zip(split(data, Fraction(1, 4)), split(other, Fraction(1, 4)), strict=True):
        assert ids(data, one) == ids(other, two)


def test_few_pictures_change_sides_when_others_are_added():
    few, many = make_data(400), make_data(440)
    before, after = (ids(d, split(d, Fraction(1, 5))[1]) for d in (few, many))
    assert len(before - after) <= 8  # of 80
    assert len(before & after) >= 72


def test_equal_contents_stay_on_one_side():
    once = make_data(40)
    twice = once.subset(torch.arange(40).repeat(3))
    for share in (Fraction(1, 2), Fraction(1, 7), Fraction(9, 10)):
        kept, held_out = split(twice, share)
        assert len(kept) > 0
        assert len(held_out) > 0
        assert not ids(twice, kept) & ids(twice, held_out)


def test_a_class_of_one_content_is_trained_on():
    data = make_data(8)
    data = data.subset(torch.tensor([0, 0, 0, 1, 5, 2, 6]))
    kept, held_out = split(data, Fraction(1, 2))
    assert sorted(data.labels[kept].tolist()) == [0, 0, 0, 1, 2]
    assert sorted(data.labels[held_out].tolist()) == [1, 2]


@pytest.mark.parametrize("share", [Fraction(0), Fraction(1), Fraction(-1, 2), Fraction(3, 2)])
def test_a_share_that_leaves_one_side_empty_is_refused(share):
    with pytest.raises(UsageProblem, match="held out"):
        split(make_data(8), share)


# Fractions


@property_test
@given(st.integers(4, 60), shares, shares)
def test_a_fraction_has_its_exact_count_in_every_class_and_nests(count, one, other):
    data = make_data(count)
    small, large = (chosen(data, fraction) for fraction in sorted((one, other)))
    assert set(small.tolist()) <= set(large.tolist())
    for label in range(4):
        members = int((data.labels == label).sum())
        taken = int((data.labels[large] == label).sum())
        assert taken == round(max(one, other) * members)


def test_a_choice_depends_on_contents_and_is_not_the_order_of_the_split():
    data = make_data(80)
    half = chosen(data, Fraction(1, 2))
    other = permuted(data)
    assert ids(data, half) == ids(other, chosen(other, Fraction(1, 2)))
    held_out = split(data, Fraction(1, 2))[1]
    assert 20 > len(ids(data, half) & ids(data, held_out)) - 10 > 0


def test_the_whole_is_everything():
    assert chosen(make_data(10), Fraction(1)).tolist() == list(range(10))


# Training sets


def test_clean_and_whole_sets_are_as_given():
    sets = make_sets()
    for arm, data in sets.items():
        assert training_set(make_cell(arm), sets["clean"], data) is data


@pytest.mark.parametrize("arm", ["protected", "placebo"])
def test_of_a_fraction_the_chosen_pictures_are_noisy_and_all_others_clean(arm):
    sets = make_sets()
    clean, noisy = sets["clean"], sets[arm]
    data = training_set(make_cell(arm, fraction="3/10"), clean, noisy)
    picked = chosen(clean, Fraction(3, 10)).tolist()
    assert len(picked) == 12
    for n in range(len(data)):
        source = noisy if n in picked else clean
        assert torch.equal(data.pixels[n], source.pixels[n])
        assert data.ids[n] == source.ids[n]
    assert torch.equal(data.labels, clean.labels)


def test_the_remainder_is_the_clean_pictures_that_a_fraction_leaves():
    clean = make_sets()["clean"]
    rest = training_set(make_cell("remainder", fraction="1/4"), clean, None)
    picked = chosen(clean, Fraction(1, 4))
    assert len(rest) == len(clean) - len(picked)
    assert not set(rest.ids.tolist()) & ids(clean, picked)
    assert set(rest.ids.tolist()) <= set(clean.ids.tolist())


def test_a_remainder_without_pictures_is_refused():
    with pytest.raises(UsageProblem, match=r"--fraction 99/100 takes all 40"):
        training_set(make_cell("remainder", fraction="99/100"), make_sets()["clean"], None)


def test_a_placebo_that_was_not_made_is_refused():
    with pytest.raises(UsageProblem, match="none was made"):
        training_set(make_cell("placebo"), make_sets()["clean"], None)


def test_sets_that_are_no_copies_of_each_other_are_refused():
    sets = make_sets()
    with pytest.raises(UsageProblem, match="not copies"):
        training_set(make_cell("protected"), sets["clean"], permuted(sets["protected"]))
    few = sets["placebo"].subset(torch.arange(39))
    with pytest.raises(UsageProblem, match="39 placebo pictures are not copies of the 40"):
        training_set(make_cell("placebo"), sets["clean"], few)


# Placebo


@few_examples
@given(st.integers(1, 16), st.integers(1, 12), st.integers(1, 20))
def test_a_placebo_keeps_the_bound_and_the_mean_change_of_each_picture(levels, strength, grid):
    clean = LabelledPictures(
        make_pixels(6, size=16) // 2 + 60, torch.arange(6) % 4, make_data(4).classes
    )
    protected = with_shortcut(clean, min(levels, strength))
    radius = Radius.of_levels(levels)
    noise = change(placebo(clean, protected, radius, grid, seed=99), clean)
    assert int(noise.max()) <= levels
    wanted = change(protected, clean).float().mean((1, 2, 3))
    found = noise.float().mean((1, 2, 3))
    reachable = wanted < 0.8 * levels  # enlarged noise cannot be at the bound everywhere
    assert torch.allclose(found[reachable], wanted[reachable], atol=0.2)


def test_a_placebo_of_unchanged_pictures_changes_nothing():
    clean = make_bars(8)
    assert torch.equal(placebo(clean, clean, EIGHT, 16, seed=99).pixels, clean.pixels)


def test_a_placebo_is_the_same_again_and_another_with_another_seed():
    clean = make_bars(12)
    protected = with_shortcut(clean)
    one = placebo(clean, protected, EIGHT, 16, seed=99)
    assert torch.equal(one.pixels, placebo(clean, protected, EIGHT, 16, seed=99).pixels)
    assert not torch.equal(one.pixels, placebo(clean, protected, EIGHT, 16, seed=98).pixels)
    part = torch.tensor([3, 5])
    alone = placebo(clean.subset(part), protected.subset(part), EIGHT, 16, seed=99)
    assert torch.equal(alone.pixels, one.pixels[part])
    assert torch.equal(one.ids, clean.ids)


def test_a_placebo_is_as_coarse_as_its_grid():
    clean = LabelledPictures(
        torch.full((4, 3, 32, 32), 128, dtype=torch.uint8), torch.arange(4), ("a",) * 4
    )
    clean = replace(clean, ids=torch.arange(4))
    protected = with_shortcut(clean, 4)

    def roughness(grid):
        noise = placebo(clean, protected, EIGHT, grid, seed=99).pixels.float()
        return float((noise[..., 1:] - noise[..., :-1]).abs().mean())

    assert roughness(4) < 0.5 * roughness(32)
    assert roughness(64) == roughness(32)


def test_a_placebo_says_nothing_about_the_class():
    clean = LabelledPictures(
        torch.full((400, 3, 8, 8), 128, dtype=torch.uint8),
        torch.arange(400) % 4,
        make_data(4).classes,
        torch.arange(400),
    )
    noise = placebo(clean, with_shortcut(clean), EIGHT, 8, seed=99).pixels.float() - 128
    means = torch.stack([noise[clean.labels == label].mean((0, 2, 3)) for label in range(4)])
    assert float(means.abs().max()) < 0.4  # 6400 draws of ±8: 0.1 is one standard deviation


def test_a_placebo_for_pictures_of_another_size_is_refused():
    with pytest.raises(UsageProblem, match="one size"):
        placebo(make_data(4), make_data(4, size=16), EIGHT, 8, seed=99)


# Motif


@pytest.mark.parametrize("levels", [1, 8, 16])
def test_a_motif_is_at_the_bound_everywhere_and_of_its_class_only(levels):
    pixels = torch.full((12, 3, 32, 32), 128, dtype=torch.uint8)
    clean = LabelledPictures(pixels, torch.arange(12) % 4, make_data(4).classes, torch.arange(12))
    found = motif(clean, Radius.of_levels(levels), seed=98)
    noise = found.pixels.int() - 128
    assert noise.abs().unique().tolist() == [levels]
    assert torch.equal(found.ids, clean.ids)
    cells = {  # cells of a pixel, two a side: each picture has the four of its class, rolled
        n: {tuple(noise[n, :, down, across].tolist()) for down in (0, 1) for across in (0, 1)}
        for n in range(12)
    }
    for n in range(4, 12):
        assert cells[n] == cells[n % 4]
    assert len({frozenset(kinds) for kinds in cells.values()}) > 1
    assert torch.equal(noise[:, :, ::2, ::2], noise[:, :, :1, :1].expand(-1, -1, 16, 16))


def test_a_motif_stays_within_the_bound_where_pictures_are_black_or_white():
    data = make_data(8, size=16)
    clean = replace(data, pixels=(data.pixels // 128) * 255)
    change_of_all = change(motif(clean, EIGHT, seed=98), clean)
    assert set(change_of_all.unique().tolist()) == {0, 8}


def test_a_motif_is_the_same_again_whatever_is_beside_it_and_another_with_another_key():
    clean = make_data(12, size=16)
    one = motif(clean, EIGHT, seed=98)
    assert torch.equal(one.pixels, motif(clean, EIGHT, seed=98).pixels)
    assert not torch.equal(one.pixels, motif(clean, EIGHT, seed=97).pixels)
    part = torch.tensor([3, 5, 10])
    assert torch.equal(motif(clean.subset(part), EIGHT, seed=98).pixels, one.pixels[part])
