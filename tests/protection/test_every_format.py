"""Whole runs over folders of every format: protected, verified, and accounted for."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from tests.support.corpus import CORPUS, READABLE, values
from tests.support.made_heic import coded, made_heic, picture_properties
from tests.support.made_pictures import jpeg_segments, made_file, saved
from tests.support.protecting import FakeGenerator, manifest_lines, options_for, tree
from unlearn.cli.app import run
from unlearn.cli.notice_text import REMOVED, notice_lines
from unlearn.pictures.decoded import Preparation
from unlearn.pictures.read import prepare
from unlearn.protection import run as workflow
from unlearn.protection.events import ProtectReport
from unlearn.protection.manifest import PictureRecord
from unlearn.protection.run import protect
from unlearn.protection.worker import Finished, Shared, preview
from unlearn.verification.options import VerifyOptions
from unlearn.verification.run import verify

SIZE = (40, 30)


@pytest.fixture(autouse=True)
def fake_generator(monkeypatch):
    monkeypatch.setattr(workflow, "load_generator", lambda *_: (FakeGenerator(), "cpu"))


def silent(*_):
    """Hear nothing."""


def protected(tmp_path, **changes) -> ProtectReport:
    return protect(options_for(tmp_path, **changes), silent)


def test_a_folder_of_every_kind_is_protected_and_verified(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    cells = {name: CORPUS[name] for name in READABLE}
    for name, cell in cells.items():
        (photos / name).with_suffix(".jpg").write_bytes(cell.make(SIZE, 1))  # a name may say what
    before = tree(photos)
    result = protected(tmp_path)
    assert not result.failed
    assert len(result.protected) == len(cells)
    assert tree(photos) == before
    records = {record.src.removesuffix(".jpg"): record for record in result.protected}
    assert {n: r.mode for n, r in records.items()} == {n: c.mode for n, c in cells.items()}
    assert max(record.linf for record in result.protected) == 8
    checked = verify(photos, tmp_path / "protected", VerifyOptions(workers=1))
    assert checked.ok, [check for check in checked.checks if check.state != "ok"]
    assert len(checked.checks) == len(cells)


def test_the_first_of_several_pictures_in_a_heic_is_protected_and_the_others_named(tmp_path):
    burst = [values(SIZE, 3, seed) for seed in range(3)]
    items = [(b"hvc1", coded(one), picture_properties(one), 0) for one in burst[1:]]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "burst.heic").write_bytes(made_heic(burst[0], items=items))
    (record,) = protected(tmp_path).protected
    assert (record.linf, record.dropped) == (8, ("other-copy",))
    assert verify(tmp_path / "photos", tmp_path / "protected", VerifyOptions(workers=1)).ok


def test_verify_finds_one_step_of_16_bits_too_much(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(np.full((30, 40), 30_000, np.uint16)).save(photos / "a.png")
    assert not protected(tmp_path).failed
    out = tmp_path / "protected" / "a.png"
    clean = np.asarray(Image.open(photos / "a.png")).astype(np.uint16)
    for more, state in ((0, "changed"), (1, "over")):
        spoiled = clean.copy()
        spoiled[3, 5] += 257 * 8 + more
        Image.fromarray(spoiled).save(out)
        (check,) = verify(photos, out.parent, VerifyOptions(workers=1)).checks
        assert check.state == state
        assert (check.linf, check.worst) == (8 + more, (5, 3, 0))
    assert check.reason == "9/255 at x 5, y 3, grey; allowed 8/255"


def test_the_preview_of_16_bits_shows_8(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    grey = values((300, 260), 1, 1, np.uint16)[..., 0] // 2 + 20_000
    Image.fromarray(grey.astype(np.uint16)).save(photos / "a.tif")
    assert not protected(tmp_path).failed
    out = tmp_path / "protected" / "a.tif"
    shared = Shared(out=out, preparation=Preparation(), grid=16, levels=8, metadata="keep")
    shown = preview(shared, Finished(source=photos / "a.tif", protected=out, name="a"))
    assert set(np.unique(abs(shown.noise.astype(int) - 128))) <= {10 * n for n in range(9)}
    left = prepare(photos / "a.tif", Preparation()).pixels
    assert shown.original[0, 0, 0] == round(int(left[0, 0, 0]) / 257)


def test_what_a_person_should_know_is_in_the_account(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    credentials = jpeg_segments(made_file("jpeg", SIZE), (0xEB, b"JP\0\1jumb"))
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"):
        (photos / name).write_bytes(credentials)
    (photos / "deep.tif").write_bytes(CORPUS["tiff-16bit-rgb"].make(SIZE, 1))
    (photos / "ink.jpg").write_bytes(CORPUS["jpeg-cmyk"].make(SIZE, 1))
    options = options_for(tmp_path)
    line = ["protect", "photos", "-o", "protected", "-g", str(options.generator)]
    assert run([*line, "--workers", "0"]) == 0
    lines = capsys.readouterr().out.split("\n")
    at = next(n for n, line in enumerate(lines) if line.startswith("  Notice"))
    assert lines[at : at + 3] == [
        f"  Notice             4  {REMOVED}: a.jpg, b.jpg, c.jpg and 1 more",
        "                     1  16-bit colour is reduced to 8 bit: deep.tif",
        "                     1  CMYK colour without a usable profile was converted plainly; "
        "colours may shift: ink.jpg",
    ]


def test_a_notice_is_counted_once_a_picture_and_printable():
    record = PictureRecord(src="a\n", status="ok", notices=("one\x1b", "one\x1b", "two"))
    assert list(notice_lines([record])) == [(1, "one\\x1b: a\\n"), (1, "two: a\\n")]
    assert list(notice_lines([])) == []


def test_a_heic_and_what_was_beside_it_are_in_the_manifest(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    beside = [(b"tmap", bytes(20), [], 0)]
    (photos / "a.HEIC").write_bytes(made_heic(values(SIZE, 3), items=beside))
    assert not protected(tmp_path).failed
    (line,) = manifest_lines(tmp_path / "protected", "image")[-1:]
    assert line["dropped"] == ["gain-map"]
    assert (line["out"], line["mode"]) == ("a.png", "RGB")


def test_a_run_over_broken_pictures_protects_what_it_can(test_data, tmp_path):
    """Every nasty file is protected within the bound or has a reason; no worker dies."""
    folder = test_data / "nasty-images"
    if not folder.is_dir():
        pytest.skip("UNLEARN_TEST_DATA has no nasty-images")
    before = tree(folder)
    result = protected(tmp_path, inputs=(str(folder),), labels="one", workers=2)
    assert tree(folder) == before
    assert not [record for record in result.failed if "died" in record.reason]
    assert not [record for record in result.failed if "unexpected" in record.reason]
    checked = verify(folder, tmp_path / "protected", VerifyOptions(workers=2))
    states = Counter(check.state for check in checked.checks)
    assert states == {"ok": len(result.protected), "missing": len(result.failed)}
    assert len(result.protected) > 80


def test_a_palette_that_loses_its_transparency_keeps_it(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    image = Image.fromarray(values(SIZE, 1)[..., 0] % 4)
    image.putpalette(range(12))
    (photos / "a.gif").write_bytes(saved(image, "GIF", transparency=2, optimize=False))
    assert not protected(tmp_path).failed
    with Image.open(tmp_path / "protected" / "a.png") as shown:
        clear = np.asarray(shown)[..., 3] == 0
    assert (clear == (np.asarray(image) == 2)).all()
