"""The cases of `protect`: its stages on one core, the whole run, and the slowest stage alone."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.benchmarks.speed import photos, stages
from tests.benchmarks.speed.floors import attack_operations
from tests.benchmarks.speed.measure import FEWEST, Bench, Record, median, say, turns
from unlearn.device import select_run
from unlearn.generators import catalogue
from unlearn.generators.artefact import NoiseGenerator
from unlearn.protection.options import usual_workers
from unlearn.protection.run import ProtectOptions, protect


@dataclass(frozen=True)
class Folder:
    """Which pictures are protected: how many, of which size if they are drawn, and given ones.

    A whole run gets each picture in so many copies that starting it matters little.
    """

    count: int
    size: tuple[int, int]
    given: Path | None = None
    copies: int = 1
    workers: int | None = None  # None: as many as the command starts by itself


def protect_case(folder: Folder, bench: Bench) -> Record:
    """Time the stages, the whole run over the same files, and the slowest stage alone."""
    workers = folder.workers or usual_workers()
    artefact = catalogue.resolve(catalogue.BUNDLED)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        files = photos.fill(work / "once", folder.count, folder.size, folder.given)
        many = photos.copied(files, work / "in", folder.copies)
        torch.set_num_threads(1)
        generator = NoiseGenerator.load(artefact, select_run(str(bench.device)))
        size = generator.working_size
        pieces = [stages.Piece(file, work / f"{file.stem}.out", size) for file in files]
        found = split(pieces, generator, bench)
        run = [
            whole(many, work / f"out{turn}", bench, workers) / folder.copies
            for turn in turns(bench.repeats)
        ]
        slowest = max(found, key=lambda stage: median(found[stage]["seconds"]))
        alone = found[slowest]["seconds"]
        if workers > 1 and (slowest != "noise" or bench.device.type == "cpu"):
            few = min(bench.repeats, FEWEST)
            seconds = stages.alone_seconds(slowest, pieces * folder.copies, artefact, workers, few)
            alone = [value / folder.copies for value in seconds]
        pixels = [piece.known.pixels.shape[:2] for piece in pieces]
    return {
        "stages": found,
        "run": run,
        "alone": alone,
        "slowest": slowest,
        "workers": workers,
        "pictures": len(files),
        "copies": folder.copies,
        "megapixels": sum(height * width for height, width in pixels) / len(pixels) / 1e6,
        "drawn": folder.given is None,
        "precision": generator.run.precision,
    }


def split(pieces: list[stages.Piece], generator: NoiseGenerator, bench: Bench) -> dict[str, Record]:
    """Return seconds of each stage for all pictures, turn by turn, and the work in it."""
    stages.split_seconds(pieces[:1], generator)
    timed = [stages.split_seconds(pieces, generator) for _ in turns(bench.repeats)]
    moved = [stages.moved_bytes(piece) for piece in pieces]
    found: dict[str, Record] = {
        name: {"seconds": [turn[name] for turn in timed]} for name in stages.STAGES
    }
    for name in moved[0]:
        found[name]["bytes"] = sum(piece[name] for piece in moved)
    found["noise"]["operations"] = sum(noise_operations(piece, generator) for piece in pieces)
    return found


def noise_operations(piece: stages.Piece, generator: NoiseGenerator) -> int:
    """Return the multiply-adds of one picture's noise; the network sees each view in colour."""
    method = generator.method
    height, width, _ = piece.grid.shape
    return method.cost(1).final * attack_operations(generator.module, (1, 3, height, width))


def whole(files: list[Path], out: Path, bench: Bench, workers: int) -> float:
    """Return the seconds of a whole run of `unlearn protect`, without previews.

    PyTorch is loaded already; processes are started and ended within the time.
    """
    key = out.with_name("key")
    key.write_bytes(bytes(32))
    options = ProtectOptions(
        inputs=(str(files[0].parent),),
        out=out,
        format="png",  # as the stages write; a JPEG that is fitted into the bound takes far longer
        labels="one",
        key=key,
        device=str(bench.device),
        workers=workers,
        preview=0,
    )
    result = protect(options, lambda event: None)
    if len(result.protected) < len(files):
        raise SystemExit(f"protect left out {len(files) - len(result.protected)} pictures")
    say(f"  protect: {result.seconds:.1f} s for {len(files)} pictures")
    return result.seconds
