"""Valid files spoiled in every way, and what becomes of them; a program for decoders that may die.

As a program it takes a kind of file, the first seed and how many, works through them, and says on
standard output which seed it is at; whoever started it knows where it died.
"""

import random
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.support.corpus import CORPUS, READABLE
from tests.support.writing import lossless_format, write_picture
from unlearn.errors import PictureError
from unlearn.pictures.read import Preparation, prepare

SIZE = (20, 15)
MOST_PIXELS = 1_000_000
LEVELS = 8


def mutated(data, other, seed):
    """Return a file spoiled in one to three ways that the seed chooses."""
    draw = random.Random(seed)
    spoiled = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        way = draw.choice([_cut, _flip, _flip, _flip, _append, _swap, _repeat, _numbers, _join])
        way(spoiled, draw, other)
        if not spoiled:
            break
    return bytes(spoiled)


def _cut(data, draw, _other):
    del data[draw.randrange(len(data)) :]


def _flip(data, draw, _other):
    for _ in range(draw.randint(1, 8)):
        reach = len(data) if draw.random() < 0.6 else min(len(data), 200)
        data[draw.randrange(reach)] ^= 1 << draw.randrange(8)


def _append(data, draw, _other):
    data += draw.randbytes(draw.randint(1, 60))


def _swap(data, draw, _other):
    a, b, c = sorted(draw.randrange(len(data) + 1) for _ in range(3))
    data[a:c] = data[b:c] + data[a:b]


def _repeat(data, draw, _other):
    a, b = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    data[b:b] = data[a:b]


def _numbers(data, draw, _other):
    at, width = draw.randrange(len(data)), draw.choice([1, 2, 4])
    value = draw.choice([0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])
    order = draw.choice(["big", "little"])
    data[at : at + width] = (value & (1 << 8 * width) - 1).to_bytes(width, order)


def _join(data, _draw, other):
    data += other


def outcome(data, folder):
    """Return "refused" or "protected" for the bytes of a file; anything else is an exception."""
    source, target = folder / "source.dat", folder / "out.dat"
    source.write_bytes(data)
    target.unlink(missing_ok=True)
    before = sorted(folder.iterdir())
    try:
        picture = prepare(source, Preparation(max_pixels=MOST_PIXELS))
        _protect(picture, target)
    except PictureError as problem:
        reason, result = str(problem), "refused"
    else:
        reason, result = "", "protected"
    if result == "refused":
        assert reason
        assert "\n" not in reason
        assert sorted(folder.iterdir()) == before
    else:
        _assert_within(source, target)
    assert source.read_bytes() == data
    return result


def _protect(picture, target):
    """Write the picture with all values moved by the bound."""
    steps = 257 if picture.pixels.dtype == np.uint16 else 1
    up = picture.pixels < 128 * steps
    step = np.array(LEVELS * steps, picture.pixels.dtype)
    protected = np.where(up, picture.pixels + step, picture.pixels - step)
    write_picture(
        picture, protected, target, format=lossless_format(picture), metadata="keep", levels=LEVELS
    )


def _assert_within(source, target):
    """Assert that the output is within the bound and not the source."""
    clean, found = (prepare(p, Preparation(max_pixels=MOST_PIXELS)) for p in (source, target))
    steps = 257 if clean.pixels.dtype == np.uint16 else 1
    gap = np.abs(clean.pixels.astype(int) - found.pixels)
    assert 0 < gap.max() <= LEVELS * steps


def original(name):
    """Return the file that is spoiled, and another one."""
    names = sorted(READABLE)
    other = names[(names.index(name) + 1) % len(names)]
    return CORPUS[name].make(SIZE, 1), CORPUS[other].make(SIZE, 1)


def work(name, seeds, folder):
    """Work through seeds; yield each with what became of it."""
    data, other = original(name)
    for seed in seeds:
        yield seed, outcome(mutated(data, other, seed), folder)


def main():
    """Work through the seeds of the command line."""
    name, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with tempfile.TemporaryDirectory() as folder:
        print(f"{first} begun", flush=True)
        for seed, result in work(name, range(first, first + count), Path(folder)):
            print(f"{seed} {result}\n{seed + 1} begun", flush=True)


if __name__ == "__main__":
    main()
