"""docs/audit-flags.md, what the report says of a flag, and the flags there are: all the same."""

import re
import textwrap
from pathlib import Path

import pytest
from typer.main import get_command

from unlearn.audits.flags import FLAGS
from unlearn.audits.render.flag_texts import FLAG_TEXTS
from unlearn.cli.app import build

PAGE = Path(__file__).parents[3] / "docs" / "audit-flags.md"
WIDTH = 118


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


def as_markdown():
    """Return docs/audit-flags.md."""
    opening = (
        "A flag is a reason to doubt a number of an audit. `unlearn audit` prints flags under its "
        "table, and the report shows them right below its headline. A flag does not change the "
        "numbers, and an audit without flags is not a proof. Guessing is to name one class, the "
        "largest among the held-out pictures, for all of them."
    )
    parts = ["# Flags of an audit", _wrapped(opening)]
    for name, text in FLAG_TEXTS.items():
        sentences = (
            f"**{text.title}.** **Raised if** {text.raised}",
            f"**Means** {text.means}",
            f"**Do:** {text.do}",
        )
        parts += [f"## {name}", _wrapped(" ".join(sentences))]
    return "\n\n".join(parts) + "\n"


def _wrapped(text):
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
