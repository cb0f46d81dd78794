import numpy as np
import pytest
import torch
from PIL import Image

from tests.benchmarks.speed import floors, photos, protecting, stages
from tests.support.making import counted_calls
from tests.support.protecting import make_picture
from tests.support.sweeps import few
from unlearn.generators import catalogue


def piece(folder, number=0):
    source = make_picture(folder / f"{number}.jpg", number, (40, 30))
    return stages.Piece(source, folder / f"{number}.out", 16)


class Constant:
    """Noise of four levels everywhere."""

    def noise_for_picture(self, pixels, *_args):
        return np.full(pixels.shape, 4 / 255, np.float32)


def test_stages_take_a_picture_through_and_tell_what_they_moved(tmp_path):
    one = piece(tmp_path)
    seconds = stages.split_seconds([one], Constant())
    assert list(seconds) == ["decode", "noise", "encode", "check"]
    assert min(seconds.values()) > 0
    assert one.grid.shape == (16, 21, 3)
    change = np.asarray(Image.open(one.target)).astype(int) - one.known.pixels
    assert set(np.unique(change)) == {6}  # four levels times the gain of enlarged noise
    pixels, read, wrote = 40 * 30 * 3, one.source.stat().st_size, one.target.stat().st_size
    expected = {"decode": read + pixels, "encode": 3 * pixels + wrote, "check": wrote + 3 * pixels}
    assert stages.moved_bytes(one) == expected


def test_the_check_notices_a_file_out_of_bounds(tmp_path):
    one = piece(tmp_path)
    stages.split_seconds([one], Constant())
    Image.fromarray(255 - one.known.pixels).save(one.target, "PNG")
    with pytest.raises(AssertionError, match="does not keep the bound"):
        stages.check(one, None)


@pytest.mark.parametrize("name", few(["encode", "check"], "check"))
def test_a_stage_alone_runs_in_all_workers_at_once(tmp_path, name):
    pieces = [piece(tmp_path, number) for number in range(3)]
    stages.split_seconds(pieces, Constant())
    kept = [one.target.read_bytes() for one in pieces]
    seconds = stages.alone_seconds(name, pieces, tmp_path / "unused", workers=2, turns=2)
    assert len(seconds) == 2
    assert min(seconds) > 0
    written = [one.target.with_suffix(f".{number}") for number, one in enumerate(pieces)]
    assert [path.read_bytes() for path in written] == kept


def size_of(path):
    with Image.open(path) as image:
        return image.size


def test_given_pictures_must_be_large_enough_and_readable(tmp_path, monkeypatch):
    given = tmp_path / "given"
    for number, size in enumerate(((40, 30), (20, 10), (50, 30))):
        make_picture(given / f"{number}.png", number, size)
    (given / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    monkeypatch.setattr(photos, "LEAST_PIXELS", 1200)
    found = photos.fill(tmp_path / "in", 9, photos.PHOTO, given)
    assert [size_of(path) for path in found] == [(40, 30), (50, 30)]
    assert len(photos.fill(tmp_path / "small", 2, photos.SMALL, given)) == 2
    monkeypatch.setattr(photos, "LEAST_PIXELS", 9000)
    with pytest.raises(SystemExit, match="no picture of at least 9,000 pixels"):
        photos.fill(tmp_path / "none", 9, photos.PHOTO, given)


def test_drawn_pictures_are_the_same_for_everybody(tmp_path):
    first, second = (photos.fill(tmp_path / name, 2, (60, 40), None) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert first[0].read_bytes() != first[1].read_bytes()
    assert {size_of(path) for path in first} == {(60, 40)}


def test_copies_have_names_of_their_own(tmp_path):
    files = photos.fill(tmp_path / "once", 2, (60, 40), None)
    copies = photos.copied(files, tmp_path / "in", 3)
    assert len(set(copies)) == len(list((tmp_path / "in").iterdir())) == 6
    assert {path.read_bytes() for path in copies} == {path.read_bytes() for path in files}


def test_operations_of_noise_are_its_passes_on_the_grid(tmp_path):
    generator = stages.one_core(catalogue.resolve(catalogue.BUNDLED))
    one = piece(tmp_path)
    stages.decode(one, generator)
    with counted_calls(generator.module) as plain:
        generator.module(torch.zeros(1, 3, 16, 21))
    passes = generator.method.published.attack.passes
    one_pass = floors.attack_operations(generator.module, tuple(plain[0].shape))
    assert protecting.noise_operations(one, generator) == passes * one_pass
