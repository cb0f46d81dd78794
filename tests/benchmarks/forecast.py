"""What `--plan` says against what the same line then takes, three sizes of each command.

    python -m tests.benchmarks.forecast imagenette5/val
    python -m tests.benchmarks.forecast imagenette5/val --cpu

DATA holds class folders. Commands run in this process, without workers. The first size of each is
planned by a trial, the others by the run before. On a machine that others use, --cpu replaces the
clock by this process's CPU seconds, for forecast and measurement alike.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

NETWORK = ["--arch", "resnet-small"]
TRAINING = [*NETWORK, "--image-size", "32", "--batch-size", "32"]
AUDIT = ["--pgd-steps", "3", "--batch-size", "32", "--countermeasures", "none", "--workers", "0"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Plan and run, and print a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="class folders")
    parser.add_argument("--cpu", action="store_true", help="CPU seconds instead of the clock")
    parser.add_argument("--sizes", type=int, nargs=3, default=(2, 5, 15), help="pictures a class")
    parser.add_argument("--lengths", type=int, nargs=3, default=(10, 30, 90), help="steps")
    parser.add_argument("--epochs", type=int, nargs=3, default=(2, 6, 18))
    args = parser.parse_args(arguments)
    if args.cpu:  # before anything else takes the clock from there
        time.monotonic = time.perf_counter = time.process_time
    print("| command | size | planned | forecast, s | measured, s | forecast / measured |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name, _home(Path(name)):
        work = Path(name)
        for title, line, measure in _cases(args, work):
            planned = _said([*line, "--plan"])["plan"]
            began = time.monotonic()
            _said(line)
            seconds = time.monotonic() - began if measure is None else measure()
            print(
                f"| `{line[0]}` | {title} | {planned['known_by']} | {planned['seconds']:.1f} "
                f"| {seconds:.1f} | {planned['seconds'] / seconds:.2f} |",
                flush=True,
            )


def _cases(args: argparse.Namespace, work: Path) -> Iterator[tuple[str, list[str], Any]]:
    """Yield each size, its line, and what measures it where that is not the whole line."""
    folders = [work / f"in{size}" for size in args.sizes]
    for folder, size in zip(folders, args.sizes, strict=True):
        count = copied(args.data, folder, size)
        line = ["protect", str(folder), "--out", str(work / f"out{size}"), "--workers", "0"]
        yield f"{count} pictures", line, None
    folder = folders[-1]
    for steps in args.lengths:
        out = work / f"{steps}.safetensors"
        line = ["train-generator", str(folder), "--out", str(out), *TRAINING, "--steps", str(steps)]
        yield f"{steps} steps", line, None
    for epochs in args.epochs:
        report = work / f"report{epochs}"
        line = ["audit", str(folder), str(work / f"out{args.sizes[-1]}"), "--out", str(report)]

        def victims(report: Path = report) -> float:
            timings = json.loads((report / "report.json").read_text())["timings"]
            return float(sum(one["seconds"] for one in timings))

        yield (
            f"{epochs} epoch{'s' * (epochs > 1)}",
            [*line, *AUDIT, "--epochs", str(epochs)],
            victims,
        )


def copied(data: Path, folder: Path, each: int) -> int:
    """Copy so many pictures of each class; return how many there are."""
    count = 0
    for path in sorted(data.iterdir()):
        for file in sorted(path.iterdir())[:each] if path.is_dir() else ():
            target = folder / path.name / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
            count += 1
    return count


def _said(line: Sequence[str]) -> dict[str, Any]:
    """Run a line of the command line and return its JSON."""
    from unlearn.cli.app import run

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = run([*line, "--json", "--quiet"])
    if code:
        raise SystemExit(f"unlearn {' '.join(line)} ended with {code}: {out.getvalue()}")
    return dict(json.loads(out.getvalue()))


@contextlib.contextmanager
def _home(folder: Path) -> Iterator[None]:
    """Keep rates and keys of this machine apart from those of the benchmark."""
    names = [f"XDG_{name}_HOME" for name in ("CONFIG", "CACHE", "STATE", "DATA")]
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: str(folder / name.lower()) for name in names})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


if __name__ == "__main__":
    main()
