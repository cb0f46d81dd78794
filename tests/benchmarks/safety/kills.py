"""Runs killed at random moments and continued, compared byte by byte with one that was not."""

import random
import shutil
import subprocess
import tempfile
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
        whole = watched.watch(line, room)
        if whole.code:
            raise RuntimeError(whole.stderr)
        expected = made.hashes(room / "out")
        moments = _Moments(seed, whole.seconds)
        found = {"killed": 0, "too late": 0, "half files": 0, "other bytes": 0, "done before": []}
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
        "uninterrupted seconds": round(whole.seconds, 2),
        "seed": seed,
    }


class _Moments:
    """Random moments of a run, later ones when a run took longer than was thought."""

    def __init__(self, seed: int, seconds: float) -> None:
        self.random = random.Random(seed)
        self.seconds = seconds

    def next(self) -> tuple[float, bool]:
        """Return when to kill, in seconds, and whether all processes at once."""
        return self.random.uniform(0, self.seconds), self.random.random() < 0.5


def _once(
    room: Path, line: list[str], expected: dict[str, str], moments: _Moments, found: dict[str, Any]
) -> None:
    """Kill one run, continue it, and count what came of it."""
    moment, all_of_it = moments.next()
    process = watched.start(line, room)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        watched.kill(process, all_of_it=all_of_it)
    else:
        found["too late"] += 1
        return
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
