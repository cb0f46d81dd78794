"""Measure what a run survives; each part adds its numbers to docs/results/safety.json.

    python -m tests.benchmarks.safety nasty FOLDER
    python -m tests.benchmarks.safety kills --times 200
    python -m tests.benchmarks.safety memory
    python -m tests.benchmarks.safety disk          (mounts a small file system, so as root)

Linux only: memory and processes are looked up under /proc.
"""

import argparse
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks.safety.disk import fill_up
from tests.benchmarks.safety.kills import kills
from tests.benchmarks.safety.memory import many_files, one_large
from tests.benchmarks.safety.nasty import nasty


def main() -> None:
    """Run the parts that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["nasty", "kills", "memory", "disk"])
    parser.add_argument("folder", nargs="?", type=Path, help="of bad files, for nasty")
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--pictures", type=int, default=50)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/results/safety.json"))
    chosen = parser.parse_args()
    measured = _measure(chosen)
    print(json.dumps(measured, indent=1))
    known = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
    known[chosen.part] = measured
    known["machine"] = {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "pillow", "unlearn-photos")},
    }
    chosen.out.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")


def _measure(chosen: argparse.Namespace) -> Any:
    """Return the numbers of one part."""
    if chosen.part == "nasty":
        return nasty(chosen.folder)
    if chosen.part == "kills":
        return kills(chosen.times, chosen.pictures, chosen.seed)
    if chosen.part == "disk":
        return fill_up()
    return [many_files(chosen.files), *(one_large(suffix) for suffix in (".jpg", ".png", ".tif"))]


if __name__ == "__main__":
    main()
