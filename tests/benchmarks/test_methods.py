"""The table of methods through the command line keeps its rows, in the order of the methods."""

from tests.benchmarks.methods import kinds, with_row
from unlearn.methods import METHODS


def test_rows_are_kept_in_order_and_replaced():
    page = "before\n"
    for label, cell in (("tap (quick)", "0"), ("em (quick)", "1"), ("em (quick)", "2")):
        page = with_row(page, label, f"| {label} | {cell} |")
    assert page.startswith("before\n<!-- commands -->")
    rows = [line for line in page.splitlines() if "(quick)" in line]
    assert rows == ["| em (quick) | 2 |", "| tap (quick) | 0 |"]
    assert with_row(f"{page}after", "em (quick)", "| em (quick) | 2 |").endswith("after")


def test_every_method_is_run():
    assert {name for name, _ in kinds().values()} == METHODS.keys()
