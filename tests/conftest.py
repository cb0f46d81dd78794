"""What all tests share: a home of their own for each test, one thread, and the way to test data."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports torch
settings.register_profile("unlearn", deadline=None, print_blob=True)
settings.load_profile("unlearn")

TERMINAL = ("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TTY_COMPATIBLE")


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Places of homes, counted here: for each folder mktemp looks through all that there are."""
    parent = tmp_path_factory.mktemp("homes")
    return (parent / f"home{number}" for number in itertools.count())


@pytest.fixture(autouse=True)
def home(homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of this test's own, so that no key, cache or report of the person is seen or made."""
    folder = next(homes)
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("CONFIG", "CACHE", "STATE", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(folder / name.lower()))
    for name in (*TERMINAL, *(name for name in os.environ if name.startswith("UNLEARN_"))):
        if name != "UNLEARN_TEST_DATA":
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    return folder


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with photos/, imagenette5/ and nasty-images/ that UNLEARN_TEST_DATA names."""
    named = os.environ.get("UNLEARN_TEST_DATA")
    if not named or not Path(named).is_dir():
        pytest.skip("UNLEARN_TEST_DATA names no folder with photos/, imagenette5/, nasty-images/")
    return Path(named)
