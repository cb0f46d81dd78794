"""What is left of the noise, and of the size, in JPEG files that stay JPEG within the bound.

    python -m tests.benchmarks.keep --photos photos --small imagenette5/val --out docs/results/keep

The bundled generator makes the noise; every file is fitted, written, decoded and compared as
`protect` does. Seconds are processor seconds of one core, from the prepared picture and its noise
to the checked file. The curves take a part of the small pictures: steps of the tables against
correlation and size, and bounds against how many files can stay JPEG.
"""

import argparse
import json
import os
import platform
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import torch

from unlearn.device import select_run
from unlearn.errors import PictureError
from unlearn.generators.artefact import NoiseGenerator
from unlearn.generators.catalogue import resolve
from unlearn.pictures.grid import add_noise, to_grid
from unlearn.pictures.jpeg import within
from unlearn.pictures.jpeg.within import Demands, keep_jpeg
from unlearn.pictures.read import Picture, Preparation, prepare
from unlearn.pictures.write import write_data
from unlearn.protection.noise import GAIN
from unlearn.radius import Radius

LEVELS = 8
GRID = 64
CURVE_FILES = 40
STEPS = (65_535, 16, 12, 8, 6, 4, 3)
BOUNDS = (2, 3, 4, 6, 8, 12, 16)
Noisy = tuple[Path, Picture, np.ndarray]


def with_noise(generator: NoiseGenerator, path: Path, levels: int) -> Noisy:
    """Return a file, its picture, and the noise on the grid; the class follows the folder."""
    picture = prepare(path, Preparation())
    target = sum(path.parent.name.encode()) % 10
    radius = Radius.of_levels(levels)
    pixels = to_grid(picture.pixels, GRID)
    delta = generator.noise_for_picture(pixels, target, 0, picture.sha256, radius)
    return path, picture, delta


def measured(noisy: Noisy, levels: int, folder: Path) -> dict:
    """Keep one file and return its numbers, or the reason why it cannot be."""
    path, picture, delta = noisy
    protected = add_noise(picture.pixels, delta, levels, GAIN)
    source = path.read_bytes()
    line = {"file": path.name, "pixels": picture.pixels[..., 0].size}
    began = time.process_time()
    try:
        data, keeping = keep_jpeg(
            picture,
            protected,
            source,
            grid=delta.shape[1::-1],
            demands=Demands(levels),
            metadata="keep",
        )
        written = write_data(picture, data, folder / "out.jpg", levels=levels)
    except PictureError as problem:
        return {**line, "reason": str(problem), "seconds": time.process_time() - began}
    line |= {"seconds": time.process_time() - began, "linf": written.linf}
    line |= {"source_bytes": len(source), "bytes": len(data), "passes": keeping.passes}
    line |= {"correlation": keeping.correlation, "energy": keeping.energy}
    return {**line, "largest_step": keeping.largest_step}


def summary(lines: list[dict], levels: int) -> dict:
    """Return what a set of files came to."""
    done = [line for line in lines if "linf" in line]
    if not done:
        return {"files": len(lines), "kept": 0}
    ratios = [line["bytes"] / line["source_bytes"] for line in done]
    return {
        "files": len(lines),
        "kept": len(done),
        "within_bound": sum(line["linf"] <= levels for line in done),
        "reasons": dict(Counter(line["reason"][:40] for line in lines if "reason" in line)),
        "correlation_median": median(line["correlation"] for line in done),
        "correlation_least": min(line["correlation"] for line in done),
        "energy_mean": mean(line["energy"] for line in done),
        "size_total": sum(line["bytes"] for line in done)
        / sum(line["source_bytes"] for line in done),
        "size_median": median(ratios),
        "size_p95": float(np.percentile(ratios, 95)),
        "size_most": max(ratios),
        "passes_mean": mean(line["passes"] for line in done),
        "passes_most": max(line["passes"] for line in done),
        "finer_tables": sum(line["largest_step"] < max(STEPS) for line in done),
        "seconds_per_3mp": 3e6
        * sum(line["seconds"] for line in lines)
        / sum(line["pixels"] for line in lines),
        "seconds_per_3mp_most": max(3e6 * line["seconds"] / line["pixels"] for line in done),
    }


