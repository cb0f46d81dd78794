"""What goes wrong: one line, an exit code, JSON, a saved traceback, and pipes that close."""

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import typer

from tests.support.sweeps import few
from unlearn import __version__
from unlearn.__main__ import main
from unlearn.cli import app as app_module
from unlearn.cli.app import run
from unlearn.cli.commands import COMMANDS
from unlearn.cli.console import Brief, OutputClosed
from unlearn.cli.derived import Derived, derived
from unlearn.errors import (
    EnvironmentProblem,
    NothingFound,
    PictureError,
    UnlearnError,
    UsageProblem,
)


def raising(monkeypatch, error):
    """Make `unlearn doctor` raise."""

    def doctor(output: Brief) -> int:
        raise error

    monkeypatch.setattr(app_module, "COMMANDS", COMMANDS | {"doctor": derived(doctor)})


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnlearnError("a\n  b"), 1),
        (PictureError("a\n  b"), 1),
        (UsageProblem("a\n  b"), 2),
        (NothingFound("a\n  b"), 3),
        (EnvironmentProblem("a\n  b"), 4),
    ],
)
def test_expected_errors_are_one_line_with_their_exit_code(error, code, monkeypatch, capsys):
    raising(monkeypatch, error)
    assert run(["doctor"]) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "Error: a b\n")
    assert run(["doctor", "--json"]) == code
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"error": str(error), "exit_code": code}
    assert captured.err == "Error: a b\n"


def test_debug_shows_the_traceback_of_an_expected_error(monkeypatch, capsys):
    raising(monkeypatch, UnlearnError("wrong"))
    assert run(["doctor", "--debug"]) == 1
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown
    assert shown.endswith("Error: wrong\n")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "Error: interrupted; the same line starts again"),
        (MemoryError(), 4, "Error: out of memory; close other programs and try again"),
        (OSError(errno.ENOSPC, "No space left"), 4, "Error: No space left"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/x"),
            4,
            "Error: /x: Permission denied",
        ),
        (typer.Exit(3), 3, ""),
    ],
    ids=str,
)
def test_the_machines_limits_and_ctrl_c_are_no_bugs(error, code, line, monkeypatch, capsys, home):
    raising(monkeypatch, error)
    assert run(["doctor"]) == code
    assert capsys.readouterr().err.strip() == line
    assert not list(home.rglob("crash-*"))


@pytest.mark.parametrize(
    "error",
    [KeyError("no"), OSError("odd"), BrokenPipeError(errno.EPIPE, "worker gone"), EOFError()],
    ids=repr,
)
def test_a_bug_exits_70_and_keeps_its_traceback_in_a_file(error, monkeypatch, capsys, home):
    raising(monkeypatch, error)
    assert run(["doctor", "--json"]) == 70
    captured = capsys.readouterr()
    (saved,) = home.rglob("crash-*.txt")
    assert str(saved) in captured.err
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("Error: a bug in unlearn: ")
    assert json.loads(captured.out)["exit_code"] == 70
    text = saved.read_text()
    assert "Traceback (most recent call last)" in text
    assert f"unlearn {__version__}" in text
    assert "['doctor', '--json']" in text


def test_a_bugs_traceback_goes_to_the_temporary_folder_if_need_be(
    monkeypatch, capsys, home, tmp_path
):
    (home / "state").write_text("a file where the state folder should be")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    raising(monkeypatch, KeyError("no"))
    assert run(["doctor"]) == 70
    (saved,) = tmp_path.glob("crash-*.txt")
    assert str(saved) in capsys.readouterr().err


def test_a_bug_is_reported_even_if_nothing_is_writable(monkeypatch, capsys, home, tmp_path):
    (home / "state").write_text("a file where the state folder should be")
    monkeypatch.setattr(tempfile, "tempdir", str(home / "state"))
    raising(monkeypatch, KeyError("no"))
    assert run(["doctor"]) == 70
    assert "run again with --debug" in capsys.readouterr().err


def test_a_command_that_returns_nothing_is_a_success(monkeypatch):
    nothing = Derived((), lambda: None)
    monkeypatch.setattr(app_module, "COMMANDS", COMMANDS | {"doctor": nothing})
    assert run(["doctor"]) == 0


ENDLESS = (["demo", "new", "--per-class", "1"], ["generators", "list", "--json"])


