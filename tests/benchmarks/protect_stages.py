"""The stages of `protect` alone and together: does the whole run take as long as its slowest stage?

    python -m tests.benchmarks.protect_stages photos --out docs/results/protect_stages

Every stage does all pictures with the run's workers and threads, and then the pipeline does all
three at once, in turns, so that a busy machine slows all of them; medians are reported. Processor
seconds are those of the pictures alone, without starting the program.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from unlearn.data.prepare import Preparation
from unlearn.generators import resolve
from unlearn.radius import Radius
from unlearn.workflows import tasks
from unlearn.workflows.batch import GAIN
from unlearn.workflows.pipeline import Pipeline
from unlearn.workflows.pool import Pool
from unlearn.workflows.protect import load_generator

RHO = Radius.of_levels(8)
PREPARATION = Preparation()
STAGES = ("decode", "noise", "encode")


def timed_read(job):
    began = time.process_time()
    return tasks.read(job), time.process_time() - began


def timed_write(job):
    began = time.process_time()
    return tasks.write(job), time.process_time() - began


def say_hello(_job):
    """Keep a worker busy until the others have started too."""
    time.sleep(0.5)


@dataclass
class Bench:
    """The pictures, their generator, and what each stage made of them."""

    pictures: list[Path]
    out: Path
    generator: Any
    grid: int
    readings: dict[int, tasks.Reading] = field(default_factory=dict)
    noises: dict[int, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    read = staticmethod(tasks.read)
    write = staticmethod(tasks.write)

    def read_job(self, number):
        return tasks.ReadJob(self.pictures[number], self.grid, PREPARATION)

    def make_noise(self, number, reading):
        return self.generator.noise_for_picture(reading.pixels, 0, 0, reading.sha256, RHO)

    def write_job(self, number, reading, noise):
        target = self.out / f"{number}.png"
        source, sha256 = self.pictures[number], reading.sha256
        levels = RHO.levels
        return tasks.WriteJob(
            source, sha256, target, noise, levels, GAIN, "PNG", "keep", PREPARATION
        )

    def finish(self, number, outcome):
        if isinstance(outcome, tasks.Failure):
            raise SystemExit(f"{self.pictures[number]}: {outcome.reason}")

    def decode(self, pool):
        jobs = map(self.read_job, range(len(self.pictures)))
        futures = [pool.submit(timed_read, job) for job in jobs]
        for number, (reading, seconds) in enumerate(f.result() for f in futures):
            self.finish(number, reading)
            self.readings[number] = reading
            self.seconds["decode"] += seconds

    def noise(self, pool):
        waiting, flight = list(self.readings), set()
        while waiting or flight:
            while waiting and len(flight) < max(1, pool.threads):
                flight.add(pool.submit_here(self.timed_noise, waiting.pop()))
            done, flight = wait(flight, return_when=FIRST_COMPLETED)
            self.seconds["noise"] += sum(future.result() for future in done)

    def timed_noise(self, number):
        began = time.thread_time()
        self.noises[number] = self.make_noise(number, self.readings[number])
        return time.thread_time() - began

    def encode(self, pool):
        jobs = [self.write_job(n, self.readings[n], self.noises[n]) for n in self.readings]
        futures = [pool.submit(timed_write, job) for job in jobs]
        for number, (writing, seconds) in enumerate(f.result() for f in futures):
            self.finish(number, writing)
            self.seconds["encode"] += seconds

    def together(self, pool):
        Pipeline(pool, self, lambda: False).run(range(len(self.pictures)))


def seconds_of(work: Callable[[Pool], None], workers: int) -> float:
    """Return the wall seconds of some work with workers that have been started before."""
    with Pool(workers, threads=workers) as pool:
        for hello in [pool.submit(say_hello, None) for _ in range(2 * workers)]:
            hello.result()
        began = time.perf_counter()
        work(pool)
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    generator, device = load_generator(resolve("base"), "cpu")
    pictures = sorted(path for path in args.pictures.rglob("*") if path.suffix.lower() == ".jpg")
    walls = {name: [] for name in (*STAGES, "together")}
    with TemporaryDirectory() as out:
        bench = Bench(pictures, Path(out), generator, generator.working_size)
        for _ in range(args.repeats):
            for name, taken in walls.items():
                taken.append(seconds_of(getattr(bench, name), args.workers))
    wall = {name: statistics.median(taken) for name, taken in walls.items()}
    slowest = max(STAGES, key=wall.get)
    processor = {name: taken / args.repeats for name, taken in bench.seconds.items()}
    record = {
        "command": "python -m tests.benchmarks.protect_stages",
        "machine": f"{platform.machine()} CPU, {os.cpu_count()} cores, {device}",
        "workers": args.workers,
        "pictures": len(pictures),
        "wall_seconds": walls,
        "processor_seconds": processor,
        "together_against_slowest": wall["together"] / wall[slowest],
        "least_on_these_cores": sum(processor.values()) / max(processor.values()),
    }
    print(json.dumps(record, indent=1))
    if args.out:
        args.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
