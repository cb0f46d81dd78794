"""What is protected already is noticed, and files keep their times where that is asked for."""

import os
import shutil

import pytest

from tests.support.protecting import Heard, make_photos, make_picture, options_for
from unlearn.protection.run import protect

TIME = 1_577_923_200_123_456_700


pytestmark = pytest.mark.usefixtures("fake")


def run(tmp_path, *inputs, **changes):
    return protect(options_for(tmp_path, *inputs, **changes), Heard())


def test_outputs_of_an_earlier_run_are_refused_wherever_under_its_folder(tmp_path):
    make_photos(tmp_path / "photos")
    first = tmp_path / "protected"
    assert run(tmp_path, tmp_path / "photos", out=first).exit_code == 0
    (first / "a.png").rename(first / "renamed.png")
    make_picture(first / "new.png", 7)
    for inputs in ([first], [first / "sub"], [first / "renamed.png"]):
        result = run(tmp_path, *inputs, out=tmp_path / "second")
        assert result.exit_code == 1
        assert {record.reason for record in result.failed} == {
            f"is protected already (see {tmp_path / 'protected.unlearn' / 'manifest.jsonl'}); "
            "with a second noise it may be over the bound. Protect the original, or use --again"
        }
    result = run(tmp_path, first, out=tmp_path / "third")
    assert [record.src for record in result.protected] == ["new.png"]
    assert len(result.failed) == 3


def test_outputs_are_known_under_another_name_of_their_folder_and_in_another_folder(tmp_path):
    make_photos(tmp_path / "photos")
    first = tmp_path / "protected"
    run(tmp_path, tmp_path / "photos", out=first)
    (tmp_path / "web" / "2026").mkdir(parents=True)
    shutil.copy(first / "a.png", tmp_path / "web" / "2026" / "copied.png")
    first.rename(tmp_path / "published")
    for folder, count in (("published", 3), ("web", 1)):
        result = run(tmp_path, tmp_path / folder, out=tmp_path / "second")
        reasons = [record.reason for record in result.failed]
        assert [reason.startswith("is protected already") for reason in reasons] == [True] * count
        assert not result.protected
    (tmp_path / "protected.unlearn").rename(tmp_path / "elsewhere")
    assert run(tmp_path, tmp_path / "published", out=tmp_path / "second").exit_code == 0


def test_a_folder_beside_that_cannot_be_read_is_no_manifest(tmp_path):
    make_photos(tmp_path / "photos")
    (tmp_path / "a.unlearn" / "manifest.jsonl").mkdir(parents=True)
    (tmp_path / "b.unlearn").write_text("no folder")
    assert run(tmp_path, tmp_path / "photos", out=tmp_path / "second").exit_code == 0


def test_again_protects_what_is_protected(tmp_path):
    make_photos(tmp_path / "photos")
    first = tmp_path / "protected"
    run(tmp_path, tmp_path / "photos", out=first)
    result = run(tmp_path, first, out=tmp_path / "second", again=True)
    assert (result.exit_code, len(result.protected)) == (0, 3)


def test_a_picture_edited_since_is_another_picture(tmp_path):
    make_photos(tmp_path / "photos")
    first = tmp_path / "protected"
    run(tmp_path, tmp_path / "photos", out=first)
    make_picture(first / "b.png", 9)
    result = run(tmp_path, first / "b.png", out=tmp_path / "second")
    assert result.exit_code == 0


def test_a_source_is_no_output_of_its_own_run(tmp_path):
    photos = make_photos(tmp_path / "photos")
    run(tmp_path, photos)
    assert run(tmp_path, photos).earlier == 3
    shutil.copytree(photos, tmp_path / "protected2")
    assert run(tmp_path, tmp_path / "protected2", out=tmp_path / "x").exit_code == 0


def test_times_are_kept_where_that_is_asked_for(tmp_path):
    photos = make_photos(tmp_path / "photos")
    for path in photos.rglob("*.*"):
        os.utime(path, ns=(TIME, TIME))
    kept = run(tmp_path, photos, out=tmp_path / "kept", times="keep")
    for record in kept.protected:
        assert (kept.out / record.out).stat().st_mtime_ns == TIME
    now = run(tmp_path, photos, out=tmp_path / "now")
    for record in now.protected:
        assert (now.out / record.out).stat().st_mtime_ns > TIME
