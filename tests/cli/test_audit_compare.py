"""The command line of audit --compare: folders end to end, what it prints, and what it refuses."""

import csv
import json
import subprocess
import sys
import time

import pytest

from unlearn.audits.comparison.values import Part
from unlearn.cli.app import run
from unlearn.cli.audit import _Teller
from unlearn.cli.console import Output

QUICK = ["--epochs", "1", "--batch-size", "4", "--rho-a", "0", "--device", "cpu"]
QUICK += ["--precision", "fp32", "--workers", "0", "--countermeasures", "none,grey"]


@pytest.fixture
def line(clean, tmp_path):
    out = tmp_path / "comparison"
    return ["audit", str(clean), "--out", str(out), *QUICK, "--compare", "lsp,motifs"]


def plain(out):
    """The written object without what may differ between equal comparisons."""
    found = json.loads((out / "comparison.json").read_text())
    del found["timings"], found["environment"]
    return found


@pytest.mark.slow
def test_methods_are_compared_on_folders_and_told_in_eighty_columns(
    line, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    assert run(line) == 0
    text = capsys.readouterr()
    assert "controls: 3 victims, about " in text.err
    assert "lsp (1 of 2): 0 passes a picture for its noise" in text.err.splitlines()
    tables = [row for row in text.out.splitlines() if row.startswith(("lsp", "motifs", "clean"))]
    assert [row.split()[0] for row in tables] == ["clean", "lsp", "motifs", "lsp", "motifs"]
    assert all(len(row) <= 80 for row in tables)
    out = tmp_path / "comparison"
    assert f"{out / 'comparison.html'}" in text.out
    lsp, motifs = plain(out)["methods"]
    assert not lsp["bounded"]
    assert 8 < lsp["largest_change"] == lsp["copies"]["largest_change"]
    assert motifs["bounded"]
    assert motifs["largest_change"] <= 8
    assert len(list((out / "methods" / "motifs" / "protected").rglob("*.png"))) == 10
    rows = list(csv.DictReader((out / "comparison.csv").read_text().splitlines()))
    assert [row["name"] for row in rows[::2]] == ["clean", "placebo", "lsp", "motifs"]


@pytest.mark.slow
def test_a_killed_comparison_goes_on_to_the_same_numbers(line, tmp_path):
    out, command = tmp_path / "comparison", [sys.executable, "-m", "unlearn", *line]
    journals = ("controls/journal.jsonl", "methods/lsp/journal.jsonl")
    for journal in journals:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while not (out / journal).exists() and process.poll() is None:
            time.sleep(0.02)
        process.kill()
        process.wait()
    assert not (out / "methods" / "motifs" / "record.json").exists()
    assert run(line) == 0
    whole = [*line, "--out", str(tmp_path / "whole")]
    assert run(whole) == 0
    assert plain(out) == plain(tmp_path / "whole")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--method", "lsp"], "leave out PROTECTED, --method and --fail-above"),
        (["--fail-above", "40%"], "leave out PROTECTED, --method and --fail-above"),
        (["--compare", "lsp,nothing"], "unknown method 'nothing'; choose one of"),
        (["--fraction", "1/2"], "leave out --fraction"),
    ],
)
def test_what_cannot_be_compared_is_a_usage_error(line, tmp_path, capsys, more, message):
    assert run([*line, *more]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "comparison").exists()


def test_a_recipe_without_a_method_is_a_usage_error(line, capsys):
    assert run([*line[:-2], "--recipe", "paper"]) == 2
    assert "--recipe and --train-steps are for --method and --compare" in capsys.readouterr().err


def test_the_progress_of_a_part_knows_how_many_victims_there_are_and_how_long_they_take():
    with Output(quiet=True).meter("Comparing", None) as meter:
        _Teller(Output(quiet=True), meter).hear(Part("controls", 3, 60.0))
        assert (meter.title, meter.total, meter.expected) == ("Training victims", 3, 60.0)
