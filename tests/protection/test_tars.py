"""Tars of samples through `protect`, `verify` and the readers of data sets."""

import gc
import gzip
import io
import json
import os
import random
import signal
import subprocess
import tarfile
import time
import warnings

import numpy as np
import pytest
from PIL import Image

from tests.support.protecting import (
    Heard,
    failing_write,
    make_picture,
    manifest_lines,
    options_for,
    protect_line,
    tree,
)
from tests.support.tars import (
    entry,
    make_shards,
    picture_bytes,
    read_members,
    sample,
    write_tar,
)
from unlearn.audits.copies import make_files
from unlearn.audits.pictures import gather
from unlearn.cli.app import run as command_line
from unlearn.datasets.folders import load_labelled
from unlearn.errors import NothingFound, UsageProblem
from unlearn.protection.merge import merge
from unlearn.protection.run import protect
from unlearn.protection.shards import Shard
from unlearn.protection.steps import Steps
from unlearn.verification.options import VerifyOptions
from unlearn.verification.run import verify

pytestmark = pytest.mark.usefixtures("fake")


def run(tmp_path, *inputs, heard=None, **changes):
    inputs = inputs or (tmp_path / "shards",)
    return protect(options_for(tmp_path, *inputs, **changes), Heard() if heard is None else heard)


def copies(tmp_path, out="protected"):
    return {path.name: read_members(path) for path in sorted((tmp_path / out).rglob("*.tar"))}


def checks(tmp_path, source=None, out="protected"):
    found = verify(source, tmp_path / out, VerifyOptions(workers=1)).checks
    return {(check.source or check.output, check.state) for check in found if check.state != "ok"}


def change_of(one, other):
    """Return the largest change of any value of two picture files."""
    with Image.open(io.BytesIO(one)) as first, Image.open(io.BytesIO(other)) as second:
        pair = [np.asarray(image.convert("RGB")).astype(int) for image in (first, second)]
    return int(np.abs(pair[0] - pair[1]).max())


def is_picture(name):
    return name.endswith((".jpg", ".png"))


# --- there and back ----------------------------------------------------------------------------


def test_a_tar_comes_back_with_its_pictures_protected_and_all_else_as_it_was(tmp_path):
    shards, heard = make_shards(tmp_path), Heard()
    before = tree(shards)
    result = run(tmp_path, heard=heard)
    assert (result.exit_code, len(result.protected), result.labels) == (0, 6, "samples")
    assert dict(result.class_counts) == {"0": 2, "1": 2, "2": 2}
    assert tree(shards) == before
    assert set(tree(tmp_path / "protected")) == {"00000.tar", "00001.tar"}
    for name, members in copies(tmp_path).items():
        source = read_members(shards / name)
        assert [key.replace("2.png", "2.jpg") for key in members] == list(source)
        for (old, clean), (new, written) in zip(source.items(), members.items(), strict=True):
            if is_picture(old):
                assert 1 <= change_of(clean, written) <= 8
            else:
                assert (old, clean) == (new, written)
        assert members["000000.jpg"][:2] == b"\xff\xd8"
    said = "1 member has another suffix, since their format changed"
    assert [text for text in heard.notices if "suffix" in text] == [
        f"0000{n}.tar: {said}" for n in range(2)
    ]


def test_the_manifest_names_tar_and_member_and_nothing_else_is_left_beside(tmp_path):
    make_shards(tmp_path)
    run(tmp_path)
    records = {line["src"]: line for line in manifest_lines(tmp_path / "protected", "image")}
    assert records["00001.tar/000002.jpg"]["out"] == "00001.tar/000002.png"
    assert records["00001.tar/000002.jpg"]["label"] == "0"
    assert set(tree(tmp_path / "protected.unlearn")) == {"lock", "manifest.jsonl"}
    assert not (tmp_path / "protected.unlearn" / "staged").exists()


def test_the_same_picture_gets_the_same_bytes_in_a_tar_and_in_a_folder(tmp_path):
    shards = make_shards(tmp_path, 1)
    for name, content in read_members(shards / "00000.tar").items():
        if is_picture(name):
            path = tmp_path / "photos" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
    run(tmp_path, labels="one")
    run(tmp_path, tmp_path / "photos", labels="one", out=tmp_path / "loose")
    packed = read_members(tmp_path / "protected" / "00000.tar")
    assert {n: b for n, b in packed.items() if is_picture(n)} == tree(tmp_path / "loose")


