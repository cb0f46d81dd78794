"""The command line of audit: what it prints, its JSON, its exit codes, and what it refuses."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from tests.support.bars import make_cell, make_result
from tests.support.reports import smallest
from unlearn.audits.options import AuditOptions
from unlearn.audits.plan import AuditPlan, Training
from unlearn.cli.app import run
from unlearn.cli.audit import read_accuracy
from unlearn.radius import Radius
from unlearn.workers.ranks import FirstEnded

QUICK = ["--epochs", "1", "--batch-size", "4", "--rho-a", "0", "--device", "cpu"]
QUICK += ["--precision", "fp32", "--workers", "0", "--countermeasures", "none"]


@pytest.fixture
def line(clean, tmp_path, tiny_generator):
    out = tmp_path / "report"
    return ["audit", str(clean), "--out", str(out), "-g", str(tiny_generator), *QUICK]


def test_it_says_what_it_does_and_what_came_out(line, tmp_path, capsys):
    assert run([*line, "-v"]) == 0
    text = capsys.readouterr()
    assert "10 training and 2 held-out pictures of 32 px in 2 classes" in text.err
    assert "Labels: 2 classes from folders: cats (6), dogs (6)" in text.err.splitlines()
    assert "all 10 copies verified, largest change 8/255" in text.err
    assert "4 victims: resnet-small; rho-a 0; countermeasures none; 1 seed" in text.err
    assert "Cost: 32 forward+backward passes, about" in text.err
    assert "finished protected, resnet-small, ρa 0, seed 101: " in text.err
    assert "lower is better" in text.out
    assert str(tmp_path / "report/report.html") in text.out
    assert (tmp_path / "report/report.html").read_text().startswith("<!doctype html>")


@pytest.mark.slow
def test_an_audit_that_is_finished_costs_nothing_more(line, capsys):
    assert run(line) == 0
    first = capsys.readouterr()
    assert run(line) == 0
    text = capsys.readouterr()
    assert text.out == first.out
    said = "4 victims, all finished before: resnet-small; rho-a 0; countermeasures none; 1 seed"
    assert text.err.splitlines()[-1] == said


@pytest.mark.slow
def test_labels_of_an_audit_come_from_where_labels_of_protect_come_from(line, clean, capsys):
    (clean / "cats").rename(clean / "test"), (clean / "dogs").rename(clean / "Train")
    assert run(line) == 2
    assert "If they are classes, use --labels folders" in capsys.readouterr().err
    assert run([*line, "--labels", "folders"]) == 0
    found = "Labels: 2 classes from folders: Train (6), test (6)"
    assert found in capsys.readouterr().err.splitlines()


@pytest.mark.slow
def test_a_table_names_the_classes_of_an_audit(line, clean, tmp_path, capsys):
    flat = tmp_path / "flat"
    flat.mkdir()
    rows = ["file_name;label"]
    for path in sorted(clean.glob("*/*.png")):
        path.rename(flat / f"{path.parent.name}{path.name}")
        rows.append(f"{path.parent.name}{path.name};{path.parent.name}")
    (flat / "metadata.csv").write_text("\n".join(rows))
    assert run(["audit", str(flat), *line[2:]]) == 0
    found = f"Labels: 2 classes from the table {flat}/metadata.csv: cats (6), dogs (6)"
    assert found in capsys.readouterr().err.splitlines()


def test_json_is_one_object_and_equals_the_file(line, tmp_path, capsys):
    assert run([*line, "--json", "-q"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "report/report.json").read_text())
    assert [cell["arm"] for cell in printed["results"]] == [
        "clean",
        "placebo",
        "motif",
        "protected",
    ]
    for cell in printed["results"]:
        assert 0 <= cell["accuracy_last"] <= cell["accuracy_best"] <= 1
        assert cell["chance"] == 0.5


@pytest.mark.slow
def test_fail_above_says_that_it_cannot_judge_beside_a_control_that_learned_nothing(line, capsys):
    assert run([*line, "--fail-above", "100%"]) == 5
    assert capsys.readouterr().err.splitlines()[-1] == (
        "Error: --fail-above 100.0% could not be judged: clean control (resnet-small, ρa 0, "
        "cosine) did not learn"
    )


@pytest.mark.parametrize(
    ("protected", "changes", "code", "words"),
    [
        ([0.3, 0.4], {}, 0, None),
        ([0.3, 0.6], {}, 1, "reached 60.0% (protected, resnet-small, ρa 0, seed 102), above"),
        ([0.3, 0.6], {"diverged": True}, 5, "protected (resnet-small, ρa 0, cosine) diverged"),
        ([0.6, 0.1], {"diverged": True}, 1, "reached 60.0% (protected, resnet-small, ρa 0, seed"),
    ],
)
def test_fail_above_names_the_victim_and_exits_with_one(
    line, capsys, monkeypatch, protected, changes, code, words
):
    results = [make_result(make_cell("clean", seed=seed), 0.9) for seed in (101, 102)]
    results += [
        replace(make_result(make_cell("protected", seed=101 + n), last), **(changes if n else {}))
        for n, last in enumerate(protected)
    ]
    plan = AuditPlan(
        Training(32, 32),
        architectures=("resnet-small",),
        rho_a=(Radius.of_levels(0),),
        seeds=(101, 102),
        placebo=False,
        motif=False,
    )
    report = replace(smallest(), plan=plan, results=tuple(results))
    monkeypatch.setattr("unlearn.audits.run.audit", lambda *_: report)
    assert run([*line, "--fail-above", "50%"]) == code
    said = [text for text in capsys.readouterr().err.splitlines() if text.startswith("Error:")]
    assert [words in text for text in said] == ([True] if words else [])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--arch", "resnet81"], 2, "resnet81"),
        (["--countermeasures", "gray"], 2, "grey"),
        (["--countermeasures", "diffusion"], 2, "--purifier"),
        (["--fraction", "2"], 2, "2"),
        (["--fail-above", "40"], 2, "did you mean 40%?"),
        (["--test", "nowhere"], 2, "nowhere"),
        (["--rho-a", "4"], 2, "4/255"),
        (["--generator", "nowhere.safetensors"], 4, "nowhere.safetensors"),
    ],
)
def test_what_cannot_be_done_is_one_line_with_its_exit_code(line, capsys, arguments, code, words):
    assert run([*line, *arguments]) == code
    error = [text for text in capsys.readouterr().err.splitlines() if text.startswith("Error:")]
    assert len(error) == 1
    assert words in error[0]


def test_a_folder_without_classes_says_what_to_do(line, clean, capsys):
    for path in list(clean.rglob("*.png")):
        path.rename(clean / f"{path.parent.name}-{path.name}")
    for folder in list(clean.iterdir()):
        if folder.is_dir():
            folder.rmdir()
    assert run(line) == 2
    assert "one folder per class" in capsys.readouterr().err


def test_copies_that_are_none_exit_with_one(line, clean, capsys):
    assert run([line[0], str(clean), str(clean.parent / "copies"), *line[2:]]) == 2
    (clean.parent / "copies").mkdir()
    assert run([line[0], str(clean), str(clean.parent / "copies"), *line[2:]]) == 1
    assert "is not a protected copy of" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "value"), [("40%", 0.4), ("0.4", 0.4), ("2/5", 0.4), ("0", 0.0)])
def test_accuracies_are_read_as_people_write_them(text, value):
    assert read_accuracy(text) == value


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_audit_goes_on_and_ends_with_the_same_numbers(line, tmp_path, stop):
    def report(out):
        found = json.loads((out / "report.json").read_text())
        return {name: found[name] for name in ("results", "summaries", "flags", "subject")}

    program = [sys.executable, "-m", "unlearn"]
    whole = [*line, "--epochs", "6", "--workers", "1", "--seeds", "2"]
    subprocess.run([*program, *whole], check=True, capture_output=True)
    other = [str(tmp_path / "other") if text == line[3] else text for text in whole]
    for _ in range(3):
        process = subprocess.Popen([*program, *other], stderr=subprocess.DEVNULL)
        journal = tmp_path / "other/journal.jsonl"
        size = journal.stat().st_size if journal.exists() else 0
        while process.poll() is None and (not journal.exists() or journal.stat().st_size == size):
            time.sleep(0.05)
        process.send_signal(stop)
        assert process.wait(240) in (-stop, 130, 0)
    subprocess.run([*program, *other], check=True, capture_output=True)
    assert report(tmp_path / "other") == report(tmp_path / "report")


@pytest.mark.parametrize(("rank", "code", "said"), [("0", 130, "Stopped."), ("1", 0, "")])
def test_the_first_rank_speaks_for_all(line, monkeypatch, capsys, rank, code, said):
    monkeypatch.setattr("unlearn.audits.run.audit", lambda *_: None)
    monkeypatch.setenv("RANK", rank), monkeypatch.setenv("WORLD_SIZE", "2")
    assert run([*line, "--json", "--fail-above", "0"]) == code
    text = capsys.readouterr()
    assert text.out == ""
    assert text.err.startswith(said)
    assert bool(text.err) == bool(said)


def test_a_rank_whose_first_has_failed_leaves_the_word_to_it(line, monkeypatch, capsys):
    def audit(*_):
        raise FirstEnded("rank 0 of 2 ended")

    monkeypatch.setattr("unlearn.audits.run.audit", audit)
    monkeypatch.setenv("RANK", "1"), monkeypatch.setenv("WORLD_SIZE", "2")
    assert run(line) == 0
    assert capsys.readouterr() == ("", "")


def test_ranks_train_one_victim_at_a_time_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "1"), monkeypatch.setenv("WORLD_SIZE", "2")
    assert AuditOptions(clean=tmp_path).workers == 1
    assert AuditOptions(clean=tmp_path, workers=3).workers == 3
