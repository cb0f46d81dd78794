"""What the tests of protect are made of: a generator without a network, folders, whole runs.

PROGRAM is `unlearn` with that generator, for tests that need a process to stop or kill.
"""

import functools
import hashlib
import json
import os
import signal
import struct
import sys
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from unlearn.config import to_plain
from unlearn.errors import PictureError
from unlearn.generators.header import KEY, Header
from unlearn.protection import run as workflow
from unlearn.protection import worker
from unlearn.protection.options import ProtectOptions
from unlearn.workers import limits

CHECKOUT = Path(__file__).parents[2]
# `unlearn` with the generator of these tests, as a command of its own.
PROGRAM = (
    sys.executable,
    "-c",
    f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); "
    "from tests.support.protecting import main; main()",
)
CLASSES = ("aeroplane", "bird", "cat")
GRID = 16


class FakeGenerator:
    """Noise that depends on all of its arguments and nothing else."""

    by_class = True

    def __init__(self, *delays_seconds: float) -> None:
        """Take so long for each picture in turn, and as long as the last one for all others."""
        self.delays_seconds = delays_seconds
        self.calls: list[str] = []

    def noise_for_picture(self, pixels, target, stream_seed, content_sha256, radius=None):
        if self.delays_seconds:
            time.sleep(self.delays_seconds[: len(self.calls) + 1][-1])
        self.calls.append(content_sha256)
        seed = hashlib.sha256(f"{target} {stream_seed} {content_sha256}".encode()).digest()
        rng = np.random.default_rng(list(seed))
        return (rng.choice([-1.0, 1.0], pixels.shape) * float(radius)).astype(np.float32)


class SilentGenerator(FakeGenerator):
    """No noise at all."""

    def noise_for_picture(self, pixels, *_args):
        return np.zeros(pixels.shape, np.float32)


class RefusingGenerator(FakeGenerator):
    """Fails as its `error` says, for pictures whose hash is in `victims` (all without any)."""

    def __init__(self, error, victims=()):
        super().__init__()
        self.error = error
        self.victims = victims

    def noise_for_picture(self, pixels, target, stream_seed, content_sha256, radius=None):
        if not self.victims or content_sha256 in self.victims:
            raise self.error
        return super().noise_for_picture(pixels, target, stream_seed, content_sha256, radius)


def make_generator_file(path: Path, classes=CLASSES, working_size=GRID) -> Path:
    """Write the header of an artefact; the fake needs no tensors."""
    header = Header("min-max-min", {}, "small", tuple(classes), 32, working_size, "8/255")
    text = json.dumps({"__metadata__": {KEY: json.dumps(to_plain(header))}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    return path


def make_picture(path: Path, seed: int = 0, size=(24, 18), mode="RGB", **save) -> Path:
    """Write a smooth picture that is different for each seed; the suffix says the format."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(40, 216, (4, 5, 3), np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    small.resize(size, Image.Resampling.BICUBIC).convert(mode).save(path, **save)
    return path


def make_photos(folder: Path, names=("a.jpg", "b.png", "sub/c.jpg")) -> Path:
    """Fill a folder with one picture for each name."""
    for seed, name in enumerate(names):
        make_picture(folder / name, seed)
    return folder


def options_for(tmp_path: Path, *inputs, **changes) -> ProtectOptions:
    """Return options for a run in this folder, without worker processes."""
    generator = tmp_path / "fake.safetensors"
    if not generator.exists():
        make_generator_file(generator)
    values = {"inputs": tuple(map(str, inputs)) or (str(tmp_path / "photos"),), "workers": 0}
    values |= {"out": tmp_path / "protected", "generator": str(generator), "preview": 0}
    return ProtectOptions(**{**values, **changes})


class Heard(list):
    """A report that keeps every event."""

    def __call__(self, event):
        self.append(event)

    def of(self, kind):
        return [event for event in self if isinstance(event, kind)]

    @property
    def notices(self):
        from unlearn.protection.events import Notice

        return [event.text for event in self.of(Notice)]


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file under a folder and its bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def manifest_lines(out: Path, kind: str) -> list[dict]:
    """Return the lines of one type in an output folder's manifest."""
    text = (out.parent / f"{out.name}.unlearn" / "manifest.jsonl").read_text()
    return [line for line in map(json.loads, text.splitlines()) if line["type"] == kind]


def largest_difference(one: Path, other: Path) -> int:
    """Return the largest difference of any value of two pictures."""
    with Image.open(one) as first, Image.open(other) as second:
        pixels = [np.asarray(image.convert("RGB")).astype(int) for image in (first, second)]
    return int(np.abs(pixels[0] - pixels[1]).max())


def dying_read(shared, job):
    """Read, or die as a worker does when memory runs out, on pictures called "deadly"."""
    if "deadly" in job.source.name:
        os._exit(1)
    if "fragile" in job.source.name and not (mark := job.source.with_suffix(".died")).exists():
        mark.write_text("")
        os._exit(1)
    return worker.read(shared, job)


def dying_write(shared, job):
    """Write, or die, on pictures called "doomed"."""
    if "doomed" in job.source.name:
        os._exit(1)
    return worker.write(shared, job)


def badly_read(shared, job):
    """Read as decoders do that never come back, crash, are killed, or want all memory."""
    limits.seconds_for = lambda _pixels: 0.5 if "hanging" in job.source.name else 120
    return worker._guarded(
        functools.partial(_read_badly, shared, job), job.pixels, shared.preparation
    )


def _read_badly(shared, job):
    if "hanging" in job.source.name:
        threading.Event().wait()
    if "crashing" in job.source.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "killed" in job.source.name:
        os.kill(os.getpid(), signal.SIGKILL)
    if "greedy" in job.source.name:
        np.empty(2 << 30, np.uint8)
    return worker._read(shared, job)


def strange_read(shared, job):
    """Read, with a surprise on pictures called "strange"."""
    if "strange" in job.source.name:
        raise LookupError("what is this")
    return worker.read(shared, job)


def refused_write(_shared, _job):
    """Fail as a full disk does."""
    return worker.Failure("/data: No space left on device", disk_full=True)


def failing_write(shared, job):
    """Fail to write pictures called "bad"."""
    if "bad" in job.source.name:
        return worker.Failure(str(PictureError("over the bound after writing")))
    return worker.write(shared, job)


def protect_line(photos: Path, out: Path, key: Path) -> list[str]:
    """Return the command that protects a folder with the fake generator."""
    generator = make_generator_file(photos.parent / "fake.safetensors", ("cat", "dog"))
    line = [*PROGRAM, "protect", str(photos), "--out", str(out), "--preview", "0"]
    return [*line, "--key", str(key), "-g", str(generator), "--workers", "1"]


def protect_here(*more: str) -> int:
    """Protect the picture of the fixture `here` through the command line; return its exit code."""
    from unlearn.cli.app import run

    line = ["protect", "x.png", "--out", "o", "-g", "fake.safetensors", "--preview", "0"]
    return run([*line, "--workers", "0", *more])


def main() -> None:
    """Run the command line with the fake generator; FAKE_DELAY has its delays, in seconds."""
    from unlearn.__main__ import main

    fake = FakeGenerator(*map(float, os.environ.get("FAKE_DELAY", "").split()))
    vars(workflow)["load_generator"] = lambda _path, _device: (fake, "cpu")
    main()
