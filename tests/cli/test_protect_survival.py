"""`unlearn protect --report-survival`: its lines, JSON, file, settings, and what can go wrong."""

import json
import re

import pytest

from tests.support.protecting import FakeGenerator, make_generator_file, make_photos, tree
from unlearn.cli.app import run
from unlearn.cli.survival_text import survival_lines
from unlearn.pictures.survival import TRANSFORMATIONS, Survival
from unlearn.protection import run as workflow
from unlearn.protection.events import SurvivalReport
from unlearn.protection.manifest import PictureRecord
from unlearn.protection.survival import as_plain

NOTICE = "Measuring how much noise survives the web, on"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in, with a generator that needs no network."""
    monkeypatch.chdir(tmp_path)
    make_generator_file(tmp_path / "fake.safetensors")
    monkeypatch.setattr(workflow, "load_generator", lambda *_: (FakeGenerator(), "cpu"))
    make_photos(tmp_path / "photos")
    return tmp_path


def protect(*arguments):
    generator = ["-g", "fake.safetensors", "--workers", "0", "--preview", "0"]
    return run(["protect", "photos", "-o", "out", *map(str, arguments), *generator])


def stored(here):
    return json.loads((here / "out.unlearn" / "survival.json").read_text())


def test_the_account_shows_what_is_left_and_says_what_it_is_not(here, capsys):
    assert protect("--report-survival") == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("  Survival"))
    assert lines[start] == (
        "  Survival           3  of 3 measured: how much of the noise is left, mean and worst"
    )
    sums = stored(here)["transformations"]
    assert list(sums) == list(TRANSFORMATIONS)
    for line, found in zip(lines[start + 1 : start + 4], sums.values(), strict=True):
        mean, worst, rest = re.fullmatch(r" {16} *(\d+) %  +(\d+) %  (after .*)", line).groups()
        assert int(mean) == pytest.approx(100 * found["mean_share"], abs=0.51)
        assert int(worst) == pytest.approx(100 * found["worst_share"], abs=0.51)
        assert rest == f"after {found['title']} (worst: {found['worst_picture']})"
    assert lines[start + 4 :] == [
        "                        That is how strong the noise is; what it does, "
        "'unlearn audit' measures",
        "Next: unlearn verify photos out",
    ]
    assert captured.err.splitlines()[-1] == f"{NOTICE} 3 pictures"


def test_json_and_the_file_beside_the_output_say_the_same(here, capsys):
    assert protect("--report-survival", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    found = stored(here)
    assert found == {"tool": answer["tool"], **answer["survival"]}
    assert (found["measured"], found["protected"]) == (3, 3)
    assert list(found["transformations"]) == list(TRANSFORMATIONS)
    hashes = {one["src"]: one["out_sha256"] for one in answer["pictures"]}
    assert {one["src"]: one["out_sha256"] for one in found["pictures"]} == hashes
    for name, sums in found["transformations"].items():
        shares = {one["src"]: one[name]["share"] for one in found["pictures"]}
        assert sums["mean_share"] == pytest.approx(sum(shares.values()) / 3, abs=1e-4)
        assert sums["worst_share"] == min(shares.values()) == shares[sums["worst_picture"]]
        assert all(0 < share < 1.1 for share in shares.values())


def test_without_the_option_nothing_is_measured(here, capsys):
    assert protect("--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["survival"] is None
    assert NOTICE not in captured.err
    assert not (here / "out.unlearn" / "survival.json").exists()


def test_a_finished_folder_is_only_measured(here, capsys):
    assert protect() == 0
    before = tree(here)
    capsys.readouterr()
    assert protect("--report-survival") == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("Nothing to do: all 3 pictures are protected already, in out\n")
    assert "  Survival           3  of 3 measured" in captured.out
    after = tree(here)
    assert after.keys() - before.keys() == {"out.unlearn/survival.json"}
    assert {name: after[name] for name in before} == before


def test_a_file_can_ask_for_it(here, home, capsys):
    (home / "config" / "unlearn").mkdir(parents=True)
    file = home / "config" / "unlearn" / "config.toml"
    file.write_text("[protect]\nreport-survival = true\n")
    assert protect() == 0
    assert "  Survival           3  of 3 measured" in capsys.readouterr().out


def test_in_silence_the_file_is_still_written(here, capsys):
    assert protect("--report-survival", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert stored(here)["measured"] == 3


def test_a_dry_run_measures_nothing_and_says_so(here, capsys):
    assert protect("--report-survival", "--dry-run") == 0
    assert "Survival was not measured: a dry run writes nothing" in capsys.readouterr().err
    assert not (here / "out.unlearn").exists()


def test_without_a_protected_picture_there_is_nothing_to_measure(here, capsys):
    for path in (here / "photos").rglob("*.*"):
        path.write_bytes(b"\xff\xd8\xff")
    assert protect("--report-survival") == 1
    captured = capsys.readouterr()
    assert "Survival was not measured: no picture is protected" in captured.err
    assert "  Survival" not in captured.out


def test_the_worst_picture_cannot_steer_the_terminal(here, capsys):
    make_photos(here / "photos", ["evil\x1b[2J.png"])
    for name in ("a.jpg", "b.png", "sub/c.jpg"):
        (here / "photos" / name).unlink()
    assert protect("--report-survival") == 0
    captured = capsys.readouterr()
    assert "(worst: evil\\x1b[2J.png)" in captured.out
    assert "\x1b" not in captured.out + captured.err


def test_what_a_format_cannot_hold_is_counted_and_left_out_of_the_sums():
    whole, none = Survival(1.0, 1.0, 1.0), Survival(-0.001, 0.0, 1.0)
    found = (
        (
            PictureRecord(src="a", status="ok"),
            {"jpeg75": whole, "box256-jpeg95": none, "webp80": None},
        ),
        (
            PictureRecord(src="b", status="ok"),
            {"jpeg75": none, "box256-jpeg95": none, "webp80": None},
        ),
        (
            PictureRecord(src="c", status="ok"),
            {"jpeg75": None, "box256-jpeg95": none, "webp80": None},
        ),
    )
    lines = list(survival_lines(SurvivalReport(9, found)))
    assert len(lines) == 4
    assert lines[0].startswith("  Survival           3  of 9 measured")
    assert lines[1].startswith("                  50 %    0 %  after JPEG of quality 75")
    assert lines[1].endswith("(worst: b; 1 too large for it)")
    assert lines[2].endswith("quality 95 (worst: a)")
    assert as_plain(SurvivalReport(9, found))["pictures"][2]["jpeg75"] is None
    assert list(survival_lines(None)) == []