def read_as_people_do(folder):
    """Return the samples that the webdataset package reads; it leaves its files to be collected."""
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    paths = sorted(map(str, folder.glob("*.tar")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        samples = list(webdataset.WebDataset(paths, shardshuffle=False).decode("rgb8"))
        gc.collect()
    return samples


@pytest.mark.slow
def test_the_webdataset_package_reads_what_was_written(tmp_path):
    make_shards(tmp_path)
    run(tmp_path)
    samples = read_as_people_do(tmp_path / "protected")
    assert [one["__key__"] for one in samples] == [f"{n:06}" for n in range(3)] * 2
    assert [one["cls"] for one in samples] == [0, 1, 2, 1, 2, 0]
    assert [one["txt"] for one in samples][:2] == ["picture 0", "picture 1"]
    assert [one["json"]["seed"] for one in samples] == [0, 1, 2, 100, 101, 102]
    for pair in zip(read_as_people_do(tmp_path / "shards"), samples, strict=True):
        clean, other = (one.get("jpg", one.get("png")).astype(int) for one in pair)
        assert 1 <= np.abs(clean - other).max() <= 8


def test_tars_given_by_name_and_in_folders_keep_their_places(tmp_path):
    shards = make_shards(tmp_path)
    (shards / "val").mkdir()
    (shards / "00001.tar").rename(shards / "val" / "00001.tar")
    run(tmp_path)
    assert set(tree(tmp_path / "protected")) == {"00000.tar", "val/00001.tar"}
    run(tmp_path, shards / "00000.tar", shards / "val" / "00001.tar", out=tmp_path / "named")
    assert set(tree(tmp_path / "named")) == {"00000.tar", "00001.tar"}
    assert copies(tmp_path, "named") == copies(tmp_path)
    assert checks(tmp_path, out="named") == set()


def test_folders_and_dotted_names_in_a_tar_stay_and_folders_may_be_classes(tmp_path):
    picture = picture_bytes(tmp_path, "x.png", 1)
    members = [
        entry("./", tarfile.DIRTYPE),
        entry("./cat", tarfile.DIRTYPE),
        *(("./cat/1.left.png", picture), ("./cat/1.right.png", picture)),
        ("./dog/1.left.png", picture_bytes(tmp_path, "x.png", 2)),
        ("./README", b"words"),
    ]
    path = write_tar(tmp_path / "shards" / "a.tar", members)
    result = run(tmp_path)
    assert dict(result.class_counts) == {"cat": 2, "dog": 1}
    with tarfile.open(path) as one, tarfile.open(tmp_path / "protected" / "a.tar") as other:
        names, modes = zip(*((m.name, m.type) for m in one), strict=True)
        assert list(zip(names, modes, strict=True)) == [(m.name, m.type) for m in other]
    assert checks(tmp_path) == set()


def test_times_of_tars_are_kept_if_asked(tmp_path):
    path = make_shards(tmp_path, 1) / "00000.tar"
    os.utime(path, (1_600_000_000, 1_600_000_000))
    run(tmp_path, times="keep")
    assert (tmp_path / "protected" / "00000.tar").stat().st_mtime == 1_600_000_000


# --- labels ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "classes"),
    [
        ([{"a.cls": b"cat\n"}, {"b.cls": b" dog"}], {"cat", "dog"}),
        ([{"a.json": b'{"cls": 3}'}, {"b.json": b'{"label": "x", "cls": 12}'}], {"3", "12"}),
        ([{"a.json": b'{"label": "cat"}'}, {"b.JSON": b'{"label": 0}'}], {"cat", "0"}),
        ([{"a.json": b'{"cls": 1}', "a.cls": b"2"}, {"b.cls": b"3", "b.json": b"no"}], {"2", "3"}),
        ([{"a.json": b'{"caption": "a cat", "key": "a"}'}, {"b.txt": b"7"}], {"all"}),
        ([{"a.json": b'{"label": [1, 2]}'}, {"b.json": b'{"label": true}'}], {"all"}),
    ],
)
def test_classes_are_what_the_samples_state(tmp_path, facts, classes):
    members = [
        one
        for seed, (key, more) in enumerate(zip("ab", facts, strict=True))
        for one in [(f"{key}.png", picture_bytes(tmp_path, "x.png", seed)), *more.items()]
    ]
    write_tar(tmp_path / "shards" / "s.tar", members)
    assert set(run(tmp_path).class_counts) == classes


def test_samples_of_which_some_state_no_class_are_refused_unless_one_is_asked_for(tmp_path):
    path = make_shards(tmp_path, 1) / "00000.tar"
    write_tar(path, [one for one in read_members(path).items() if one[0] != "000001.cls"])
    with pytest.raises(UsageProblem, match=r"00000\.tar/000001\.png states no class .* --labels"):
        run(tmp_path)
    assert run(tmp_path, labels="one").exit_code == 0


# --- what cannot be protected ------------------------------------------------------------------


def test_a_damaged_picture_costs_its_whole_sample_and_is_named(tmp_path):
    shards, heard = make_shards(tmp_path), Heard()
    members = list(read_members(shards / "00001.tar").items())
    broken = [(n, b"\x89PNG\r\n\x1a\nno" if n == "000001.png" else b) for n, b in members]
    more = [("000001.2.png", picture_bytes(tmp_path, "y.png", 9)), ("000001.cls2", b"x")]
    write_tar(shards / "00001.tar", [*broken, *more])
    result = run(tmp_path, heard=heard)
    assert result.exit_code == 1
    failed = {record.src: record.reason for record in result.failed}
    assert set(failed) == {"00001.tar/000001.png", "00001.tar/000001.2.png"}
    assert "left out with its sample" in failed["00001.tar/000001.2.png"]
    assert [text for text in heard.notices if "left out" in text] == [
        "00001.tar: 1 sample is left out, with a picture that is not protected: 000001"
    ]
    kept = [name.partition(".")[0] for name in copies(tmp_path)["00001.tar"]]
    assert kept == ["000000"] * 4 + ["000002"] * 4
    missing = {("00001.tar/000001.png", "missing"), ("00001.tar/000001.2.png", "missing")}
    assert checks(tmp_path) == missing
    again = run(tmp_path)
    assert {record.src for record in again.failed} == set(failed)
    assert checks(tmp_path) == missing


def test_a_picture_that_fails_while_it_is_written_costs_its_sample_too(tmp_path, monkeypatch):
    monkeypatch.setattr(Steps, "write", staticmethod(failing_write))
    members = [
        (f"{key}.png", picture_bytes(tmp_path, "x.png", n)) for n, key in enumerate(["a", "bad"])
    ]
    write_tar(tmp_path / "shards" / "s.tar", [*members, ("bad.txt", b"caption")])
    assert run(tmp_path).exit_code == 1
    assert list(copies(tmp_path)["s.tar"]) == ["a.png"]


def test_a_tar_without_any_picture_that_can_be_protected_is_not_written(tmp_path):
    write_tar(tmp_path / "shards" / "s.tar", [("a.png", b"\x89PNG\r\n\x1a\nno"), ("b.txt", b"x")])
    assert run(tmp_path).exit_code == 1
    assert copies(tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "content", "changes", "code"),
    [
        ("b.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", {}, 1),
        ("b.nef", b"II*\0raw", {}, 1),
        ("b.data", "picture", {"exclude": ("b.*",)}, 0),
    ],
)
def test_no_picture_that_is_not_protected_gets_into_a_copy(tmp_path, name, content, changes, code):
    picture = picture_bytes(tmp_path, "x.png", 1)
    content = picture if content == "picture" else content
    members = [("a.png", picture), (name, content), ("b.txt", b"about b")]
    write_tar(tmp_path / "shards" / "s.tar", members)
    assert run(tmp_path, **changes).exit_code == code
    assert list(copies(tmp_path)["s.tar"]) == ["a.png"]


