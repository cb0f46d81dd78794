"""Timing: implementations take turns, so that whatever slows the machine slows all of them."""

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from unlearn.device import select_run
from unlearn.models.folding import Precision

FEWEST = 3  # turns of a case however long they take, unless fewer are asked for
PATIENCE_SECONDS = 20.0  # no further turn of a case begins after these
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16")
_CPU_INFO = Path("/proc/cpuinfo")
_PACKAGES = ("torchvision", "pillow", "numpy")

Record = dict[str, Any]  # JSON values


@dataclass(frozen=True)
class Bench:
    """Where and how often everything is timed.

    threads are PyTorch's in this process; quick is a trial at tiny sizes, and full takes steps of
    as many pictures as were published where a CPU otherwise takes fewer. load is how many processes
    wanted a core in the minute before, where the system says so.
    """

    device: torch.device
    threads: int = 1
    repeats: int = 5
    quick: bool = False
    full: bool = False
    load: float | None = None


@dataclass(frozen=True)
class Way:
    """One implementation of a case, and how much one run of it is.

    passes are forward+backward passes of one picture, operations multiply-adds; pictures are those
    in one batch. warm_up is a shorter run over the same shapes.
    """

    what: str
    run: Callable[[], object]
    pictures: int
    passes: int
    operations: int
    precision: str = "fp32"
    warm_up: Callable[[], object] | None = None

    def record(self, seconds: list[float]) -> Record:
        """Return what is kept of it."""
        return {
            "what": self.what,
            "pictures": self.pictures,
            "passes": self.passes,
            "operations": self.operations,
            "precision": self.precision,
            "seconds": seconds,
        }


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of one call, to the end of what it queued on the device."""
    _synchronise(device)
    began = time.perf_counter()
    work()
    _synchronise(device)
    return time.perf_counter() - began


def take_turns(ways: dict[str, Way], bench: Bench) -> dict[str, Record]:
    """Warm every way up, then time them in turn; return their records with the seconds of runs."""
    for way in ways.values():
        short = way.warm_up if bench.device.type == "cpu" else None
        seconds_of(short or way.run, bench.device)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in turns(bench.repeats):
        for name, way in ways.items():
            seconds[name].append(seconds_of(way.run, bench.device))
    return {name: way.record(seconds[name]) for name, way in ways.items()}


def turns(repeats: int) -> Iterator[int]:
    """Yield the numbers of turns, all or, once patience is at its end, FEWEST of them."""
    began = time.monotonic()
    for turn in range(repeats):
        if turn >= FEWEST and time.monotonic() - began > PATIENCE_SECONDS:
            return
        yield turn


def machine(device: torch.device) -> Record:
    """Describe what decides how fast things are."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    processor, flags = _processor()
    return {
        "processor": processor,
        "flags": [flag for flag in FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "accelerator": name,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,  # with the build's name
        **{package: version(package) for package in _PACKAGES},
    }


def load() -> float | None:
    """Return how many processes wanted a core in the last minute, or None."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def auto_precision(device: torch.device) -> Precision:
    """Return the precision that the tool chooses on a device."""
    return select_run(str(device)).precision


def median(seconds: Sequence[float]) -> float:
    return statistics.median(seconds)


def say(text: str) -> None:
    """Print progress at once, apart from the table."""
    print(text, file=sys.stderr, flush=True)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _processor() -> tuple[str, set[str]]:
    """Return the processor's name and feature flags, as far as the system tells them."""
    fields: dict[str, str] = {}
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text().splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    flags = fields.get("flags", fields.get("Features", ""))
    return fields.get("model name", platform.processor() or "unknown"), set(flags.split())
