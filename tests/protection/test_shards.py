"""Shards: any split gives the bytes, the manifest and the previews of one process."""

import contextlib
import json
import os
import random
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import unlearn
from tests.support.protecting import (
    PROGRAM,
    FakeGenerator,
    Heard,
    make_generator_file,
    make_photos,
    make_picture,
    options_for,
    protect_line,
    tree,
)
from tests.support.sweeps import few
from unlearn.cli.app import run as command_line
from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.protection import merge as merging
from unlearn.protection import run as workflow
from unlearn.protection.manifest import read_manifest
from unlearn.protection.merge import merge
from unlearn.protection.ranks import protect_here
from unlearn.protection.run import protect
from unlearn.protection.shards import Shard, shards_in, writing
from unlearn.workers.ranks import Rank, rank_here

# Two that want one name, two classes, a JPEG that may become PNG, and one that is no picture.
NAMES = (
    *("cats/a.jpg", "cats/a.png", "cats/b.jpg"),
    *("dogs/a.jpg", "dogs/c.png", "dogs/sub/d.png"),
)
HERE = ("--workers", "0")  # for processes that nobody kills: a worker takes a second to start


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setattr(workflow, "load_generator", lambda _path, _device: (FakeGenerator(), "cpu"))
    (make_photos(tmp_path / "photos", NAMES) / "dogs" / "broken.png").write_bytes(
        b"\x89PNG\r\n\x1a\nno"
    )
    return tmp_path / "photos"


def run(tmp_path, out, shard=None, **changes):
    part = None if shard is None else Shard.parse(shard)
    return protect(options_for(tmp_path, out=tmp_path / out, shard=part, **changes), Heard())


def in_shards(tmp_path, out, count, **changes):
    for number in random.Random(count).sample(range(1, count + 1), count):
        run(tmp_path, out, f"{number}/{count}", **changes)


def records(tmp_path, out):
    return tmp_path / f"{out}.unlearn"


def image_lines(tmp_path, out):
    """Return what the manifest says of each picture, but for the time that it took."""
    lines = map(json.loads, (records(tmp_path, out) / "manifest.jsonl").read_text().splitlines())
    return {line["src"]: {**line, "ms": None} for line in lines if line["type"] == "image"}


# --- what a shard is ---------------------------------------------------------------------------


@given(st.text(min_size=1), st.integers(1, 40))
def test_every_picture_belongs_to_exactly_one_shard(name, count):
    shards = [Shard(count, number) for number in range(1, count + 1)]
    assert sum(shard.takes(name) for shard in shards) == 1


def test_the_shard_of_a_name_never_changes():
    # Other machines and later versions go on with these parts.
    assert [n for n in range(1, 17) if Shard(16, n).takes("cats/a.jpg")] == [7]
    assert [n for n in range(1, 8) if Shard(7, n).takes("dogs/\udcff.png")] == [1]


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "3", "a/b", "-1/4", "1/4/2", "", "1.5/4"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(UsageProblem, match="is no part of a whole"):
        Shard.parse(text)


# --- the same bytes ----------------------------------------------------------------------------


@pytest.mark.parametrize("count", few([1, 2, 7, 16], 7))
def test_any_split_gives_the_bytes_and_the_manifest_of_one_process(tmp_path, photos, count):
    whole = run(tmp_path, "whole", preview=2)
    in_shards(tmp_path, "parts", count)
    merged = merge(tmp_path / "parts", Heard(), previews=2)
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")
    assert len(tree(tmp_path / "whole")) == len(NAMES)
    assert image_lines(tmp_path, "parts") == image_lines(tmp_path, "whole")
    assert [record.src for record in merged.protected] == [r.src for r in whole.protected]
    assert [record.src for record in merged.failed] == [r.src for r in whole.failed]
    assert (merged.exit_code, merged.rho, merged.classes) == (1, whole.rho, whole.classes)
    sheets = [records(tmp_path, out) / "preview" / "sheet.png" for out in ("parts", "whole")]
    assert sheets[0].read_bytes() == sheets[1].read_bytes()
    assert {path.name for path in records(tmp_path, "parts").iterdir()} == {
        *("manifest.jsonl", "lock", "preview")
    }


