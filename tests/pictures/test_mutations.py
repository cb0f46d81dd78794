"""Spoiled files by the thousand: a reason or a protected picture, and nothing else."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support import mutating
from tests.support.corpus import CORPUS, READABLE
from tests.support.mutating import MOST_PIXELS, mutated, original, work
from tests.support.sweeps import few
from unlearn.pictures.read import Preparation, prepare

PROGRAM = Path(mutating.__file__)
RISKY = ("tiff", "avif", "heic")  # decoders that have died on spoiled files
SAFE = [name for name in CORPUS if not name.startswith(RISKY)]
RISKED = [name for name in READABLE if name.startswith(RISKY)]
FEW, MANY = 10, 300  # spoiled files of each kind
FAMILIES = {"avif", "heic", "tiff-lzw", "tiff-jpeg", "tiff-16bit"}
SAMPLE = sorted(FAMILIES & set(READABLE))


def in_a_child(name, count):
    """Return how many spoiled files ended how; a child that dies is started again behind them."""
    found, first = Counter(), 0
    while first < count:
        command = [sys.executable, str(PROGRAM), name, str(first), str(count - first)]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        lines = done.stdout.split("\n")
        found.update(line.split()[1] for line in lines if line and not line.endswith("begun"))
        if done.returncode == 0:
            break
        assert done.returncode < 0, done.stderr[-3000:]  # an exception escaped
        first = int(lines[-2].split()[0]) + 1
        found["died"] += 1
    return found


def test_the_spoiled_files_are_spoiled_and_repeat_themselves():
    data, other = original("png-rgb")
    files = [mutated(data, other, seed) for seed in range(200)]
    assert files == [mutated(data, other, seed) for seed in range(200)]
    assert len(set(files)) > 190
    assert sum(file != data for file in files) > 190


@pytest.mark.parametrize("name", SAFE)
def test_spoiled_files_are_refused_or_protected(tmp_path, name):
    found = Counter(result for _, result in work(name, range(FEW), tmp_path))
    assert found.total() == FEW


def test_spoiled_files_are_not_all_refused(tmp_path):
    found = Counter()
    for name in SAFE[::5]:
        found.update(result for _, result in work(name, range(100, 120), tmp_path))
    assert found["refused"] > 20
    assert found["protected"] > 20


@pytest.mark.parametrize("name", few(SAMPLE, *SAMPLE[:2]))
def test_what_kills_a_decoder_kills_one_child(name):
    count = 12
    found = in_a_child(name, count)
    assert found.total() == count


@pytest.mark.slow
@pytest.mark.parametrize("name", SAFE)
def test_many_spoiled_files_are_refused_or_protected(tmp_path, name):
    found = Counter(result for _, result in work(name, range(1000, 1000 + MANY), tmp_path))
    assert found.total() == MANY


@pytest.mark.slow
@pytest.mark.parametrize("name", RISKED)
def test_many_spoiled_files_end_no_more_than_their_child(name):
    found = in_a_child(name, MANY)
    assert found.total() == MANY
    assert found["died"] < MANY // 10


@pytest.mark.parametrize("name", ["png-rgb", "jpeg", "webp-lossless", "gif", "bmp", "avif"])
def test_what_lies_behind_a_picture_changes_nothing_about_it(tmp_path, name):
    source = tmp_path / "source.dat"
    data, other = original(name)
    source.write_bytes(data)
    alone = prepare(source, Preparation(max_pixels=MOST_PIXELS))
    source.write_bytes(data + other)
    joined = prepare(source, Preparation(max_pixels=MOST_PIXELS))
    assert (alone.pixels == joined.pixels).all()