def test_names_that_meet_but_for_their_case_are_refused_not_numbered(tmp_path):
    picture = picture_bytes(tmp_path, "x.png", 1)
    write_tar(tmp_path / "shards" / "s.tar", [("a.png", picture), ("A.png", picture)])
    result = run(tmp_path)
    assert [record.reason for record in result.failed] == [
        "its name is another member's, but for case or suffix; rename it"
    ]
    assert len(copies(tmp_path)["s.tar"]) == 1


def test_a_large_picture_in_a_tar_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("unlearn.pictures.contents.LARGE_FILE", 3000)
    make_shards(tmp_path, 1)
    reasons = {record.src: record.reason for record in run(tmp_path).failed}
    assert reasons == {
        "00000.tar/000000.jpg": "larger than 64 MB in a tar; protect it as a file of its own"
    }


def negative():
    """Return the header of a member that leads back; old versions of Python loop on it."""
    header = bytearray(entry("x.txt").tobuf())
    header[124:136] = (-1024).to_bytes(12, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def bad_tar(path, kind, good):
    """Write a tar that must be refused."""
    special = {
        "absolute": ("/etc/x.png", b"x"),
        "drive": ("C:x.png", b"x"),
        "above": ("a/../../x.png", b"x"),
        "link": entry("l.png", tarfile.SYMTYPE, "/etc/passwd"),
        "hard link": entry("l.png", tarfile.LNKTYPE, "000000.jpg"),
        "device": entry("d.png", tarfile.CHRTYPE),
        "pipe": entry("p.png", tarfile.FIFOTYPE),
        "sparse": entry("s.png", tarfile.GNUTYPE_SPARSE),
        "twice": ("./000000.jpg", b"x"),
    }
    if kind in special:
        write_tar(path, [*good, special[kind]])
        return
    data = path.read_bytes()
    length = len(data.rstrip(b"\0")) // 512 * 512 + 512  # of the members, without the end
    changed = {
        "cut in a member": data[:3000],
        "cut behind a member": data[:length],
        "header": data[: length // 2 // 512 * 512] + b"\xff" * 512 + data[length // 2 :],
        "followed": data + b"more",
        "backwards": negative() + data,
        "empty": b"",
        "text": b"no tar at all" * 100,
        "gzip": gzip.compress(data),
    }
    path.write_bytes(changed[kind])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("absolute", "leads outside"),
        ("drive", "leads outside"),
        ("above", "leads outside"),
        ("link", "is a link"),
        ("hard link", "is a link"),
        ("device", "is no file"),
        ("pipe", "is no file"),
        ("sparse", "is a sparse file"),
        ("twice", "two of its members are called"),
        ("cut in a member", "damaged"),
        ("cut behind a member", "damaged or cut off"),
        ("header", "damaged"),
        ("followed", "damaged or cut off"),
        ("backwards", "negative size"),
        ("empty", "damaged"),
        ("text", "damaged"),
        ("gzip", "only plain tars are read; unpack it first"),
    ],
)
def test_a_tar_that_cannot_be_read_whole_is_refused_in_one_line(tmp_path, kind, said):
    shards = make_shards(tmp_path)
    bad_tar(shards / "00001.tar", kind, list(read_members(shards / "00001.tar").items()))
    result = run(tmp_path)
    assert result.exit_code == 1
    [failed] = result.failed
    assert failed.src == "00001.tar"
    assert said in failed.reason
    assert "\n" not in failed.reason
    assert list(copies(tmp_path)) == ["00000.tar"]
    assert checks(tmp_path) == {("00001.tar", "missing")}


