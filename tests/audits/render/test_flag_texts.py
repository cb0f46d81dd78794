"""docs/audit-flags.md, what the report says of a flag, and the flags there are: all the same."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from unlearn.audits.flags import FLAGS
from unlearn.audits.render.flag_texts import FLAG_TEXTS, as_markdown
from unlearn.cli.app import build

PAGE = Path(__file__).parents[3] / "docs" / "audit-flags.md"


def test_every_flag_has_its_text_in_the_same_order():
    assert tuple(FLAG_TEXTS) == FLAGS


@pytest.mark.skipif(not PAGE.is_file(), reason="not run from a checkout")
def test_the_page_says_what_the_report_says():
    assert PAGE.read_text(encoding="utf-8") == as_markdown()


def test_every_option_that_a_text_recommends_exists():
    named = set(re.findall(r"`(--[a-z-]+)", as_markdown()))
    audit = get_command(build()).commands["audit"]
    assert named
    assert named <= {option for param in audit.params for option in param.opts}
