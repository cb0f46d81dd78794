"""How two cores are used best: two processes of one thread, or one process of two threads.

    python -m tests.benchmarks.cores imagenette5/val

DATA holds class folders. Each way of each command takes its turn; printed are the medians of the
clock and of the CPU seconds of all processes, with the fastest and the slowest run. Nothing else
should run meanwhile.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.forecast import copied

CORES = 2
# Victims have one thread whatever runs beside them; this gives them as many as there are cores.
THREADED = (
    f"import torch; torch.set_num_threads({CORES}); torch.set_num_threads = lambda count: None; "
    "from unlearn.__main__ import main; main()"
)
TRAINING = ["--arch", "resnet-small", "--image-size", "32", "--batch-size", "64", "--steps", "300"]
AUDIT = ["--epochs", "60", "--pgd-steps", "3", "--countermeasures", "none"]


@dataclass(frozen=True)
class Way:
    """One way to run a command: what is started at once, and how many threads each has."""

    command: str
    title: str
    lines: tuple[tuple[str, ...], ...]
    threads: int = 1
    spent: list[tuple[float, float]] = field(default_factory=list)  # clock, CPU seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every way in turn and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="class folders")
    parser.add_argument("--pictures", type=int, default=20, help="of each class")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="one command")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        copied(args.data, work / "in", args.pictures)
        first = _python("protect", str(work / "in"), "--out", str(work / "protected"))
        _end(_begin(first, work, 1))
        ways = [way for way in _ways(work) if args.only in way.command]
        for _ in range(args.repeats):
            for way in ways:
                way.spent.append(_seconds(way, work))
                shutil.rmtree(work / "out", ignore_errors=True)
    print("| command | way | clock, s | CPU, s |\n|---|---|---|---|")
    for way in ways:
        clock, cpu = (_cell(values) for values in zip(*way.spent, strict=True))
        print(f"| `{way.command}` | {way.title} | {clock} | {cpu} |")


def _ways(work: Path) -> Iterator[Way]:
    """Yield the ways of protect, audit and train-generator, whose results go to work/out."""
    data, out = str(work / "in"), work / "out"
    protect = ("protect", data, "--out", str(out / "protected"), "--preview", "0")
    yield Way("protect", "two workers, noise in threads", (_python(*protect, "--workers", "2"),))
    shards = tuple(
        _python(*protect, "--workers", "0", "--shard", f"{part}/{CORES}")
        for part in range(1, CORES + 1)
    )
    yield Way("protect", "two processes", shards)
    yield Way("protect", "two threads", (_python(*protect, "--workers", "0"),), CORES)
    yield Way("protect", "one thread", (_python(*protect, "--workers", "0"),))
    train = ("train-generator", data, "--out", str(out / "g.safetensors"), *TRAINING)
    ranks = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(CORES))
    yield Way("train-generator", "two processes", ((*ranks, "-m", "unlearn", *train),))
    yield Way("train-generator", "two threads", (_python(*train),), CORES)
    yield Way("train-generator", "one thread", (_python(*train),))
    audit = ("audit", data, str(work / "protected"), "--out", str(out / "report"), *AUDIT)
    yield Way("audit", "two processes", (_python(*audit, "--workers", str(CORES)),))
    alone = ("--workers", "0")
    yield Way("audit", "two threads", ((sys.executable, "-c", THREADED, *audit, *alone),), CORES)
    yield Way("audit", "one thread", (_python(*audit, *alone),))


def _python(*line: str) -> tuple[str, ...]:
    """Return a line of the tool as a process."""
    return (sys.executable, "-m", "unlearn", *line)


def _seconds(way: Way, home: Path) -> tuple[float, float]:
    """Return the seconds of the clock and of all processors that a way takes."""
    before, began = _spent(), time.monotonic()
    running = [_begin(line, home, way.threads) for line in way.lines]
    for process in running:
        _end(process)
    return time.monotonic() - began, _spent() - before


def _begin(line: Sequence[str], home: Path, threads: int) -> "subprocess.Popen[str]":
    """Start a line with a home and a number of threads of its own."""
    environment = {**os.environ, "HOME": str(home), "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _end(process: "subprocess.Popen[str]") -> None:
    """Wait for a process; raise SystemExit with its words if it failed."""
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args!r} ended with {process.returncode}:\n{said}")


def _spent() -> float:
    """Return the CPU seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cell(values: Sequence[float]) -> str:
    """Return a median with the least and the most."""
    return f"{statistics.median(values):.1f} ({min(values):.1f} … {max(values):.1f})"


if __name__ == "__main__":
    main()
