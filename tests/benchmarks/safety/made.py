"""Pictures for these benchmarks, made from numbers, and what is asked of every output folder."""

import hashlib
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SUFFIXES = (".jpg", ".png", ".webp", ".tif")
TEMPORARY = ".unlearn-tmp-"


def make_picture(path: Path, seed: int, size: tuple[int, int]) -> None:
    """Write a smooth picture of its own; the suffix says the format."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(20, 236, (7, 9, 3), np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    small.resize(size, Image.Resampling.BICUBIC).save(path)


def make_folder(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """Fill a folder with pictures of four formats in two classes."""
    for number in range(count):
        suffix = SUFFIXES[number % len(SUFFIXES)]
        name = f"{'cat' if number % 2 else 'dog'}/{number:05}{suffix}"
        make_picture(folder / name, number, size)
    return folder


def make_key(room: Path) -> Path:
    """Write a key into a folder."""
    path = room / "key"
    path.write_bytes(bytes(range(32)))
    return path


def room_line(room: Path, *more: str) -> list[str]:
    """Return the command that protects `room`/photos into `room`/out, with a key made there."""
    return protect_line(room / "photos", room / "out", make_key(room), *more)


def protect_line(photos: Path, out: Path, key: Path, *more: str) -> list[str]:
    """Return the command that protects a folder with a key of its own."""
    line = [sys.executable, "-m", "unlearn", "protect", str(photos), "--out", str(out)]
    return [*line, "--key", str(key), "--preview", "0", *more]


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file under a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def half_files(out: Path, whole: dict[str, str]) -> list[str]:
    """Return the files under their final names that are not what a whole run writes."""
    found = {n: h for n, h in hashes(out).items() if not Path(n).name.startswith(TEMPORARY)}
    return [name for name, digest in found.items() if whole.get(name) != digest]


def leftovers(*folders: Path) -> list[str]:
    """Return the temporary files under the folders."""
    return [str(path) for folder in folders for path in folder.rglob(f"{TEMPORARY}*")]