def files_in(folder: Path, limit: int | None) -> list[Path]:
    """Return the JPEG files of a folder, or `limit` of them, spread evenly over all."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if limit is None or len(found) <= limit:
        return found
    return [found[k * len(found) // limit] for k in range(limit)]


def curves(generator: NoiseGenerator, files: list[Path], folder: Path) -> dict[str, list[dict]]:
    """Return summaries over the steps of the tables, and over bounds."""
    found: dict[str, list[dict]] = {"steps": [], "bounds": []}
    noisy = [with_noise(generator, path, LEVELS) for path in files]
    for step in STEPS:
        with (
            patch.object(within, "_LARGEST_STEPS", (step,)),
            patch.object(within, "LEAST_CORRELATION", 0),
        ):
            lines = [measured(one, LEVELS, folder) for one in noisy]
        found["steps"].append({"largest_step": step, **summary(lines, LEVELS)})
    for levels in BOUNDS:
        lines = [measured(with_noise(generator, path, levels), levels, folder) for path in files]
        found["bounds"].append({"levels": levels, **summary(lines, levels)})
    return found


def table(record: dict) -> str:
    """Return the record as Markdown."""
    rows = [
        f"Noise of the bundled generator within {LEVELS}/255 in JPEG files that stay JPEG. "
        f"{record['versions']}; {record['machine']}; load of the machine while measuring: "
        f"{record['load']}. Size: of the file to its source. Energy: of the change in the file to "
        "the wanted change, on the grid. Seconds: of one core, per 3 megapixels.",
        "",
        "| set | files | kept | in bound | correlation median (least) | energy | size: all "
        "together, median, p95, most | passes mean (most) | finer tables | s mean (most) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    rows += [f"| {name} | {cells(found)} |" for name, found in record["sets"].items()]
    for name, word in (("steps", "largest step"), ("bounds", "bound, levels")):
        rows += ["", f"Small pictures, part of them, by {word}:", ""]
        rows += [
            f"| {word} | files | kept | in bound | correlation median (least) | energy | size: all "
            "together, median, p95, most | passes mean (most) | finer tables | s mean (most) |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        key = "largest_step" if name == "steps" else "levels"
        for found in record["curves"][name]:
            first = "the source's own" if found[key] == max(STEPS) else found[key]
            rows.append(f"| {first} | {cells(found)} |")
    return "\n".join(rows) + "\n"


def cells(found: dict) -> str:
    """Return one line's numbers."""
    if not found["kept"]:
        return f"{found['files']} | 0 | | | | | | | "
    sizes = (found[f"size_{name}"] for name in ("total", "median", "p95", "most"))
    return " | ".join(
        [
            str(found["files"]),
            str(found["kept"]),
            str(found["within_bound"]),
            f"{found['correlation_median']:.3f} ({found['correlation_least']:.3f})",
            f"{found['energy_mean']:.2f}",
            ", ".join(f"{size:.2f}" for size in sizes),
            f"{found['passes_mean']:.1f} ({found['passes_most']})",
            str(found["finer_tables"]),
            f"{found['seconds_per_3mp']:.2f} ({found['seconds_per_3mp_most']:.2f})",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--small", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    generator = NoiseGenerator.load(resolve("base"), select_run("cpu"))
    record = {
        "command": "python -m tests.benchmarks.keep --photos photos --small imagenette5/val",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": ", ".join(f"{name} {version(name)}" for name in ("pillow", "jpeglib", "numpy")),
        "limit": args.limit,
        "sets": {},
        "curves": {"steps": [], "bounds": []},
    }
    with TemporaryDirectory() as name:
        folder = Path(name)
        for kind in ("photos", "small"):
            if (place := getattr(args, kind)) is None:
                continue
            lines = []
            for path in files_in(place, args.limit):
                lines.append(measured(with_noise(generator, path, LEVELS), LEVELS, folder))
                print(json.dumps(lines[-1]), flush=True)
            record["sets"][kind] = summary(lines, LEVELS)
        if args.small:
            record["curves"] = curves(generator, files_in(args.small, CURVE_FILES), folder)
    record["load"] = f"{os.getloadavg()[2]:.1f} of {os.cpu_count()} cores"
    args.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(table(record))


if __name__ == "__main__":
    main()
