"""Many pictures: what each costs in memory, and how few are under way at a time."""

import os
import tracemalloc

import pytest
from PIL import Image

from tests.support.protecting import (
    FakeGenerator,
    Heard,
    make_picture,
    manifest_lines,
    options_for,
)
from unlearn.pictures.sniff import picture_size
from unlearn.protection import owners
from unlearn.protection import run as workflow
from unlearn.protection.manifest import ManifestWriter, PictureRecord, read_part, records_in
from unlearn.protection.owners import in_threads
from unlearn.protection.plan import make_plan

MANY = 2000


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos" / "an-ordinary-name-of-a-folder"
    first = make_picture(folder / "IMG_2024_000000.jpg", size=(48, 36))
    for number in range(1, MANY):
        os.link(first, folder / f"IMG_2024_{number:06}.jpg")
    return tmp_path / "photos"


def test_a_planned_picture_takes_less_than_half_a_kilobyte(tmp_path, photos):
    request = options_for(tmp_path, photos).request
    make_plan(request)  # what is loaded and kept once
    tracemalloc.start()
    plan = make_plan(request)
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(plan.pictures) == MANY
    assert kept / MANY < 420
    assert most / MANY < 760


def test_a_record_of_the_manifest_takes_less_than_two_kilobytes(tmp_path):
    writer = ManifestWriter(tmp_path)
    for number in range(MANY):
        name = f"an-ordinary-name-of-a-folder/IMG_2024_{number:06}.jpg"
        sums = [f"{number:064x}", f"{number + 1:064x}"]
        writer.record(
            PictureRecord(
                src=name,
                origin=f"/data/photos/{name}",
                status="ok",
                src_sha256=sums[0],
                out=name,
                out_sha256=sums[1],
                size=(4000, 3000),
                label="cat",
                mode="RGB",
                settings="0123456789abcdef",
                linf=8,
                psnr=32.5 + number,
                notices=("where it was taken is kept",),
            )
        )
    read_part(tmp_path, None)
    tracemalloc.start()
    manifest = read_part(tmp_path, None)
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(manifest.records) == MANY
    assert most / MANY < 2000
    assert kept <= most
    one, two, *_ = manifest.records.values()
    assert one.notices is two.notices


def test_records_are_read_one_by_one_and_what_is_broken_is_passed_over(tmp_path):
    writer = ManifestWriter(tmp_path)
    writer.begin("a.png", "a.png")
    writer.record(PictureRecord(src="a.png", status="failed"))
    with (tmp_path / "manifest.jsonl").open("a") as file:
        file.write('{"type": "image", "src": 3}\n{"type": "ima')
    assert [record.src for record in records_in(tmp_path)] == ["a.png"]


def test_work_in_threads_keeps_its_order_and_is_not_all_begun_at_once():
    begun = []

    def work(number):
        begun.append(number)
        return 2 * number

    results = in_threads(work, range(5000))
    assert next(results) == 0
    assert len(begun) <= 1000
    assert [0, *results] == [2 * number for number in range(5000)]


@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"exif": b"Exif\0\0" + bytes(60_000)}])
def test_the_size_of_a_jpeg_is_what_pillow_says(tmp_path, how):
    path = make_picture(tmp_path / "a.jpg", size=(45, 31), **how)
    data = path.read_bytes()
    for content in (data, data[:2] + b"\xff" + data[2:]):
        path.write_bytes(content)
        with path.open("rb") as file, Image.open(path) as image:
            assert picture_size(file) == image.size == (45, 31)
    path.write_bytes(data[:30])
    with path.open("rb") as file:
        assert picture_size(file) is None


def test_going_on_with_many_writes_each_of_them_once(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(workflow, "load_generator", lambda _path, _device: (FakeGenerator(), "cpu"))
    monkeypatch.setattr(owners, "_UNDER_WAY", 3)
    some = {"include": ("*00000?.jpg",), "format": "png"}
    for _ in range(2):
        result = workflow.protect(options_for(tmp_path, photos, **some), Heard())
    assert result.earlier == len(result.protected) == 10
    assert len(manifest_lines(tmp_path / "protected", "image")) == 10
