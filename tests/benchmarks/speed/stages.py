"""The stages of `protect` one by one, on one core: decode, noise, encode, check.

Importing this must stay free of torch: the workers that run a stage alone import it.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.writing import lossless_format
from unlearn.pictures.compare import difference, mismatch
from unlearn.pictures.decoded import to_image
from unlearn.pictures.encode import ENCODERS
from unlearn.pictures.grid import Upsampling, to_grid
from unlearn.pictures.read import Picture, Preparation, prepare

LEVELS = 8
_GAIN = 1.5  # of noise that is enlarged, as `protect` has it; any other takes as long
_PATIENCE_SECONDS = 120.0  # until all workers are ready
_together: Any = None  # in a worker: the barrier that all of them begin at


@dataclass
class Piece:
    """One picture on its way: each stage fills in what the next one takes."""

    source: Path
    target: Path
    working_size: int
    delta: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0, 0), np.float32))
    grid: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0, 0), np.uint8))
    picture: Picture | None = None

    @property
    def known(self) -> Picture:
        """The decoded picture; only after decode."""
        if self.picture is None:
            raise AssertionError("decode comes first")
        return self.picture


def decode(piece: Piece, generator: Any) -> None:
    """Read the file and bring the picture to the working grid."""
    piece.picture = prepare(piece.source, Preparation())
    piece.grid = to_grid(piece.picture.pixels, piece.working_size)


def noise(piece: Piece, generator: Any) -> None:
    """Make δ on the grid."""
    piece.delta = generator.noise_for_picture(piece.grid, 0, 0, piece.known.sha256)


def encode(piece: Piece, generator: Any) -> None:
    """Add the noise at full size, strip by strip, and write the file to the disk."""
    known = piece.known
    source = replace(
        known,
        image=to_image(known.pixels, known.alpha),
        metadata=known.metadata.chosen("keep", known.size),
    )
    enlarged = piece.delta.shape[1::-1] != source.size
    noise = Upsampling(piece.delta, source.size, LEVELS, _GAIN if enlarged else 1.0)
    for top, pixels, alpha in source.strips():
        source.put(top, noise.added(top, pixels), alpha)
    with piece.target.open("w+b") as file:
        ENCODERS[lossless_format(known)](source, file)
        file.flush()
        os.fsync(file.fileno())


def check(piece: Piece, generator: Any) -> None:
    """Decode the written file and compare it with the source value by value."""
    written = prepare(piece.target, Preparation())
    wrong = mismatch(piece.known, written)
    if wrong or difference(piece.known, written).linf > LEVELS:
        raise AssertionError(f"{piece.target.name} does not keep the bound ({wrong or 'levels'})")


Stage = Callable[[Piece, Any], None]
STAGES: dict[str, Stage] = {"decode": decode, "noise": noise, "encode": encode, "check": check}


def moved_bytes(piece: Piece) -> dict[str, int]:
    """Return the bytes that each stage but noise must read and write at least once.

    decode: the file, its pixels. encode: pixels, noisy pixels (written and read), the file. check:
    the file, its pixels (written and read), the source's.
    """
    pixels = piece.known.pixels.nbytes
    written = piece.target.stat().st_size
    return {
        "decode": piece.source.stat().st_size + pixels,
        "encode": 3 * pixels + written,
        "check": written + 3 * pixels,
    }


def split_seconds(pieces: Sequence[Piece], generator: Any) -> dict[str, float]:
    """Take every picture through all stages; return the seconds that each stage took in all."""
    seconds = dict.fromkeys(STAGES, 0.0)
    for piece in pieces:
        for name, stage in STAGES.items():
            began = time.perf_counter()
            stage(piece, generator)
            seconds[name] += time.perf_counter() - began
    return seconds


@dataclass(frozen=True)
class Share:
    """What one worker does: the same stage of some pictures, several times."""

    name: str
    pieces: tuple[Piece, ...]  # with the noise, if the stage comes after it
    generator: Path
    turns: int


def alone_seconds(
    name: str, pieces: Sequence[Piece], generator: Path, workers: int, turns: int
) -> list[float]:
    """Return the seconds of one stage of all pictures, in so many processes at once, each turn.

    What comes before the stage, and starting the processes, is done and over when a turn begins.
    """
    context = multiprocessing.get_context("spawn")
    plain = [
        Piece(p.source, p.target.with_suffix(f".{number}"), p.working_size, p.delta)
        for number, p in enumerate(pieces)
    ]
    parts = [tuple(plain[first::workers]) for first in range(workers)]
    shares = [Share(name, part, generator, turns) for part in parts]
    barrier = context.Barrier(workers)
    with ProcessPoolExecutor(workers, context, _meet, (barrier,)) as pool:
        spans = list(pool.map(run_share, shares))
    return [
        max(end for _, end in turn) - min(start for start, _ in turn)
        for turn in zip(*spans, strict=True)
    ]


def _meet(barrier: Any) -> None:
    """Keep in a worker where it waits for the others."""
    global _together  # noqa: PLW0603 - a process pool hands it to its workers in no other way
    _together = barrier


def run_share(share: Share) -> list[tuple[float, float]]:
    """Prepare the pictures, then run the stage; return when each turn began and ended."""
    generator = one_core(share.generator) if share.name == "noise" else None
    before = list(STAGES)[: list(STAGES).index(share.name) + 1]
    for piece in share.pieces:
        for name in before:
            if name != "noise" or share.name == "noise":  # else it is there already
                STAGES[name](piece, generator)
    stage = STAGES[share.name]
    spans = []
    for _ in range(share.turns):
        _together.wait(_PATIENCE_SECONDS)
        began = time.monotonic()
        for piece in share.pieces:
            stage(piece, generator)
        spans.append((began, time.monotonic()))
    return spans


def one_core(path: Path) -> Any:
    """Load a generator for the CPU, on one thread as `protect` uses it."""
    import torch

    from unlearn.device import select_run
    from unlearn.generators.artefact import NoiseGenerator

    torch.set_num_threads(1)
    return NoiseGenerator.load(path, select_run("cpu"))
