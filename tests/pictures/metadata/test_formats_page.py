"""docs/formats.md says what the code keeps and leaves out."""

from pathlib import Path

import pytest

from tests.support.formats_page import MEANINGS, TABLES, names, rewritten

PAGE = Path(__file__).parents[3] / "docs" / "formats.md"


@pytest.mark.skipif(not PAGE.is_file(), reason="not run from a checkout")
def test_the_page_has_the_tables_as_the_code_has_them():
    document = PAGE.read_text(encoding="utf-8")
    assert rewritten(document) == document
    assert all(f"<!-- table of {name} -->" in document for name in TABLES)


def test_every_name_has_a_meaning_and_every_meaning_a_name():
    assert sorted(names()) == sorted(MEANINGS)
