import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.bars import make_cell, make_result
from tests.support.making import few_examples
from unlearn.audits.journal import Journal
from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.radius import Radius

FIRST = make_result(make_cell(), 1 / 3, epochs=3)
SECOND = make_result(
    make_cell("protected", seed=102, fraction="1/3", rho_a=Radius.of_levels(1.6)),
    0.1,
    diverged=True,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out" / "journal.jsonl"


@pytest.fixture
def written(path):
    journal = Journal(path, "plan")
    journal.append(FIRST)
    journal.append(SECOND)
    return path


def results(path, fingerprint="plan"):
    return list(Journal(path, fingerprint).results.values())


def test_results_come_back_exactly_and_by_their_cell(written):
    assert results(written) == [FIRST, SECOND]
    assert Journal(written, "plan").results[SECOND.cell] == SECOND


def test_every_line_is_json_and_the_first_names_the_plan(written):
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    assert lines[0] == {"unlearn-audit": 1, "fingerprint": "plan"}
    assert len(lines) == 3


def test_opening_a_journal_writes_nothing(path):
    assert Journal(path, "plan").results == {}
    assert not path.exists()


@few_examples
@given(st.data())
def test_a_torn_line_is_dropped_and_written_over(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    journal = Journal(path, "plan")
    journal.append(FIRST)
    journal.append(SECOND)
    whole = path.read_bytes()
    length = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:length])
    expected = [FIRST, SECOND][: max(0, whole[:length].count(b"\n") - 1)]
    again = Journal(path, "plan")
    assert list(again.results.values()) == expected
    for result in (FIRST, SECOND):
        if result.cell not in again.results:
            again.append(result)
    assert path.read_bytes() == whole


def test_the_journal_of_another_plan_is_refused_and_left_alone(written):
    before = written.read_bytes()
    with pytest.raises(UsageProblem, match="other settings or pictures"):
        Journal(written, "another plan")
    assert written.read_bytes() == before


@pytest.mark.parametrize("content", ["a diary\n", "a diary", "[1]\n", '{"unlearn-audit": 2}\n'])
def test_a_file_that_is_no_journal_is_refused(tmp_path, content):
    path = tmp_path / "diary.jsonl"
    path.write_text(content)
    with pytest.raises(EnvironmentProblem, match="not the journal of an audit"):
        Journal(path, "plan")
    assert path.read_text() == content


def test_a_damaged_line_among_others_is_named(written):
    lines = written.read_text().splitlines(keepends=True)
    written.write_text(lines[0] + "rubbish\n" + lines[2])
    with pytest.raises(EnvironmentProblem, match="line 2"):
        Journal(written, "plan")


def test_a_result_is_on_disk_when_append_returns(path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(path.stat().st_size))
    Journal(path, "plan").append(FIRST)
    assert synced == [path.stat().st_size]


def test_a_journal_that_cannot_be_written_says_so(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        Journal(blocked / "journal.jsonl", "plan").append(FIRST)
    with pytest.raises(EnvironmentProblem, match="cannot be read"):
        Journal(tmp_path, "plan")


def test_the_first_rank_takes_in_what_others_have_finished(written):
    third = make_result(make_cell(seed=103), 0.7)
    other = Journal(written, "plan").of_rank(2)
    journal = Journal(written, "plan")
    assert journal.of_others() == []
    other.append(SECOND), other.append(third)
    assert journal.of_others() == [third]
    assert journal.of_others() == []  # said once
    assert other.path.name == "journal.2.jsonl"
    Journal(written, "plan").absorb()
    assert results(written) == [FIRST, SECOND, third]
    assert [path.name for path in written.parent.iterdir()] == ["journal.jsonl"]


def test_what_a_rank_has_left_of_another_plan_is_refused_and_left_alone(written):
    part = written.with_name("journal.1.jsonl")
    Journal(part, "another plan").append(FIRST)
    before = part.read_bytes()
    with pytest.raises(UsageProblem, match="other settings or pictures"):
        Journal(written, "plan").absorb()
    assert part.read_bytes() == before
