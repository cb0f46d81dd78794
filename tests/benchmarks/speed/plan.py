"""Which cases there are on a device, how large they are, and how one of them is timed."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tests.benchmarks.speed import cases, photos
from tests.benchmarks.speed.cases import Size
from tests.benchmarks.speed.floors import rates
from tests.benchmarks.speed.measure import Bench, Record, machine, say
from tests.benchmarks.speed.protecting import Folder, protect_case
from tests.benchmarks.speed.targets import SCHEDULE_PICTURES

NETWORK, PHOTO_NETWORK, QUICK_NETWORK = "resnet18", "resnet18-imagenet", "resnet18-thin"


@dataclass(frozen=True)
class Case:
    """One row group of the table: what it is called, and what measures it."""

    title: str
    kind: str  # attack, generator, victim or protect
    size: Size | Folder

    def measure(self, bench: Bench) -> Record:
        """Time it; the record stands for itself, with the machine and its rates."""
        measures: dict[str, Callable[..., Record]] = {
            "attack": cases.attack_case,
            "generator": cases.generator_case,
            "victim": cases.victim_case,
            "protect": protect_case,
        }
        if self.kind == "protect":
            bench = replace(bench, threads=1)  # as `protect` itself has it
        began, measured = time.monotonic(), rates(bench)
        torch.set_num_threads(bench.threads)
        found = {
            "title": self.title,
            "kind": self.kind,
            "device": bench.device.type,
            "threads": bench.threads,
            "quick": bench.quick,
            "machine": machine(bench.device),
            "load_before": bench.load,
            "rates": measured,
            **measures[self.kind](self.size, bench),
        }
        found["took_seconds"] = round(time.monotonic() - began, 1)
        say(f"  {found['took_seconds']} s")
        return found


# A CPU gets fewer pictures a step than were published where that would take a quarter of an hour.
_CPU = {
    "pgd-32": Size(NETWORK, 32, 128, steps=1, alone=4),
    "pgd-224": Size(PHOTO_NETWORK, 224, 16, steps=1, alone=2, alone_steps=5),
    "generator": Size(NETWORK, 32, 8),
    "victim": Size(NETWORK, 32, 24),
}
_CUDA = {
    "pgd-32": Size(NETWORK, 32, 128, steps=10, alone=8),
    "pgd-32-large": Size(NETWORK, 32, 1024, steps=10, alone=8),
    "pgd-224": Size(PHOTO_NETWORK, 224, 64, steps=10, alone=8),
    "generator": Size(NETWORK, 32, 128),
    "victim": Size(NETWORK, 32, 128),
}
_QUICK = {
    "pgd-32": Size(QUICK_NETWORK, 16, 4, steps=1, alone=1, alone_steps=2),
    "pgd-224": Size(PHOTO_NETWORK, 32, 2, steps=1, alone=1, alone_steps=1),
    "generator": Size(QUICK_NETWORK, 8, 7),
    "victim": Size(QUICK_NETWORK, 8, 4),
}
_PHOTOS = Folder(4, photos.PHOTO, copies=2)
_SMALL = Folder(32, photos.SMALL)
_KINDS = {"generator": "a step of the published generator", "victim": "an adversarial victim step"}


def plan(bench: Bench, given: Path | None, small: Path | None) -> dict[str, Case]:
    """Return the cases of a device by name."""
    sizes = _QUICK if bench.quick else _CPU if bench.device.type == "cpu" else _CUDA
    if bench.full and not bench.quick:
        sizes = sizes | {name: replace(sizes[name], pictures=SCHEDULE_PICTURES) for name in _KINDS}
    found = {name: _case(name, size) for name, size in sizes.items()}
    photo, small_one = replace(_PHOTOS, given=given), replace(_SMALL, given=small)
    if bench.quick:
        photo = replace(photo, count=1, size=(320, 240), workers=1, copies=1)
        small_one = replace(small_one, count=2, size=(64, 64), workers=1)
    found["protect-photos"] = Case("protect, photos", "protect", photo)
    found["protect-small"] = Case("protect, small pictures", "protect", small_one)
    return found


def _case(name: str, size: Size) -> Case:
    """Return the case of a network."""
    kind = name if name in _KINDS else "attack"
    what = _KINDS.get(name, "PGD over random views")
    return Case(f"{what}, {size.network}, {size.side}x{size.side}", kind, size)


def names(device: str) -> list[str]:
    """Return the names of the cases on a kind of device."""
    return list(plan(Bench(torch.device(device)), None, None))
