"""Protect with JPEG that stays JPEG: what is written, under which name, and what a rerun does."""

import struct

import numpy as np
import pytest

from tests.support.protecting import (
    Heard,
    SilentGenerator,
    make_photos,
    make_picture,
    manifest_lines,
    options_for,
    tree,
)
from unlearn.errors import UsageProblem
from unlearn.pictures.decoded import Preparation
from unlearn.protection import run as workflow
from unlearn.protection.run import protect
from unlearn.radius import Radius
from unlearn.verification.verdicts import Task, check_pair

LARGE = (320, 240)
FINE = {"quality": 98, "subsampling": 0}  # so that most of the noise fits into a JPEG


pytestmark = pytest.mark.usefixtures("fake")


def run(tmp_path, *inputs, **changes):
    return protect(options_for(tmp_path, *inputs, **changes), Heard())


def outputs(tmp_path):
    return tree(tmp_path / "protected")


def fills(tmp_path):
    """Make a folder with a JPEG that can stay one, one that cannot, and their PNG namesakes."""
    photos = tmp_path / "photos"
    make_picture(photos / "large.jpg", 1, LARGE, **FINE)
    make_picture(photos / "tiny.jpg", 2, quality=20)
    return photos


def states(tmp_path, result):
    """Return the verdict of verify on every written file."""
    return {
        record.out: check_pair(
            Task(
                record.src,
                tmp_path / "photos" / record.src,
                record.out,
                tmp_path / "protected" / record.out,
                record.out_sha256,
            ),
            Radius.of_levels(8),
            Preparation(),
        ).state
        for record in result.protected
    }


def test_auto_keeps_what_it_can_and_writes_the_rest_as_png(tmp_path):
    photos = fills(tmp_path)
    result = run(tmp_path, preview=2)
    assert result.exit_code == 0
    assert set(outputs(tmp_path)) == {"large.jpg", "tiny.png"}
    assert states(tmp_path, result) == {"large.jpg": "ok", "tiny.png": "ok"}
    large, tiny = result.protected
    assert (result.kept, result.fallbacks) == ((large,), (tiny,))
    assert large.passes >= 1
    assert 0.85 <= large.correlation <= 1
    assert 0 < large.energy < 1.5
    ratio = large.bytes / (photos / "large.jpg").stat().st_size
    assert large.size_ratio == pytest.approx(ratio, abs=1e-4)
    too_little = ("the noise that fits into it correlates 0.", "only ")  # it depends on the key
    assert tiny.notices[0].startswith(tuple(f"written as PNG: {words}" for words in too_little))
    assert (tiny.passes, tiny.correlation, tiny.energy) == (None,) * 3
    ratio = tiny.bytes / (photos / "tiny.jpg").stat().st_size
    assert tiny.size_ratio == pytest.approx(ratio, abs=1e-4)
    assert (large.source_format, tiny.source_format, result.left_jpeg) == ("JPEG", "JPEG", (tiny,))
    lines = sorted(manifest_lines(tmp_path / "protected", "image"), key=lambda line: line["src"])
    assert [line["passes"] for line in lines] == [large.passes, None]
    previews = {path.name for path in (tmp_path / "protected.unlearn" / "preview").iterdir()}
    assert previews == {"sheet.png", "page.html"}


def test_keep_fails_what_auto_writes_as_png(tmp_path):
    photos = fills(tmp_path)
    make_picture(photos / "lossy.webp", 3, LARGE, lossless=False)
    make_picture(photos / "exact.webp", 4, LARGE, lossless=True)
    make_picture(photos / "plain.bmp", 5, LARGE)
    make_picture(photos / "t.tiff", 6, LARGE)
    make_picture(photos / "p.png", 7, LARGE)
    result = run(tmp_path, format="keep")
    assert result.exit_code == 1
    names = {"large.jpg", "exact.webp", "plain.bmp", "t.tiff", "p.png"}
    assert set(outputs(tmp_path)) == names
    assert states(tmp_path, result) == dict.fromkeys(names, "ok")
    reasons = {record.src: record.reason for record in result.failed}
    assert reasons.keys() == {"tiny.jpg", "lossy.webp"}
    assert reasons["lossy.webp"] == ("lossy WebP cannot be kept within the bound; use --format png")
    assert reasons["tiny.jpg"].startswith("cannot stay JPEG (the noise that fits into it corr")
    assert reasons["tiny.jpg"].endswith("); use --format png")
    assert run(tmp_path, format="keep").earlier == 5


