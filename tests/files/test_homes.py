"""Machines without a home, or with a strange one: what needs none works, the rest is one line."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.protecting import CHECKOUT
from tests.support.protecting import protect_here as protect
from unlearn.cli.app import run
from unlearn.errors import EnvironmentProblem
from unlearn.files import homes
from unlearn.protection import key as key_module
from unlearn.protection.key import default_path, load_key
from unlearn.settings_file import VARIABLE

VARIABLES = ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")


@pytest.fixture
def homeless(monkeypatch):
    """No home, and no entry among the system's users."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def nobody(_name, **_options):
        raise RuntimeError("could not determine the home directory")

    for name in ("user_config_path", "user_data_path", "user_state_path"):
        monkeypatch.setattr(homes.platformdirs, name, nobody)


def test_without_a_home_the_key_has_to_be_named_and_nothing_else(here, homeless, capsys):
    assert protect() == 4
    assert capsys.readouterr().err == (
        "Error: there is no home folder (HOME is not set) to keep your key in; set HOME, or use "
        "--key FILE\n"
    )
    assert not (here / "o").exists()
    (here / "key").write_bytes(bytes(range(32)))
    assert protect("--key", "key") == 0
    assert [path.name for path in (here / "o").iterdir()] == ["x.png"]
    assert run(["generators", "list"]) == 0
    assert run(["protect", "--help"]) == 0
    assert run(["--version"]) == 0


def test_a_home_that_older_libraries_leave_as_it_is_written_is_none(monkeypatch):
    monkeypatch.setattr(homes.platformdirs, "user_data_path", lambda _name: Path("~/unlearn"))
    assert homes.own_folder("data") is None


def test_without_a_home_nothing_can_be_pulled(homeless, capsys):
    assert (
        run(["generators", "pull", "https://example.org/a.safetensors", "--sha256", "a" * 64]) == 4
    )
    assert "there is no home folder (HOME is not set)" in capsys.readouterr().err


def test_a_bug_without_a_home_is_still_one_line(homeless, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(homes.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("unlearn.generators.catalogue.known", lambda: 1 / 0)
    assert run(["generators", "list"]) == 70
    assert re.fullmatch(
        rf"Error: a bug in unlearn: .* {tmp_path}/crash-\S+; .*\n", capsys.readouterr().err
    )


def test_doctor_tells_that_there_is_no_home(homeless, capsys, monkeypatch):
    monkeypatch.setattr("unlearn.doctor.run.self_tests", lambda *_: ())
    assert run(["doctor"]) == 4
    told = capsys.readouterr()
    assert "there is no home folder (HOME is not set); UNLEARN_CONFIG may name one" in told.out
    assert told.err.startswith("Error: there is no home folder (HOME is not set) to keep your key")


@pytest.mark.skipif(os.name != "posix", reason="other systems find the home elsewhere")
def test_a_process_with_an_empty_home_starts(tmp_path):
    clean = {"PATH": os.defpath, "HOME": "", "PYTHONPATH": str(CHECKOUT)}
    line = [sys.executable, "-m", "unlearn", "protect", "--help"]
    done = subprocess.run(line, env=clean, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_settings_and_keys_that_are_no_files_are_not_waited_for(here, capsys, monkeypatch):
    os.mkfifo(here / "pipe")
    (here / "key").write_bytes(bytes(32))
    assert protect("--key", "pipe") == 2
    assert "--key pipe: a pipe or socket, not a key" in capsys.readouterr().err
    assert protect("--key", "/dev/zero") == 2
    assert "--key /dev/zero: a device, not a key" in capsys.readouterr().err
    for path, what in (("pipe", "a pipe or socket"), ("/dev/zero", "a device")):
        monkeypatch.setenv(VARIABLE, path)
        assert protect("--key", "key") == 2
        assert capsys.readouterr().err == f"Error: {path}: {what}, no file of settings\n"
        assert run(["protect", "--help"]) == 0
        capsys.readouterr()
    monkeypatch.setenv(VARIABLE, str(here))
    assert protect("--key", "key") == 4
    monkeypatch.setenv(VARIABLE, "/dev/null")
    assert protect("--key", "key") == 0


def test_a_home_that_is_closed_to_this_person_needs_a_named_key_only(here, capsys, monkeypatch):
    shut = Path(os.environ["XDG_CONFIG_HOME"]).parent
    real = os.stat

    def stat(path, *arguments, **options):
        if not isinstance(path, int) and Path(os.fsdecode(path)).is_relative_to(shut):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(path))
        return real(path, *arguments, **options)

    (here / "key").write_bytes(bytes(32))
    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, stat)
    assert protect("--key", "key") == 0
    assert protect() == 4
    assert "the key cannot be read or made (Permission denied); use --key FILE" in (
        capsys.readouterr().err
    )


def test_a_key_that_could_not_be_written_does_not_stand_in_the_way(monkeypatch):
    def refuse(_file):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(key_module.os, "fsync", refuse)
        with pytest.raises(EnvironmentProblem, match="Input/output error"):
            load_key(create=True)
    assert not default_path().exists()
    assert load_key(create=True) == load_key(create=False)
