"""Runs killed at random moments and continued, compared byte by byte with one that was not.

One kill in ten comes while the run still starts; the others come after the output folder appeared,
at moments spread over what an uninterrupted run took from there to its end.
"""

import contextlib
import random
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.safety import made, watched

SIZE = (160, 120)


def kills(times: int, pictures: int, seed: int) -> dict[str, Any]:
    """Return how many reruns ended with the bytes of the run that nobody killed."""
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        photos = made.make_folder(room / "photos", pictures, SIZE)
        sources = made.hashes(photos)
        line = made.protect_line(
            photos, room / "out", made.make_key(room), "--grid", "16", "--workers", "2"
        )
        starting, writing = _uninterrupted(line, room)
        expected = made.hashes(room / "out")
        moments = _Moments(random.Random(seed), starting, writing)
        found: dict[str, Any] = {
            "killed": 0,
            "too late": 0,
            "half files": 0,
            "other bytes": 0,
            "done before": [],
        }
        while found["killed"] < times:
            _empty(room)
            _once(room, line, expected, moments, found)
        changed = made.hashes(photos) != sources
    done = found.pop("done before")
    return {
        **found,
        "pictures": pictures,
        "finished when killed": {
            "least": min(done),
            "median": sorted(done)[len(done) // 2],
            "most": max(done),
        },
        "sources changed": changed,
        "uninterrupted seconds": [round(starting, 2), round(writing, 2)],
        "seed": seed,
    }


def _uninterrupted(line: list[str], room: Path) -> tuple[float, float]:
    """Run to the end; return the seconds until the output appeared, and from there on."""
    began = time.monotonic()
    process = watched.start(line, room)
    appeared = _appeared(process, room)
    if process.wait():
        raise RuntimeError((room / "stderr").read_text())
    return appeared - began, time.monotonic() - appeared


def _appeared(process: "subprocess.Popen[str]", room: Path) -> float:
    """Wait for the output folder or the end of the process; return the time."""
    while process.poll() is None and not (room / "out").exists():
        time.sleep(watched.LOOK_SECONDS)
    return time.monotonic()


@dataclass(frozen=True)
class _Moments:
    """Random moments of a run that takes so many seconds to start, and then to write."""

    random: random.Random
    starting: float
    writing: float

    def wait(self, process: "subprocess.Popen[str]", room: Path) -> bool:
        """Wait for the next moment; return whether the process is still running."""
        if self.random.random() < 0.1:
            seconds = self.random.uniform(0, self.starting)
        else:
            _appeared(process, room)
            seconds = self.random.uniform(0, self.writing)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        return process.poll() is None


def _once(
    room: Path, line: list[str], expected: dict[str, str], moments: _Moments, found: dict[str, Any]
) -> None:
    """Kill one run, continue it, and count what came of it."""
    process = watched.start(line, room)
    if not moments.wait(process, room):
        found["too late"] += 1
        return
    watched.kill(process, all_of_it=moments.random.random() < 0.5)
    out = room / "out"
    found["killed"] += 1
    found["half files"] += len(made.half_files(out, expected))
    found["done before"].append(len(set(made.hashes(out)) & set(expected)))
    again = watched.watch(line, room)
    same = made.hashes(out) == expected and not made.leftovers(out, room / "out.unlearn")
    found["other bytes"] += again.code != 0 or not same


def _empty(room: Path) -> None:
    """Remove what a run left, but not its key."""
    for folder in ("out", "out.unlearn"):
        shutil.rmtree(room / folder, ignore_errors=True)