def test_a_merged_folder_goes_on_as_one_process_and_in_shards(tmp_path, photos):
    in_shards(tmp_path, "parts", 2)
    merge(tmp_path / "parts", Heard())
    before = tree(tmp_path / "parts")
    assert run(tmp_path, "parts").earlier == len(NAMES)
    make_picture(photos / "dogs" / "new.png", 99)
    in_shards(tmp_path, "parts", 3)
    merged = merge(tmp_path / "parts", Heard())
    assert len(merged.protected) == len(NAMES) + 1
    assert {**tree(tmp_path / "parts"), **before} == tree(tmp_path / "parts")


def test_shards_that_know_nothing_of_each_other_never_write_one_file(tmp_path, photos):
    names = [run(tmp_path, "parts", f"{n}/7").protected for n in range(1, 8)]
    outs = [record.out for part in names for record in part]
    assert len(outs) == len(set(outs)) == len(NAMES)
    assert {"cats/a.jpg.png", "cats/a.png"} <= set(outs)


@pytest.mark.parametrize("format", ["png", "tiff"])
def test_a_shard_that_begins_late_gives_the_names_of_one_process(tmp_path, photos, format):
    # Two that both change their format: what the first holds by then must not free the short name.
    for seed, name in enumerate(("x.jpg", "x.bmp", "x.gif", "y.jpg", "y.jpg.png", "y.bmp")):
        make_picture(photos / "cats" / name, 50 + seed)
    run(tmp_path, "whole", format=format)
    in_shards(tmp_path, "parts", 7, format=format)
    merge(tmp_path / "parts", Heard())
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")


def test_a_run_without_shards_takes_over_what_shards_have_done(tmp_path, photos):
    run(tmp_path, "parts", "2/3")
    done = len(read_manifest(records(tmp_path, "parts")).outputs)
    assert 0 < done < len(NAMES)
    result = run(tmp_path, "parts")
    assert (result.earlier, len(result.protected)) == (done, len(NAMES))
    assert shards_in(records(tmp_path, "parts")) == []
    assert run(tmp_path, "parts").earlier == len(NAMES)


def test_a_finished_shard_is_not_done_again_and_an_empty_one_has_a_part(tmp_path, photos):
    in_shards(tmp_path, "parts", 16)
    before = tree(records(tmp_path, "parts"))
    assert len([name for name in before if name.startswith("manifest.")]) == 16
    in_shards(tmp_path, "parts", 16)
    after = tree(records(tmp_path, "parts"))
    # What failed is tried again, as without shards.
    assert len([name for name in before if before[name] != after[name]]) == 1


def test_a_shard_leaves_the_temporary_files_and_folders_of_others_alone(tmp_path, photos):
    other = tmp_path / "parts" / "cats" / ".unlearn-tmp-0123.png"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"under way")
    (tmp_path / "parts" / "dogs").mkdir()
    for number in range(1, 17):
        run(tmp_path, "parts", f"{number}/16")
        assert other.exists()
        assert (tmp_path / "parts" / "dogs").is_dir()
    merge(tmp_path / "parts", Heard())
    assert not other.exists()


# --- refusals ----------------------------------------------------------------------------------


def refused(tmp_path, out="parts"):
    """Merge what cannot be, see that nothing changed, and return the one line."""
    before = {**tree(tmp_path / out), **tree(records(tmp_path, out))}
    with pytest.raises(UsageProblem) as error:
        merge(tmp_path / out, Heard())
    assert {**tree(tmp_path / out), **tree(records(tmp_path, out))} == before
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_merge_with_a_part_missing_is_refused(tmp_path, photos):
    for number in (1, 2, 4):
        run(tmp_path, "parts", f"{number}/4")
    assert "the part of shard 3/4 is missing" in refused(tmp_path)
    run(tmp_path, "parts", "3/4")
    assert len(merge(tmp_path / "parts", Heard()).protected) == len(NAMES)
    assert "has no parts of shards" in refused(tmp_path)


def test_a_merge_of_a_part_that_is_not_finished_is_refused(tmp_path, photos):
    in_shards(tmp_path, "parts", 2)
    part = records(tmp_path, "parts") / "manifest.2-of-2.jsonl"
    part.write_text("".join(part.read_text().splitlines(keepends=True)[:-1]))
    assert "shard 2/2 is not finished" in refused(tmp_path)
    run(tmp_path, "parts", "2/2")
    merge(tmp_path / "parts", Heard())