@pytest.mark.parametrize("name", ["s.tar.gz", "s.tgz"])
def test_a_compressed_tar_is_refused_with_what_to_do(tmp_path, name, capsys):
    data = write_tar(tmp_path / "s.tar", sample(tmp_path, 1, 1)).read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(data))
    result = run(tmp_path, tmp_path / name)
    assert [(r.src, r.reason) for r in result.failed] == [
        (name, "only plain tars are read; unpack it first")
    ]


def test_a_tar_beside_photos_is_a_backup_and_one_that_is_named_is_refused_there(tmp_path):
    shards = make_shards(tmp_path, 1)
    make_picture(shards / "photo.png", 5)
    result = run(tmp_path)
    assert dict(result.skipped) == {".tar": 1}
    assert list(tree(tmp_path / "protected")) == ["photo.png"]
    with pytest.raises(UsageProblem, match=r"00000\.tar is a tar and .*photo\.png lies in none"):
        run(tmp_path, shards / "00000.tar", shards / "photo.png")


def test_a_tar_without_pictures_is_skipped(tmp_path):
    write_tar(tmp_path / "shards" / "s.tar", [("a.txt", b"x")])
    with pytest.raises(NothingFound):
        run(tmp_path)


def test_two_tars_of_one_name_are_refused(tmp_path):
    for folder in "ab":
        write_tar(
            tmp_path / folder / "s.tar", [(f"{folder}.png", picture_bytes(tmp_path, "x.png", 1))]
        )
    with pytest.raises(UsageProblem, match=r"would both become s\.tar"):
        run(tmp_path, tmp_path / "a" / "s.tar", tmp_path / "b" / "s.tar")


def test_a_tar_of_somebody_else_in_the_output_is_not_replaced(tmp_path):
    make_shards(tmp_path)
    (tmp_path / "protected").mkdir()
    (tmp_path / "protected" / "00001.tar").write_bytes(b"mine")
    with pytest.raises(UsageProblem, match=r"00001\.tar exists and is in no record of unlearn"):
        run(tmp_path)
    assert run(tmp_path, force=True).exit_code == 0
    assert checks(tmp_path) == set()


