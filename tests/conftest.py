"""What all tests share: homes of their own, the same random numbers, and the way to test data."""

import gc
import itertools
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports torch
# No test fails by luck, or because the machine is busy: every run draws the same examples.
settings.register_profile(
    "unlearn",
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("unlearn")

TERMINAL = ("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TTY_COMPATIBLE")


def pytest_collection_finish() -> None:
    """Let no garbage collection look again at what stays: PyTorch and thousands of tests."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Let a test draw the same numbers, whatever ran before it in this process."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.default_generator.manual_seed(0)  # the other devices of manual_seed take longer


def live_in(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Make a folder the home, and a plain terminal what commands write to."""
    folder.mkdir()
    patch.setenv("HOME", str(folder))
    for name in ("CONFIG", "CACHE", "STATE", "DATA"):
        patch.setenv(f"XDG_{name}_HOME", str(folder / name.lower()))
    for name in (*TERMINAL, *(name for name in os.environ if name.startswith("UNLEARN_"))):
        if name != "UNLEARN_TEST_DATA":
            patch.delenv(name, raising=False)
    patch.setenv("COLUMNS", "100")


@pytest.fixture(scope="session", autouse=True)
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[Path]]:
    """Places of homes, counted here: for each folder mktemp looks through all that there are.

    The first is that of fixtures which several tests share.
    """
    parent = tmp_path_factory.mktemp("homes")
    places = (parent / f"home{number}" for number in itertools.count())
    with pytest.MonkeyPatch.context() as patch:
        live_in(next(places), patch)
        yield places


@pytest.fixture(autouse=True)
def home(homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of this test's own, so that no key, cache or report of the person is seen or made."""
    folder = next(homes)
    live_in(folder, monkeypatch)
    monkeypatch.setattr("secrets.token_bytes", random.Random(0).randbytes)  # a key made here
    monkeypatch.setattr(os, "fsync", lambda _handle: None)  # nobody pulls the plug on a test
    return folder


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with photos/, imagenette5/ and nasty-images/ that UNLEARN_TEST_DATA names."""
    named = os.environ.get("UNLEARN_TEST_DATA")
    if not named or not Path(named).is_dir():
        pytest.skip("UNLEARN_TEST_DATA names no folder with photos/, imagenette5/, nasty-images/")
    return Path(named)
