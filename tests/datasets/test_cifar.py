"""CIFAR python archives: read whole, refused when they are not what they say."""

import os
import pickle

import numpy as np
import pytest

from unlearn.datasets.cifar import find_cifar, load_cifar
from unlearn.errors import UsageProblem


def write(path, content):
    path.write_bytes(pickle.dumps(content, protocol=2))


def rows(count, start=0):
    return (np.arange(count * 3072, dtype=np.int64) + start).astype(np.uint8).reshape(count, 3072)


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    write(folder / "batches.meta", {b"label_names": [b"cat", b"dog"]})
    for number in range(1, 6):
        write(folder / f"data_batch_{number}", {b"data": rows(3, number), b"labels": [0, 1, 0]})
    write(folder / "test_batch", {b"data": rows(2), b"labels": [1, 0]})
    return folder


def test_an_archive_is_found_at_the_folder_and_right_under_it(archive, tmp_path):
    assert find_cifar(archive) == archive
    assert find_cifar(tmp_path) == archive
    assert find_cifar(tmp_path.parent / "nothing") is None


def test_all_five_batches_come_in_order_with_planes_as_channels(archive):
    data, test = load_cifar(archive)
    assert data.pixels.shape == (15, 3, 32, 32)
    assert data.classes == ("cat", "dog")
    assert data.labels.tolist() == [0, 1, 0] * 5
    assert test.labels.tolist() == [1, 0]
    expected = rows(3, 2)[1].reshape(3, 32, 32)
    assert np.array_equal(data.pixels[4].numpy(), expected)


def test_the_hundred_class_archive_uses_its_fine_labels(tmp_path):
    write(tmp_path / "meta", {b"fine_label_names": [b"apple", b"bee", b"can"]})
    write(tmp_path / "train", {b"data": rows(2), b"fine_labels": [2, 1], b"coarse_labels": [0, 0]})
    write(tmp_path / "test", {b"data": rows(1), b"fine_labels": [0], b"coarse_labels": [0]})
    data, test = load_cifar(tmp_path)
    assert data.classes == ("apple", "bee", "can")
    assert data.labels.tolist() == [2, 1]
    assert len(test) == 1


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def test_a_pickle_that_would_run_code_is_refused_and_runs_none(archive, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(archive / "data_batch_3", {b"data": Evil()})
    with pytest.raises(UsageProblem, match=r"data_batch_3: not a CIFAR python archive .*mkdir"):
        load_cifar(archive)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("test_batch", {b"labels": [0]}),
        ("test_batch", {b"data": rows(2), b"labels": [0]}),
        ("test_batch", {b"data": np.zeros((1, 7), np.uint8), b"labels": [0]}),
        ("test_batch", {b"data": rows(1), b"labels": [9]}),
        ("test_batch", [1, 2]),
        ("batches.meta", {}),
    ],
)
def test_a_damaged_archive_is_a_usage_problem(archive, name, content):
    write(archive / name, content)
    with pytest.raises(UsageProblem):
        load_cifar(archive)


def test_a_cut_or_missing_batch_is_named(archive):
    whole = (archive / "data_batch_1").read_bytes()
    (archive / "data_batch_1").write_bytes(whole[:100])
    with pytest.raises(UsageProblem, match="data_batch_1"):
        load_cifar(archive)
    (archive / "data_batch_1").unlink()
    with pytest.raises(UsageProblem, match="data_batch_1: cannot be read"):
        load_cifar(archive)
