"""What the tests of sources share: `unlearn protect` with noise that needs no network."""

import tarfile

import pytest

from tests.support.protecting import CHECKOUT, FakeGenerator, make_generator_file
from tests.support.remembering import remembered  # noqa: F401
from unlearn.cli.app import run
from unlearn.protection import run as workflow


@pytest.fixture
def protect(tmp_path, monkeypatch, capsys):
    """Run `unlearn protect` in a folder of its own: exit code, lines of both streams."""
    monkeypatch.chdir(tmp_path)
    make_generator_file(tmp_path / "fake.safetensors")
    monkeypatch.setattr(workflow, "load_generator", lambda *_: (FakeGenerator(), "cpu"))

    def protect(*arguments):
        line = ["protect", *map(str, arguments), "--out", "out", "--format", "png"]
        code = run([*line, "-g", "fake.safetensors", "--workers", "0", "--preview", "0"])
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err.splitlines()

    return protect


@pytest.fixture
def report_case(tmp_path):
    """Unpack one case of the public bug reports, where they lie beside the checkout."""
    archive = CHECKOUT.parent / "shared" / "data" / "reports.tar"
    if not archive.is_file():
        pytest.skip("../shared/data/reports.tar is not there")

    def unpack(case):
        with tarfile.open(archive) as tar:
            members = [m for m in tar.getmembers() if f"{case}/" in f"{m.name}/"]
            for member in members:
                member.name = member.name[member.name.index(case) :]
            tar.extractall(tmp_path, members, filter="data")
        return tmp_path / case

    return unpack
