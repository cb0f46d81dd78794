"""How much noise is left after what the web does: the bundled generator's, by grid, and random.

    python -m tests.benchmarks.survival --photos photos --small imagenette5/val

`--photos` is a folder of large pictures, `--small` one of class folders with small ones, of which
some of each class are taken. The noise of every kind is added as `protect` adds it, and measured by
`unlearn.pictures.survival`, like `protect --report-survival`. Writes OUT.json with a line for each
picture and kind of noise, and OUT.md, the page made from it.
"""

import argparse
import json
import platform
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from PIL import features

from tests.benchmarks.survival.noises import DEFAULT, NOISES, Noises
from tests.benchmarks.survival.page import JUDGED, page
from unlearn.errors import PictureError
from unlearn.pictures.decoded import eight_bit
from unlearn.pictures.read import Picture, Preparation, prepare
from unlearn.pictures.survival import TRANSFORMATIONS, Survival, survival

COMMAND = "python -m tests.benchmarks.survival --photos photos --small imagenette5/val"
DIGITS = 3


def large(folder: Path) -> list[tuple[str, Path]]:
    return [(path.name, path) for path in sorted(folder.iterdir()) if path.is_file()]


def some_of_each(folder: Path, count: int) -> list[tuple[str, Path]]:
    """Return so many pictures of each class folder, evenly from its names."""
    chosen = []
    for group in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = sorted(path for path in group.iterdir() if path.is_file())
        for place in range(min(count, len(files))):
            path = files[place * len(files) // min(count, len(files))]
            chosen.append((f"{group.name}/{path.name}", path))
    return chosen


def readable(files: list[tuple[str, Path]]) -> Iterator[tuple[str, Picture]]:
    for name, path in files:
        try:
            yield name, prepare(path, Preparation())
        except PictureError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)


def lines(kind: str, files: list[tuple[str, Path]], noises: Noises) -> Iterator[dict]:
    """Yield what is left of every noise on every picture: [share, correlation, strength]."""
    for number, (name, picture) in enumerate(readable(files)):
        for noise in NOISES:
            protected = noises.add(noise, picture, number)
            found = survival(eight_bit(picture.pixels), protected)
            yield {
                "set": kind,
                "picture": name,
                "size": list(picture.size),
                "noise": noise,
                **{key: rounded(one) for key, one in found.items()},
            }


def _share(found: Survival | None) -> float | None:
    """Return a share as it is written down; None where no file can hold the picture."""
    return None if found is None else round(found.share, DIGITS)


def by_class(kind: str, files: list[tuple[str, Path]], noises: Noises) -> Iterator[dict]:
    """Yield the shares that the judged transformation leaves of the default noise of each class.

    Beside them those with colour at full resolution, and the spread of the picture's values (their
    standard deviation), which tells why.
    """
    judged = TRANSFORMATIONS[JUDGED]
    full = replace(judged, options={**judged.options, "subsampling": "4:4:4"})
    for name, picture in readable(files):
        pixels = eight_bit(picture.pixels)
        found = [
            survival(pixels, noises.add(DEFAULT, picture, target), {"": judged, "4": full})
            for target in range(noises.classes)
        ]
        yield {
            "set": kind,
            "picture": name,
            "size": list(picture.size),
            "spread": round(float(picture.pixels.std()), 1),
            "shares": [_share(one[""]) for one in found],
            "full_colour": [_share(one["4"]) for one in found],
        }


def rounded(one) -> list[float] | None:
    if one is None:
        return None
    return [round(value, DIGITS) for value in (one.share, one.correlation, one.strength)]


def told(line: dict) -> dict:
    print(json.dumps(line), flush=True)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--small", type=Path)
    parser.add_argument("--per-class", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("docs/results/survival"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    sets = {"photos": large(args.photos)} if args.photos else {}
    if args.small:
        sets["small"] = some_of_each(args.small, args.per_class)
    noises = Noises()
    found, classes = (
        [told(line) for kind, files in sets.items() for line in measure(kind, files, noises)]
        for measure in (lines, by_class)
    )
    record = {
        "command": COMMAND,
        "machine": platform.machine(),
        "versions": f"Pillow {version('pillow')} (libjpeg-turbo "
        f"{features.version('libjpeg_turbo')}, libwebp {features.version('webp')}), "
        f"torch {version('torch')}",
        "generator_sha256": noises.sha256,
        "lines": found,
        "classes": classes,
    }
    text = json.dumps(record)
    for line in (*found, *classes):  # one line of text for each, so that changes can be read
        text = text.replace(json.dumps(line), "\n" + json.dumps(line))
    args.out.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    args.out.with_suffix(".md").write_text(page(record), encoding="utf-8")


if __name__ == "__main__":
    main()
