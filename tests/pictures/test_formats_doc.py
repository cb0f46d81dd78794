"""docs/formats.md says what the code does: the formats, the modes, the names of what is dropped."""

import re
from pathlib import Path

import pytest

import unlearn.pictures
from tests.pictures.metadata.test_embedded import PLACES
from tests.pictures.metadata.test_kept import EMBEDDED
from tests.support.corpus import CORPUS
from unlearn.pictures.colour import MODES
from unlearn.pictures.kinds import KINDS

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
CODE = Path(unlearn.pictures.__file__).parent

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="not run from a checkout")


def first_cells(heading):
    """Return the first cell of each row of the last table under a heading."""
    part = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in part.splitlines() if line.startswith("| ")]
    return [row.split(" | ")[0].removeprefix("| ") for row in rows[1:]]


def test_the_formats_are_those_that_are_read():
    read = [kind.name for kind in KINDS if kind.plugin]
    assert first_cells("Formats") == read


def test_the_modes_are_those_that_are_taken():
    named = [mode for cell in first_cells("Colour modes") for mode in re.findall("`([^`]+)`", cell)]
    assert sorted(named) == sorted(MODES)


def test_the_names_of_what_is_dropped_are_those_of_the_code():
    named = {name for cell in first_cells("Metadata") for name in re.findall("`([^`]+)`", cell)}
    source = (CODE / "metadata" / "left_out.py").read_text(encoding="utf-8")
    assert named == set(re.findall('"([a-z-]+)"', source))
    tested = {case.split(" ")[0] for case in (*PLACES, *EMBEDDED)}
    assert tested <= named


def test_every_format_has_cells_in_the_corpus():
    for name in first_cells("Formats"):
        assert any(cell.startswith(name.lower()) for cell in CORPUS), name