def test_protected_tars_are_not_protected_again(tmp_path):
    make_shards(tmp_path)
    run(tmp_path)
    result = run(tmp_path, tmp_path / "protected", out=tmp_path / "twice")
    assert len(result.failed) == 6
    assert "is protected already" in result.failed[0].reason
    assert copies(tmp_path, "twice") == {}


# --- going on ----------------------------------------------------------------------------------


def test_nothing_is_done_twice_and_what_changed_is_packed_anew(tmp_path, fake):
    shards = make_shards(tmp_path)
    run(tmp_path)
    before, calls = tree(tmp_path / "protected"), len(fake.calls)
    assert run(tmp_path).earlier == 6
    assert tree(tmp_path / "protected") == before
    members = read_members(shards / "00000.tar")
    members["000001.txt"] = b"PICTURE 1"  # of the same size
    write_tar(shards / "00000.tar", [*members.items(), *sample(tmp_path, 3, 33)])
    assert checks(tmp_path) == {("00000.tar/000003.png", "missing"), ("00000.tar", "changed")}
    assert run(tmp_path).earlier == 6
    assert len(fake.calls) == calls + 1
    assert checks(tmp_path) == set()
    members["000001.txt"] = b"Picture 1"
    write_tar(shards / "00000.tar", [*members.items(), *sample(tmp_path, 3, 33)])
    run(tmp_path)
    assert len(fake.calls) == calls + 1
    assert copies(tmp_path)["00000.tar"]["000001.txt"] == b"Picture 1"
    assert copies(tmp_path)["00001.tar"] == copies(tmp_path)["00001.tar"]


def test_a_copy_that_was_lost_is_made_again(tmp_path):
    make_shards(tmp_path)
    run(tmp_path)
    before = tree(tmp_path / "protected")
    (tmp_path / "protected" / "00001.tar").unlink()
    run(tmp_path)
    assert tree(tmp_path / "protected") == before


def test_a_dry_run_writes_nothing(tmp_path):
    make_shards(tmp_path)
    result = run(tmp_path, dry_run=True)
    assert [record.out for record in result.protected][:2] == [
        "00000.tar/000000.jpg",
        "00000.tar/000001.png",
    ]
    assert not (tmp_path / "protected").exists()
    assert not (tmp_path / "protected.unlearn").exists()


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_shows_only_whole_tars(tmp_path):
    shards = make_shards(tmp_path, 3, 2)
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    line = [*protect_line(shards, tmp_path / "whole", key), "--labels", "one"]
    here = ("--workers", "0")  # for runs that nobody kills: a worker takes a second to start
    assert subprocess.run([*line, *here], capture_output=True, check=False).returncode == 0
    whole = tree(tmp_path / "whole")
    line[line.index(str(tmp_path / "whole"))] = str(tmp_path / "protected")
    slow, stream = {**os.environ, "FAKE_DELAY": "0 0.3 240"}, random.Random(0)
    manifest = tmp_path / "protected.unlearn" / "manifest.jsonl"
    for kill in range(1, 3):
        process = subprocess.Popen(
            line, env=slow, stderr=subprocess.DEVNULL, start_new_session=True
        )
        while not (manifest.exists() and manifest.read_text().count('"image"') >= kill):
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(stream.uniform(0, 0.2))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        there = {n: b for n, b in tree(tmp_path / "protected").items() if "tmp" not in n}
        assert there == {name: whole[name] for name in there}
    assert subprocess.run([*line, *here], capture_output=True, check=False).returncode == 0
    assert tree(tmp_path / "protected") == whole
    lines = manifest_lines(tmp_path / "protected", "image")
    assert len({line["src"] for line in lines}) == len(lines) == 6  # no picture was done twice


def test_shards_take_whole_tars_and_make_the_bytes_of_one_run(tmp_path):
    make_shards(tmp_path, 4, 2)
    run(tmp_path, out=tmp_path / "whole")
    seen = set()
    for number in (2, 1, 3):
        before = set(tree(tmp_path / "protected")) if seen else set()
        result = run(tmp_path, shard=Shard(3, number))
        new = set(tree(tmp_path / "protected") if seen or result.protected else ()) - before
        assert {record.src.partition("/")[0] for record in result.protected} == new
        seen |= new
    result = merge(tmp_path / "protected", Heard(), workers=0, previews=0)
    assert len(result.protected) == 8
    assert tree(tmp_path / "protected") == tree(tmp_path / "whole")
    assert checks(tmp_path) == set()


