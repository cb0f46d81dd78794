"""A disk that fills up in the middle of a run, and the same line again after making room."""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.safety import made, watched

SIZE = (320, 240)
PICTURES = 30
_BLOCK = 4096
Line = Callable[[Path, Path, Path], list[str]]  # of pictures, output and key


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system of its own in memory; raises OSError where that is not allowed."""
    folder.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill_up(line: Line = made.protect_line, pictures: int = PICTURES) -> dict[str, Any]:
    """Protect onto a disk that is too small, one that fills up meanwhile, and again with room."""
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        photos = made.make_folder(room / "photos", pictures, SIZE)
        key = made.make_key(room)
        whole = watched.watch(line(photos, room / "out", key), room)
        expected = made.hashes(room / "out")
        with small_disk(room / "tiny", "500k") as tiny:
            before = watched.watch(line(photos, tiny / "out", key), room)
            touched = sorted(path.name for path in tiny.rglob("*"))
        with small_disk(room / "small", "24m") as small:
            command = line(photos, small / "out", key)
            full = _filled(command, small, room)
            half = made.half_files(small / "out", expected)
            left = made.leftovers(small)
            done = len(made.hashes(small / "out"))
            (small / "ballast").unlink()
            again = watched.watch(command, room)
            same = made.hashes(small / "out") == expected
    return {
        "pictures": pictures,
        "uninterrupted code": whole.code,
        "too small from the start": {
            "code": before.code,
            "said": before.stderr.strip(),
            "written": touched,
        },
        "full on the way": {"code": full[0], "said": full[1], "done": done},
        "half files": half,
        "temporary files": left,
        "again": {"code": again.code, "same bytes as with room": same},
    }


def _filled(command: list[str], disk: Path, room: Path) -> tuple[int, str]:
    """Run a command and fill the disk once its first pictures are written."""
    process = watched.start(command, room)
    while process.poll() is None and len(list((disk / "out").rglob("*.*"))) < 5:
        time.sleep(0.002)
    with (disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(b"\0" * _BLOCK)
    process.wait()
    return process.returncode, (room / "stderr").read_text().strip()
