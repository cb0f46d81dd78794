"""The manifest: what was appended comes back, and what a crash or a stranger left does no harm."""

import errno
import json
import os
from dataclasses import replace
from io import FileIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn.errors import EnvironmentProblem
from unlearn.files import journal
from unlearn.protection.manifest import (
    FILE_NAME,
    ManifestWriter,
    PictureRecord,
    RunHeader,
    manifest_bytes,
    read_manifest,
)

HEADER = RunHeader(
    tool="0.1.0",
    torch="2.15.0",
    pillow="13.0.0",
    generator="base",
    generator_sha256="ab" * 32,
    rho="8/255",
    seed=0,
    labels="folders",
    format="auto",
    metadata="keep",
    max_side=None,
    grid=64,
    noise=1,
    key="0123456789ab",
    device="cpu",
    inputs=("/home/me/photos",),
    argv=("protect", "photos"),
    started="2026-11-22T10:00:00Z",
)
RECORD = PictureRecord(
    src="cats/1.jpg",
    status="ok",
    src_sha256="12" * 32,
    out="cats/1.png",
    out_sha256="34" * 32,
    size=(640, 480),
    mode="RGB",
    label="cats",
    settings="5678",
    linf=8,
    mean_abs=5.5,
    psnr=33.1,
    bytes=12345,
    dropped=("thumbnail",),
    notices=("a note",),
    ms=17,
)
any_bytes_name = st.binary(min_size=1, max_size=30).map(os.fsdecode)
names = st.one_of(st.text(min_size=1), any_bytes_name).map(lambda text: "a" + text.replace("/", ""))
records = st.builds(
    PictureRecord,
    src=names,
    status=st.just("ok"),
    reason=st.none() | st.text(),
    src_sha256=st.text(),
    out=names,
    out_sha256=st.text(min_size=1),
    size=st.none() | st.tuples(st.integers(), st.integers()),
    label=st.text(),
    linf=st.integers(),
    psnr=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    dropped=st.lists(st.text()).map(tuple),
    notices=st.lists(st.text()).map(tuple),
)


def write(folder, *things):
    writer = ManifestWriter(folder)
    for thing in things:
        if isinstance(thing, RunHeader):
            writer.header(thing)
        else:
            writer.record(thing)


def test_what_was_written_comes_back(tmp_path):
    write(tmp_path, HEADER, RECORD)
    manifest = read_manifest(tmp_path)
    assert manifest.header == HEADER
    assert manifest.records == {"cats/1.jpg": RECORD}
    assert manifest.outputs == {"cats/1.png": RECORD}
    assert manifest.broken_lines == 0
    assert manifest.bytes == manifest_bytes(tmp_path) == (tmp_path / FILE_NAME).stat().st_size


@given(st.lists(records, max_size=4))
def test_any_records_come_back(these):
    with TemporaryDirectory() as folder:
        write(Path(folder), *these)
        manifest = read_manifest(Path(folder))
    assert manifest.records == {record.src: record for record in these}
    assert manifest.broken_lines == 0


def test_lines_have_the_documented_fields(tmp_path):
    write(tmp_path, HEADER, RECORD, PictureRecord(src="b.jpg", status="failed", reason="truncated"))
    run, image, failed = map(json.loads, (tmp_path / FILE_NAME).read_text().splitlines())
    assert run["type"] == "run"
    assert run["v"] == 1
    assert run["generator"] == {"name": "base", "sha256": "ab" * 32}
    assert "generator_sha256" not in run
    assert (image["type"], image["bound"], image["linf"], image["linf_decoded"]) == (
        "image",
        "exact",
        8,
        8,
    )
    assert (failed["status"], failed["reason"], failed["out"], failed["bound"]) == (
        "failed",
        "truncated",
        None,
        None,
    )


def test_a_missing_manifest_is_empty(tmp_path):
    manifest = read_manifest(tmp_path)
    assert (manifest.header, manifest.records, manifest.bytes) == (None, {}, 0)


def test_the_last_word_on_a_source_counts_and_old_outputs_stay_ours(tmp_path):
    write(tmp_path, RECORD, PictureRecord(src="cats/1.jpg", status="failed", reason="truncated"))
    manifest = read_manifest(tmp_path)
    assert manifest.records["cats/1.jpg"].status == "failed"
    assert manifest.outputs == {"cats/1.png": RECORD}


def test_a_name_belongs_to_whoever_began_it_last(tmp_path):
    write(tmp_path, HEADER, replace(RECORD, origin="/home/me/photos/cats/1.jpg"))
    ManifestWriter(tmp_path).begin("cats/1.jpg", "cats/1.png", "/home/me/others/cats/1.jpg")
    manifest = read_manifest(tmp_path)
    assert manifest.owners == {"cats/1.png": ("cats/1.jpg", "/home/me/others/cats/1.jpg")}
    assert manifest.outputs == {"cats/1.png": None}


