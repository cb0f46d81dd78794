"""`unlearn protect` as a person meets it: lines, exit codes, JSON, files."""

import itertools
import json
import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.protecting import (
    FakeGenerator,
    make_generator_file,
    make_photos,
    make_picture,
    tree,
)
from unlearn import __version__
from unlearn.cli import progress_text
from unlearn.cli.app import run
from unlearn.cli.protect_text import as_plain
from unlearn.cli.visibility_text import visibility_lines
from unlearn.files import places as disk_module
from unlearn.files.text import size_text
from unlearn.generators.catalogue import known
from unlearn.protection import pace
from unlearn.protection import run as workflow
from unlearn.protection.events import ProtectReport
from unlearn.protection.manifest import PictureRecord


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in, with a generator that needs no network."""
    monkeypatch.chdir(tmp_path)
    make_generator_file(tmp_path / "fake.safetensors")
    monkeypatch.setattr(workflow, "load_generator", lambda *_: (FakeGenerator(), "cpu"))
    return tmp_path


def protect(*arguments):
    generator = ["-g", "fake.safetensors", "--workers", "0", "--preview", "0"]
    return run(["protect", *map(str, arguments), *generator])


def lines_of(capsys):
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err.splitlines()


def test_a_folder_is_protected_with_an_account_of_it(here, capsys):
    photos = make_photos(here / "photos")
    (photos / "film.mp4").touch()
    assert protect("photos", "--out", "protected", "--format", "png") == 0
    out, err = lines_of(capsys)
    assert out[0] == (
        "  Protected          3  changed by at most 8/255, checked in the written files"
    )
    assert out[1] == "  Skipped            1  1 .mp4"
    assert re.fullmatch(r"  JPEG               2  all become PNG, \d\.\d kB → \d\.\d kB", out[2])
    assert re.fullmatch(
        r"  Visible               easily on plain areas: CIEDE2000 \d\.\d on average, "
        r"\d\.\d at worst \(([\w/]+\.(jpg|png)(, )?){3}\)",
        out[3],
    )
    assert re.fullmatch(
        r" {24}1 is hardly seen, 2.3 easily; blurred as by the eye at arm's length: \d\.\d", out[4]
    )
    none = "none measured of this generator at 8/255; 'unlearn audit' measures it"
    assert out[5] == f"  Protection            {none}"
    assert re.fullmatch(r"  Written               3\.\d kB in protected · 0 s", out[6])
    assert out[7:] == [
        "  Record                protected.unlearn/manifest.jsonl",
        "Next: unlearn verify photos protected",
    ]
    sha = workflow.file_sha256(here / "fake.safetensors")[:8]
    assert err[:3] == [
        f"unlearn {__version__} · generator fake.safetensors (sha {sha}…) · rho 8/255 · device cpu",
        "Found 3 pictures in 2 folders (1 skipped: 1 .mp4)",
        "Labels: one class for all 3 pictures",
    ]
    assert re.fullmatch(r"To protect: 3 pictures, about 2\.\d kB as PNG \(.* free\)", err[3])
    assert err[4:] == [
        "All 3 pictures will carry the same kind of noise. Put pictures of different things into "
        "folders of their own, and each folder gets noise of its own"
    ]
    assert set(tree(here / "protected")) == {"a.png", "b.png", "sub/c.png"}


def to_protect(capsys):
    """Return the line that says what is to be protected, without the space that is free."""
    (line,) = [line for line in lines_of(capsys)[1] if line.startswith("To protect")]
    return line.partition(" (")[0]


def test_the_first_estimate_is_that_of_the_run_before(here, capsys, monkeypatch):
    names = ["a.jpg", "b.png", "c.tif", "d.jpg", "e.jpg"]
    make_photos(here / "photos", names)
    ticks = itertools.count(100.0, 2.0)
    monkeypatch.setattr(pace, "monotonic", lambda: next(ticks))
    assert protect("photos", "--out", "one") == 0
    assert to_protect(capsys) == "To protect: 5 pictures, about 3.9 kB as JPEG, PNG or TIFF"
    make_photos(here / "more", [f"{n}{name}" for n in (1, 2) for name in names])
    assert protect("more", "--out", "two") == 0
    assert to_protect(capsys).startswith("To protect: 10 pictures, about 20 s at the rate of ")
    make_generator_file(here / "fake.safetensors", working_size=40)  # may be slower or faster
    assert protect("more", "--out", "three") == 0
    assert to_protect(capsys).startswith("To protect: 10 pictures, about 7.9 kB as ")


@pytest.mark.slow
def test_large_pictures_are_expected_to_take_longer(here, capsys, monkeypatch):
    make_photos(here / "photos", ["a.png", "b.png", "c.png", "d.png"])
    ticks = itertools.count(0.0, 1.0)
    monkeypatch.setattr(pace, "monotonic", lambda: next(ticks))
    protect("photos", "--out", "one")
    capsys.readouterr()
    make_picture(here / "large" / "a.png", size=(1000, 1000))
    protect("large", "--out", "two")
    assert "1 picture, about 11 s at the rate of the last run, " in to_protect(capsys)
    protect("large", "--out", "three", "--max-pixels", "999999")  # it is refused at once
    assert "1 picture, a few seconds, " in to_protect(capsys)
    (here / "empty").mkdir()
    (here / "empty/a.png").touch()  # of no size, and no work
    protect("empty", "--out", "three")
    assert "1 picture, a few seconds, " in to_protect(capsys)


def test_a_home_that_cannot_be_written_costs_the_estimate_and_nothing_else(here, home, capsys):
    (home / "state").write_text("a file where a folder is wanted")
    make_photos(here / "photos", ["a.jpg"])
    assert protect("photos", "--out", "one") == 0
    assert to_protect(capsys) == "To protect: 1 picture, about 756 bytes as JPEG or PNG"


def test_the_only_jpeg_is_not_called_one_of_one(here, capsys):
    make_photos(here / "photos", ["a.jpg"])
    assert protect("photos", "--out", "one") == 0
    assert re.search(r"\n  JPEG               1  becomes PNG, \d", capsys.readouterr().out)


def test_the_same_line_again_says_just_that_nothing_is_to_do(here, capsys):
    make_photos(here / "photos", ["cats/a.jpg", "dogs/b.jpg"])
    protect("photos", "--out", "protected")
    capsys.readouterr()
    for more in ((), ("--dry-run",)):
        assert protect("photos", "--out", "protected", *more) == 0
        out, err = lines_of(capsys)
        assert out[0] == "Nothing to do: all 2 pictures are protected already, in protected"
        assert out[1:] == [] if more else ["Next: unlearn verify photos protected"]
        assert err[0].endswith(" · rho 8/255")  # nothing is computed, on no device
        assert err[2:] == ["Labels: 2 classes from folders: cats (1), dogs (1)"]
    make_photos(here / "photos", ["cats/c.jpg"])
    assert protect("photos", "--out", "protected") == 0
    out, err = lines_of(capsys)
    assert out[1] == "                     2  of them by earlier runs, left as they are"
    assert err[3].startswith("To protect: 1 picture, ")


def test_one_class_for_all_says_what_that_means_unless_it_does_not_matter(
    here, capsys, monkeypatch
):
    make_photos(here / "photos", ["a.jpg", "b.png"])
    make_photos(here / "classes", ["cats/a.jpg", "dogs/b.png"])
    make_photos(here / "single", ["a.jpg"])

    def said(*arguments):
        assert protect(*arguments) == 0
        return "the same kind of noise" in "".join(lines_of(capsys)[1])

    assert said("photos", "-o", "1")
    assert not said("photos", "-o", "1")  # nothing to do
    assert not said("photos", "-o", "2", "--labels", "one")
    assert not said("classes", "-o", "3")
    assert not said("single", "-o", "4")
    monkeypatch.setattr(FakeGenerator, "by_class", False)
    assert not said("photos", "-o", "5")


def test_what_is_not_protected_is_named_with_its_reason(here, capsys):
    photos = make_photos(here / "photos", ["a.jpg"])
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (photos / "IMG_12.NEF").touch()
    assert protect("photos", "-o", "protected", "-f", "png") == 1
    out, _ = lines_of(capsys)
    assert out[1] == (
        "  Not protected      2  IMG_12.NEF  camera raw is not a picture to publish; "
        "export JPEG, PNG or TIFF first"
    )
    assert out[2].startswith("                        broken.jpg  ")


def test_many_failures_are_counted_and_all_are_in_the_record(here, capsys):
    photos = make_photos(here / "photos", ["a.jpg"])
    for number in range(25):
        (photos / f"{number:02}.nef").touch()
    assert protect("photos", "-o", "protected") == 1
    out, _ = lines_of(capsys)
    assert "                        and 5 more, see the record" in out
    manifest = (here / "protected.unlearn" / "manifest.jsonl").read_text()
    assert manifest.count('"failed"') == 25


def test_nothing_protected_names_no_next_step(here, capsys):
    (here / "photos").mkdir()
    (here / "photos" / "a.jpg").write_bytes(b"\xff\xd8\xff")
    assert protect("photos", "-o", "protected") == 1
    out, _ = lines_of(capsys)
    assert out[0] == "  Protected          0"
    assert not [line for line in out if line.startswith("Next")]
    assert not (here / "protected").exists()


def test_several_inputs_are_verified_through_the_manifest(here, capsys):
    make_photos(here / "one", ["a.jpg"])
    make_photos(here / "my two", ["b.jpg"])
    assert protect("one", "my two", "-o", "out put") == 0
    out, _ = lines_of(capsys)
    assert out[-1] == "Next: unlearn verify 'out put'"
    assert protect("my two", "-o", "other") == 0
    out, _ = lines_of(capsys)
    assert out[-1] == "Next: unlearn verify 'my two' other"


def test_previews_are_named_in_the_account(here, capsys):
    make_photos(here / "photos", ["a.jpg"])
    line = ["protect", "photos", "-o", "protected", "-g", "fake.safetensors", "--workers", "0"]
    assert run(line) == 0
    out, _ = lines_of(capsys)
    assert "  Record                protected.unlearn/manifest.jsonl, preview/" in out
    assert list(tree(here / "protected.unlearn" / "preview")) == ["page.html", "sheet.png"]


def test_a_dry_run_lists_files_and_writes_none(here, capsys):
    photos = make_photos(here / "photos", ["a.jpg", "b.png"])
    (photos / "c.jpg").write_bytes(b"\xff\xd8\xff")
    before = tree(here)
    assert protect("photos", "-o", "protected", "--dry-run") == 1
    out, err = lines_of(capsys)
    assert out[:2] == [
        "a.jpg -> protected/a.jpg (or a.png, if it cannot stay JPEG)",
        "b.png -> protected/b.png",
    ]
    assert out[2].startswith("c.jpg: cannot be protected: ")
    assert out[3] == (
        "Dry run, nothing was written: 2 pictures would be protected (about 1.5 kB), 1 cannot be"
    )
    assert len(err) == 3
    assert tree(here) == before
    protect("photos", "-o", "protected")
    make_picture(photos / "a.jpg", 60)
    capsys.readouterr()
    protect("photos", "-o", "protected", "-n")
    out, _ = lines_of(capsys)
    assert out[0] == "a.jpg -> protected/a.jpg (or a.png, if it cannot stay JPEG)"
    assert out[2] == "protected/a.png: outdated, would be removed or replaced"


def test_json_is_one_object_and_stderr_has_the_rest(here, capsys):
    photos = make_photos(here / "photos")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    assert protect("photos", "-o", "protected", "--json") == 1
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert answer["exit_code"] == 1
    assert (answer["protected"], answer["not_protected"], answer["left"]) == (3, 1, 0)
    assert (answer["max_change"], answer["rho"], answer["labels"]) == (8, "8/255", "one")
    assert (answer["classes"], answer["class_counts"]) == (1, {"all": 4})
    assert answer["manifest"] == "protected.unlearn/manifest.jsonl"
    assert {picture["src"]: picture["status"] for picture in answer["pictures"]} == {
        "a.jpg": "ok",
        "b.png": "ok",
        "sub/c.jpg": "ok",
        "broken.jpg": "failed",
    }
    assert "settings" not in answer["pictures"][0]
    assert "Found 4 pictures" in captured.err


def test_json_of_a_dry_run_has_the_estimate(here, capsys):
    make_photos(here / "photos", ["a.jpg"])
    assert protect("photos", "-o", "protected", "--json", "-n", "-f", "png") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["dry_run"], answer["bytes"], answer["mean_psnr"]) == (True, 756, None)


def test_quiet_prints_errors_only(here, capsys):
    photos = make_photos(here / "photos")
    assert protect("photos", "-o", "protected", "-q") == 0
    assert lines_of(capsys) == ([], [])
    (photos / "raw.nef").touch()
    assert protect("photos", "-o", "protected", "-q") == 1
    out, err = lines_of(capsys)
    assert out == []
    assert err == [
        "Error: raw.nef: not protected: camera raw is not a picture to publish; export JPEG, PNG "
        "or TIFF first"
    ]


def test_verbose_prints_each_file(here, capsys):
    photos = make_photos(here / "photos", ["a.jpg"])
    (photos / "b.jpg").write_bytes(b"\xff\xd8\xff")
    assert protect("photos", "-o", "protected", "-v") == 1
    _, err = lines_of(capsys)
    assert [line for line in err if line.startswith("a.jpg -> a.png  max change 8/255  CIEDE2000 ")]
    assert [line for line in err if line.startswith("b.jpg: not protected: ")]


def test_a_detail_line_names_what_was_left_out_and_noticed():
    record = PictureRecord(
        src="a",
        status="ok",
        out="b",
        linf=3,
        visible=1.42,
        seen=0.96,
        dropped=("mpf",),
        notices=("hm",),
    )
    assert progress_text._detail(record) == (
        "a -> b  max change 3/255  CIEDE2000 1.4 on plain areas, seen at a distance 1.0  "
        "left out: mpf  hm"
    )


def asked_with(monkeypatch, *arguments):
    """Return the bound of a protect line."""
    asked = []
    monkeypatch.setattr("unlearn.cli.protect._run", lambda options, _: asked.append(options) or 0)
    assert protect("photos", "-o", "out", *arguments) == 0
    return str(asked[0].rho)


@pytest.mark.parametrize(
    ("arguments", "bound"),
    [
        ([], "8/255"),
        (["--strength", "subtle"], "2/255"),
        (["--strength", "balanced"], "4/255"),
        (["--strength", "strong"], "8/255"),
        (["--strength", "subtle", "--rho", "2/255"], "2/255"),
    ],
)
def test_a_strength_is_a_bound_by_name(here, monkeypatch, arguments, bound):
    assert asked_with(monkeypatch, *arguments) == bound


@pytest.mark.parametrize("bound", ["8/255", "3/255"])
def test_two_bounds_that_differ_are_refused(here, capsys, bound):
    assert protect("photos", "-o", "out", "--strength", "subtle", "--rho", bound) == 2
    assert lines_of(capsys)[1] == [
        f"Error: --strength subtle is --rho 2/255, not {bound}; give one of them"
    ]


def test_the_command_line_decides_over_a_file_that_names_another_bound(
    here, monkeypatch, tmp_path, capsys
):
    own = tmp_path / "own.toml"
    monkeypatch.setenv("UNLEARN_CONFIG", str(own))
    own.write_text('[protect]\nrho = "3/255"\n')
    assert asked_with(monkeypatch, "--strength", "subtle") == "2/255"
    own.write_text('[protect]\nstrength = "balanced"\n')
    assert asked_with(monkeypatch) == "4/255"
    assert asked_with(monkeypatch, "--rho", "5/255") == "5/255"
    assert asked_with(monkeypatch, "--rho", "8/255") == "8/255"
    own.write_text('[protect]\nstrength = "balanced"\nrho = "3/255"\n')
    assert protect("photos", "-o", "out") == 2


def test_a_run_says_that_the_protection_of_its_noise_was_not_measured(here, capsys):
    make_photos(here / "photos", ["a/1.jpg", "b/1.jpg"])
    assert protect("photos", "-o", "out", "--strength", "balanced") == 0
    out, _ = lines_of(capsys)
    told = "none measured of this generator at 4/255; 'unlearn audit' measures it"
    assert f"  Protection            {told}" in out


def test_a_run_says_what_its_noise_was_measured_to_do_with_the_controls_beside_it():
    here = replace(result_of(PictureRecord(src="a.png", status="ok", out="a.png")), classes=2)
    base = next(entry for entry in known() if entry.name == "base")
    text = as_plain(replace(here, generator_sha256=base.sha256))["protection"]
    assert "46.9 ± 2.7 % of new photos rightly; without noise 80.8 %, with random noise" in text
    assert "(4/255): 68.8 ± 0.4 %, without noise 68.4 %" in text
    one = replace(here, generator_sha256=base.sha256, classes=1)
    assert as_plain(one)["protection"] == "none measured where all pictures are of one class"
    other = replace(here, generator_sha256=base.sha256, rho="3/255")
    assert as_plain(other)["protection"].startswith("none measured of this generator at 3/255")


def result_of(*records):
    return ProtectReport(
        out=Path("out"),
        records=Path("out.unlearn"),
        inputs=(),
        protected=records,
        failed=(),
        earlier=0,
        left=0,
        skipped={},
        outdated=(),
        labels="one",
        classes=1,
        rho="8/255",
    )


def test_the_most_visible_pictures_are_named():
    records = [
        PictureRecord(src=f"{n}.jpg", status="ok", out="o", visible=n, seen=n / 2) for n in range(6)
    ]
    assert list(visibility_lines(result_of(*records).most_visible)) == [
        "easily on plain areas: CIEDE2000 2.5 on average, 5.0 at worst (5.jpg, 4.jpg, 3.jpg, …)",
        "1 is hardly seen, 2.3 easily; blurred as by the eye at arm's length: 1.2",
    ]
    (alone, _) = visibility_lines(records[1:2])
    assert alone == "by a careful eye on plain areas: CIEDE2000 1.0"
    old = PictureRecord(src="old", status="ok", out="o")
    assert list(visibility_lines(result_of(old).most_visible)) == []


def test_an_interrupted_run_says_how_to_continue(here, capsys, monkeypatch):
    class Interrupting(FakeGenerator):
        def noise_for_picture(self, *arguments):
            signal.raise_signal(signal.SIGINT)
            return super().noise_for_picture(*arguments)

    monkeypatch.setattr(workflow, "load_generator", lambda *_: (Interrupting(), "cpu"))
    make_photos(here / "photos")
    assert protect("photos", "-o", "protected") == 130
    out, err = lines_of(capsys)
    assert "  Not reached        2" in out
    assert err[-1] == ("Interrupted; 2 pictures are left. The same line goes on with what is left.")


def test_fail_fast_counts_what_was_not_reached(here, capsys):
    photos = make_photos(here / "photos", [f"{n}.jpg" for n in range(1, 9)])
    (photos / "0.jpg").write_bytes(b"\xff\xd8\xff")
    assert protect("photos", "-o", "protected", "--fail-fast") == 1
    assert [line for line in lines_of(capsys)[0] if line.startswith("  Not reached")]


def test_options_reach_the_workflow(here, capsys):
    make_photos(here / "photos", ["cats/a.jpg", "dogs/b.jpg", "dogs/c.png", "raw/d.jpg"])
    (here / "key").write_bytes(os.urandom(32))
    (here / "labels.csv").write_text("cats/a.jpg,one\ndogs/b.jpg,two\n")
    arguments = ["photos", "-o", "out", "--rho", "3/255", "--labels", "csv:labels.csv"]
    arguments += ["--format", "tiff", "--metadata", "none", "--max-side", "20", "--grid", "8"]
    arguments += ["--include", "*.jpg", "--exclude", "raw", "--seed", "7", "--key", "key"]
    assert protect(*arguments) == 0
    assert set(tree(here / "out")) == {"cats/a.tif", "dogs/b.tif"}
    header = json.loads((here / "out.unlearn" / "manifest.jsonl").read_text().splitlines()[0])
    wanted = {"rho": "3/255", "format": "tiff", "metadata": "none", "max_side": 20, "grid": 8}
    assert header | wanted | {"seed": 7, "labels": "csv"} == header
    line = "Labels: 2 classes from the table labels.csv: one (1), two (1)"
    assert lines_of(capsys)[1][2] == line


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["gone", "-o", "out"], 2, "There is no file or folder gone; check the path"),
        (
            ["photos", "-o", "photos/out"],
            2,
            "Output folder photos/out is inside the input photos; choose a folder beside it",
        ),
        (
            ["empty", "-o", "out"],
            3,
            "No pictures in empty (looked for jpg png webp tif bmp gif avif heic; nothing else "
            "there).",
        ),
        (["photos", "-o", "file"], 2, "file is not a folder; choose another --out"),
        (
            ["photos", "-o", "out", "--labels", "guess"],
            2,
            "'guess' is not a source of labels; use auto, folders, one or csv:FILE",
        ),
        (
            ["photos", "-o", "out", "--format", "jpeg"],
            2,
            "Invalid value for '--format' / '-f': 'jpeg' is not one of auto, keep, png, webp, "
            "tiff. See 'unlearn protect --help'.",
        ),
        (
            ["photos", "-o", "out", "--rho", "8"],
            2,
            "Invalid value for '--rho' / '-r': 8 is not a radius: it is a share of the colour "
            "range, at least 0 and below 1; did you mean 8/255? See 'unlearn protect --help'.",
        ),
        (
            ["photos", "-o", "old"],
            2,
            "old was made with rho 8/255, you asked 4/255. "
            "Choose another --out, or --force to redo all.",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line_and_a_code(here, capsys, arguments, code, line):
    make_photos(here / "photos")
    (here / "empty").mkdir()
    (here / "file").touch()
    if "old" in arguments:
        protect("photos", "-o", "old")
        capsys.readouterr()
        arguments = [*arguments, "--rho", "4/255"]
    before = tree(here)
    assert protect(*arguments) == code
    assert lines_of(capsys) == ([], [f"Error: {line}"])
    assert tree(here) == before
    assert protect(*arguments, "--json") == code
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"error": line, "exit_code": code}


def test_a_full_disk_is_told_beforehand(here, capsys, monkeypatch):
    make_photos(here / "photos", ["a.jpg"])
    monkeypatch.setattr(
        disk_module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 9)
    )
    assert protect("photos", "-o", "out", "-f", "png") == 4
    (line,) = lines_of(capsys)[1]
    assert line.startswith("Error: Not enough disk: about 756 bytes needed, 9 bytes free on /")


def test_a_real_generator_protects_and_repeats_itself(tmp_path, capsys, monkeypatch):
    from tests.support.making import make_generator

    monkeypatch.chdir(tmp_path)
    make_generator().save(tmp_path / "tiny.safetensors")
    make_photos(tmp_path / "photos", ["a/1.jpg", "b/2.png"])
    line = ["protect", "photos", "-g", "tiny.safetensors", "--device", "cpu", "--preview", "0"]
    assert run([*line, "--workers", "0", "-o", "one"]) == 0
    assert run([*line, "--workers", "1", "-o", "two"]) == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    out, err = lines_of(capsys)
    assert out[0].startswith("  Protected          2  changed by at most ")
    assert "device cpu" in err[0]


def test_it_is_said_which_jpeg_stayed_jpeg_and_which_did_not(here, capsys):
    photos = here / "photos"
    make_picture(photos / "large.jpg", 1, (320, 240), quality=98, subsampling=0)
    make_picture(photos / "tiny.jpg", 2, quality=20)
    assert protect("photos", "-o", "protected", "-v") == 0
    out, err = lines_of(capsys)
    assert re.fullmatch(
        r"  JPEG               2  1 of 2 stays JPEG, \d\d kB → \d\d kB, with \d\d% of the "
        r"noise's energy; 1 becomes PNG, \d{3} bytes → \d\.\d kB \(the record says which and why\)",
        out[1],
    )
    sizes = [(photos / name).stat().st_size for name in ("large.jpg", "tiny.jpg")]
    sizes.append((here / "protected" / "tiny.png").stat().st_size)
    assert all(f" {size_text(size)}" in out[1] for size in sizes)
    (large,) = [line for line in err if line.startswith("large.jpg -> large.jpg  max change ")]
    assert re.search(r"JPEG in \d pass(es)?, correlation \d.\d\d, \d\d% of the noise's ", large)
    (tiny,) = [line for line in err if line.startswith("tiny.jpg -> tiny.png  max change 8/255")]
    assert "written as PNG: the noise that fits" in tiny


def test_json_counts_what_stayed_jpeg(here, capsys):
    make_picture(here / "photos" / "large.jpg", 1, (320, 240), quality=98, subsampling=0)
    make_picture(here / "photos" / "tiny.jpg", 2, quality=20)
    assert protect("photos", "-o", "protected", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["still_jpeg"], answer["png_instead"]) == (1, 1)
    large, tiny = answer["pictures"]
    known = answer["visibility"]
    assert known["worst_ciede2000"] == max(large["visible"], tiny["visible"])
    assert known["ciede2000"] == pytest.approx((large["visible"] + tiny["visible"]) / 2, abs=0.01)
    assert known["seen"] < known["ciede2000"] < known["ciede2000_p95"]
    assert large["out"] == "large.jpg"
    assert large["passes"] >= 1
    assert large["size_ratio"] > 0
    assert (tiny["out"], tiny["passes"]) == ("tiny.png", None)
    assert protect("photos", "-o", "kept", "--json", "--format", "keep") == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["still_jpeg"], answer["png_instead"], answer["not_protected"]) == (1, 0, 1)
