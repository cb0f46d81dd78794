"""comparison.json, .csv and .html: the same numbers, well-formed, and nothing from elsewhere."""

import csv
import io
import json
import re

import pytest

from tests.audits.render.test_page import Page
from tests.support.comparisons import LOOKS, comparison, entry
from tests.support.reports import HOSTILE
from unlearn.audits.comparison.page import as_html, headline
from unlearn.audits.comparison.plain import as_json, comparison_csv
from unlearn.audits.comparison.scatter import Dot, pareto
from unlearn.audits.comparison.values import Entry
from unlearn.audits.render.svg import Place

REFUSED = Entry("tap", "the idea of tap", entry("tap", results=(), looks=None).record, "one class")


@pytest.fixture
def found():
    unbounded = entry("lsp", by=0.1, bounded=False, training_seconds=None)
    return comparison(entry("em"), unbounded, entry("rem", by=-0.05), REFUSED)


def test_the_table_of_numbers_says_what_the_object_says(found):
    whole = json.loads(as_json(found))
    rows = list(csv.DictReader(io.StringIO(comparison_csv(found))))
    told = [
        (line, accuracy)
        for line in (*whole["controls"], *whole["methods"])
        for accuracy in line["accuracies"]
    ]
    assert len(rows) == len(told) == 6 * 6
    for row, (line, accuracy) in zip(rows, told, strict=True):
        assert row["name"] == line["name"]
        for name, value in accuracy.items():
            assert row[name] == ("" if value is None else str(value)), name
        for name in set(line) & set(row):
            assert row[name] == ("" if line[name] is None else str(line[name])), name


def test_every_number_stands_beside_its_clean_control(found):
    whole = json.loads(as_json(found))
    clean, placebo = whole["controls"]
    for line in whole["methods"][:3]:
        for own, control in zip(line["accuracies"], clean["accuracies"], strict=True):
            assert own["minus_clean"] == pytest.approx(own["last"] - control["last"], abs=2e-6)
    assert [row["minus_clean"] for row in clean["accuracies"]] == [None] * 6
    assert [row["last"] is None for row in placebo["accuracies"]] == [False] * 3 + [True] * 3
    em = whole["methods"][0]
    assert em["worst"]["last"] == max(row["last"] for row in em["accuracies"])


def test_the_page_is_well_formed_and_has_every_number(found):
    page = Page(as_html(found))
    cells = {row[0]: row[1:] for row in page.rows if row}
    first = next(row for row in page.rows if row and row[0] == "em")
    assert first[1:] == [
        f"{100 * one.last.mean:.1f} ± {100 * one.last.spread:.1f}"
        f"best {100 * one.best.mean:.1f} ± {100 * one.best.spread:.1f}"
        for one in found.lines[2].summaries
    ]
    assert any(row[:2] == ["tap", "one class"] for row in page.rows)
    assert "lsp*" in cells
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(identifiers)) == len(identifiers)


def test_the_page_runs_nothing_and_loads_nothing(found):
    html = as_html(found)
    tags = {tag for tag, _ in Page(html).elements}
    assert not tags & {"script", "link", "iframe", "img", "object", "embed", "form"}
    assert not re.search(r"""(?:href|src)\s*=\s*["'](?!#)""", html)
    assert not re.search(r"@import|url\((?!#)", html)
    links = set(re.findall(r"https?://[^\s\"'<)]+", html))
    assert links <= {"http://www.w3.org/2000/svg"}


def test_hostile_names_are_escaped(found):
    hostile = comparison(entry("em"), Entry("tap", HOSTILE, None, HOSTILE))
    assert "<script>" not in as_html(hostile)
    as_json(hostile).encode("ascii")
    comparison_csv(hostile).encode()


def test_a_comparison_without_finished_methods_is_told_too():
    begun = comparison(entry("em", results=(), looks=None, subject=None))
    assert list(headline(begun)) == ["No method has numbers yet."]
    assert "not finished yet" in as_html(begun)
    assert json.loads(as_json(begun))["methods"][0]["state"] == "unfinished"


def test_a_method_without_seconds_is_in_no_chart_of_costs(found):
    drawings = re.findall(r"<svg.*?</svg>", as_html(found), re.DOTALL)
    visible, cost = drawings[0], drawings[2]
    assert ">lsp</text>" in visible
    assert ">lsp</text>" not in cost
    assert LOOKS.visible == 2.5


def test_the_front_is_what_no_other_beats_in_both():
    places = {"a": (1, 0.5), "b": (2, 0.3), "c": (2, 0.4), "d": (3, 0.3), "e": (0.5, 0.9)}
    dots = [Dot(name, Place(float(x), y), bounded=True) for name, (x, y) in places.items()]
    assert [dot.name for dot in pareto(dots)] == ["e", "a", "b"]
