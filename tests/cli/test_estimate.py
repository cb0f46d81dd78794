"""`unlearn audit --estimate`: a table in seconds, without training, and what is refused."""

import json

import numpy as np
import pytest
from PIL import Image

from unlearn.cli.app import run


@pytest.fixture
def folders(tmp_path):
    """Two classes of six pictures, and copies with the stripes of their class."""
    stream = np.random.default_rng(0)
    stripes = [np.indices((64, 64))[axis] // 4 % 2 * 16 - 8 for axis in (0, 1)]
    for name, noise in zip(("cats", "dogs"), stripes, strict=True):
        for n in range(6):
            pixels = stream.integers(40, 216, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            for part, change in (("clean", 0), ("copies", noise[..., None])):
                path = tmp_path / part / name / f"{n}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray((pixels + change).astype(np.uint8)).save(path)
    return tmp_path / "clean", tmp_path / "copies"


def test_it_says_what_is_left_by_view_and_copy_and_writes_nothing(folders, capsys, monkeypatch):
    clean, copies = folders
    monkeypatch.chdir(clean.parent)
    assert run(["audit", str(clean), str(copies), "--estimate"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["Noise", "named", "rightly", "Pictures", "ρa", "0", "ρa", "4/255"]
    assert lines[1].split()[:6] == ["64", "px,", "colour", "12", "100.0", "%"]
    assert lines[7].startswith("Guessing: 50.0 % (2 classes). Nothing was trained.")
    assert {path.name for path in clean.parent.iterdir()} == {"clean", "copies"}


@pytest.mark.slow
def test_json_has_the_same_numbers(folders, capsys):
    assert run(["audit", *map(str, folders), "--estimate", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["classes"], found["chance"]) == (2, 0.5)
    assert [(one["view"], one["copies"]) for one in found["left"]] == [
        (view, copies) for view in (64, 224) for copies in ("colour", "grey", "JPEG 75")
    ]
    first = found["left"][0]
    assert first["pictures"] == 12
    assert first["shares"]["0/255"] == 1
    assert set(first["shares"]) == {"0/255", "4/255"}


def test_what_cannot_be_estimated_is_one_line(folders, capsys):
    clean, copies = folders
    assert run(["audit", str(clean), "--estimate"]) == 2
    assert "name both folders" in capsys.readouterr().err
    assert run(["audit", str(clean), str(copies / "typo"), "--estimate"]) == 2
    assert "there is no file or folder" in capsys.readouterr().err
    for path in (copies / "dogs").iterdir():
        path.unlink()
    assert run(["audit", str(clean), str(copies), "--estimate"]) != 0
    assert "has 0 copies of class dogs" in capsys.readouterr().err
    assert run(["audit", str(clean / "cats"), str(copies), "--estimate"]) == 2
    assert "needs labelled classes" in capsys.readouterr().err
