"""What the tests of odd homes and disks share."""

import pytest

from tests.support.protecting import FakeGenerator, make_generator_file, make_picture
from unlearn.protection import run as workflow


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a picture and a generator that needs no network."""
    monkeypatch.chdir(tmp_path)
    make_picture(tmp_path / "x.png", 1)
    make_generator_file(tmp_path / "fake.safetensors")
    monkeypatch.setattr(workflow, "load_generator", lambda *_: (FakeGenerator(), "cpu"))
    return tmp_path
