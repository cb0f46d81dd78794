"""Pictures: the archives, small ones for the mini scale, and protected and placebo sets on disk."""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from tests.benchmarks.class_noise import noisy
from tests.benchmarks.paper.plan import CIFAR10, CIFAR100, SURROGATE_SEED, Scale
from unlearn.audits.arms import placebo
from unlearn.datasets import stored
from unlearn.datasets.cifar import find_cifar, load_cifar
from unlearn.datasets.folders import some_of_each
from unlearn.datasets.labelled import Data
from unlearn.device import Run
from unlearn.generators.artefact import NoiseGenerator
from unlearn.radius import Radius
from unlearn.rng import Rng

_CLASSES = {10: CIFAR10, 100: CIFAR100}
_PLACEBO_SEED = 99
_PART = 5000  # pictures protected between two looks at the clock


@dataclass(frozen=True)
class Archive:
    """A CIFAR python archive; drawn says that its pictures are none, but stripes."""

    path: Path
    drawn: bool = False

    @cached_property
    def pictures(self) -> tuple[Data, Data]:
        """The training and the test pictures."""
        return load_cifar(self.path)


def archives(folders: Sequence[Path], scale: Scale, work: Path) -> dict[str, Archive]:
    """Return the archives by data set, told apart by their classes.

    The mini scale gets a few pictures of each, drawn ones where no archive is given. Raises
    SystemExit for a folder that is no archive.
    """
    found = {}
    for folder in folders:
        path = find_cifar(folder)
        if path is None:
            raise SystemExit(f"{folder}: not a CIFAR python archive, nor the folder of one")
        archive = Archive(path)
        found[_CLASSES[len(archive.pictures[0].classes)]] = archive
    if scale.pictures is None or scale.tested is None:
        return found
    counts = scale.pictures, scale.tested
    return {
        name: _small(found.get(name), classes, counts, work / f"mini-{name}")
        for classes, name in _CLASSES.items()
    }


def _small(source: Archive | None, classes: int, counts: tuple[int, int], to: Path) -> Archive:
    """Write an archive of a few pictures, of the source if there is one, and return it."""
    if source:
        sets = [
            some_of_each(data, count, SURROGATE_SEED)
            for data, count in zip(source.pictures, counts, strict=True)
        ]
    else:
        sets = [_drawn(classes, count, seed) for seed, count in enumerate(counts)]
    _write(sets[0], sets[1], to)
    return Archive(to, drawn=source is None)


def _drawn(classes: int, count: int, seed: int) -> Data:
    """Return grainy stripes 32x32 whose colour and width go with the class."""
    rng, labels = Rng.for_images(seed, torch.arange(count)), torch.arange(count) % classes
    width = 0.2 + 1.5 * labels[:, None, None] / classes
    wave = torch.sin(torch.arange(32) * width + 6.28 * rng.uniform(1, 1))[:, None]
    tint = torch.stack([labels % 2, labels // 2 % 2, labels // 4 % 2], dim=1)[:, :, None, None]
    noise = rng.uniform(3, 32, 32, low=-0.2, high=0.2)
    pictures = (0.4 + 0.2 * wave + 0.2 * tint + noise).clamp(0, 1)
    names = tuple(f"stripes-{label}" for label in range(classes))
    return Data((pictures * 255).round().to(torch.uint8), labels, names)


def _write(train: Data, test: Data, folder: Path) -> None:
    """Write two sets as a CIFAR-100 archive, whatever their number of classes."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [name.encode() for name in train.classes]
    (folder / "meta").write_bytes(pickle.dumps({b"fine_label_names": names}))
    for name, data in (("train", train), ("test", test)):
        rows = np.ascontiguousarray(data.pixels.reshape(len(data), -1).numpy())
        batch = {b"data": rows, b"fine_labels": data.labels.tolist()}
        (folder / name).write_bytes(pickle.dumps(batch))


def protected(clean: Data, stem: Path, run: Run, check: Callable[[], None]) -> Data:
    """Return the clean pictures with the noise of the generator at stem, made once.

    check is asked before every part and may raise: what is done by then is kept.
    """

    def make(part: Data, _place: slice) -> Data:
        return noisy(generator, part, generator.radius)

    path = _named(stem, "protected")
    if not path.exists():
        generator = NoiseGenerator.load(stem.with_suffix(".safetensors"), run)
        _in_parts(clean, path, make, check)
    return stored.load(path)


def placebos(
    clean: Data, copies: Data, stem: Path, radius: Radius, check: Callable[[], None]
) -> Data:
    """Return the clean pictures with random noise as strong as their protected copies', made once.

    check is asked before every part, as above.
    """

    def make(part: Data, place: slice) -> Data:
        same = Data(copies.pixels[place], part.labels, part.classes, part.ids)
        return placebo(part, same, radius, clean.size, _PLACEBO_SEED)

    path = _named(stem, "placebo")
    if not path.exists():
        _in_parts(clean, path, make, check)
    return stored.load(path)


def forget(stem: Path) -> None:
    """Delete the sets of an earlier generator of that name."""
    for path in stem.parent.glob(f"{stem.name}-*"):
        path.unlink()


def _in_parts(
    clean: Data, path: Path, make: Callable[[Data, slice], Data], check: Callable[[], None]
) -> None:
    """Store a changed set, part by part; pictures must not depend on each other."""
    parts = []
    for first in range(0, len(clean), _PART):
        place = slice(first, first + _PART)
        parts.append(path.with_suffix(f".part{first}"))
        if not parts[-1].exists():
            check()
            index = torch.arange(len(clean))[place]
            stored.store(make(clean.subset(index), place), parts[-1])
    pixels = torch.cat([stored.load(part).pixels for part in parts])
    stored.store(Data(pixels, clean.labels, clean.classes, clean.ids), path)
    for part in parts:
        part.unlink()


def _named(stem: Path, what: str) -> Path:
    return stem.with_name(f"{stem.name}-{what}.safetensors")
