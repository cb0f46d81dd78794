"""Protect: what is written, what is not, and that sources and settings alone decide the bytes."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from tests.support import protecting
from tests.support.protecting import (
    CLASSES,
    FakeGenerator,
    Heard,
    RefusingGenerator,
    SilentGenerator,
    largest_difference,
    make_generator_file,
    make_photos,
    make_picture,
    manifest_lines,
    options_for,
    tree,
)
from tests.support.sweeps import few
from unlearn.errors import EnvironmentProblem, NothingFound, PictureError, UsageProblem
from unlearn.files import places as disk_module
from unlearn.files.lock import locked
from unlearn.pictures import write as write_module
from unlearn.pictures.visibility import Visibility
from unlearn.protection import key as key_module
from unlearn.protection import pipeline as pipeline_module
from unlearn.protection import run as workflow
from unlearn.protection import worker
from unlearn.protection.events import Progress, Started
from unlearn.protection.key import default_path, load_key, permutation
from unlearn.protection.noise import GAIN
from unlearn.protection.pipeline import DIED
from unlearn.protection.plan import PlannedPicture
from unlearn.protection.run import protect
from unlearn.protection.steps import Steps
from unlearn.protection.worker import Failure
from unlearn.radius import Radius
from unlearn.verification.options import VerifyOptions
from unlearn.verification.run import verify
from unlearn.workers import pool as pool_module
from unlearn.workers.abandoned import leave_if_abandoned
from unlearn.workers.pool import Interruption, Pool


def use(monkeypatch, generator):
    monkeypatch.setattr(workflow, "load_generator", lambda _path, _device: (generator, "cpu"))
    return generator


def run(tmp_path, *inputs, **changes):
    return protect(options_for(tmp_path, *inputs, **changes), Heard())


def outputs(tmp_path):
    return tree(tmp_path / "protected")


# --- the happy path --------------------------------------------------------------------------


def test_a_folder_is_protected_within_the_bound_and_sources_stay(tmp_path, fake):
    photos = make_photos(tmp_path / "photos")
    before = tree(photos)
    heard = Heard()
    result = protect(options_for(tmp_path), heard)
    assert result.exit_code == 0
    assert set(outputs(tmp_path)) == {"a.png", "b.png", "sub/c.png"}
    assert tree(photos) == before
    for source, out in [("a.jpg", "a.png"), ("b.png", "b.png"), ("sub/c.jpg", "sub/c.png")]:
        assert largest_difference(photos / source, tmp_path / "protected" / out) == 8
    assert (len(result.protected), result.failed, result.left) == (3, (), 0)
    assert (result.largest_change, result.rho, result.labels) == (8, "8/255", "one")
    assert result.written_bytes == sum(map(len, outputs(tmp_path).values()))
    assert 25 < result.mean_psnr < 40
    (started,) = heard.of(Started)
    assert (started.pending, started.device, started.rho) == (3, "cpu", "8/255")
    assert [event.done for event in heard.of(Progress)] == [1, 2, 3]


def test_an_output_folder_that_is_a_link_to_a_folder_is_followed(tmp_path, fake):
    make_photos(tmp_path / "photos", ["a.png", "sub/b.png"])
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "protected").symlink_to(disk)
    assert run(tmp_path).exit_code == 0
    assert set(tree(disk)) == {"a.png", "sub/b.png"}
    assert (tmp_path / "protected").is_symlink()


def test_the_manifest_holds_what_is_needed_and_no_secret(tmp_path, fake):
    make_photos(tmp_path / "photos", ["cats/a.jpg", "dogs/b.png"])
    run(tmp_path, max_side=20, seed=3, argv=("protect", "photos"))
    (header,) = manifest_lines(tmp_path / "protected", "run")
    key = load_key(create=False)
    wanted = {"rho": "8/255", "seed": 3, "max_side": 20, "grid": 16, "labels": "folders"}
    wanted |= {"key": key.fingerprint, "inputs": [str(tmp_path / "photos")], "device": "cpu"}
    wanted |= {"argv": ["protect", "photos"], "format": "auto", "metadata": "keep"}
    assert header | wanted == header
    images = {line["src"]: line for line in manifest_lines(tmp_path / "protected", "image")}
    assert set(images) == {"cats/a.jpg", "dogs/b.png"}
    cat = images["cats/a.jpg"]
    assert (cat["status"], cat["label"], cat["out"]) == ("ok", "cats", "cats/a.png")
    assert (cat["size"], cat["mode"], cat["bound"], cat["linf"]) == ([20, 15], "RGB", "exact", 8)
    assert len(cat["settings"]) == 16
    records = tmp_path / "protected.unlearn"
    stored = b"".join(path.read_bytes() for path in records.rglob("*") if path.is_file())
    assert key.secret not in stored
    assert key.secret.hex().encode() not in stored
    assert set(tree(records)) == {"lock", "manifest.jsonl"}


def test_grey_alpha_and_lossless_webp_keep_their_kind(tmp_path, fake):
    photos = tmp_path / "photos"
    make_picture(photos / "grey.bmp", mode="L")
    make_picture(photos / "exact.webp", 1, lossless=True)
    with Image.open(make_picture(photos / "alpha.png", 2)) as image:
        picture = image.convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save(photos / "alpha.png")
    assert run(tmp_path).exit_code == 0
    modes = {}
    for path in (tmp_path / "protected").iterdir():
        with Image.open(path) as image:
            modes[path.name] = image.mode
    assert modes == {"grey.png": "L", "exact.webp": "RGB", "alpha.png": "RGBA"}
    lines = manifest_lines(tmp_path / "protected", "image")
    assert {line["mode"] for line in lines} == {"L", "RGB", "RGBA"}


def test_each_class_gets_its_place_in_the_permutation(tmp_path, monkeypatch):
    targets = {}

    class Listening(FakeGenerator):
        def noise_for_picture(self, pixels, target, *rest):
            targets[rest[1]] = target
            return super().noise_for_picture(pixels, target, *rest)

    use(monkeypatch, Listening())
    make_photos(tmp_path / "photos", ["x/a.jpg", "y/b.jpg", "z/c.jpg"])
    result = run(tmp_path)
    order = permutation(load_key(create=False), len(CLASSES))
    expected = {record.src_sha256: order["xyz".index(record.label)] for record in result.protected}
    assert targets == expected


def test_a_smaller_rho_is_kept_to(tmp_path, fake):
    photos = make_photos(tmp_path / "photos", ["a.png"])
    assert run(tmp_path, rho=Radius.parse("3/255")).largest_change == 3
    assert largest_difference(photos / "a.png", tmp_path / "protected" / "a.png") == 3


@pytest.mark.parametrize(("grid", "gain"), [(18, 1.0), (9, GAIN)])
def test_gain_is_applied_only_where_noise_is_enlarged(tmp_path, fake, monkeypatch, grid, gain):
    gains = []
    real = worker.Upsampling
    monkeypatch.setattr(
        worker, "Upsampling", lambda *arguments: gains.append(arguments[3]) or real(*arguments)
    )
    make_photos(tmp_path / "photos", ["a.png"])
    run(tmp_path, grid=grid)
    assert gains == [gain]


def test_a_jpeg_is_opened_for_the_plan_for_reading_and_for_writing_only(tmp_path, fake):
    source = make_photos(tmp_path / "photos", ["a.jpg"]) / "a.jpg"
    opened = []
    watched = [source]  # an audit hook stays for good; it watches nothing later

    def hook(event, arguments):
        if event == "open" and arguments[0] in [str(path) for path in watched]:
            opened.append(arguments[0])

    sys.addaudithook(hook)
    assert run(tmp_path).fallbacks
    watched.clear()
    assert len(opened) == 3


def test_previews_show_the_most_visible_pictures_of_all_classes(tmp_path, fake, monkeypatch):
    make_photos(tmp_path / "photos", ["a/1.jpg", "a/2.jpg", "a/3.jpg", "b/4.jpg", "b/5.jpg"])
    shown, known = [], {"1": 2.0, "2": 5.0, "3": 4.0, "4": 1.0, "5": 1.5}

    def write(shared, job):
        record = worker.write(shared, job)
        return replace(record, visible=known[Path(record.src).stem])

    def show(_shared, job):
        shown.append(job.name)
        return preview(_shared, job)

    preview = worker.preview
    monkeypatch.setattr(Steps, "write", staticmethod(write))
    monkeypatch.setattr(worker, "preview", show)
    result = run(tmp_path, preview=4)
    assert shown == ["a/2.jpg", "b/5.jpg", "a/3.jpg", "b/4.jpg"]
    folder = tmp_path / "protected.unlearn" / "preview"
    assert result.previews == (folder / "sheet.png", folder / "page.html")
    assert "Preview of protected" in result.previews[1].read_text(encoding="utf-8")


def test_previews_of_an_earlier_version_are_replaced(tmp_path, fake):
    make_photos(tmp_path / "photos", ["a.jpg"])
    folder = tmp_path / "protected.unlearn" / "preview"
    folder.mkdir(parents=True)
    (folder / "1-a.png").touch()
    run(tmp_path, preview=1)
    assert sorted(tree(folder)) == ["page.html", "sheet.png"]


def test_visibility_is_in_the_manifest_and_costs_no_byte_of_the_outputs(
    tmp_path, fake, monkeypatch
):
    make_photos(tmp_path / "photos", ["a.jpg", "b.png"])
    run(tmp_path)
    for line in manifest_lines(tmp_path / "protected", "image"):
        assert 0 < line["seen"] < line["visible"] < line["visible_high"]
        assert line["seen_high"] > line["seen"]
    before = tree(tmp_path / "protected")
    monkeypatch.setattr(write_module.PlainAreas, "compared", lambda *_: Visibility())
    run(tmp_path, force=True)
    assert tree(tmp_path / "protected") == before


def test_a_preview_that_fails_is_only_a_notice(tmp_path, fake, monkeypatch):
    make_photos(tmp_path / "photos", ["a.jpg", "b.jpg"])
    outcomes = iter([Failure("no reason"), None])

    def preview(_shared, _job):
        outcome = next(outcomes)
        if outcome is None:
            raise LookupError("broken")
        return outcome

    monkeypatch.setattr(worker, "preview", preview)
    heard = Heard()
    result = protect(options_for(tmp_path, preview=2), heard)
    assert (result.exit_code, result.previews) == (0, ())
    told = [notice.removeprefix(f"No preview of {tmp_path}/photos/") for notice in heard.notices]
    assert [reason for _, reason in (text.split(": ") for text in told)] == ["no reason", "broken"]
    assert {name for name, _ in (text.split(": ") for text in told)} == {"a.jpg", "b.jpg"}


# --- pictures that cannot be protected -------------------------------------------------------


def test_one_broken_picture_among_good_ones_is_named_and_not_copied(tmp_path, fake):
    photos = make_photos(tmp_path / "photos")
    (photos / "sub" / "broken.png").write_bytes((photos / "b.png").read_bytes()[:60])
    (photos / "raw.nef").write_bytes(b"II*\0")
    result = run(tmp_path)
    assert result.exit_code == 1
    assert set(outputs(tmp_path)) == {"a.png", "b.png", "sub/c.png"}
    assert [record.src for record in result.failed] == ["raw.nef", "sub/broken.png"]
    failed = [x for x in manifest_lines(tmp_path / "protected", "image") if x["status"] != "ok"]
    assert {line["src"]: line["reason"] for line in failed} == {
        record.src: record.reason for record in result.failed
    }
    assert all(line["out"] is None for line in failed)


def test_a_folder_of_which_nothing_could_be_written_is_not_left_behind(tmp_path, fake, monkeypatch):
    monkeypatch.setattr(Steps, "write", staticmethod(protecting.failing_write))
    make_photos(tmp_path / "photos", ["good.jpg", "cats/deep/bad.jpg"])
    (tmp_path / "protected" / "cats" / "deep").mkdir(parents=True)
    assert run(tmp_path).exit_code == 1
    assert not (tmp_path / "protected" / "cats").exists()


def test_an_unchanged_picture_is_not_protected(tmp_path, monkeypatch):
    use(monkeypatch, SilentGenerator())
    make_photos(tmp_path / "photos", ["a.jpg"])
    result = run(tmp_path)
    assert (result.exit_code, outputs(tmp_path)) == (1, {})
    assert "nothing changed" in result.failed[0].reason


def test_a_fully_transparent_picture_is_not_protected(tmp_path, fake):
    (tmp_path / "photos").mkdir()
    Image.new("RGBA", (20, 20), (9, 9, 9, 0)).save(tmp_path / "photos" / "a.png")
    result = run(tmp_path)
    assert result.failed[0].reason == "fully transparent; there is nothing to change"
    assert fake.calls == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PictureError("too odd"), "too odd"),
        (RuntimeError("kernel too large"), "unexpected RuntimeError: kernel too large"),
    ],
)
def test_noise_that_fails_costs_one_picture(tmp_path, monkeypatch, fake, error, reason):
    make_photos(tmp_path / "photos")
    victim = workflow.file_sha256(tmp_path / "photos" / "b.png")
    use(monkeypatch, RefusingGenerator(error, {victim}))
    result = run(tmp_path)
    assert [(record.src, record.reason) for record in result.failed] == [("b.png", reason)]
    assert set(outputs(tmp_path)) == {"a.png", "sub/c.png"}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_generator_that_cannot_go_on_ends_the_run(tmp_path, monkeypatch, workers):
    use(monkeypatch, RefusingGenerator(EnvironmentProblem("the device is gone")))
    make_photos(tmp_path / "photos")
    with pytest.raises(EnvironmentProblem, match="the device is gone"):
        run(tmp_path, workers=workers)
    assert outputs(tmp_path) == {}


@pytest.mark.parametrize("delta", [np.full((16, 21, 3), np.nan), np.zeros((2, 2, 3))])
def test_noise_that_is_none_costs_the_picture(tmp_path, monkeypatch, delta):
    class Odd(FakeGenerator):
        def noise_for_picture(self, *_args):
            return delta.astype(np.float32)

    use(monkeypatch, Odd())
    make_photos(tmp_path / "photos", ["a.png"])
    assert run(tmp_path).failed[0].reason == "the generator made no usable noise for it"


def test_a_source_that_changes_during_the_run_fails(tmp_path, monkeypatch):
    photos = make_photos(tmp_path / "photos")

    class Changing(FakeGenerator):
        def noise_for_picture(self, *arguments):
            make_picture(photos / "b.png", 99)
            return super().noise_for_picture(*arguments)

    use(monkeypatch, Changing())
    result = run(tmp_path, photos / "b.png")
    assert result.failed[0].reason == "the file changed while it was being protected; run again"
    assert (result.exit_code, outputs(tmp_path)) == (1, {})
    use(monkeypatch, FakeGenerator())
    assert run(tmp_path, photos / "b.png").exit_code == 0


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(5, "Input/output error"), "input/output error"),
        (MemoryError(), "not enough memory for this picture; use --workers 1 or --max-side"),
    ],
)
def test_what_goes_wrong_in_a_worker_becomes_a_reason(tmp_path, monkeypatch, fake, error, reason):
    def open_picture(*_args):
        raise error

    make_photos(tmp_path / "photos", ["a.png"])
    monkeypatch.setattr(worker, "open_picture", open_picture)
    assert run(tmp_path).failed[0].reason == reason


def test_a_surprise_in_a_worker_costs_one_picture(tmp_path, monkeypatch, fake):
    monkeypatch.setattr(Steps, "read", staticmethod(protecting.strange_read))
    make_photos(tmp_path / "photos", ["a.jpg", "strange.jpg"])
    result = run(tmp_path)
    assert result.failed[0].reason == "unexpected LookupError: what is this"
    assert set(outputs(tmp_path)) == {"a.png"}


def test_fail_fast_stops_at_the_first_failure(tmp_path, fake):
    photos = make_photos(tmp_path / "photos", [f"{n}.jpg" for n in range(1, 9)])
    (photos / "0.jpg").write_bytes(b"\xff\xd8\xff")
    result = run(tmp_path, fail_fast=True)
    assert (result.exit_code, len(result.failed)) == (1, 1)
    assert result.left >= 6
    assert len(outputs(tmp_path)) == 8 - result.left


def test_a_full_disk_ends_the_run_and_the_next_one_continues(tmp_path, fake, monkeypatch):
    make_photos(tmp_path / "photos", [f"{n}.jpg" for n in range(9)])
    with monkeypatch.context() as patch:
        patch.setattr(Steps, "write", staticmethod(protecting.refused_write))
        with pytest.raises(EnvironmentProblem) as caught:
            run(tmp_path)
    assert str(caught.value) == (
        "/data: No space left on device; 0 of 9 pictures are done. Free some space and run the "
        "same line again to continue"
    )
    assert outputs(tmp_path) == {}
    assert run(tmp_path).exit_code == 0


def test_a_disk_problem_of_the_writer_is_known_as_one(tmp_path, monkeypatch):
    def write_rows(*_args, **_more):
        raise EnvironmentProblem("/data: No space left on device")

    source = make_picture(tmp_path / "a.png")
    picture = worker.prepare(source, worker.Preparation())
    monkeypatch.setattr(worker, "write_rows", write_rows)
    delta = np.ones((4, 4, 3), np.float32)
    planned = PlannedPicture(
        folder=tmp_path, name="a.png", out="a.png", format="PNG", label="all", size=picture.size
    )
    shared = worker.Shared(
        out=tmp_path / "out",
        preparation=worker.Preparation(),
        grid=protecting.GRID,
        levels=8,
        metadata="keep",
    )
    job = worker.Job(planned, picture.sha256, delta)
    assert worker.write(shared, job) == Failure("/data: No space left on device", disk_full=True)


# --- resume ----------------------------------------------------------------------------------


def test_the_same_line_again_does_nothing(tmp_path, fake):
    make_photos(tmp_path / "photos")
    run(tmp_path)
    before = tree(tmp_path)
    heard = Heard()
    result = protect(options_for(tmp_path), heard)
    assert (result.exit_code, result.earlier, len(result.protected)) == (0, 3, 3)
    assert tree(tmp_path) == before
    assert len(fake.calls) == 3
    assert heard.of(Progress) == []


def test_only_what_is_new_changed_or_damaged_is_done_again(tmp_path, fake):
    photos = make_photos(tmp_path / "photos", ["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
    run(tmp_path)
    old = outputs(tmp_path)
    make_picture(photos / "b.jpg", 50)
    make_picture(photos / "e.jpg", 51)
    (tmp_path / "protected" / "c.png").write_bytes(b"damaged")
    (tmp_path / "protected" / "d.png").unlink()
    fake.calls.clear()
    result = run(tmp_path)
    assert (result.earlier, len(result.protected), len(fake.calls)) == (1, 5, 4)
    new = outputs(tmp_path)
    assert {name: new[name] for name in ("a.png", "c.png", "d.png")} == {
        name: old[name] for name in ("a.png", "c.png", "d.png")
    }
    assert new["b.png"] != old["b.png"]


@pytest.mark.parametrize("edited", [False, True], ids=["same source", "edited source"])
def test_an_output_that_somebody_edited_is_left_until_it_is_deleted_or_forced(
    tmp_path, fake, edited
):
    photos = make_photos(tmp_path / "photos", ["a.jpg", "b.jpg"])
    run(tmp_path)
    written = outputs(tmp_path)
    mine = make_picture(tmp_path / "protected" / "b.png", 77).read_bytes()
    make_picture(photos / "c.jpg", 52)
    if edited:
        make_picture(photos / "b.jpg", 53)
    for _ in range(2):
        result = run(tmp_path)
        assert (result.exit_code, [r.reason for r in result.failed]) == (
            1,
            [
                f"{tmp_path}/protected/b.png was changed since it was written, and stays as it is; "
                "delete it to have it made again, or --force to replace it"
            ],
        )
        assert outputs(tmp_path) == written | {"b.png": mine, "c.png": outputs(tmp_path)["c.png"]}
    if edited:
        (tmp_path / "protected" / "b.png").unlink()
    assert run(tmp_path, force=not edited).exit_code == 0
    assert (outputs(tmp_path)["b.png"] == written["b.png"]) != edited
    assert outputs(tmp_path)["b.png"] != mine


@pytest.mark.parametrize("keep", [0, 20, 0.5, 0.95])
def test_an_output_that_was_cut_is_made_again(tmp_path, fake, keep):
    make_picture(tmp_path / "photos" / "a.png", 1, (96, 80))
    make_picture(tmp_path / "photos" / "b.jpg", 1, (160, 120))
    run(tmp_path, format="keep")
    written = outputs(tmp_path)
    assert set(written) == {"a.png", "b.jpg"}
    for name, content in written.items():
        cut = keep if isinstance(keep, int) else int(keep * len(content))
        (tmp_path / "protected" / name).write_bytes(content[:cut])
    assert run(tmp_path, format="keep").exit_code == 0
    assert outputs(tmp_path) == written


def test_records_of_a_newer_version_are_not_called_broken(tmp_path, fake):
    make_photos(tmp_path / "photos")
    run(tmp_path)
    manifest = tmp_path / "protected.unlearn" / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"v": 1', '"v": 2'))
    before = tree(tmp_path)
    for work in (run, lambda at: verify(at / "photos", at / "protected", VerifyOptions())):
        with pytest.raises(UsageProblem, match=f"^{manifest} was written by a newer unlearn"):
            work(tmp_path)
    assert tree(tmp_path) == before


def test_failed_pictures_are_tried_again(tmp_path, fake):
    photos = make_photos(tmp_path / "photos", ["a.jpg"])
    good = (photos / "a.jpg").read_bytes()
    (photos / "a.jpg").write_bytes(b"\xff\xd8\xff")
    assert run(tmp_path).exit_code == 1
    (photos / "a.jpg").write_bytes(good)
    assert run(tmp_path).exit_code == 0


def test_force_does_everything_again_with_the_same_bytes(tmp_path, fake):
    make_photos(tmp_path / "photos")
    run(tmp_path)
    before = outputs(tmp_path)
    result = run(tmp_path, force=True)
    assert (result.earlier, len(fake.calls)) == (0, 6)
    assert outputs(tmp_path) == before


def test_a_new_class_moves_the_others_only_where_their_noise_changes(tmp_path, fake):
    photos = make_photos(tmp_path / "photos", ["b/1.jpg", "c/2.jpg"])
    run(tmp_path)
    make_picture(photos / "d" / "3.jpg", 9)
    assert run(tmp_path).earlier == 2
    make_picture(photos / "a.jpg", 10)
    shutil.rmtree(photos / "d")
    assert run(tmp_path).earlier == 0


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rho": Radius.parse("4/255")}, "rho 8/255, you asked 4/255"),
        ({"seed": 1}, "seed 0, you asked 1"),
        ({"grid": 9}, "grid 16, you asked 9"),
        ({"format": "tiff"}, "format auto, you asked tiff"),
        ({"metadata": "none"}, "metadata keep, you asked none"),
        ({"max_side": 20}, "max-side None, you asked 20"),
    ],
)
def test_other_settings_are_refused_and_force_replaces_everything(tmp_path, fake, changes, text):
    make_photos(tmp_path / "photos", ["a.bmp", "b.png"])
    run(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(UsageProblem) as caught:
        run(tmp_path, **changes)
    assert str(caught.value) == (
        f"{tmp_path}/protected was made with {text}. Choose another --out, or --force to redo all."
    )
    assert tree(tmp_path) == before
    assert run(tmp_path, force=True, **changes).exit_code == 0
    suffix = "tif" if "format" in changes else "png"
    assert set(outputs(tmp_path)) == {f"a.{suffix}", f"b.{suffix}"}
    assert run(tmp_path, **changes).earlier == 2


def test_another_generator_or_key_is_refused(tmp_path, fake):
    make_photos(tmp_path / "photos", ["a.jpg"])
    run(tmp_path)
    make_generator_file(tmp_path / "fake.safetensors", working_size=12)
    with pytest.raises(UsageProblem, match=r"was made with generator [0-9a-f]{12}, you asked"):
        run(tmp_path)
    make_generator_file(tmp_path / "fake.safetensors")
    (tmp_path / "key").write_bytes(bytes(32))
    with pytest.raises(UsageProblem, match=r"was made with key [0-9a-f]{12}, you asked"):
        run(tmp_path, key=tmp_path / "key")
    default_path().unlink()
    with pytest.raises(UsageProblem, match=r"was made with key [0-9a-f]{12}, you asked none"):
        run(tmp_path)
    assert not default_path().exists()


def test_an_output_whose_source_cannot_be_read_now_stays_and_is_named(tmp_path, fake):
    photos = make_photos(tmp_path / "photos", ["a.jpg", "b.jpg", "c.jpg"])
    run(tmp_path)
    before, out = outputs(tmp_path), tmp_path / "protected"
    (photos / "a.jpg").write_bytes(b"\xff\xd8\xff")
    for name in ("b.jpg", "c.jpg"):
        (photos / name).unlink()
        (photos / name).symlink_to(photos / "gone.jpg")
    heard = Heard()
    result = protect(options_for(tmp_path), heard)
    assert (result.exit_code, outputs(tmp_path)) == (1, before)
    assert heard.notices == [
        "2 outputs of an earlier run stay as they are, since their sources cannot be protected "
        f"now: {out}/b.png, {out}/c.png",
        "1 output of an earlier run is outdated; each goes when its picture is done again",
        f"{out}/a.png is from an earlier run and was left as it is",
    ]


def test_a_source_that_can_be_read_again_is_the_owner_of_its_output(tmp_path, fake):
    photos = make_photos(tmp_path / "photos", ["a.jpg", "b.jpg"])
    run(tmp_path)
    content, before = (photos / "a.jpg").read_bytes(), outputs(tmp_path)
    (photos / "a.jpg").write_bytes(b"\xff\xd8\xff")
    run(tmp_path)
    (photos / "a.jpg").write_bytes(content)
    result = run(tmp_path)
    assert (result.exit_code, result.earlier, outputs(tmp_path)) == (0, 2, before)


def test_a_forced_redo_that_fails_leaves_what_was_published(tmp_path, fake, monkeypatch):
    make_photos(tmp_path / "photos", ["bad.jpg", "good.jpg"])
    run(tmp_path)
    before = outputs(tmp_path)
    monkeypatch.setattr(Steps, "write", staticmethod(protecting.failing_write))
    result = run(tmp_path, force=True)
    assert (result.exit_code, outputs(tmp_path)["bad.png"]) == (1, before["bad.png"])
    assert set(outputs(tmp_path)) == {"bad.png", "good.png"}


def test_an_outdated_output_under_an_old_name_goes_unless_somebody_edited_it(tmp_path, fake):
    photos = make_photos(tmp_path / "photos", ["a.jpg", "b.jpg"])
    run(tmp_path)
    make_picture(photos / "a.png", 70)
    assert run(tmp_path).exit_code == 0
    assert set(outputs(tmp_path)) == {"a-2.png", "a.png", "b.png"}
    (tmp_path / "protected" / "b.png").write_bytes(b"edited")
    heard = Heard()
    result = protect(options_for(tmp_path, format="tiff", force=True), heard)
    assert result.outdated == ("a-2.png", "a.png")
    assert f"{tmp_path}/protected/b.png is outdated, was changed since, and was left there" in (
        heard.notices
    )
    assert set(outputs(tmp_path)) == {"a.jpg.tif", "a.png.tif", "b.png", "b.tif"} or set(
        outputs(tmp_path)
    ) == {"a.tif", "a-2.tif", "b.png", "b.tif"}


def test_foreign_files_are_never_replaced_without_force(tmp_path, fake):
    make_photos(tmp_path / "photos")
    (tmp_path / "protected").mkdir()
    (tmp_path / "protected" / "b.png").write_bytes(b"mine")
    with pytest.raises(UsageProblem) as caught:
        run(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/protected/b.png exists and is in no record of unlearn; "
        "choose another --out, or --force to replace it"
    )
    assert outputs(tmp_path) == {"b.png": b"mine"}
    assert not (tmp_path / "protected.unlearn").exists()
    assert run(tmp_path, force=True).exit_code == 0
    assert outputs(tmp_path)["b.png"] != b"mine"


def test_a_foreign_file_in_the_place_of_a_failed_picture_is_named(tmp_path, fake, monkeypatch):
    make_photos(tmp_path / "photos", ["bad.jpg"])
    (tmp_path / "protected").mkdir()
    (tmp_path / "protected" / "bad.png").write_bytes(b"mine")
    monkeypatch.setattr(Steps, "read", staticmethod(lambda _shared, _job: Failure("unreadable")))
    heard = Heard()
    assert protect(options_for(tmp_path, force=True), heard).exit_code == 1
    assert heard.notices == [
        f"{tmp_path}/protected/bad.png is not from unlearn and was left as it is"
    ]
    assert outputs(tmp_path) == {"bad.png": b"mine"}


@pytest.mark.parametrize("force", [True, False])
def test_a_folder_or_file_in_the_way_is_refused_even_with_force(tmp_path, fake, force):
    make_photos(tmp_path / "photos", ["a.jpg", "sub/c.jpg", "sub/d.jpg"])
    (tmp_path / "protected" / "a.png").mkdir(parents=True)
    with pytest.raises(UsageProblem, match=r"a.png exists and is a folder; choose another --out$"):
        run(tmp_path, force=force)
    (tmp_path / "protected" / "a.png").rmdir()
    (tmp_path / "protected" / "sub").touch()
    with pytest.raises(UsageProblem, match=r"sub exists and is no folder; choose another --out$"):
        run(tmp_path, force=force)


def test_a_link_in_the_output_cannot_lead_into_the_source(tmp_path, fake):
    photos = make_photos(tmp_path / "photos", ["cats/a.png"])
    before = tree(photos)
    (tmp_path / "protected").mkdir()
    (tmp_path / "protected" / "cats").symlink_to(photos / "cats")
    with pytest.raises(UsageProblem, match=r"cats exists and is a link; choose another --out$"):
        run(tmp_path, force=True)
    assert tree(photos) == before


def test_a_cut_manifest_costs_one_picture(tmp_path, fake):
    make_photos(tmp_path / "photos")
    run(tmp_path)
    before = outputs(tmp_path)
    path = tmp_path / "protected.unlearn" / "manifest.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    fake.calls.clear()
    heard = Heard()
    result = protect(options_for(tmp_path), heard)
    assert (result.exit_code, result.earlier, len(fake.calls)) == (0, 2, 1)
    assert heard.notices[0] == "Ignored in the manifest: 1 broken line"
    assert outputs(tmp_path) == before


def test_names_that_are_no_text_survive_a_resume(tmp_path, fake):
    photos = tmp_path / "photos"
    make_picture(photos / "a.jpg").rename(photos / os.fsdecode(b"\xff\xfe.jpg"))
    run(tmp_path)
    assert run(tmp_path).earlier == 1
    assert set(outputs(tmp_path)) == {os.fsdecode(b"\xff\xfe.png")}


# --- before anything is written --------------------------------------------------------------


def nothing_written(tmp_path, home):
    return (
        not (tmp_path / "protected").exists()
        and not (tmp_path / "protected.unlearn").exists()
        and list(home.rglob("*")) == []
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_a_dry_run_lists_what_the_real_run_writes_and_writes_nothing(tmp_path, fake, home, workers):
    photos = make_photos(tmp_path / "photos", ["a.jpg", "a.png", "x/b.webp", "x/B.png"])
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (photos / "raw.dng").write_bytes(b"II*\0")
    before = tree(tmp_path)
    options = options_for(tmp_path, dry_run=True, workers=workers)
    dry = protect(options, Heard())
    assert tree(tmp_path) == before | {"fake.safetensors": Path(options.generator).read_bytes()}
    assert nothing_written(tmp_path, home)
    assert fake.calls == []
    real = run(tmp_path)
    assert dry.dry_run
    assert not real.dry_run
    assert {record.out for record in real.protected} == set(outputs(tmp_path))
    assert dry.protected[0].notices == ("or a.jpg.png, if it cannot stay JPEG",)
    written = {record.src: record.out for record in real.protected} | {"a.jpg": "a.jpg"}
    assert {record.src: record.out for record in dry.protected} == written
    assert real.protected[0].out in ("a.jpg", "a.jpg.png")
    assert [(r.src, r.reason) for r in dry.failed] == [(r.src, r.reason) for r in real.failed]
    assert dry.exit_code == real.exit_code == 1
    after = tree(tmp_path)
    again = run(tmp_path, dry_run=True)
    assert (again.earlier, tree(tmp_path)) == (4, after)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rho": Radius.parse("0.5/255")}, "rho 0.5/255 is less than one step"),
        ({"grid": 7}, "--grid 7 is too small; use at least 8"),
        ({"max_side": 15}, "--max-side 15 is too small; use at least 16"),
    ],
)
def test_values_that_make_no_sense_are_refused(tmp_path, changes, message):
    with pytest.raises(UsageProblem, match=message):
        options_for(tmp_path, **changes)


def test_a_run_that_cannot_be_done_is_refused_before_a_model_is_loaded(tmp_path, monkeypatch, home):
    def load_generator(*_args):
        raise AssertionError("loaded")

    monkeypatch.setattr(workflow, "load_generator", load_generator)
    (tmp_path / "photos").mkdir()
    with pytest.raises(NothingFound):
        run(tmp_path)
    make_photos(tmp_path / "photos", [f"{name}/a.jpg" for name in "abcd"])
    with pytest.raises(UsageProblem, match="4 classes"):
        run(tmp_path)
    for dry_run in (True, False):
        with monkeypatch.context() as patch:
            patch.setattr(
                disk_module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 5)
            )
            with pytest.raises(EnvironmentProblem, match=r"Not enough disk: about 3.* kB needed"):
                run(tmp_path, labels="one", dry_run=dry_run)
    (tmp_path / "fake.safetensors").write_bytes(b"nothing")
    with pytest.raises(EnvironmentProblem):
        run(tmp_path, labels="one")
    assert nothing_written(tmp_path, home)


def test_a_generator_that_does_not_load_leaves_nothing_behind(tmp_path, monkeypatch, home):
    def load_generator(*_args):
        raise EnvironmentProblem("broken generator")

    monkeypatch.setattr(workflow, "load_generator", load_generator)
    make_photos(tmp_path / "photos")
    with pytest.raises(EnvironmentProblem, match="broken generator"):
        run(tmp_path)
    assert nothing_written(tmp_path, home)


def test_a_key_that_vanishes_between_two_looks_is_made_once(tmp_path, fake, monkeypatch):
    monkeypatch.setattr(key_module, "_make", lambda _path: None)
    make_photos(tmp_path / "photos", ["a.jpg"])
    with pytest.raises(AssertionError):
        run(tmp_path)


# --- the lock --------------------------------------------------------------------------------


def test_a_second_run_is_told_who_is_writing(tmp_path, fake):
    make_photos(tmp_path / "photos", ["a.jpg"])
    out, records = tmp_path / "protected", tmp_path / "protected.unlearn"
    with locked(out, records):
        with pytest.raises(EnvironmentProblem) as caught:
            run(tmp_path)
        assert str(caught.value) == f"Another unlearn run is writing {out} (pid {os.getpid()})."
        assert run(tmp_path, dry_run=True).exit_code == 0
    lock = FileLock(records / "lock")
    with lock, pytest.raises(EnvironmentProblem) as caught:
        run(tmp_path)
    assert str(caught.value) == f"Another unlearn run is writing {out}."
    assert outputs(tmp_path) == {}
    assert run(tmp_path).exit_code == 0


def test_what_another_run_did_meanwhile_is_not_done_again(tmp_path, monkeypatch):
    make_photos(tmp_path / "photos")
    fake = FakeGenerator()

    def load_generator(*_args):
        monkeypatch.setattr(workflow, "load_generator", lambda *_: (fake, "cpu"))
        run(tmp_path)
        return fake, "cpu"

    monkeypatch.setattr(workflow, "load_generator", load_generator)
    assert run(tmp_path).earlier == 3
    assert len(fake.calls) == 3


def test_records_that_cannot_be_made_are_an_environment_problem(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(EnvironmentProblem, match=r"Cannot make .*choose another --out"),
        locked(tmp_path / "out", tmp_path / "file" / "out.unlearn"),
    ):
        pass


# --- workers ---------------------------------------------------------------------------------


def test_order_grouping_and_workers_do_not_change_a_byte(tmp_path, fake):
    photos = make_photos(tmp_path / "photos", [f"{n}.jpg" for n in range(5)])
    run(tmp_path)
    expected = outputs(tmp_path)
    run(tmp_path, out=tmp_path / "two", workers=2)
    assert tree(tmp_path / "two") == expected
    backwards = sorted(photos.iterdir(), reverse=True)
    run(tmp_path, *backwards, out=tmp_path / "three")
    assert tree(tmp_path / "three") == expected
    for path in backwards:
        run(tmp_path, path, out=tmp_path / "four")
    assert tree(tmp_path / "four") == expected


class Watching(FakeGenerator):
    """Knows how many threads were making noise at the same time, and whether any was another."""

    def __init__(self, parties=1):
        super().__init__()
        self.parties = threading.Barrier(parties, timeout=240)
        self.lock = threading.Lock()
        self.inside = self.most = 0
        self.threads = set()

    def noise_for_picture(self, *arguments):
        with self.lock:
            self.threads.add(threading.current_thread())
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.parties.wait()
        noise = super().noise_for_picture(*arguments)
        with self.lock:
            self.inside -= 1
        return noise


def test_noise_is_made_in_as_many_threads_as_there_are_workers(tmp_path, monkeypatch):
    make_photos(tmp_path / "photos", [f"{n}.jpg" for n in range(6)])
    watching = use(monkeypatch, Watching(2))  # whoever comes alone breaks the barrier
    assert run(tmp_path, workers=2, batch_size=6).exit_code == 0
    assert watching.most == 2
    assert threading.main_thread() not in watching.threads
    assert not any(thread.is_alive() for thread in watching.threads)


@pytest.mark.parametrize(("workers", "device"), [(2, "cuda:0 (bf16)"), (0, "cpu (fp32)")])
def test_an_accelerator_makes_the_noise_of_one_picture_at_a_time(
    tmp_path, monkeypatch, workers, device
):
    make_photos(tmp_path / "photos")
    watching = Watching()
    monkeypatch.setattr(workflow, "load_generator", lambda _path, _device: (watching, device))
    assert run(tmp_path, workers=workers).exit_code == 0
    assert watching.threads == {threading.main_thread()}


def test_whatever_ends_a_thread_is_told_to_who_waits_for_it():
    def end(_job):
        raise SystemExit

    with Pool(0, threads=1) as pool:
        assert isinstance(pool.submit_here(end, None).exception(timeout=240), SystemExit)


def test_few_pictures_are_under_way_at_a_time(tmp_path, monkeypatch, fake):
    under_way = []
    real = pipeline_module.Pipeline._submit

    def submit(self, *arguments):
        real(self, *arguments)
        under_way.append(self._under_way())

    monkeypatch.setattr(pipeline_module.Pipeline, "_submit", submit)
    make_photos(tmp_path / "photos", [f"{n}.jpg" for n in range(12)])
    run(tmp_path)
    assert max(under_way) == Pool(0).capacity == 2


@pytest.mark.slow
def test_a_worker_that_dies_costs_only_the_picture_that_kills_it(tmp_path, monkeypatch, fake):
    monkeypatch.setattr(Steps, "read", staticmethod(protecting.dying_read))
    monkeypatch.setattr(Steps, "write", staticmethod(protecting.dying_write))
    names = ["a.jpg", "b.jpg", "deadly.jpg", "doomed.jpg", "fragile.jpg", "z.jpg"]
    make_photos(tmp_path / "photos", names)
    result = run(tmp_path, workers=2)
    assert {record.src: record.reason for record in result.failed} == {
        "deadly.jpg": f"{DIED}: it took longer than its time limit",  # both end with code 1
        "doomed.jpg": f"{DIED}: it took longer than its time limit",
    }
    assert set(outputs(tmp_path)) == {"a.png", "b.png", "fragile.png", "z.png"}


def test_a_pool_that_breaks_between_two_pictures_is_replaced(tmp_path, monkeypatch, fake):
    real, broken = Pool.submit, iter([True])

    def submit(self, task, job):
        if next(broken, False):
            raise BrokenProcessPool("gone")
        return real(self, task, job)

    monkeypatch.setattr(Pool, "submit", submit)
    make_photos(tmp_path / "photos")
    assert run(tmp_path).exit_code == 0


def test_a_pool_that_breaks_while_a_worker_starts_is_known_as_broken(monkeypatch):
    def submit(*_args):
        raise OSError("handle is closed")

    monkeypatch.setattr(pool_module.ProcessPoolExecutor, "submit", submit)
    with Pool(1) as pool, pytest.raises(BrokenProcessPool):
        pool.submit_shared(worker.read, None)


def test_workers_start_while_the_generator_is_loaded(tmp_path, monkeypatch):
    started = []

    def load(_path, _device):
        started.append(len(multiprocessing.active_children()))
        return FakeGenerator(), "cpu"

    monkeypatch.setattr(workflow, "load_generator", load)
    make_photos(tmp_path / "photos")
    assert run(tmp_path, workers=2).exit_code == 0
    assert started == [2]
    assert not multiprocessing.active_children()


def test_workers_that_have_started_end_where_the_generator_cannot_be_loaded(tmp_path, monkeypatch):
    def load(_path, _device):
        raise EnvironmentProblem("PyTorch cannot be loaded")

    monkeypatch.setattr(workflow, "load_generator", load)
    make_photos(tmp_path / "photos")
    with pytest.raises(EnvironmentProblem, match="PyTorch"):
        run(tmp_path, workers=2)
    assert not multiprocessing.active_children()
    assert not (tmp_path / "protected").exists()


def test_workers_do_not_load_torch():
    code = "import sys, unlearn.protection.worker; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_the_bundled_generator_loads_neither_torchvision_nor_the_compiler():
    code = (
        "import sys; from unlearn.generators.catalogue import resolve\n"
        "from unlearn.protection.run import load_generator\n"
        "load_generator(resolve('base'), 'cpu')\n"
        "sys.exit(str({'torchvision', 'torch._dynamo', 'sympy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert done.stderr.strip() == "set()"


def test_a_worker_ignores_interrupts_and_leaves_with_its_parent(monkeypatch):
    handler = signal.getsignal(signal.SIGINT)
    silenced = []
    monkeypatch.setattr(
        pool_module.os, "dup2", lambda source, target: silenced.append((source, target))
    )
    try:
        pool_module.start_worker()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN

        class Parent:
            def join(self):
                threading.Event().wait()

        monkeypatch.setattr(pool_module.multiprocessing, "parent_process", Parent)
        before = set(threading.enumerate())
        pool_module.start_worker()
        assert len(set(threading.enumerate()) - before) == 1
    finally:
        signal.signal(signal.SIGINT, handler)
    assert [target for _, target in silenced] == [2, 2]
    for source, _ in silenced:
        os.close(source)
    left = []
    monkeypatch.setattr(pool_module.os, "_exit", left.append)
    pool_module._leave_with(lambda: None)
    assert left == [1]


def test_a_system_without_signal_masks_works(tmp_path, monkeypatch, fake):
    monkeypatch.delattr(pool_module.signal, "pthread_sigmask")
    make_photos(tmp_path / "photos", ["a.jpg"])
    assert run(tmp_path, workers=1).exit_code == 0


# --- interruption ----------------------------------------------------------------------------


def test_the_first_interrupt_finishes_what_is_under_way(tmp_path, monkeypatch):
    class Interrupting(FakeGenerator):
        def noise_for_picture(self, *arguments):
            if len(self.calls) == 2:
                signal.raise_signal(signal.SIGINT)
            return super().noise_for_picture(*arguments)

    use(monkeypatch, Interrupting())
    make_photos(tmp_path / "photos", [f"{n}.jpg" for n in range(8)])
    heard = Heard()
    before = signal.getsignal(signal.SIGINT)
    result = protect(options_for(tmp_path, preview=2), heard)
    assert signal.getsignal(signal.SIGINT) is before
    assert (result.exit_code, result.interrupted, result.left) == (130, True, 5)
    assert (len(outputs(tmp_path)), result.previews) == (3, ())
    deadline = time.monotonic() + 240
    while not heard.notices and time.monotonic() < deadline:
        time.sleep(0.01)
    stopping = "Stopping after the pictures under way; press Ctrl-C again to stop at once"
    assert heard.notices == [stopping]


@pytest.mark.parametrize("workers", few([0, 1], 0))
def test_the_second_interrupt_stops_at_once_and_leaves_no_half_file(tmp_path, monkeypatch, workers):
    class Impatient(FakeGenerator):
        def noise_for_picture(self, *arguments):
            if len(self.calls) == 2:
                signal.raise_signal(signal.SIGINT)
                while not heard.notices:
                    time.sleep(0.01)
                (tmp_path / "protected" / ".unlearn-tmp-half").touch()
                signal.raise_signal(signal.SIGINT)
                while True:  # noise that takes longer than anybody waits
                    leave_if_abandoned()  # as pgd does before every pass
                    time.sleep(0.01)
            return super().noise_for_picture(*arguments)

    use(monkeypatch, Impatient())
    make_photos(tmp_path / "photos", [f"{n}.jpg" for n in range(8)])
    heard = Heard()
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        protect(options_for(tmp_path, workers=workers), heard)
    assert set(threading.enumerate()) <= before
    assert not [name for name in outputs(tmp_path) if ".unlearn-tmp" in name]
    monkeypatch.setattr(workflow, "load_generator", lambda *_: (FakeGenerator(), "cpu"))
    assert run(tmp_path).exit_code == 0
    assert len(outputs(tmp_path)) == 8


def test_outside_the_main_thread_interrupts_are_left_alone(tmp_path, fake):
    make_photos(tmp_path / "photos", ["a.jpg"])
    results = []
    thread = threading.Thread(target=lambda: results.append(run(tmp_path)))
    thread.start()
    thread.join()
    assert results[0].exit_code == 0
    with Interruption(lambda: None) as interruption:
        assert not interruption.requested


def command(tmp_path, *more):
    line = [*protecting.PROGRAM, "protect", str(tmp_path / "photos"), "--json"]
    line += ["--out", str(tmp_path / "protected"), "-g", str(tmp_path / "fake.safetensors")]
    return [*line, *more]


def start(tmp_path, delays):
    environment = {**os.environ, "FAKE_DELAY": delays, "PYTHONPATH": str(Path.cwd())}
    return subprocess.Popen(
        command(tmp_path, "--workers", "1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def wait_for_outputs(process, tmp_path, count):
    deadline = time.monotonic() + 240
    while len(list((tmp_path / "protected").glob("[!.]*.png"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def slow_folder(tmp_path, fake):
    """Fifteen pictures, the bytes that they should become, and a generator file."""
    make_photos(tmp_path / "photos", [f"{n:02}.jpg" for n in range(15)])
    options_for(tmp_path)
    run(tmp_path, out=tmp_path / "expected")
    return tree(tmp_path / "expected")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("told", "how"),
    [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM), (os.killpg, signal.SIGHUP)],
)
def test_a_stopped_process_says_how_to_continue_and_does(tmp_path, slow_folder, told, how):
    process = start(tmp_path, "0 0 0 0.5")
    wait_for_outputs(process, tmp_path, 3)
    told(process.pid, how)
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 130, stderr
    answer = json.loads(stdout)
    assert (answer["exit_code"], answer["interrupted"]) == (130, True)
    assert "The same line goes on with what is left" in stderr
    assert "Traceback" not in stderr
    assert "resource_tracker" not in stderr
    done = outputs(tmp_path)
    assert 3 <= len(done) < 15
    assert all(slow_folder[name] == content for name, content in done.items())
    assert run(tmp_path).earlier == len(done)
    assert outputs(tmp_path) == slow_folder


def test_a_killed_process_is_continued_to_the_same_bytes(tmp_path, slow_folder):
    process = start(tmp_path, "0 0 0 240")
    wait_for_outputs(process, tmp_path, 3)
    process.kill()
    process.communicate()
    done = {n: content for n, content in outputs(tmp_path).items() if not n.startswith(".")}
    assert all(slow_folder[name] == content for name, content in done.items())
    (tmp_path / "protected" / ".unlearn-tmp-killed.png").write_bytes(b"half")
    assert run(tmp_path).exit_code == 0
    assert outputs(tmp_path) == slow_folder


def test_a_jpeg_that_holds_too_little_of_the_noise_becomes_png_unless_it_is_to_be_kept(
    tmp_path, fake
):
    make_picture(tmp_path / "photos" / "a.jpg", 1, (160, 120))
    (record,) = run(tmp_path).protected
    (notice,) = record.notices
    assert re.fullmatch(
        r"written as PNG: only [1-4]?\d% of the noise's energy fits into it", notice
    )
    assert set(outputs(tmp_path)) == {"a.png"}
    (kept,) = run(tmp_path, out=tmp_path / "kept", format="keep").protected
    assert set(tree(tmp_path / "kept")) == {"a.jpg"}
    assert 0 < kept.energy < 0.55
    assert kept.linf == 8