def test_an_output_that_was_begun_is_ours(tmp_path):
    writer = ManifestWriter(tmp_path)
    writer.begin("cats/1.jpg", "cats/1.png")
    assert read_manifest(tmp_path).outputs == {"cats/1.png": None}
    writer = ManifestWriter(tmp_path)
    writer.record(RECORD)
    writer.begin("cats/1.jpg", "cats/1.png")
    assert read_manifest(tmp_path).outputs == {"cats/1.png": RECORD}


@pytest.mark.parametrize("cut", [1, 2, 40, 200])
def test_a_cut_last_line_costs_one_line_and_the_next_run_appends_behind_it(tmp_path, cut):
    other = PictureRecord(src="b.jpg", status="failed", reason="truncated")
    write(tmp_path, HEADER, other, RECORD)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:-cut])
    expected = 0 if cut == 1 else 1  # without its line break alone a line is whole
    manifest = read_manifest(tmp_path)
    assert manifest.broken_lines == expected
    assert set(manifest.records) == ({"b.jpg"} if expected else {"b.jpg", "cats/1.jpg"})
    write(tmp_path, RECORD)
    manifest = read_manifest(tmp_path)
    assert manifest.broken_lines == expected
    assert manifest.records["cats/1.jpg"] == RECORD


@pytest.mark.parametrize(
    "line",
    [
        "",
        "null",
        "[]",
        "17",
        '"text"',
        "{}",
        '{"type": "run"}',
        '{"type": "run", "v": 1, "generator": 3}',
        '{"type": "image", "src": "a"}',
        '{"type": "begin"}',
        '{"type": "begin", "out": 3}',
        "[" * 100_000,
        json.dumps({**HEADER.to_line(), "v": 0}),
        json.dumps({**RECORD.to_line(), "out": "../../etc/passwd"}),
        json.dumps({**RECORD.to_line(), "out": "/etc/passwd"}),
        json.dumps({**RECORD.to_line(), "out": "."}),
        json.dumps({**RECORD.to_line(), "out": None}),
        json.dumps({**RECORD.to_line(), "out": ["a"]}),
        json.dumps({**RECORD.to_line(), "src": ["a"]}),
        json.dumps({**RECORD.to_line(), "size": 3}),
        json.dumps({**RECORD.to_line(), "linf": "8"}),
        json.dumps({**RECORD.to_line(), "psnr": [33.1]}),
        json.dumps({**RECORD.to_line(), "notices": [None]}),
        json.dumps({**HEADER.to_line(), "generator": {"name": "base", "sha256": 5}}),
        json.dumps({**HEADER.to_line(), "inputs": [["a"]]}),
        json.dumps({**HEADER.to_line(), "grid": None}),
        json.dumps({"type": "begin", "src": "a", "out": "../a"}),
    ],
)
def test_a_line_that_is_none_is_skipped_and_counted(tmp_path, line):
    (tmp_path / FILE_NAME).write_text(f"{line}\n")
    write(tmp_path, RECORD)
    manifest = read_manifest(tmp_path)
    assert manifest.broken_lines == 1
    assert manifest.outputs == {"cats/1.png": RECORD}


def test_a_line_of_a_later_version_with_an_unknown_type_is_no_error(tmp_path):
    (tmp_path / FILE_NAME).write_text('{"type": "note", "text": "hello"}\n')
    assert read_manifest(tmp_path).broken_lines == 0


def test_each_line_is_on_disk_before_the_next(tmp_path):
    writer = ManifestWriter(tmp_path)
    writer.record(RECORD)
    assert read_manifest(tmp_path).records == {"cats/1.jpg": RECORD}


@pytest.mark.parametrize("room", [0, 10])
def test_a_full_disk_costs_the_lines_that_did_not_fit(tmp_path, monkeypatch, room):
    class FullDisk(FileIO):
        """Takes so many bytes more, then none until `room` is made."""

        room = None

        def write(self, data):
            if self.room is None:
                return super().write(data[:7])  # what a slow disk may do at any time
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            taken, FullDisk.room = self.room, 0
            return super().write(data[:taken])

    monkeypatch.setattr(journal, "FileIO", FullDisk)
    others = [replace(RECORD, src=name) for name in ("cats/2.jpg", "cats/3.jpg")]
    writer = ManifestWriter(tmp_path)
    writer.record(RECORD)
    FullDisk.room = room
    for _ in range(2):
        with pytest.raises(EnvironmentProblem, match=f"{FILE_NAME}: No space left on device"):
            writer.record(others[0])
    FullDisk.room = None
    writer.record(others[1])
    found = read_manifest(tmp_path)
    assert list(found.records) == ["cats/1.jpg", "cats/3.jpg"]
    assert found.broken_lines == (1 if room else 0)
