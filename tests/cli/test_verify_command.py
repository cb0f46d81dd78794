"""unlearn verify: exit codes, the table, one JSON object, the CSV table."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from unlearn.cli.app import run


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Return a folder of grey pictures and one where each is brighter by 5 levels."""
    monkeypatch.chdir(tmp_path)
    for folder, value in (("photos", 100), ("protected", 105)):
        (tmp_path / folder).mkdir()
        for number in range(12):
            pixels = np.full((4, 6), value, np.uint8)
            pixels[1, 2] += number
            Image.fromarray(pixels).save(tmp_path / folder / f"{number:02}.png")
    return tmp_path / "photos", tmp_path / "protected"


def spoil(path, value=250):
    Image.fromarray(np.full((4, 6), value, np.uint8)).save(path)


def test_all_within_the_bound_is_exit_code_0(folders, capsys):
    assert run(["verify", "photos", "protected"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    table, verdict = captured.out.splitlines()
    assert " ".join(table.split()) == "Within bound 12 max change 5/255, mean PSNR 34.2 dB"
    assert verdict == (
        "12 of 12 files are within rho 8/255 (the default, since no manifest says otherwise)"
    )


def test_findings_are_exit_code_1_and_each_is_named(folders, capsys):
    _, out = folders
    spoil(out / "00.png")
    (out / "01.png").unlink()
    spoil(out / "new.png")
    assert run(["verify", "photos", "protected"]) == 1
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[:4] == [
        "Within bound 10 max change 5/255, mean PSNR 34.2 dB",
        "Over bound 1 00.png 150/255 at x 0, y 0, grey; allowed 8/255",
        "Missing 1 01.png there is no output",
        "Extra 1 new.png no source of this name",
    ]
    assert lines[4].startswith("10 of 13 files are within rho 8/255")


def test_many_findings_are_counted_and_all_named_on_request(folders, capsys):
    _, out = folders
    for path in out.iterdir():
        spoil(path)
    run(["verify", "photos", "protected"])
    text = capsys.readouterr().out
    assert "and 2 more, see --verbose" in text
    assert "11.png" not in text
    run(["verify", "photos", "protected", "-v"])
    assert "11.png" in capsys.readouterr().out


def test_the_bound_and_the_sample_can_be_chosen(folders, capsys):
    assert run(["verify", "photos", "protected", "--rho", "4/255"]) == 1
    assert "0 of 12 files are within rho 4/255 (given by --rho)" in capsys.readouterr().out
    assert run(["verify", "photos", "protected", "--sample", "3"]) == 0
    assert "3 of 12 pairs compared, chosen at random" in capsys.readouterr().out
    assert run(["verify", "photos", "protected", "--rho", "8"]) == 2
    assert "did you mean 8/255?" in capsys.readouterr().err


def test_json_is_one_object_and_nothing_else(folders, capsys):
    _, out = folders
    spoil(out / "00.png", 100)
    assert run(["verify", "photos", "protected", "--json"]) == 1
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert captured.err == ""
    assert (result["ok"], result["exit_code"], result["counts"]) == (
        False,
        1,
        {"unchanged": 1, "ok": 11},
    )
    assert result["files"][0]["psnr"] is None
    assert result["files"][1] == {
        "source": "01.png",
        "output": "01.png",
        "state": "ok",
        "reason": "",
        "linf": 5,
        "worst": [0, 0, 0],
        "mean_abs": 5.0,
        "psnr": pytest.approx(34.15, abs=0.01),
    }


def test_quiet_prints_nothing(folders, capsys):
    assert run(["verify", "photos", "protected", "-q"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_the_csv_table_has_one_row_a_file(folders, tmp_path, capsys):
    _, out = folders
    (out / "01.png").unlink()
    for _ in range(2):
        assert run(["verify", "photos", "protected", "--csv", "result.csv"]) == 1
    with (tmp_path / "result.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert rows[0] == {
        "source": "00.png",
        "output": "00.png",
        "state": "ok",
        "reason": "",
        "linf": "5",
        "x": "0",
        "y": "0",
        "channel": "0",
        "psnr": "34.151",
    }
    assert rows[1]["state"] == "missing"
    assert rows[1]["psnr"] == rows[1]["x"] == ""
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "protected", "result.csv"}
    capsys.readouterr()


def test_the_csv_table_replaces_nothing_else(folders, tmp_path, capsys):
    (tmp_path / "notes.csv").write_text("mine")
    for name in ("notes.csv", "photos"):
        assert run(["verify", "photos", "protected", "--csv", name]) == 2
        assert "exists and is no table of verify" in capsys.readouterr().err
    assert (tmp_path / "notes.csv").read_text() == "mine"
    (tmp_path / "empty.csv").touch()
    assert run(["verify", "photos", "protected", "--csv", "empty.csv"]) == 0


def test_names_that_steer_a_terminal_are_escaped(folders, capsys):
    _, out = folders
    spoil(out / "\x1b[31mred.png")
    run(["verify", "photos", "protected"])
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "\\x1b[31mred.png" in text


def test_a_notice_goes_to_standard_error(folders, tmp_path, capsys):
    (tmp_path / "protected.unlearn").mkdir()
    (tmp_path / "protected.unlearn" / "manifest.jsonl").write_text("broken\n")
    assert run(["verify", "photos", "protected"]) == 0
    assert capsys.readouterr().err == "Notice: 1 lines of the manifest could not be read\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["protected"], 2, "no manifest protected.unlearn/manifest.jsonl"),
        (["a", "b", "c"], 2, "one or two folders are compared, not 3"),
        (["photos", "gone"], 2, "there is no file or folder gone"),
        (["empty", "protected"], 3, "no pictures in empty"),
        ([], 2, "[SRC] OUT"),
    ],
)
def test_wrong_use_is_one_line_and_its_exit_code(folders, tmp_path, capsys, arguments, code, words):
    (tmp_path / "empty").mkdir()
    assert run(["verify", *arguments]) == code
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""
