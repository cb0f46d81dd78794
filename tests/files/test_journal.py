"""The journal: what was appended is there, and what was torn costs nothing but itself."""

import os

import pytest

from unlearn.files.journal import Journal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


def test_a_file_that_is_missing_has_no_lines_and_is_not_made(path):
    assert list(Journal(path).lines()) == []
    assert list(Journal(path / "below").lines()) == []
    assert not path.exists()


def test_lines_come_back_in_order_behind_one_head(path):
    for line in ("1", "2"):
        Journal(path, "head").append(line)
    assert list(Journal(path).lines()) == [b"head\n", b"1\n", b"2\n"]


@pytest.mark.parametrize("whole", [b"", b"head\n", b"head\n1\n"])
@pytest.mark.parametrize("torn", [b"x", b"he"])
def test_a_torn_line_is_cut_off_or_kept_apart(path, whole, torn):
    path.write_bytes(whole + torn)
    Journal(path, "head").append("2")
    assert path.read_bytes() == (whole or b"head\n") + b"2\n"
    path.write_bytes(whole + torn)
    Journal(path, "head", keep_torn=True).append("2")
    assert path.read_bytes() == whole + torn + b"\n2\n"


def test_a_line_is_waited_for_unless_told_otherwise(path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(path.read_bytes()))
    Journal(path).append("1")
    Journal(path).append("2", sync=False)
    assert synced == [b"1\n"]
