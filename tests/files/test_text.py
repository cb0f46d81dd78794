"""Commands as people copy them, and folders beside others."""

import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from unlearn.files import text
from unlearn.files.text import beside, command_line

NAMES = ("photos", "my photos", "it's", "R&D", "$HOME", "a;b", "cats (2)", "~", "*", "é")


@pytest.mark.parametrize("name", NAMES)
def test_a_shell_reads_the_words_that_were_meant(name):
    line = command_line("unlearn", "verify", Path(name), Path("out"))
    assert shlex.split(line) == ["unlearn", "verify", name, "out"]
    echo = f"for word in {line}; do printf '%s\\n' \"$word\"; done"
    done = subprocess.run(["sh", "-c", echo], capture_output=True, check=True)
    assert done.stdout.decode().splitlines() == ["unlearn", "verify", name, "out"]


def test_a_path_that_begins_like_an_option_is_a_path():
    assert command_line("preview", Path("-x"), "--to", Path("-y/z")) == "preview ./-x --to ./-y/z"


def test_windows_gets_double_quotes_and_only_where_they_are_needed(monkeypatch):
    monkeypatch.setattr(text, "os", SimpleNamespace(name="nt"))
    line = command_line("unlearn", "verify", r"C:\Users\me\my photos", "out-2_x.png", "R&D", "it's")
    expected = r"""unlearn verify "C:\Users\me\my photos" out-2_x.png "R&D" "it's\""""
    assert line == expected.replace('\\"', '"')


def test_a_folder_beside_has_a_name_of_its_own_wherever_one_is(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path / "photos")
    assert beside(Path("a/b"), "-x") == Path("a/b-x")
    assert beside(Path(), "-x") == tmp_path / "photos-x"
    assert beside(Path(".."), "-x") == tmp_path.with_name(f"{tmp_path.name}-x")