def test_an_output_that_was_changed_before_its_tar_was_whole_is_not_packed(tmp_path, monkeypatch):
    make_shards(tmp_path, 1)

    def tampering(shared, job):
        record = write(shared, job)
        if job.picture.name.endswith("000001.png"):
            shared.place(job.picture, record.out).write_bytes(b"other")
        return record

    write = Steps.write
    with monkeypatch.context() as patch:
        patch.setattr(Steps, "write", staticmethod(tampering))
        result = run(tmp_path)
    assert [record.src for record in result.failed] == ["00000.tar"]
    assert "000001.png was changed" in result.failed[0].reason
    assert copies(tmp_path) == {}
    assert run(tmp_path).exit_code == 0
    assert checks(tmp_path) == set()


# --- verify ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "state"),
    [
        (lambda m: m | {"000001.txt": b"picture X"}, ("00000.tar", "changed")),
        (lambda m: m | {"000009.txt": b"more"}, ("00000.tar", "changed")),
        (lambda m: {n: b for n, b in m.items() if n != "000001.json"}, ("00000.tar", "changed")),
        (lambda m: dict(reversed(m.items())), ("00000.tar", "changed")),
    ],
)
def test_verify_compares_every_member(tmp_path, change, state):
    make_shards(tmp_path)
    run(tmp_path)
    path = tmp_path / "protected" / "00000.tar"
    write_tar(path, list(change(read_members(path)).items()))
    assert checks(tmp_path) == {state}


def test_verify_proves_the_bound_on_the_pictures_of_a_tar(tmp_path):
    shards = make_shards(tmp_path)
    run(tmp_path)
    path = tmp_path / "protected" / "00000.tar"
    clean = read_members(shards / "00000.tar")["000001.png"]
    other = picture_bytes(tmp_path, "z.png", 50)
    for content, state in ((clean, "unchanged"), (other, "over")):
        write_tar(path, list((read_members(path) | {"000001.png": content}).items()))
        assert checks(tmp_path) == {("00000.tar/000001.png", state)}
    path.write_bytes(path.read_bytes()[:2000])
    states = {state for _, state in checks(tmp_path)}
    assert states == {"missing", "extra"}


def test_verify_compares_two_tars_that_are_given_by_name(tmp_path, capsys):
    shards = make_shards(tmp_path)
    run(tmp_path)
    pair = [str(shards / "00000.tar"), str(tmp_path / "protected" / "00000.tar")]
    assert command_line(["verify", *pair, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 3


# --- data sets ---------------------------------------------------------------------------------


def test_a_folder_of_tars_is_read_as_labelled_data(tmp_path):
    shards = make_shards(tmp_path)
    for path in shards.iterdir():
        members = read_members(path)
        for name, content in members.items():
            if is_picture(name):
                target = (
                    tmp_path / "loose" / members[f"{name[:6]}.cls"].decode() / f"{path.stem}{name}"
                )
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
    packed, loose = load_labelled(shards), load_labelled(tmp_path / "loose")
    assert packed.data.classes == loose.data.classes == ("0", "1", "2")
    assert (packed.data.pixels == loose.data.pixels).all()
    assert (packed.data.labels == loose.data.labels).all()
    assert packed.names[0] == "00000.tar/000000.jpg"


def test_parts_of_a_set_of_tars_are_told_by_their_folders(tmp_path):
    shards = make_shards(tmp_path)
    for number, part in enumerate(("train", "val")):
        (shards / part).mkdir()
        (shards / f"0000{number}.tar").rename(shards / part / f"0000{number}.tar")
    loaded = load_labelled(shards)
    assert (len(loaded.data), len(loaded.test)) == (3, 3)


@pytest.mark.slow
def test_an_audit_makes_and_proves_copies_of_the_training_pictures_in_tars(tmp_path):
    shards = make_shards(tmp_path, 2, 9)
    clean = gather(shards, 32, None, None)
    assert (len(clean.train), len(clean.test)) == (15, 3)
    copies = make_files(clean, options_for(tmp_path, shards, include=clean.include), Heard())
    assert (len(copies.data), copies.largest_change) == (15, 8)
    assert copies.files[0] == tmp_path / "protected" / "00000.tar" / "000000.jpg"
