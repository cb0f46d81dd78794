"""Pictures: the archives, small ones for the mini scale, and protected and placebo sets on disk."""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from tests.benchmarks.class_noise import noisy
from tests.benchmarks.paper.plan import CIFAR10, CIFAR100, SURROGATE_SEED, Scale
from unlearn.audits.arms import placebo
from unlearn.audits.worker import stored_name
from unlearn.datasets import stored
from unlearn.datasets.cifar import find_cifar, load_cifar
from unlearn.datasets.folders import some_of_each
from unlearn.datasets.labelled import LabelledPictures
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
    def pictures(self) -> tuple[LabelledPictures, LabelledPictures]:
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


def _drawn(classes: int, count: int, seed: int) -> LabelledPictures:
    """Return grainy stripes 32x32 whose colour and width go with the class."""
    rng, labels = Rng.for_images(seed, torch.arange(count)), torch.arange(count) % classes
    width = 0.2 + 1.5 * labels[:, None, None] / classes
    wave = torch.sin(torch.arange(32) * width + 6.28 * rng.uniform(1, 1))[:, None]
    tint = torch.stack([labels % 2, labels // 2 % 2, labels // 4 % 2], dim=1)[:, :, None, None]
    noise = rng.uniform(3, 32, 32, low=-0.2, high=0.2)
    pictures = (0.4 + 0.2 * wave + 0.2 * tint + noise).clamp(0, 1)
    names = tuple(f"stripes-{label}" for label in range(classes))
    return LabelledPictures((pictures * 255).round().to(torch.uint8), labels, names)


def _write(train: LabelledPictures, test: LabelledPictures, folder: Path) -> None:
    """Write two sets as a CIFAR-100 archive, whatever their number of classes."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [name.encode() for name in train.classes]
    (folder / "meta").write_bytes(pickle.dumps({b"fine_label_names": names}))
    for name, data in (("train", train), ("test", test)):
        rows = np.ascontiguousarray(data.pixels.reshape(len(data), -1).numpy())
        batch = {b"data": rows, b"fine_labels": data.labels.tolist()}
        (folder / name).write_bytes(pickle.dumps(batch))


def clean_sets(archive: Archive, folder: Path) -> Path:
    """Store what victims of clean pictures need; return the folder."""
    folder.mkdir(exist_ok=True)
    for arm, data in zip(("clean", "test"), archive.pictures, strict=True):
        path = folder / stored_name(arm)
        if not path.exists() or stored.load(path).fingerprint != data.fingerprint:
            stored.store(data, path)
    return folder


def noisy_sets(clean_folder: Path, stem: Path, run: Run, check: Callable[[], None]) -> Path:
    """Store what victims of the generator at stem need, once; return the folder.

    check is asked before every part of the pictures and may raise: what is done by then is kept.
    """
    stem.mkdir(exist_ok=True)
    for name in map(stored_name, ("clean", "test")):
        if not (stem / name).exists():
            (stem / name).hardlink_to(clean_folder / name)
    clean, path = stored.load(stem / stored_name("clean")), stem / stored_name("protected")
    if not path.exists():
        generator = NoiseGenerator.load(stem.with_suffix(".safetensors"), run)
        _in_parts(clean, path, lambda part, _: noisy(generator, part, generator.bound), check)
    return stem


def add_placebo(folder: Path, radius: Radius, check: Callable[[], None]) -> None:
    """Store random noise as strong as the protected copies in their folder, as noisy_sets does."""
    clean, copies = (stored.load(folder / stored_name(arm)) for arm in ("clean", "protected"))

    def make(part: LabelledPictures, place: slice) -> LabelledPictures:
        same = LabelledPictures(copies.pixels[place], part.labels, part.classes, part.ids)
        return placebo(part, same, radius, clean.size, _PLACEBO_SEED)

    path = folder / stored_name("placebo")
    if not path.exists():
        _in_parts(clean, path, make, check)


def _in_parts(
    clean: LabelledPictures,
    path: Path,
    make: Callable[[LabelledPictures, slice], LabelledPictures],
    check: Callable[[], None],
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
    stored.store(replace(clean, pixels=pixels), path)
    for part in parts:
        part.unlink()