def test_bmp_with_transparency_is_written_as_png_and_says_so(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    pixels = np.random.default_rng(0).integers(1, 256, (20, 30, 4), np.uint8).tobytes()
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)  # of a header that knows of transparency
    head = struct.pack("<IiiHHIIiiII", 108, 30, 20, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    head += struct.pack("<IIIII48x", *masks, 0x73524742)
    start = struct.pack("<2sIII", b"BM", 14 + len(head) + len(pixels), 0, 14 + len(head))
    (photos / "a.bmp").write_bytes(start + head + pixels)
    result = run(tmp_path, format="keep")
    assert set(outputs(tmp_path)) == {"a.png"}
    assert result.protected[0].notices == (
        "written as PNG: transparency is not kept by every reader of BMP",
    )


def test_a_name_held_ready_never_takes_the_place_of_another(tmp_path):
    photos = fills(tmp_path)
    make_picture(photos / "tiny.png", 8)
    make_picture(photos / "tiny.jpg.png", 9)
    make_picture(photos / "TINY.webp", 10, lossless=False)
    result = run(tmp_path)
    assert result.exit_code == 0
    written = {record.src: record.out for record in result.protected}
    assert written == {
        "large.jpg": "large.jpg",
        "tiny.jpg": "tiny.jpg-2.png",
        "tiny.png": "tiny.png",
        "tiny.jpg.png": "tiny.jpg.png",
        "TINY.webp": "TINY.webp.png",
    }
    assert set(states(tmp_path, result).values()) == {"ok"}


@pytest.mark.parametrize("name", ["large.png", "tiny.png", "large.jpg"])
def test_a_strange_file_under_any_planned_name_stops_the_run(tmp_path, name):
    fills(tmp_path)
    (tmp_path / "protected").mkdir()
    (tmp_path / "protected" / name).write_bytes(b"mine")
    with pytest.raises(UsageProblem, match=rf"{name} exists and is in no record of unlearn"):
        run(tmp_path)
    assert outputs(tmp_path) == {name: b"mine"}


def test_a_finished_fallback_is_finished(tmp_path, fake):
    fills(tmp_path)
    run(tmp_path)
    before = outputs(tmp_path)
    calls = len(fake.calls)
    again = run(tmp_path)
    assert (again.earlier, again.exit_code, len(fake.calls)) == (2, 0, calls)
    assert outputs(tmp_path) == before
    (tmp_path / "protected" / "tiny.png").unlink()
    once_more = run(tmp_path)
    assert (once_more.earlier, outputs(tmp_path)) == (1, before)


def test_a_source_that_can_stay_jpeg_at_last_leaves_no_png_behind(tmp_path):
    photos = fills(tmp_path)
    run(tmp_path)
    make_picture(photos / "tiny.jpg", 11, LARGE, **FINE)
    result = run(tmp_path)
    assert set(outputs(tmp_path)) == {"large.jpg", "tiny.jpg"}
    assert result.outdated == ("tiny.png",)
    make_picture(photos / "tiny.jpg", 12, quality=20)
    assert run(tmp_path).outdated == ("tiny.jpg",)
    assert set(outputs(tmp_path)) == {"large.jpg", "tiny.png"}


def test_another_format_is_refused_and_forced_it_replaces_the_old_names(tmp_path):
    fills(tmp_path)
    run(tmp_path)
    with pytest.raises(UsageProblem, match="format auto, you asked png"):
        run(tmp_path, format="png")
    run(tmp_path, format="png", force=True)
    assert set(outputs(tmp_path)) == {"large.png", "tiny.png"}
    assert run(tmp_path, format="png").earlier == 2
    run(tmp_path, force=True)
    assert set(outputs(tmp_path)) == {"large.jpg", "tiny.png"}


def test_a_name_that_was_held_ready_in_vain_belongs_to_nobody(tmp_path):
    photos = fills(tmp_path)
    run(tmp_path)
    mine = tmp_path / "protected" / "large.png"
    mine.write_bytes(b"mine")
    assert run(tmp_path).earlier == 2
    make_picture(photos / "large.jpg", 13, LARGE, **FINE)
    with pytest.raises(UsageProblem, match=r"large\.png exists and is in no record of unlearn"):
        run(tmp_path)
    assert mine.read_bytes() == b"mine"


def test_names_begun_before_a_crash_are_ours(tmp_path):
    fills(tmp_path)
    run(tmp_path)
    manifest = tmp_path / "protected.unlearn" / "manifest.jsonl"
    lines = manifest.read_text().splitlines(keepends=True)
    crashed = [line for line in lines if '"image"' not in line]
    assert sum('"begin"' in line for line in crashed) == 4
    manifest.write_text("".join(crashed))
    (tmp_path / "protected" / "large.png").write_bytes(b"half written")
    result = run(tmp_path)
    assert result.exit_code == 0
    assert set(outputs(tmp_path)) == {"large.jpg", "tiny.png"}


def test_a_source_that_fails_at_last_leaves_what_it_has_published(tmp_path, monkeypatch):
    fills(tmp_path)
    run(tmp_path)
    before = outputs(tmp_path)
    silent = SilentGenerator()
    monkeypatch.setattr(workflow, "load_generator", lambda _path, _device: (silent, "cpu"))
    result = run(tmp_path, force=True)
    assert {record.reason for record in result.failed} == {
        "nothing changed: the noise is invisible to this picture"
    }
    assert outputs(tmp_path) == before


@pytest.mark.slow
def test_bytes_depend_on_neither_workers_nor_order(tmp_path, monkeypatch):
    photos = fills(tmp_path)
    make_picture(photos / "other.jpg", 14, LARGE, quality=97, subsampling=0)
    first = run(tmp_path, out=tmp_path / "one")
    run(tmp_path, out=tmp_path / "two", workers=2)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    run(tmp_path, photos / "other.jpg", out=tmp_path / "three")
    assert tree(tmp_path / "three")["other.jpg"] == tree(tmp_path / "one")["other.jpg"]
    assert len(first.kept) == 2


def test_what_is_shrunk_becomes_png_or_fails(tmp_path):
    make_picture(tmp_path / "photos" / "large.jpg", 1, LARGE, **FINE)
    result = run(tmp_path, max_side=100)
    assert set(outputs(tmp_path)) == {"large.png"}
    assert result.fallbacks[0].notices == (
        "written as PNG: it is shrunk, so that nothing is left of how its source was stored",
    )
    kept = run(tmp_path, out=tmp_path / "kept", max_side=100, format="keep")
    assert kept.failed[0].reason == (
        "cannot stay JPEG (it is shrunk, so that nothing is left of how its source was stored); "
        "use --format png"
    )
    assert tree(tmp_path / "kept") == {}
    assert run(tmp_path, out=tmp_path / "same", max_side=320).kept


def test_a_dry_run_names_what_may_become_png(tmp_path):
    make_photos(tmp_path / "photos", ["a.jpg", "a.png", "b.jpg"])
    dry = run(tmp_path, dry_run=True)
    assert [(record.out, record.notices) for record in dry.protected] == [
        ("a.jpg", ("or a.jpg.png, if it cannot stay JPEG",)),
        ("a.png", ()),
        ("b.jpg", ("or b.png, if it cannot stay JPEG",)),
    ]


def test_a_bmp_that_may_become_png_is_estimated_as_bmp(tmp_path):
    make_picture(tmp_path / "photos" / "plain.bmp", 5, (200, 100))
    result = run(tmp_path, format="keep", dry_run=True)
    assert result.needed_bytes == 200 * 100 * 3


def test_a_jpeg_that_lacks_only_its_last_two_bytes_stays_jpeg(tmp_path):
    whole = make_picture(tmp_path / "photos" / "whole.jpg", 1, LARGE, **FINE)
    cut = tmp_path / "photos" / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[:-2])
    result = run(tmp_path, tmp_path / "photos")
    assert not result.failed
    assert {record.out for record in result.kept} == {"cut.jpg", "whole.jpg"}
    assert states(tmp_path, result) == {"cut.jpg": "ok", "whole.jpg": "ok"}


def test_another_key_gives_another_jpeg(tmp_path):
    photos = tmp_path / "photos"
    make_picture(photos / "large.jpg", 1, LARGE, **FINE)
    for number in range(2):
        (tmp_path / "key").write_bytes(bytes([number]) * 32)
        run(tmp_path, out=tmp_path / f"{number}", key=tmp_path / "key")
    one, other = (tree(tmp_path / f"{number}") for number in range(2))
    assert set(one) == set(other) == {"large.jpg"}
    assert one != other
