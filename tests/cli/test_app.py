"""The command line as a whole: help, start-up, errors, exit codes, JSON, closed pipes."""

import errno
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import typer

from unlearn import __version__
from unlearn.cli import app as app_module
from unlearn.cli import options
from unlearn.cli.app import run
from unlearn.errors import (
    EnvironmentProblem,
    NothingFound,
    PictureError,
    UnlearnError,
    UsageProblem,
)
from unlearn.limits import LIMITS
from unlearn.radius import Radius

COMMANDS = ("protect", "verify", "train-generator", "generators", "doctor", "demo")
LIGHT_LINES = [
    ["--help"],
    ["--version"],
    [],
    ["protect", "--help"],
    ["verify", "--help"],
    ["train-generator", "--help"],
    ["generators", "list", "--help"],
    ["doctor", "--help"],
    ["demo", "--help"],
    ["protct"],
    ["protect"],
    ["protect", "photos", "--out", "out", "--rho", "8"],
    ["protect", "photos", "--out", "out", "--device", "tpu"],
    ["protect", "photos", "--out", "out", "--nonsense", "--json"],
]


def raising(monkeypatch, error):
    """Make `unlearn doctor` raise."""

    def doctor(as_json: options.JsonFlag = False, debug: options.DebugFlag = False) -> int:
        raise error

    monkeypatch.setattr(app_module, "doctor", doctor)


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_shows_every_command_and_examples(capsys):
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f" {command} " in shown for command in COMMANDS)
    assert "unlearn protect ./photos --out ./protected" in shown
    assert run(["-h"]) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command, capsys):
    line = [command, "list"] if command == "generators" else [command]
    assert run([*line, "-h"]) == 0
    shown = capsys.readouterr().out
    assert f"unlearn {' '.join(line)}" in shown.partition("Examples:")[2]


def test_the_help_of_protect_ends_with_the_limits(capsys):
    assert run(["protect", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.endswith(LIMITS)


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"unlearn {__version__}\n"


def test_no_command_shows_help_and_exits_2(capsys):
    assert run([]) == 2
    captured = capsys.readouterr()
    assert "Usage: unlearn" in captured.out
    assert captured.err == ""


@pytest.mark.parametrize("line", LIGHT_LINES, ids=" ".join)
def test_help_and_usage_errors_load_nothing_heavy(line):
    code = (
        "import sys; from unlearn.cli.app import run; run(sys.argv[1:]); "
        "heavy = {'torch', 'torchvision', 'numpy', 'PIL', 'safetensors', 'jinja2'}; "
        "print(heavy & set(sys.modules))"
    )
    done = python("-c", code, *line)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("line", [["--help"], ["protct"]], ids=" ".join)
def test_help_and_a_usage_error_take_less_than_600_ms(line):
    def seconds():
        start = time.monotonic()
        python("-m", "unlearn", *line)
        return time.monotonic() - start

    assert min(seconds() for _ in range(5)) < 0.6


def test_a_mistyped_command_is_guessed(capsys):
    assert run(["protct", "photos"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert (
        captured.err
        == "Error: No such command 'protct'. Did you mean 'protect'? See 'unlearn --help'.\n"
    )


def test_a_radius_in_levels_is_guessed(capsys):
    assert run(["protect", "photos", "--out", "out", "--rho", "8"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("Error: Invalid value for '--rho' / '-r': 8 is not a radius")
    assert "did you mean 8/255?" in captured.err


def test_usage_errors_are_one_json_object_too(capsys):
    assert run(["demo", "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "error": "Missing argument 'FOLDER'. See 'unlearn demo --help'.",
        "exit_code": 2,
    }
    assert captured.err == "Error: Missing argument 'FOLDER'. See 'unlearn demo --help'.\n"


def test_json_after_a_double_dash_is_a_file_name(capsys):
    assert run(["demo", "--nonsense", "--", "--json"]) == 2
    assert capsys.readouterr().out == ""


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
    monkeypatch.setattr(app_module, "doctor", lambda: None)
    assert run(["doctor"]) == 0


@pytest.mark.skipif(os.name == "nt", reason="pipes close differently")
@pytest.mark.parametrize(
    "line", [["demo", "new", "--per-class", "1"], ["generators", "list", "--json"]]
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
        assert process.wait(timeout=60) == 141
    assert errors == b""


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


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"NO_COLOR": "1"}, False)],
    ids=["a pipe", "FORCE_COLOR", "NO_COLOR"],
)
def test_colour_is_for_terminals_and_on_request(environment, coloured):
    done = python("-m", "unlearn", "protct", **{"TERM": "xterm-256color", **environment})
    assert ("\x1b[" in done.stderr) is coloured
    assert "Error:" in done.stderr


def test_python_dash_m_leaves_with_the_exit_code():
    done = python("-m", "unlearn", "--version")
    assert (done.returncode, done.stdout) == (0, f"unlearn {__version__}\n")
    assert python("-m", "unlearn", "protct").returncode == 2


def test_radius_options():
    assert options.parse_radius("4/255") == Radius.of_levels(4)
    assert options.parse_bound(options.DEFAULT_RHO) is options.DEFAULT_RHO
    with pytest.raises(typer.BadParameter, match="could change"):
        options.parse_bound("0.5/255")
    with pytest.raises(typer.BadParameter, match="did you mean 8/255"):
        options.parse_radius("8")


def test_device_option():
    assert [options.parse_device(name) for name in ("auto", " CUDA:1 ", "mps")] == [
        "auto",
        "cuda:1",
        "mps",
    ]
    with pytest.raises(typer.BadParameter, match="'tpu' is not a device"):
        options.parse_device("tpu")
