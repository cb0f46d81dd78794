"""`unlearn preview` as a person meets it."""

import json

import pytest

from tests.support.protecting import FakeGenerator, make_generator_file, make_photos
from unlearn.cli.app import run
from unlearn.protection import run as workflow


@pytest.fixture
def protected(tmp_path, monkeypatch):
    """A protected folder whose manifest knows everything."""
    monkeypatch.chdir(tmp_path)
    make_generator_file(tmp_path / "fake.safetensors")
    monkeypatch.setattr(workflow, "load_generator", lambda *_: (FakeGenerator(), "cpu"))
    make_photos(tmp_path / "photos", ["a.png", "b.png", "c.png"])
    line = ["protect", "photos", "-o", "out", "-g", "fake.safetensors", "--workers", "0"]
    assert run([*line, "--preview", "0", "--quiet"]) == 0


def test_it_says_what_is_shown_and_where(protected, capsys):
    assert run(["preview", "photos", "out", "--to", "look.html", "--pictures", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "2 of 3 pictures, those in which the noise is seen most (CIEDE2000 on plain areas):"
    )
    first, second = (float(line.split()[0]) for line in lines[1:3])
    assert first >= second
    assert lines[3:] == [
        "  Written  look.html",
        "The preview holds clean crops of your pictures: keep it to yourself.",
    ]


def test_the_manifest_says_where_the_sources_are(protected, capsys):
    assert run(["preview", "out", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["command"] == "preview"
    assert answer["files"] == ["out.unlearn/preview/sheet.png", "out.unlearn/preview/page.html"]
    assert (answer["pairs"], len(answer["pictures"])) == (3, 3)
    visible = [picture["ciede2000"] for picture in answer["pictures"]]
    assert visible == sorted(visible, reverse=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photos", "out", "more"], "one or two folders are shown, not 3: preview SRC OUT"),
        (["photos", "nowhere"], "there is no file or folder nowhere; check the path"),
        (["photos", "out", "--to", "look.jpg"], "look.jpg: a preview is a .png or an .html file"),
    ],
)
def test_wrong_lines_are_refused(protected, capsys, arguments, message):
    assert run(["preview", *arguments]) == 2
    assert capsys.readouterr().err.casefold() == f"error: {message}\n".casefold()
