"""File systems that cannot do everything, or fail: no loss, one line, and a rerun that works."""

import errno
import os
from io import FileIO
from pathlib import Path

import pytest

from tests.support.protecting import protect_here as protect
from unlearn.errors import EnvironmentProblem
from unlearn.files import lock, replace
from unlearn.files.lock import locked
from unlearn.files.replace import replace_file
from unlearn.protection.key import load_key


def test_a_file_system_without_renaming_over_a_name_keeps_one_of_both(tmp_path, monkeypatch):
    target = tmp_path / "a"
    target.write_bytes(b"old")

    def refuse(_self, _target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    monkeypatch.setattr(Path, "replace", refuse)
    replace_file(target, b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"new"}
    rename = Path.rename

    def rename_aside_only(self, other):
        if other == target and not self.name.endswith("-old"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", rename_aside_only)
    with pytest.raises(EnvironmentProblem, match="Input/output error"):
        replace_file(target, b"newer")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"new"}


def test_an_error_when_a_file_is_closed_ends_the_run_and_the_next_one_works(
    here, capsys, monkeypatch
):
    asked = []

    def fail(_file):
        asked.append(_file)
        if len(asked) > 1:  # the first is the manifest's
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    load_key(create=True)
    with monkeypatch.context() as patch:
        patch.setattr(replace.os, "fsync", fail)
        assert protect() == 4
    assert capsys.readouterr().err.splitlines()[-1] == (
        "Error: o: Input/output error; 0 of 1 pictures are done. See to the disk and run the same "
        "line again to continue"
    )
    assert list((here / "o").glob("*")) == []
    assert protect() == 0


def test_a_file_system_without_locks_is_worked_on_without(tmp_path, monkeypatch):
    for error in (NotImplementedError("no flock"), OSError(errno.ENOLCK, "no locks")):

        def refuse(*_arguments, error=error, **_options):
            raise error

        monkeypatch.setattr(lock.FileLock, "acquire", refuse)
        with locked(tmp_path / "o", tmp_path / "o.unlearn"):
            assert (tmp_path / "o.unlearn" / "pid").exists()
    monkeypatch.setattr(lock.FileLock, "acquire", lambda *_, **__: FileIO(tmp_path / "none"))
    with pytest.raises(OSError, match="none"), locked(tmp_path / "o", tmp_path / "o.unlearn"):
        pass
