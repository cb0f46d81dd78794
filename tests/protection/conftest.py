"""What the tests of protecting share."""

import pytest

from tests.support.protecting import FakeGenerator
from tests.support.remembering import remembered  # noqa: F401
from unlearn.protection import run as workflow


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeGenerator:
    """The generator that every run of the test loads."""
    generator = FakeGenerator()
    monkeypatch.setattr(workflow, "load_generator", lambda _path, _device: (generator, "cpu"))
    return generator
