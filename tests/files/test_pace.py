"""The pace of earlier runs: kept where it can be, unknown where it cannot, and never an error."""

import pytest

from unlearn.files import pace
from unlearn.files.pace import remember, seconds_each


def stored(home):
    return home / "state" / "unlearn" / "pace.json"


def test_the_last_pace_of_each_kind_is_known(home):
    assert seconds_each("protect a") is None
    for seconds in (2.0, 3.0):
        remember("protect a", seconds)
    remember("protect b", 0.25)
    assert (seconds_each("protect a"), seconds_each("protect b")) == (3.0, 0.25)
    assert seconds_each("protect c") is None
    assert stored(home).is_file()


def test_only_the_latest_kinds_are_kept(home):
    for number in range(30):
        remember(str(number), 1.0)
    remember("5", 2.0)
    assert [n for n in range(30) if seconds_each(str(n))] == [5, *range(11, 30)]


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf"), float("nan")])
def test_what_is_no_duration_is_not_kept(home, seconds):
    remember("a", seconds)
    assert not stored(home).exists()


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "{", '{"a": "fast"}', '{"a": true}', '{"a": NaN}', '{"a": -1}', "\x00", "null"],
)
def test_a_store_that_is_none_is_unknown_and_written_anew(home, text):
    stored(home).parent.mkdir(parents=True)
    stored(home).write_text(text)
    assert seconds_each("a") is None
    remember("a", 1.5)
    assert seconds_each("a") == 1.5


def test_places_that_cannot_be_read_or_written_are_no_error(home, monkeypatch):
    stored(home).mkdir(parents=True)
    remember("a", 1.0)
    assert seconds_each("a") is None
    monkeypatch.setattr(pace, "own_folder", lambda _: None)
    remember("a", 1.0)
    assert seconds_each("a") is None
