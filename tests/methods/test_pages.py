"""Every method has a page of equal sections, published settings, an oracle, and a short summary."""

import pytest

from tests.support.oracles import FACTS, ROOT
from unlearn.methods import METHODS
from unlearn.methods.base import PAPER

PAGES = ROOT / "docs" / "methods"
SECTIONS = (
    "Idea",
    "Equation",
    "Cost",
    "What undoes it",
    "Published numbers",
    "Numbers here",
    "Not repeated of the authors' code",
)
ORACLES = {"min-max-min": "seed", "clusters": "uc", "mi-ue": "miue"}  # others by their own name
OUR_OWN = "Our own; no paper has it."
every = pytest.mark.parametrize("name", METHODS)


def page(name):
    return (PAGES / f"{name}.md").read_text("utf-8")


@every
def test_the_page_of_a_method_has_all_sections_in_order(name):
    places = [page(name).find(f"\n**{section}") for section in SECTIONS]
    assert dict(zip(SECTIONS, places, strict=True)) == dict(
        zip(SECTIONS, sorted(place for place in places if place >= 0), strict=False)
    )


def test_every_page_is_that_of_a_method_and_is_linked():
    assert {path.stem for path in PAGES.glob("*.md")} == METHODS.keys()
    for index, folder in ((ROOT / "README.md", "docs/"), (ROOT / "docs" / "method.md", "")):
        text = index.read_text("utf-8")
        assert [
            name for name in METHODS if f"[{name}]({folder}methods/{name}.md)" not in text
        ] == []


@every
def test_a_method_has_numbers_of_its_authors_code_or_none_besides_ours(name):
    carried = (FACTS / f"{ORACLES.get(name, name)}.npz").is_file()
    assert carried != (OUR_OWN in page(name))


@every
def test_a_method_has_published_settings_and_a_summary_of_a_line(name):
    assert PAPER in METHODS[name].recipes()
    assert 20 < len(METHODS[name].summary) <= 72
    assert METHODS[name].summary[0].islower()
    assert not METHODS[name].summary.endswith(".")
