"""The options of an audit: how shares and folders are read, and what does not go together."""

from fractions import Fraction
from pathlib import Path

import pytest

from unlearn.audits.options import AuditOptions, read_held_out, read_share
from unlearn.errors import UsageProblem


@pytest.mark.parametrize(("text", "value"), [("1/2", Fraction(1, 2)), ("0.25", Fraction(1, 4))])
def test_shares_are_exact(text, value):
    assert read_share(text) == value


@pytest.mark.parametrize("text", ["0", "-1/2", "5/4", "half", "1/0"])
def test_other_shares_are_refused(text):
    with pytest.raises(UsageProblem):
        read_share(text)


def test_held_out_pictures_are_a_folder_or_a_share(tmp_path):
    assert read_held_out(str(tmp_path)) == tmp_path
    assert read_held_out("0.2") == Fraction(1, 5)
    for text in ("1", "0", "nowhere"):
        with pytest.raises(UsageProblem):
            read_held_out(text)


def test_given_copies_and_a_method_that_makes_copies_exclude_each_other():
    with pytest.raises(UsageProblem, match="--method makes copies of its own; leave out copies"):
        AuditOptions(clean=Path("clean"), protected=Path("copies"), method="min-max-min")


def test_a_report_has_a_folder_of_its_own_unless_one_is_named():
    assert AuditOptions(clean=Path("clean")).out.name.startswith("audit-2")