@pytest.mark.parametrize(
    ("name", "other"),
    [
        *[("rho", "4/255"), ("seed", 1), ("key", "0" * 12), ("tool", "0.0.0")],
        *[("generator", {"name": "other", "sha256": "0" * 64})],
        *[("noise", 0), ("max_side", 16), ("labels", "one"), ("torch", "1.0")],
    ],
)
def test_a_merge_with_a_part_of_another_run_is_refused(tmp_path, photos, name, other):
    in_shards(tmp_path, "parts", 2)
    part = records(tmp_path, "parts") / "manifest.2-of-2.jsonl"
    head, *rest = part.read_text().splitlines()
    part.write_text("\n".join([json.dumps({**json.loads(head), name: other}), *rest]) + "\n")
    assert f"shard 2/2 is of another run, its {name}" in refused(tmp_path)


def test_a_shard_with_other_settings_than_the_others_does_not_start(tmp_path, photos):
    run(tmp_path, "parts", "1/2")
    before = tree(records(tmp_path, "parts"))
    with pytest.raises(UsageProblem, match="was made with seed 0, you asked 5"):
        run(tmp_path, "parts", "2/2", seed=5)
    with pytest.raises(UsageProblem, match=r"in 2 shards, you asked 1/3; go on with --shard N/2"):
        run(tmp_path, "parts", "1/3")
    assert tree(records(tmp_path, "parts")) == before


def test_other_pictures_in_another_shard_are_seen_by_the_merge(tmp_path, photos):
    run(tmp_path, "parts", "1/2")
    make_picture(photos / "cats" / "new.png", 99)
    run(tmp_path, "parts", "2/2")
    assert "shards 1/2 and 2/2 saw other pictures under the inputs" in refused(tmp_path)
    run(tmp_path, "parts", "1/2")
    assert len(merge(tmp_path / "parts", Heard()).protected) == len(NAMES) + 1


@pytest.mark.parametrize("others", ["cpu (fp32)", "cuda:1 (bf16)"])
def test_parts_of_two_processors_are_joined_and_each_picture_says_which(
    tmp_path, photos, monkeypatch, others
):
    devices, heard = ("cuda:0 (bf16)", others), Heard()
    for number, device in enumerate(devices, 1):
        computing_on(monkeypatch, device), run(tmp_path, "parts", f"{number}/2")
    merge(tmp_path / "parts", heard)
    told = [text.partition(",")[0] for text in heard.notices if "computed" in text]
    said = "The noise was computed on cpu (fp32) and on cuda (bf16)"
    assert told == ([said] if others.startswith("cpu") else [])  # two cards are one kind
    # What goes on with the noise of another processor does not give it its own.
    make_picture(photos / "cats" / "new.png", 99)
    computing_on(monkeypatch, "cpu (bf16)"), run(tmp_path, "parts")
    lines = image_lines(tmp_path, "parts")
    assert lines.pop("cats/new.png")["device"] == "cpu (bf16)"
    for name, line in lines.items():
        (shard,) = [number for number in (0, 1) if Shard(2, number + 1).takes(name)]
        assert line["device"] == (devices[shard] if line["status"] == "ok" else None)


def computing_on(monkeypatch, device):
    monkeypatch.setattr(workflow, "load_generator", lambda *_: (FakeGenerator(), device))


def test_a_merge_that_was_killed_while_it_removed_parts_is_finished(tmp_path, photos):
    in_shards(tmp_path, "parts", 3)
    folder = records(tmp_path, "parts")
    last = (folder / "manifest.3-of-3.jsonl").read_bytes()
    merge(tmp_path / "parts", Heard())
    manifest = (folder / "manifest.jsonl").read_bytes()
    (folder / "manifest.3-of-3.jsonl").write_bytes(last)
    merge(tmp_path / "parts", Heard())
    assert (folder / "manifest.jsonl").read_bytes() == manifest
    assert shards_in(folder) == []


