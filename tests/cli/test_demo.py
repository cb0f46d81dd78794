"""unlearn demo: the folder, its pictures, and what it refuses."""

import hashlib
import io
import json
import shlex

import numpy as np
import pytest
from PIL import Image

from unlearn.cli.app import run
from unlearn.demo.options import DemoOptions
from unlearn.demo.run import SCENES, SIZES, demo, pictures


@pytest.fixture(scope="module")
def drawn():
    """Four pictures of every class, as bytes by path."""
    return dict(pictures(0, 4))


def contents(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_folder_has_class_folders_of_jpeg_and_png(tmp_path, drawn):
    folder = tmp_path / "new" / "photos"
    result = demo(DemoOptions(folder, per_class=4))
    assert result.classes == {"checks": 4, "discs": 4, "stripes": 4, "waves": 4}
    files = sorted(contents(folder))
    assert len(files) == 16
    assert files[:4] == [
        "checks/checks-01.png",
        "checks/checks-02.jpg",
        "checks/checks-03.jpg",
        "checks/checks-04.png",
    ]
    assert result.size_bytes == sum(path.stat().st_size for path in folder.rglob("*.*"))
    for name in files:
        assert (folder / name).read_bytes() == drawn[name]
        with Image.open(folder / name) as picture:
            assert picture.format == {"jpg": "JPEG", "png": "PNG"}[name[-3:]]
            assert picture.size in SIZES
            pixels = np.asarray(picture)
        assert pixels.shape[2] == 3
        assert pixels.std() > 8
        assert len(np.unique(pixels)) > 64


@pytest.mark.slow
def test_the_same_seed_draws_the_same_bytes_and_another_does_not():
    first, again, other = (dict(pictures(seed, 1)) for seed in (3, 3, 4))
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


def test_no_two_pictures_are_alike(drawn):
    assert len(set(drawn.values())) == len(drawn) == 4 * len(SCENES)


def test_the_command_says_what_to_do_next(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["demo", "my photos", "--per-class", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    first, second = captured.out.splitlines()
    assert first == "Drew 4 pictures in 4 classes (checks, discs, stripes, waves) in my photos"
    assert shlex.split(second) == [
        "Next:",
        *("unlearn", "protect", "my photos", "--out", "my photos-protected"),
    ]


def test_the_folder_one_is_in_may_be_drawn_into(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["demo", ".", "--per-class", "1"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == f"Next: unlearn protect . --out {tmp_path}-protected"


def test_json(tmp_path, capsys):
    folder = tmp_path / "photos"
    assert run(["demo", str(folder), "--per-class", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["pictures"], told["seed"], told["folder"]) == (4, 0, str(folder))


def test_a_folder_with_something_in_it_is_left_alone_without_force(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert run(["demo", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert contents(tmp_path).keys() == {"mine.txt"}
    assert run(["demo", str(tmp_path), "--per-class", "1", "--force", "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert len(contents(tmp_path)) == 5
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_an_empty_folder_is_drawn_into_and_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(["demo", str(tmp_path / "empty"), "--per-class", "1"]) == 0
    (tmp_path / "file").write_text("")
    assert run(["demo", str(tmp_path / "file")]) == 2
    assert "is a file" in capsys.readouterr().err


@pytest.mark.parametrize("name", SCENES)
def test_every_class_varies_in_colour(name, drawn):
    means = np.array(
        [
            np.asarray(Image.open(io.BytesIO(data))).mean((0, 1))
            for path, data in drawn.items()
            if path.startswith(name)
        ]
    )
    assert means.std(0).min() > 5
