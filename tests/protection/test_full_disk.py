"""A disk that is too small, one that fills up during a run, and the same line again with room."""

import shutil

import pytest

from tests.benchmarks.safety.disk import fill_up, small_disk
from tests.support.protecting import protect_line


@pytest.fixture
def mountable(tmp_path):
    if shutil.which("mount") is None:
        pytest.skip("no mount on this system")
    try:
        with small_disk(tmp_path / "trial", "64k"):
            pass
    except OSError as error:
        pytest.skip(f"a small disk needs the right to mount one ({error})")


@pytest.mark.slow
def test_a_disk_that_fills_up_costs_no_picture_and_leaves_no_half_file(mountable, monkeypatch):
    monkeypatch.setenv("FAKE_DELAY", "0.05")
    found = fill_up(protect_line)
    assert found["uninterrupted code"] == 0
    small = found["too small from the start"]
    assert small["code"] == 4
    assert "Not enough disk: about " in small["said"]
    assert small["written"] == []
    full = found["full on the way"]
    assert full["code"] == 4
    assert "No space left on device; " in full["said"]
    assert "Free some space and run the same line again to continue" in full["said"]
    assert "Traceback" not in full["said"]
    assert 0 < full["done"] < found["pictures"]
    assert found["half files"] == []
    assert found["temporary files"] == []
    assert found["again"] == {"code": 0, "same bytes as with room": True}
