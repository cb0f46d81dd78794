"""Sets of many pictures are read from their files once, and never when the files have changed."""

import os

import pytest
import safetensors
import torch
from PIL import Image

from tests.support.making import make_data
from unlearn.datasets import stored
from unlearn.datasets.folders import load_labelled, load_squares
from unlearn.errors import EnvironmentProblem


@pytest.fixture
def kept_sets(tmp_path, monkeypatch):
    """A folder of a few pictures, the cache folder, and how often pictures were read."""
    reads = []

    def counted(files, size, change=None):
        reads.append(len(files))
        return load_squares(files, size, change)

    for n in range(6):
        path = tmp_path / "data" / "ab"[n % 2] / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (40 * n, 10, 20)).save(path)
    monkeypatch.setattr(stored, "_WORTH_IT", 6)
    monkeypatch.setattr(stored, "_SETTLED_SECONDS", -60)
    monkeypatch.setattr(stored, "own_folder", lambda kind: tmp_path / kind)
    monkeypatch.setattr("unlearn.datasets.folders.load_squares", counted)
    return tmp_path / "data", tmp_path / "cache", reads


def same(one, other):
    assert torch.equal(one.data.pixels, other.data.pixels)
    assert torch.equal(one.data.labels, other.data.labels)
    assert (one.data.fingerprint, one.names, one.found) == (
        other.data.fingerprint,
        other.names,
        other.found,
    )


@pytest.mark.parametrize("error", [OSError("no room"), safetensors.SafetensorError("no room")])
def test_a_set_is_stored_whole_or_not_at_all(tmp_path, monkeypatch, error):
    path, first = tmp_path / "set.safetensors", make_data(6)
    stored.store(first, path)

    def torn(_tensors, temporary, _metadata):
        temporary.write_bytes(b"half")
        raise error

    monkeypatch.setattr("safetensors.torch.save_file", torn)
    with pytest.raises(EnvironmentProblem, match=r"set\.safetensors: cannot be written .*no room"):
        stored.store(make_data(8, seed=1), path)
    assert list(tmp_path.iterdir()) == [path]
    again = stored.load(path)
    assert (again.fingerprint, again.classes) == (first.fingerprint, first.classes)
    assert torch.equal(again.pixels, first.pixels)


def test_pictures_of_many_files_are_read_once(kept_sets):
    folder, cache, reads = kept_sets
    first, second = (load_labelled(folder, 8) for _ in range(2))
    same(first, second)
    assert (reads, len(list(cache.iterdir()))) == ([6], 1)
    load_labelled(folder, 16)
    assert reads == [6, 6]


def edit(path):
    times = path.stat()
    content = bytearray(path.read_bytes())
    Image.new("RGB", (9, 9), (1, 2, 3)).save(path)
    path.write_bytes(path.read_bytes().ljust(len(content), b"\0"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def swap(path):
    path.with_name("0.tmp").write_bytes(path.with_name("2.png").read_bytes())
    path.with_name("0.tmp").replace(path)


CHANGES = {
    "edited, size and time put back": edit,
    "replaced": swap,
    "removed and one more": lambda path: path.rename(path.with_name("9.png")),
    "of another class": lambda path: path.rename(path.parent.parent / "b" / path.name),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_kept_set_is_never_stale(kept_sets, change):
    folder, _, reads = kept_sets
    load_labelled(folder, 8)
    CHANGES[change](folder / "a" / "0.png")
    loaded = load_labelled(folder, 8)
    assert reads == [6, 6]
    same(loaded, load_labelled(folder, 8))
    assert reads == [6, 6]


def test_files_that_changed_just_now_or_while_they_were_read_are_not_kept(kept_sets, monkeypatch):
    folder, cache, _ = kept_sets
    monkeypatch.setattr(stored, "_SETTLED_SECONDS", 60)
    load_labelled(folder, 8)
    monkeypatch.setattr(stored, "_SETTLED_SECONDS", -60)
    places = iter([cache / "one", cache / "other"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored, "place_for", lambda *_: next(places))
        load_labelled(folder, 8)
    assert not cache.exists()


def test_a_set_with_an_unreadable_picture_is_not_kept_and_names_it_each_time(kept_sets):
    folder, cache, _ = kept_sets
    (folder / "a" / "0.png").write_bytes((folder / "a" / "0.png").read_bytes()[:40])
    assert len({load_labelled(folder, 8).unreadable for _ in range(2)}) == 1
    assert load_labelled(folder, 8).unreadable
    assert not cache.exists()


@pytest.mark.parametrize("damage", [b"", b"{}" * 50])
def test_a_damaged_kept_set_is_read_again(kept_sets, damage):
    folder, cache, reads = kept_sets
    first = load_labelled(folder, 8)
    next(cache.iterdir()).write_bytes(damage)
    same(first, load_labelled(folder, 8))
    assert reads == [6, 6]
    load_labelled(folder, 8)
    assert reads == [6, 6]


def test_only_the_last_few_sets_are_kept(kept_sets):
    folder, cache, _ = kept_sets
    for size in range(8, 16):
        load_labelled(folder, size)
    assert len(list(cache.iterdir())) == 4


def test_without_a_place_for_it_nothing_is_kept_and_all_is_read(kept_sets, monkeypatch):
    folder, cache, reads = kept_sets
    cache.write_bytes(b"no folder")
    load_labelled(folder, 8)
    monkeypatch.setattr(stored, "own_folder", lambda kind: None)
    load_labelled(folder, 8)
    assert reads == [6, 6]


def test_few_files_are_not_kept(kept_sets, monkeypatch):
    folder, cache, _ = kept_sets
    monkeypatch.setattr(stored, "_WORTH_IT", 7)
    load_labelled(folder, 8)
    assert not cache.exists()
