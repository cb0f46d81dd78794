"""Train the copiers of a journal again, or new ones; print the journal as a table.

    python -m tests.benchmarks.noise table docs/results/noise.jsonl
    python -m tests.benchmarks.noise run docs/results/noise.jsonl --photos imagenette5 --out here
    python -m tests.benchmarks.noise run jobs.jsonl --photos imagenette5 --out here --only "p2"
    python -m tests.benchmarks.noise estimate jobs.jsonl --photos imagenette5 --out here

A line of a journal is a job and what came of it, so a journal is also a list of jobs. `run` writes
here/journal.jsonl and goes on where it stopped. Learned motifs need here/cifar10.npz, and are
learned by `run` before the copiers that use them. One core trains a copier of 64-pixel views in
about 40 s with bfloat16 in hardware, an adversarial one of 45 epochs in 3 minutes.
"""

import argparse
import json
from pathlib import Path

from tests.benchmarks.noise.estimate import estimated
from tests.benchmarks.noise.pictures import load
from tests.benchmarks.noise.runner import identity, read, work
from tests.benchmarks.noise.table import table

RESULTS: tuple[str, ...] = (
    "id",
    "last",
    "best",
    "change",
    "curve",
    "train",
    "seconds",
    "precision",
    "torch",
)
RESULTS += ("pictures", "tested", "error", "losses", "signs")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("table", "run", "estimate"))
    parser.add_argument("journal", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", default="", help="jobs whose name or group holds this")
    options = parser.parse_args(arguments)
    lines = [json.loads(line) for line in read(options.journal)]
    lines = [line for line in lines if options.only in line["name"] + " " + line.get("group", "")]
    if options.command == "table":
        print(table(lines))
        return
    jobs = {identity(job): job for job in (_bare(line) for line in lines)}
    options.out.mkdir(parents=True, exist_ok=True)
    photos = load(options.photos, options.out / "cache")
    if options.command == "estimate":
        noises = {json.dumps(job["noise"], sort_keys=True): job for job in jobs.values()}
        for job in noises.values():
            print(job["name"], estimated(photos[0], job["noise"], options.out))
        return
    queue = options.out / "queue.jsonl"
    queue.write_text("".join(json.dumps(job) + "\n" for job in jobs.values()))
    work(queue, options.out / "journal.jsonl", photos, wait=False)


def _bare(line: dict) -> dict:
    """Return the job of a journal's line."""
    return {key: value for key, value in line.items() if key not in RESULTS}


if __name__ == "__main__":
    main()
