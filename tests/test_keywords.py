"""Options from the keywords of a Python call: what stands for what, and what is refused."""

from fractions import Fraction
from pathlib import Path

import pytest

from unlearn.audits.options import AuditOptions
from unlearn.errors import UsageProblem
from unlearn.keywords import filled
from unlearn.protection.options import ProtectOptions
from unlearn.radius import Radius


def protecting(**given):
    return filled(ProtectOptions, {"inputs": "photos", "out": "out", **given}, "protect", argv=())


def auditing(**given):
    return filled(AuditOptions, {"clean": "photos", "out": "out", **given}, "audit", command="")


def test_texts_stand_for_paths_and_one_value_for_a_tuple_of_one():
    options = protecting(key="key", include="*.jpg")
    assert options == ProtectOptions(
        inputs=("photos",), out=Path("out"), key=Path("key"), include=("*.jpg",)
    )
    assert protecting(inputs=[Path("a"), "b"]).inputs == ("a", "b")
    assert protecting(generator=Path("mine.safetensors")).generator == "mine.safetensors"


def test_none_stands_for_itself_where_a_field_takes_it():
    assert protecting(key=None, grid=None) == protecting()
    with pytest.raises(UsageProblem, match=r"^protect: seed: expected int, got None$"):
        protecting(seed=None)


def test_radii_are_radii_or_exact_texts():
    assert protecting(rho="4/255").rho == protecting(rho=Radius.of_levels(4)).rho
    assert auditing(rho_a="4/255").rho_a == (Radius.of_levels(4),)
    assert auditing(rho_a=["0", Radius.of_levels(2)]).rho_a == (
        Radius.of_levels(0),
        Radius.of_levels(2),
    )
    with pytest.raises(UsageProblem, match=r'a Radius or a text such as "8/255", got 0\.03$'):
        protecting(rho=0.03)
    with pytest.raises(UsageProblem, match="did you mean 8/255"):
        protecting(rho="8")
    with pytest.raises(UsageProblem, match="nothing could change"):
        protecting(rho=Radius.of_levels(0))


def test_shares_are_read_as_they_are_written():
    assert auditing(test=0.2).test == auditing(test="1/5").test == Fraction(1, 5)
    assert auditing(test=Path("val")).test == Path("val")
    assert auditing(fractions=[1, "1/2", 0.25]).fractions == (1, Fraction(1, 2), Fraction(1, 4))
    with pytest.raises(UsageProblem, match="cannot be held out"):
        auditing(test=1)


def test_lists_that_have_commas_on_the_command_line_may_have_them_here():
    assert auditing(countermeasures="none,grey").countermeasures == ("none", "grey")
    assert auditing(countermeasures=["none", "grey"]).countermeasures == ("none", "grey")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rhoo": "8/255"}, "protect has no option 'rhoo'; did you mean rho?"),
        ({"argv": ()}, "protect has no option 'argv'; known: inputs, out, rho, "),
        ({"format": "gif"}, "protect: format: 'gif' is not one of 'auto', 'keep', 'png', "),
        ({"force": 1}, "protect: force: expected bool, got 1"),
        ({"workers": True}, "protect: workers: expected int, got True"),
        ({"workers": -1}, "protect: workers: -1 is too small; use at least 0"),
        ({"device": "tpu"}, "'tpu' is not a device; use auto, cpu, cuda, cuda:N or mps"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_name(given, message):
    with pytest.raises(UsageProblem) as raised:
        protecting(**given)
    assert str(raised.value).startswith(message)


def test_a_number_above_the_range_is_refused():
    with pytest.raises(UsageProblem, match="seeds: 101 is too large; use at most 100"):
        auditing(seeds=101)
