"""What a run holds in memory: ten thousand small files, and single very large ones."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.benchmarks.safety import made, watched

LARGE = (16_000, 12_500)


def many_files(count: int) -> dict[str, Any]:
    """Protect so many pictures of 64 x 48 pixels."""
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        made.make_folder(room / "photos", count, (64, 48))
        line = made.room_line(room, "--grid", "16", "--workers", "2")
        ended = watched.watch(line, room)
        return {"files": count, "written": len(made.hashes(room / "out")), **_numbers(ended)}


def one_large(suffix: str, size: tuple[int, int] = LARGE) -> dict[str, Any]:
    """Protect one made picture of `size` (width, height)."""
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        _large(room / "photos" / f"large{suffix}", size)
        line = made.protect_line(
            room / "photos", room / "out", made.make_key(room), "--workers", "2"
        )
        ended = watched.watch(line, room)
        megapixels = size[0] * size[1] / 1e6
        names = [path.name for path in (room / "out").rglob("*")]
        return {"picture": f"{megapixels:.0f} MP {suffix}", "written": names, **_numbers(ended)}


def _large(path: Path, size: tuple[int, int]) -> None:
    """Write a large picture with structure at every scale, in little memory."""
    path.parent.mkdir(parents=True)
    rng = np.random.default_rng(0)
    tile = np.asarray(
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).resize((1000, 1000))
    )
    image = Image.new("RGB", size)
    for top in range(0, size[1], 1000):
        for left in range(0, size[0], 1000):
            grain = rng.integers(-6, 7, tile.shape)
            image.paste(
                Image.fromarray(np.clip(tile + grain, 0, 255).astype(np.uint8)), (left, top)
            )
    image.save(path)


def _numbers(ended: watched.Ended) -> dict[str, Any]:
    """Return what is kept of a run."""
    return {
        "code": ended.code,
        "seconds": round(ended.seconds, 1),
        "all processes, MB": round(ended.together / 1e6),
        "largest process, MB": round(ended.largest / 1e6),
        "said": ended.stderr.splitlines()[-1:] if ended.code else [],
    }
