import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.making import property_test
from unlearn.errors import UsageProblem
from unlearn.radius import Radius

fractions = st.fractions(min_value=0, max_value=1, max_denominator=10_000).filter(lambda x: x < 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8/255", Fraction(8, 255)),
        (" 8/255 ", Fraction(8, 255)),
        ("8 / 255", Fraction(8, 255)),
        ("1.6/255", Fraction(16, 2550)),
        ("0.03", Fraction(3, 100)),
        (".5", Fraction(1, 2)),
        ("0", Fraction(0)),
        ("0/255", Fraction(0)),
    ],
)
def test_radius_reads_fractions_and_decimals(text, value):
    assert Radius.parse(text).value == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "/",
        "8/",
        "/255",
        "eight",
        "8/255/3",
        "1/0",
        "nan",
        "inf",
        "0x08/255",
        "8/255 px",
        "1e-2",
        "1e999999999",
        "8_0/255",
    ],
)
def test_radius_refuses_garbage_in_one_line(text):
    with pytest.raises(UsageProblem, match="is not a radius; write a fraction as 8/255") as caught:
        Radius.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("8", "8/255"), ("16", "16/255"), ("1", "1/255"), ("8.5", "8.5/255"), ("254", "254/255")],
)
def test_radius_suggests_what_a_whole_number_of_levels_means(text, meant):
    with pytest.raises(UsageProblem, match=rf"did you mean {meant}\?$"):
        Radius.parse(text)
    assert Radius.parse(meant) == Radius.of_levels(float(text))


@pytest.mark.parametrize("text", ["255", "300", "-1", "-0.1", "-8/255"])
def test_radius_refuses_values_outside_its_range_without_a_suggestion(text):
    with pytest.raises(UsageProblem, match="at least 0 and below 1") as caught:
        Radius.parse(text)
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("value", [Fraction(1), Fraction(-1, 255), Fraction(8)])
def test_radius_cannot_be_made_outside_its_range(value):
    with pytest.raises(UsageProblem):
        Radius(value)


@pytest.mark.parametrize(
    ("text", "levels"),
    [("8/255", 8), ("0.03", 7), ("1.6/255", 1), ("0.9/255", 0), ("0", 0), ("8.999/255", 8)],
)
def test_levels_round_down(text, levels):
    assert Radius.parse(text).levels == levels


@property_test
@given(fractions)
def test_levels_are_the_most_whole_steps_inside_the_radius(value):
    radius = Radius(value)
    assert Fraction(radius.levels, 255) <= value < Fraction(radius.levels + 1, 255)


@property_test
@given(fractions)
@example(Fraction(8, 255))
@example(Fraction(3, 100))
@example(Fraction(1, 3))
@example(Fraction(1, 10**40))
@example(Fraction(10**40 - 1, 10**40))
def test_radius_reads_back_what_it_prints(value):
    assert Radius.parse(str(Radius(value))) == Radius(value)


@property_test
@given(st.integers(0, 2549))
def test_tenths_of_a_level_print_as_a_share_of_255(tenths):
    radius = Radius.of_levels(tenths / 10)
    assert radius.value == Fraction(tenths, 2550)
    assert str(radius) == f"{tenths / 10:g}/255"


@property_test
@given(fractions, fractions)
def test_radii_are_ordered_by_their_value(one, other):
    assert (Radius(one) < Radius(other)) == (one < other)
    assert (Radius(one) >= Radius(other)) == (one >= other)


def test_equal_radii_are_one_key_however_they_were_written():
    assert len({Radius.parse("8/255"), Radius.parse("16/510"), Radius.of_levels(8)}) == 1
    assert math.isclose(float(Radius.of_levels(8)), 8 / 255)
