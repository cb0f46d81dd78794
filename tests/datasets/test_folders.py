"""Folders of class folders as arrays."""

import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from unlearn.datasets.folders import load_classes, load_labelled, some_of_each
from unlearn.datasets.labelled import LabelledPictures
from unlearn.errors import NothingFound, UsageProblem


def draw(path, colour, size=(40, 30), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    draw(tmp_path / "dogs" / "b.png", (10, 20, 30))
    draw(tmp_path / "cats" / "deep" / "a.png", 200, mode="L")
    draw(tmp_path / "cats" / "z.png", (1, 2, 3), size=(30, 80))
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "cats" / ".secret.png").write_bytes(b"no")
    return tmp_path


def test_classes_are_the_sorted_folders_and_pictures_come_in_path_order(folder):
    loaded = load_labelled(folder, 32)
    assert loaded.data.classes == ("cats", "dogs")
    assert loaded.data.labels.tolist() == [0, 0, 1]
    assert loaded.data.pixels[0].unique().tolist() == [200]
    assert loaded.data.pixels[2, :, 0, 0].tolist() == [10, 20, 30]
    assert loaded.unreadable == ()
    assert loaded.test is None


def test_a_picture_is_cut_to_its_centre_square(tmp_path):
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 8:22] = 255  # the antialiasing filter reaches a little beyond the square
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "x.png")
    assert load_labelled(tmp_path, 8).data.pixels.unique().tolist() == [255]


@pytest.mark.parametrize(("side", "expected"), [(40, 32), (64, 64), (300, 64)])
def test_the_size_fits_the_pictures_when_none_is_given(tmp_path, side, expected):
    for name in ("a", "b"):
        draw(tmp_path / name / "x.png", (1, 1, 1), size=(side, side + 9))
        (tmp_path / name / "broken.png").write_bytes(b"\x89PNG broken")
    assert load_labelled(tmp_path).data.size == expected


def test_unreadable_files_are_left_out_and_named(folder):
    (folder / "cats" / "middle.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    loaded = load_labelled(folder, 32)
    ((name, reason),) = loaded.unreadable
    assert name == "cats/middle.jpg"
    assert reason
    assert loaded.names == ("cats/deep/a.png", "cats/z.png", "dogs/b.png")
    assert loaded.data.labels.tolist() == [0, 0, 1]
    assert loaded.data.pixels[:, 0, 0, 0].tolist() == [200, 1, 10]


def test_pictures_are_held_in_memory_once(tmp_path):
    for n in range(60):
        draw(tmp_path / "ab"[n % 2] / f"{n}.png", (n, 2, 3), size=(16, 16))
    tracemalloc.start()
    try:
        pixels = load_labelled(tmp_path, 128).data.pixels
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert pixels.numel() < most < 1.5 * pixels.numel()


@pytest.mark.parametrize("classes", [0, 1])
def test_fewer_than_two_classes_are_refused(tmp_path, classes):
    if classes:
        draw(tmp_path / "only" / "x.png", (1, 1, 1))
    with pytest.raises(UsageProblem, match=f"at least two class folders .* found {classes}"):
        load_labelled(tmp_path)


def test_a_missing_folder_and_folders_without_pictures_are_told_apart(tmp_path):
    with pytest.raises(UsageProblem, match="no such folder"):
        load_labelled(tmp_path / "nowhere")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.png").write_text("x")
    with pytest.raises(NothingFound, match="none of its 1 files is a picture"):
        load_classes(tmp_path, ("a", "b"), 32)


def test_some_of_each_draws_evenly_and_repeatably_and_keeps_the_order():
    pixels = torch.arange(40 * 12, dtype=torch.int32).to(torch.uint8).reshape(40, 3, 2, 2)
    pixels[:, 0, 0, 0] = torch.arange(40)
    data = LabelledPictures(pixels, torch.tensor([0] * 25 + [1] * 10 + [2] * 5), ("a", "b", "c"))
    some = some_of_each(data, 12, seed=3)
    assert some.labels.bincount().tolist() == [4, 4, 4]
    assert some.labels.tolist() == sorted(some.labels.tolist())
    assert torch.equal(some.pixels, some_of_each(data, 12, seed=3).pixels)
    assert not torch.equal(some.pixels, some_of_each(data, 12, seed=4).pixels)
    assert some_of_each(data, 20, seed=3).labels.bincount().tolist() == [8, 7, 5]
    assert some_of_each(data, 99, seed=3) is data


def test_cifar_is_thirty_two_pixels_wide(tmp_path):
    (tmp_path / "batches.meta").write_bytes(b"")
    with pytest.raises(UsageProblem, match="32 pixels wide, not 64"):
        load_labelled(tmp_path, 64)
