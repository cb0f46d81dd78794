"""What many pictures cost before, during and after a shard's work: time and peak memory.

    python -m tests.benchmarks.many FOLDER --pictures 10000 100000 1000000

FOLDER gets N names of 48 x 36 pixels in folders of 1,000: in each one JPEG and one PNG, and hard
links to them, so no picture is read from a disk. Then, each in a process of its own:

- plan: `make_plan` for all of them, and nothing else;
- run: `protect --shard 1/N'` of about 50 of them with noise that costs nothing, one process;
- merge: `protect --merge` of 16 parts. Their N lines repeat that of one picture under each name,
  since protecting them all would take days; those files do not exist, so none is shown;
- again: the shard once more, upon a manifest of N lines: it hashes every source that has one.

Memory is the largest resident set of the process; `idle` is one that has imported the same and
done nothing. Seconds in brackets are of the CPU, which a machine with other work does not change. A
phase that takes more than --limit of them is ended and said to be.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.support.protecting import FakeGenerator, make_generator_file, make_picture
from unlearn.protection import run as workflow
from unlearn.protection.manifest import ManifestWriter, read_part
from unlearn.protection.merge import merge
from unlearn.protection.options import ProtectOptions
from unlearn.protection.plan import make_plan
from unlearn.protection.run import protect
from unlearn.protection.shards import Shard

PHASES = ("idle", "plan", "run", "merge", "again")
IN_A_FOLDER, DONE, PARTS = 1000, 50, 16


def name_of(number: int) -> str:
    """Return the name of a picture: every other one is a JPEG."""
    suffix = "jpg" if number % 2 else "png"
    return f"{number // IN_A_FOLDER:05}/{number % IN_A_FOLDER:03}.{suffix}"


def make(photos: Path, count: int) -> None:
    """Fill a folder with so many names; file systems allow some 65,000 links to one file."""
    for number in range(count):
        path = photos / name_of(number)
        if number % IN_A_FOLDER < 2:
            make_picture(path, number, size=(48, 36))
        else:
            os.link(photos / name_of(number - number % IN_A_FOLDER + number % 2), path)


def options_for(folder: Path, shard: Shard | None) -> ProtectOptions:
    """Return the options of the run of a shard."""
    return ProtectOptions(
        inputs=(str(folder / "photos"),),
        out=folder / "out",
        labels="one",
        generator=str(folder / "fake.safetensors"),
        key=folder / "key",
        workers=0,
        preview=0,
        shard=shard,
    )


def run(folder: Path, count: int) -> None:
    """Protect one shard of about DONE pictures."""
    vars(workflow)["load_generator"] = lambda _path, _device: (FakeGenerator(), "cpu")
    protect(options_for(folder, Shard(max(1, count // DONE), 1)), lambda _event: None)


def pretend(folder: Path, count: int) -> None:
    """Put PARTS finished parts with a line for every picture in the place of the one that is."""
    records = folder / "out.unlearn"
    done = read_part(records, Shard(max(1, count // DONE), 1))
    one = next(iter(done.records.values()))
    shutil.rmtree(records)
    records.mkdir()
    for number in range(1, PARTS + 1):
        shard = Shard(PARTS, number)
        writer = ManifestWriter(records, shard)
        assert done.header is not None
        writer.header(replace(done.header, shard=str(shard)))
        with (records / f"manifest{shard.mark}.jsonl").open("a") as file:
            for place in range(number - 1, count, PARTS):
                name = name_of(place)
                origin = str((folder / "photos" / name).absolute())
                out = f"{name[:-4]}.png"  # too little noise fits into a JPEG of this size
                line = replace(one, src=name, out=out, origin=origin).to_line()
                file.write(f"{json.dumps(line)}\n")
        writer.end()


def phase(name: str, folder: Path, count: int, limit: int) -> None:
    """Do one phase and print its seconds, those of the CPU, and the largest resident set in MB."""
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    works: dict[str, Callable[[], object]] = {
        "idle": lambda: None,
        "plan": lambda: make_plan(options_for(folder, None).request),
        "run": lambda: run(folder, count),
        "merge": lambda: merge(folder / "out", lambda _event: None),
        "again": lambda: run(folder, count),
    }
    began, busy = time.monotonic(), time.process_time()
    works[name]()
    seconds, busy = time.monotonic() - began, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    sys.stdout.write(f"{seconds:.1f} s ({busy:.1f} s CPU), {peak:.0f} MB\n")


def measure(folder: Path, count: int, limit: int) -> dict[str, str]:
    """Return what each phase took with so many pictures."""
    folder.mkdir(parents=True)
    make_generator_file(folder / "fake.safetensors")
    (folder / "key").write_bytes(bytes(range(32)))
    make(folder / "photos", count)
    found = {}
    for name in PHASES:
        if name == "merge":
            pretend(folder, count)
        line = [sys.executable, "-m", "tests.benchmarks.many", str(folder), "--phase", name]
        line += ["--pictures", str(count), "--limit", str(limit)]
        done = subprocess.run(line, check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            found[name] = f"over {limit} s CPU"
            break
        done.check_returncode()
        found[name] = done.stdout.strip()
    shutil.rmtree(folder)
    return found


def main() -> None:
    """Measure every size, print a row of a table for each, and remove what was made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--limit", type=int, default=600)
    parser.add_argument("--phase", choices=PHASES)
    asked = parser.parse_args()
    if asked.phase:
        phase(asked.phase, asked.folder, asked.pictures[0], asked.limit)
        return
    sys.stdout.write(f"| Pictures | {' | '.join(PHASES)} |\n|{'---|' * (1 + len(PHASES))}\n")
    for count in asked.pictures:
        found = measure(asked.folder / str(count), count, asked.limit)
        row = " | ".join(found.get(name, "not reached") for name in PHASES)
        sys.stdout.write(f"| {count:,} | {row} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