@pytest.mark.skipif(os.name == "nt", reason="pipes close differently")
@pytest.mark.parametrize(
    "line",
    few(ENDLESS, ENDLESS[1]),
)
def test_a_reader_that_goes_away_is_no_error(line, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "unlearn", *line],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(app_module.__file__).parents[2])},
    ) as process:
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(timeout=240) == 141
    assert errors == b""


def test_a_pipe_that_closes_in_the_middle_of_the_result(monkeypatch):
    raising(monkeypatch, OutputClosed())
    discarded = []
    monkeypatch.setattr(app_module, "discard", lambda *_: discarded.append(True))
    assert run(["doctor"]) == 141
    assert discarded == [True]


def test_the_flush_at_the_end_may_find_the_pipe_closed(monkeypatch):
    class Closed:
        def flush(self):
            raise BrokenPipeError

        def fileno(self):
            return closed.fileno()

    with tempfile.TemporaryFile() as closed:
        monkeypatch.setattr(app_module, "_outcome", lambda _: 0)
        monkeypatch.setattr(sys, "stdout", Closed())
        monkeypatch.setattr(sys, "stderr", Closed())
        assert run([]) == 141


def saying(monkeypatch, code):
    """Make `unlearn doctor` say something on both streams and return a code."""

    def doctor(output: Brief) -> int:
        output.notice("notice")
        output.result("1 \u00b7 2 \u2192 \u2603")
        return code

    monkeypatch.setattr(app_module, "COMMANDS", COMMANDS | {"doctor": derived(doctor)})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
@pytest.mark.parametrize(
    "line", [["--help"], ["generators", "list"], ["generators", "list", "--json"], ["doctor"]]
)
def test_a_result_that_cannot_be_written_is_an_environment_problem(monkeypatch, tmp_path, line):
    saying(monkeypatch, 0)
    with Path("/dev/full").open("w") as full, (tmp_path / "err").open("w") as err:
        monkeypatch.setattr("sys.stdout", full)
        monkeypatch.setattr("sys.stderr", err)
        assert run(line) == 4
    said = (tmp_path / "err").read_text().removeprefix("notice\n")
    assert said == "Error: No space left on device\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_notices_that_cannot_be_written_end_nothing(monkeypatch, tmp_path):
    saying(monkeypatch, 3)
    with Path("/dev/full").open("w") as full, (tmp_path / "out").open("w") as out:
        monkeypatch.setattr("sys.stdout", out)
        monkeypatch.setattr("sys.stderr", full)
        assert run(["doctor"]) == 3
        full.flush()
    assert (tmp_path / "out").read_text() == "1 \u00b7 2 \u2192 \u2603\n"


@pytest.mark.skipif(os.name == "nt", reason="has no pseudo-terminals")
def test_a_terminal_that_has_gone_changes_no_exit_code(monkeypatch):
    saying(monkeypatch, 130)
    near, far = os.openpty()
    with os.fdopen(far, "w") as out, os.fdopen(os.dup(far), "w") as err:
        monkeypatch.setattr("sys.stdout", out)
        monkeypatch.setattr("sys.stderr", err)
        os.close(near)
        assert run(["doctor"]) == 130


def test_an_older_encoding_and_a_terminal_of_no_columns_show_everything(monkeypatch, tmp_path):
    saying(monkeypatch, 0)
    monkeypatch.setenv("COLUMNS", "0")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with (tmp_path / "out").open("w", encoding="ascii") as out:
        monkeypatch.setattr("sys.stdout", out)
        assert run(["doctor"]) == 0
    assert (tmp_path / "out").read_text() == "1 - 2 -> \\u2603\n"


@pytest.mark.skipif(os.name == "nt", reason="has no SIGHUP")
@pytest.mark.parametrize("rank", [False, True])
def test_a_rank_that_is_told_to_end_does_not_wait_for_what_it_is_doing(monkeypatch, rank):
    told = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in told]
    seen = []
    monkeypatch.setattr(
        app_module, "run", lambda _: seen.extend(signal.getsignal(number) for number in told)
    )
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if rank:
        monkeypatch.setenv("WORLD_SIZE", "2")
    for number in told:  # whatever runs the tests may have its own
        signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit):
            main()
        assert [handler == signal.SIG_DFL for handler in seen] == [rank, rank]
    finally:
        for number, handler in zip(told, before, strict=True):
            signal.signal(number, handler)


@pytest.mark.parametrize(("more", "code"), [("", 0), ("--json", 0), ("--no-such-option", 2)])
def test_closed_streams_are_no_error(monkeypatch, more, code):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert run(["generators", "list", *more.split()]) == code
    sys.stdout.close(), sys.stderr.close()