def test_shards_work_side_by_side_and_never_beside_a_whole_run(tmp_path, photos):
    out, folder = tmp_path / "parts", records(tmp_path, "parts")
    with writing(out, folder, Shard(2, 1)):
        run(tmp_path, "parts", "2/2")
        with pytest.raises(EnvironmentProblem, match=f"pid {os.getpid()}"):
            run(tmp_path, "parts", "1/2")
        with pytest.raises(EnvironmentProblem, match="Another unlearn run is writing"):
            run(tmp_path, "parts")
        with pytest.raises(EnvironmentProblem, match="Another unlearn run is writing"):
            merge(out, Heard())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["photos", "--out", "o", "--shard", "0/4"], "shard '0/4' is no part of a whole"),
        (["photos", "--out", "o", "--shard", "5/4"], "shard '5/4' is no part of a whole"),
        (["photos", "--out", "o", "--shard", "1/2", "--report-survival"], "sees a part only"),
        (["photos", "--merge", "o"], "--merge o takes no INPUT"),
        (["--merge", "o", "--shard", "1/2"], "--merge o takes no INPUT"),
        (["--merge", "o"], "o has no parts of shards to merge"),
        (["photos"], "give INPUT and --out DIR, or --merge DIR alone"),
        (["--out", "o"], "give INPUT and --out DIR, or --merge DIR alone"),
    ],
)
def test_lines_that_make_no_sense_are_refused_in_one_line(
    tmp_path, photos, monkeypatch, capsys, arguments, said
):
    monkeypatch.chdir(tmp_path)
    assert command_line(["protect", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert said in captured.err
    assert not (tmp_path / "o").exists()
    assert not records(tmp_path, "o").exists()


# --- killed ------------------------------------------------------------------------------------


ONE_ONLY = "0 240"  # seconds for each picture of the fake generator


def kill_after_a_picture(process, part):
    """Kill a process and its workers when its part of the manifest holds a picture."""
    while not (part.exists() and '"image"' in part.read_text()):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_shard_that_is_killed_goes_on_to_the_same_end(tmp_path, photos):
    (tmp_path / "key").write_bytes(bytes(32))
    make_generator_file(tmp_path / "fake.safetensors", ("cat", "dog"))
    key = tmp_path / "key"
    run(tmp_path, "whole", key=key)
    line = protect_line(photos, tmp_path / "parts", key)
    environment = {**os.environ, "FAKE_DELAY": ONE_ONLY}
    process = subprocess.Popen(
        [*line, "--shard", "1/2"],
        env=environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    kill_after_a_picture(process, records(tmp_path, "parts") / "manifest.1-of-2.jsonl")
    process.wait()
    assert "shard 1/2 is not finished" in _line(tmp_path, "--merge", "parts").stderr
    for number in (2, 1):
        subprocess.run([*line, *HERE, "--shard", f"{number}/2"], check=False, capture_output=True)
    assert _line(tmp_path, "--merge", "parts").returncode == 1  # one picture is broken
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")
    assert image_lines(tmp_path, "parts") == image_lines(tmp_path, "whole")


def _line(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    line = [*PROGRAM, "protect", *arguments, *HERE]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)


# --- ranks -------------------------------------------------------------------------------------


def ranks_of(line, count, delays=()):
    """Start the processes of one run as torchrun does, without its network.

    `delays` are those of some ranks' fake generators.
    """
    common = {**os.environ, "WORLD_SIZE": str(count)}
    return [
        subprocess.Popen(
            line,
            env={**common, "RANK": str(number), "FAKE_DELAY": dict(delays).get(number, "")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for number in range(count)
    ]


@pytest.mark.slow
def test_ranks_share_the_work_and_the_last_one_merges(tmp_path, photos):
    (tmp_path / "key").write_bytes(bytes(32))
    line = protect_line(photos, tmp_path / "parts", tmp_path / "key")
    run(tmp_path, "whole", key=tmp_path / "key")
    first, doomed, last = ranks_of(line, 3, {1: ONE_ONLY})
    others = (first, last)
    kill_after_a_picture(doomed, records(tmp_path, "parts") / "manifest.2-of-3.jsonl")
    for process in (doomed, *others):
        process.communicate()
    assert [process.returncode for process in others] == [0, 0]
    assert shards_in(records(tmp_path, "parts"))
    again = ranks_of([*line, *HERE], 3)
    said = [process.communicate()[0] for process in again]
    # One picture is broken, and who gives the account of the whole says so.
    assert sorted(process.returncode for process in again) == [0, 0, 1]
    assert sum("unlearn verify" in text for text in said) == 1
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")
    assert image_lines(tmp_path, "parts") == image_lines(tmp_path, "whole")
    assert shards_in(records(tmp_path, "parts")) == []


@pytest.mark.parametrize(
    ("variables", "rank"),
    [
        ({}, None),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
        ({"RANK": "ace"}, None),  # a word that others use too
        ({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, Rank(3, 8, 1)),
    ],
)
def test_a_process_is_a_rank_only_if_it_is_one_of_several(monkeypatch, variables, rank):
    set_ranks(monkeypatch, variables)
    assert rank_here() == rank


def set_ranks(monkeypatch, variables):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "variables",
    [
        *[{"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "x", "WORLD_SIZE": "2"}],
        *[{"RANK": "-1", "WORLD_SIZE": "2"}, {"RANK": "0", "WORLD_SIZE": "0"}],
        *[{"RANK": "0", "WORLD_SIZE": "two"}, {"WORLD_SIZE": "2"}, {"RANK": "1", "WORLD_SIZE": ""}],
    ],
)
@pytest.mark.parametrize("command", ["protect", "audit", "train-generator"])
def test_ranks_that_make_no_sense_are_refused_in_one_line(
    tmp_path, photos, monkeypatch, capsys, variables, command
):
    set_ranks(monkeypatch, variables)
    out = tmp_path / "out.safetensors"
    assert command_line([command, str(photos), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "name no process of a run" in said
    assert list(tmp_path.iterdir()) == [photos]


@pytest.mark.parametrize("command", ["audit", "train-generator"])
def test_ranks_that_cannot_find_each_other_are_refused_in_one_line(
    tmp_path, photos, monkeypatch, capsys, command
):
    set_ranks(monkeypatch, {"RANK": "0", "WORLD_SIZE": "2"})
    out = tmp_path / "out.safetensors"
    assert command_line([command, str(photos), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "rank 0 of 2 cannot find the others" in said
    assert "start all with torchrun" in said
    assert list(tmp_path.iterdir()) == [photos]


@pytest.mark.parametrize("first", [2, 3])
def test_ranks_go_on_with_what_another_number_of_ranks_began(tmp_path, photos, monkeypatch, first):
    whole = run(tmp_path, "whole")
    begun = in_ranks(tmp_path, monkeypatch, range(1, first), first)
    assert begun[-1].awaited
    done = {record.src for part in begun for record in part.protected}
    assert 0 < len(done) < len(NAMES)
    before = image_lines_of_parts(tmp_path, "parts")
    *_, last = in_ranks(tmp_path, monkeypatch, range(5 - first), 5 - first)
    assert [record.src for record in last.protected] == [record.src for record in whole.protected]
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")
    assert image_lines(tmp_path, "parts") == image_lines(tmp_path, "whole")
    kept = {line["src"]: line for line in manifest_lines(tmp_path, "parts", "manifest.jsonl")}
    for src in done:
        assert kept[src] == before[src]  # not made again: even its time is that of before
    assert shards_in(records(tmp_path, "parts")) == []


@pytest.mark.parametrize("merged", few([True, False], True))
@pytest.mark.parametrize("before", few([2, 3], 3))
def test_a_rank_that_finds_nothing_to_do_takes_no_part_away_before_the_others_end(
    tmp_path, photos, monkeypatch, merged, before
):
    whole = run(tmp_path, "whole")
    if merged:
        in_ranks(tmp_path, monkeypatch, range(before), before)
    else:
        in_shards(tmp_path, "parts", before)
    lost = next(record for record in whole.protected if Shard(3, 2).takes(record.src))
    (tmp_path / "parts" / lost.out).unlink()
    *early, last = in_ranks(tmp_path, monkeypatch, range(3), 3)
    # A code of 1 before the last one has ended would end the others.
    assert [(part.awaited, part.exit_code) for part in early] == [(True, 0)] * 2
    assert (last.awaited, last.exit_code) == (False, 1)
    assert [record.src for record in last.protected] == [record.src for record in whole.protected]
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")
    assert image_lines(tmp_path, "parts") == image_lines(tmp_path, "whole")
    assert shards_in(records(tmp_path, "parts")) == []


@pytest.mark.slow
def test_more_ranks_than_pictures_come_to_the_end_of_one_process(tmp_path, photos, monkeypatch):
    run(tmp_path, "whole")
    for _ in range(2):
        *early, last = in_ranks(tmp_path, monkeypatch, range(9), 9)
        assert any(not (part.protected or part.failed) for part in early)
        assert [part.exit_code for part in (*early, last)] == [0] * 8 + [1]
        assert tree(tmp_path / "parts") == tree(tmp_path / "whole")
        assert image_lines(tmp_path, "parts") == image_lines(tmp_path, "whole")
        assert shards_in(records(tmp_path, "parts")) == []


def test_a_rank_that_waited_for_the_merge_leaves_the_account_to_who_merged(
    tmp_path, photos, monkeypatch
):
    in_shards(tmp_path, "parts", 2)

    @contextlib.contextmanager
    def after_another(*_arguments, **_more):
        with monkeypatch.context() as patch:
            patch.setattr(merging, "writing", writing)
            merge(tmp_path / "parts", Heard(), patient=True)
        yield

    monkeypatch.setattr(merging, "writing", after_another)
    with pytest.raises(merging.NotYet, match="has no parts"):
        merge(tmp_path / "parts", Heard(), patient=True)


def test_a_merge_by_ranks_is_refused_in_one_line(tmp_path, photos, monkeypatch, capsys):
    in_shards(tmp_path, "parts", 2)
    before = tree(tmp_path)
    set_ranks(monkeypatch, {"RANK": "1", "WORLD_SIZE": "2"})
    assert command_line(["protect", "--merge", str(tmp_path / "parts")]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "one process joins the parts, this is rank 1 of 2; leave out torchrun" in said.err
    assert tree(tmp_path) == before


def in_ranks(tmp_path, monkeypatch, numbers, count):
    """Protect as some ranks of a run, one after the other."""
    results = []
    for number in numbers:
        set_ranks(monkeypatch, {"RANK": str(number), "WORLD_SIZE": str(count)})
        results.append(protect_here(options_for(tmp_path, out=tmp_path / "parts"), Heard()))
    return results


def manifest_lines(tmp_path, out, name):
    lines = map(json.loads, (records(tmp_path, out) / name).read_text().splitlines())
    return [line for line in lines if line["type"] == "image"]


def image_lines_of_parts(tmp_path, out):
    parts = [path.name for path in records(tmp_path, out).glob("manifest.*.jsonl")]
    return {line["src"]: line for name in parts for line in manifest_lines(tmp_path, out, name)}


def test_ranks_do_not_take_over_what_other_ranks_are_doing(tmp_path, photos, monkeypatch):
    in_ranks(tmp_path, monkeypatch, [0], 2)
    before = tree(records(tmp_path, "parts"))
    with (
        writing(tmp_path / "parts", records(tmp_path, "parts"), Shard(2, 2)),
        pytest.raises(EnvironmentProblem, match=f"pid {os.getpid()}"),
    ):
        in_ranks(tmp_path, monkeypatch, [0], 3)
    assert {**tree(records(tmp_path, "parts")), **before} == tree(records(tmp_path, "parts"))


def test_a_shard_of_a_rank_is_refused_in_one_line(tmp_path, photos, monkeypatch, capsys):
    set_ranks(monkeypatch, {"RANK": "1", "WORLD_SIZE": "2"})
    assert command_line(["protect", str(photos), "--out", str(tmp_path / "o"), "--shard=1/2"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--shard 1/2: under torchrun each process takes a shard by itself" in said
    assert list(tmp_path.iterdir()) == [photos]


def test_a_dry_run_by_ranks_is_one_account_of_all_by_the_first(
    tmp_path, photos, monkeypatch, capsys
):
    generator = make_generator_file(tmp_path / "fake.safetensors", ("cat", "dog"))
    before = tree(tmp_path)
    line = ["protect", str(photos), "--out", str(tmp_path / "o"), "-g", str(generator)]
    said = []
    for number in "10":
        set_ranks(monkeypatch, {"RANK": number, "WORLD_SIZE": "2"})
        said.append((command_line([*line, *HERE, "--dry-run"]), *capsys.readouterr()))
    assert said[0] == (0, "", "")
    code, out, _ = said[1]
    assert (code, out.count(" -> ")) == (1, len(NAMES))  # one picture is broken
    assert tree(tmp_path) == before


def test_a_rank_that_does_not_merge_says_who_will(tmp_path, photos, monkeypatch, capsys):
    generator = make_generator_file(tmp_path / "fake.safetensors", ("cat", "dog"))
    line = ["protect", str(photos), "--out", str(tmp_path / "o"), "-g", str(generator), *HERE]
    told = []
    for number in "01":
        set_ranks(monkeypatch, {"RANK": number, "WORLD_SIZE": "2"})
        command_line(line)
        said = capsys.readouterr()
        told.append((said.err.splitlines()[-1], "unlearn verify" in said.out))
    merging = (
        f"Shard 1/2 is done; the last one to finish merges, if all of them write to {tmp_path}/o"
    )
    assert told[0] == (merging, False)
    assert "merges" not in told[1][0]
    assert told[1][1]


def test_python_callers_that_are_ranks_share_the_work_as_the_command_does(
    tmp_path, photos, monkeypatch
):
    (tmp_path / "key").write_bytes(bytes(32))
    run(tmp_path, "whole", key=tmp_path / "key")
    generator, reports = tmp_path / "fake.safetensors", []
    for number in "01":
        set_ranks(monkeypatch, {"RANK": number, "WORLD_SIZE": "2"})
        reports.append(
            unlearn.protect(
                photos, tmp_path / "parts", generator=generator, key=tmp_path / "key", workers=0
            )
        )
    assert [report.awaited for report in reports] == [True, False]
    assert len(reports[0].protected) < len(reports[1].protected) == len(NAMES)
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")
    assert image_lines(tmp_path, "parts") == image_lines(tmp_path, "whole")
    with pytest.raises(UsageProblem, match="each process takes a shard by itself"):
        unlearn.protect(photos, tmp_path / "parts", generator=generator, shard="1/2")


@pytest.mark.parametrize("work", [unlearn.audit, unlearn.train_generator])
def test_python_callers_that_are_ranks_look_for_the_others(tmp_path, photos, monkeypatch, work):
    set_ranks(monkeypatch, {"RANK": "1", "WORLD_SIZE": "2"})
    with pytest.raises(UsageProblem, match="rank 1 of 2 cannot find the others"):
        work(photos, out=tmp_path / "out.safetensors")
    assert list(tmp_path.iterdir()) == [photos]


# --- clusters ----------------------------------------------------------------------------------

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["protect.sbatch", "protect-job.yaml"])
def test_the_page_quotes_the_files_for_clusters_as_they_are(name):
    text = (DOCS / "cluster" / name).read_text()
    assert f"\n{text}```\n" in (DOCS / "scale.md").read_text()


@pytest.mark.slow
def test_the_file_for_slurm_does_all_shards(tmp_path, photos):
    own = tmp_path / "bin" / "unlearn"
    own.parent.mkdir()
    own.write_text(f'#!/bin/sh\nexec {shlex.join(PROGRAM)} "$@" -g fake.safetensors\n')
    own.chmod(0o755)
    (tmp_path / "key").write_bytes(bytes(32))
    make_generator_file(tmp_path / "fake.safetensors", ("cat", "dog"))
    run(tmp_path, "whole", key=tmp_path / "key")
    task = {"DATA": ".", "SHARDS": "2", "SLURM_CPUS_PER_TASK": "0"}
    task |= {"PATH": f"{own.parent}:{os.environ['PATH']}"}
    for number in "12":
        environment = {**os.environ, **task, "SLURM_ARRAY_TASK_ID": number}
        script = ["sh", str(DOCS / "cluster" / "protect.sbatch")]
        subprocess.run(script, cwd=tmp_path, env=environment, check=False, capture_output=True)
    merge(tmp_path / "protected", Heard())
    assert tree(tmp_path / "protected") == tree(tmp_path / "whole")
