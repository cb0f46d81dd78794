"""How far kept JPEGs are from their sources for decoders that the bound is not proved for.

    python -m tests.benchmarks.decoders photos protected [--margin 1]

With a margin, `protected` is made here by the default generator, each JPEG fitted into a bound that
is so many levels smaller than that of its noise; what that leaves of the noise's energy is printed.

Needs `djpeg` of libjpeg-turbo. Source and output are decoded alike; what is printed for each way of
decoding is the largest difference of any value, and the share of values over the bound.
"""

import argparse
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import unlearn
from unlearn.pictures.jpeg import within

LEVELS = 8
WAYS: Mapping[str, tuple[str, ...]] = {
    "accurate DCT": (),
    "fast DCT": ("-dct", "fast"),
    "float DCT": ("-dct", "float"),
    "accurate DCT, plain enlarging": ("-nosmooth",),
    "fast DCT, plain enlarging": ("-dct", "fast", "-nosmooth"),
}


def decoded(path: Path, way: tuple[str, ...]) -> NDArray[np.int16]:
    """Return the samples of a JPEG as djpeg decodes it in one way."""
    program = shutil.which("djpeg") or "djpeg"
    done = subprocess.run([program, "-pnm", *way, path], capture_output=True, check=True)
    with Image.open(BytesIO(done.stdout)) as image:
        return np.asarray(image).astype(np.int16)


def pairs(sources: Path, outputs: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the JPEGs that stayed JPEG, each with its source."""
    for output in sorted(outputs.rglob("*.[jJ][pP]*[gG]")):
        source = sources / output.relative_to(outputs)
        if source.is_file():
            yield source, output


def measured(sources: Path, outputs: Path, way: tuple[str, ...]) -> tuple[int, list[float]]:
    """Return the largest difference, and of each picture the share of values over the bound."""
    largest, shares = 0, []
    for source, output in pairs(sources, outputs):
        change = np.abs(decoded(source, way) - decoded(output, way))
        largest = max(largest, int(change.max()))
        shares.append(float((change > LEVELS).mean()))
    return largest, shares


def fit_all(sources: Path, outputs: Path, margin: int) -> None:
    """Protect the sources, each JPEG fitted with a margin, and print what is left of the noise."""
    fit = within.encode_within

    def reserved(before, after, source, grid, demands):
        """Fit into the smaller bound."""
        return fit(before, after, source, grid, replace(demands, levels=demands.levels - margin))

    with patch.object(within, "encode_within", reserved):
        report = unlearn.protect(
            sources, outputs, format="keep", labels="one", preview=0, workers=0
        )
    kept = [record for record in report.kept if record.energy and record.correlation]
    energies, alike = ([getattr(r, name) for r in kept] for name in ("energy", "correlation"))
    print(
        f"margin {margin}: {len(kept)} JPEGs kept, energy {np.mean(energies):.3f} "
        f"(least {min(energies):.3f}), correlation {np.mean(alike):.3f}; {len(report.failed)} not"
    )


def main() -> None:
    """Print one line for each way of decoding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", type=Path)
    parser.add_argument("outputs", type=Path)
    parser.add_argument("--margin", type=int)
    given = parser.parse_args()
    if given.margin is not None:
        fit_all(given.sources, given.outputs, given.margin)
    for name, way in WAYS.items():
        largest, shares = measured(given.sources, given.outputs, way)
        mean, worst = float(np.mean(shares)), max(shares)
        print(
            f"{name:<30} {len(shares)} pictures: largest {largest}/255, over {LEVELS}/255: "
            f"{mean:.2%} of values on average, {worst:.2%} at worst"
        )


if __name__ == "__main__":
    main()
