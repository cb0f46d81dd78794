"""Photos of five classes, decoded once to squares of 224 pixels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

SIDE = 224
TRAINED_PER_CLASS = 400


@dataclass(frozen=True)
class Photos:
    """Pictures uint8 (N, 3, 224, 224), their classes int64 (N,), and their names."""

    pixels: Tensor
    labels: Tensor
    names: tuple[str, ...]


def load(folder: Path, cache: Path) -> tuple[Photos, Photos]:
    """Return the photos to train on, and those to test on.

    400 of each class in train/ are for training; the rest of train/ and all of val/ are the test.
    """
    trained, tested = [], []
    for part in ("train", "val"):
        for label, kind in enumerate(sorted(p for p in (folder / part).iterdir() if p.is_dir())):
            files = sorted(kind.iterdir())
            cut = TRAINED_PER_CLASS if part == "train" else 0
            trained += [(path, label) for path in files[:cut]]
            tested += [(path, label) for path in files[cut:]]
    return _cached(trained, cache, "trained"), _cached(tested, cache, "tested")


def _cached(files: list[tuple[Path, int]], cache: Path, name: str) -> Photos:
    """Decode the files, or read what an earlier call decoded."""
    path = cache / f"{name}_{len(files)}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        np.save(path, np.stack([decoded(file) for file, _ in files]))
    labels = torch.tensor([label for _, label in files])
    names = tuple(f"{file.parent.name}/{file.name}" for file, _ in files)
    return Photos(torch.from_numpy(np.load(path)), labels, names)


def decoded(path: Path) -> np.ndarray:
    """Return the middle square of a file at 224 pixels, uint8 (3, 224, 224)."""
    with Image.open(path) as file:
        picture = file.convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    if side != SIDE or picture.size != (SIDE, SIDE):
        box = (left, top, left + side, top + side)
        picture = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box)
    return np.asarray(picture).transpose(2, 0, 1).copy()


def shown(pixels: Tensor, size: int) -> Tensor:
    """Return whole pictures as a network is shown them: uint8 at a size, antialiased."""
    if pixels.shape[-1] == size:
        return pixels
    parts = [
        F.interpolate(part.float(), (size, size), mode="bilinear", antialias=True)
        for part in pixels.split(256)
    ]
    return torch.cat(parts).round().clamp(0, 255).to(torch.uint8)
