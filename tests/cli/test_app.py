"""The command line as a whole: help, start-up, errors, exit codes, JSON, closed pipes."""

import json
import os
import runpy
import subprocess
import sys

import pytest

import unlearn.__main__
from unlearn import __version__
from unlearn.__main__ import main
from unlearn.cli.app import run
from unlearn.limits import LIMITS

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


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
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
    usage, summary, example = [
        text for text in capsys.readouterr().out.splitlines() if text.strip()
    ][:3]
    assert usage.split()[:3] == ["Usage:", "unlearn", command]
    assert not set(usage) & set("{}")
    assert summary.strip().endswith(".")
    assert example.strip().startswith(f"unlearn {' '.join(line)}")


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


def test_help_and_usage_errors_load_nothing_heavy():
    code = (
        "import sys; from unlearn.cli.app import run\n"
        "heavy = {'torch', 'torchvision', 'numpy', 'PIL', 'safetensors', 'jinja2', 'requests'}\n"
        f"for line in {LIGHT_LINES}:\n"
        "    run(line)\n"
        "    assert not heavy & set(sys.modules), (line, heavy & set(sys.modules))\n"
        "print('all light')"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "all light"


@pytest.mark.parametrize("line", [["--help"], ["protct"]], ids=" ".join)
def test_help_and_a_usage_error_take_less_than_600_ms(line):
    def seconds():
        """Seconds of the processor, which other work on the machine hardly changes."""
        before = os.times()
        python("-m", "unlearn", *line)
        after = os.times()
        return sum(after[2:4]) - sum(before[2:4])

    assert any(seconds() < 0.6 for _ in range(5))


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


def test_the_entry_point_leaves_with_the_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["unlearn", "protct"])
    with pytest.raises(SystemExit, match="2"):
        main()
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(unlearn.__main__.__file__, run_name="__main__")
    assert capsys.readouterr().err.count("Did you mean 'protect'?") == 2
