"""What a victim learns from protected pictures, beside clean ones and a placebo.

    python -m tests.benchmarks.protection photos DATA --journal docs/results/base_photos
    python -m tests.benchmarks.protection cifar DATA --generator gen.safetensors --pictures 5000

DATA is `imagenette5` (train and val with class folders) or a CIFAR-10 python archive. Photos go
through `unlearn protect` into files and are read back from them; the victim never shares a seed
with the generator. Every victim becomes a line of JOURNAL.jsonl, so that a rerun continues;
JOURNAL.md is the table made from all its lines.
"""

import argparse
import functools
import hashlib
import io
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from tests.benchmarks.victim import Victim, fit_victim, padded_views, photo_views, shrunk
from unlearn.datasets.folders import load_labelled, some_of_each
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import select_run
from unlearn.generators.artefact import NoiseGenerator
from unlearn.generators.catalogue import resolve
from unlearn.pictures.grid import add_noise
from unlearn.protection.noise import GAIN
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import add_levels, to_images, to_levels

RHO = Radius.of_levels(8)
KEY = b"\x07" * 32  # the benchmark's own key, so that its numbers can be repeated
TESTED_SIZE = 64


def placebo(data: LabelledPictures, grid: int) -> LabelledPictures:
    """Add ±8 levels drawn at random on a grid and spread like the noise: same look, no method."""
    signs = Rng.for_images(99, data.ids).uniform(3, grid, grid, low=-1).sign() * float(RHO)
    gain = 1.0 if grid == data.size else GAIN
    pixels = [
        add_noise(p.permute(1, 2, 0).numpy(), d.permute(1, 2, 0).numpy(), RHO.levels, gain)
        for p, d in zip(data.pixels, signs, strict=True)
    ]
    stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    return LabelledPictures(stacked, data.labels, data.classes)


@functools.cache
def protected_files(folder: Path, generator: str, grid: int, size: int) -> LabelledPictures:
    """Protect a folder with the real command and read its files back."""
    with TemporaryDirectory() as temporary:
        out, key = Path(temporary, "protected"), Path(temporary, "key")
        key.write_bytes(KEY)
        line = [sys.executable, "-m", "unlearn", "protect", str(folder), "-q", "--preview", "0"]
        line += ["--out", str(out), "--generator", generator, "--key", str(key)]
        subprocess.run([*line, "--grid", str(grid), "--format", "png"], check=True)
        return load_labelled(out, size).data


def as_jpeg(data: LabelledPictures, quality: int) -> LabelledPictures:
    """Send every picture through JPEG, as a scraper's store does."""
    pixels = torch.empty_like(data.pixels)
    for n, picture in enumerate(data.pixels):
        store = io.BytesIO()
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(store, "JPEG", quality=quality)
        pixels[n] = torch.from_numpy(np.array(Image.open(store))).permute(2, 0, 1)
    return LabelledPictures(pixels, data.labels, data.classes)


def photo_arms(
    args: argparse.Namespace, clean: LabelledPictures
) -> Iterator[tuple[str, LabelledPictures]]:
    """Yield the wanted training sets of photos, each by its name."""
    first = args.grids[0]
    protected = functools.partial(
        protected_files, args.data / "train", args.generator, size=args.source_size
    )
    for arm in args.arms:
        if arm == "clean":
            yield arm, clean
        elif arm == "placebo":
            yield f"placebo, grid {first}", placebo(clean, first)
        elif arm == "jpeg":
            yield f"protected, grid {first}, JPEG 75", as_jpeg(protected(grid=first), 75)
        else:
            for grid in args.grids:
                yield f"protected, grid {grid}", protected(grid=grid)


def cifar_arms(
    args: argparse.Namespace, clean: LabelledPictures
) -> Iterator[tuple[str, LabelledPictures]]:
    """Yield the wanted training sets of CIFAR-10, each by its name."""
    for arm in args.arms:
        if arm == "clean":
            yield arm, clean
        elif arm == "placebo":
            yield arm, placebo(clean, clean.size)
        elif arm == "protected":
            yield arm, protected_arrays(args.generator, clean)


def protected_arrays(name: str, clean: LabelledPictures) -> LabelledPictures:
    """Make the generator's noise for its own classes and add it in levels."""
    generator = NoiseGenerator.load(resolve(name), select_run("cpu"))
    parts = []
    for part in (clean.subset(n) for n in torch.arange(len(clean)).split(500)):
        rng = Rng.for_images(generator.run.seed, part.ids)
        images = to_images(part.pixels)
        maker = generator.maker
        delta = maker(images, maker.targets(images, part.labels, rng), rng)
        parts.append(add_levels(part.pixels, to_levels(delta, RHO)))
    return LabelledPictures(torch.cat(parts), clean.labels, clean.classes)


def load(args: argparse.Namespace) -> tuple[LabelledPictures, LabelledPictures]:
    """Return the clean training set and the clean test set at the victim's size."""
    if args.what == "photos":
        clean = load_labelled(args.data / "train", args.source_size).data
        test = load_labelled(args.data / "val", args.source_size).data
        small = shrunk(test.pixels, TESTED_SIZE).round().to(torch.uint8)
        return clean, replace(test, pixels=small, ids=torch.empty(0))
    loaded = load_labelled(args.data)
    if loaded.test is None:
        raise SystemExit("the cifar benchmark needs the archive's test pictures")
    return some_of_each(loaded.data, args.pictures, args.data_seed), loaded.test


def run(args: argparse.Namespace) -> None:
    """Train every victim that is not in the journal yet."""
    clean, test = load(args)
    arms = photo_arms if args.what == "photos" else cifar_arms
    augment = photo_views if args.what == "photos" else padded_views
    victim = Victim(args.victim, args.epochs, args.batch_size, Radius.parse(args.rho_a))
    precision = select_run("cpu").precision
    sha256 = hashlib.sha256(resolve(args.generator).read_bytes()).hexdigest()[:12]
    for name, data in arms(args, clean):
        change = float((data.pixels.float() - clean.pixels.float()).abs().mean())
        for seed in range(101, 101 + args.seeds):
            line = {"arm": name, "seed": seed, "rho_a": args.rho_a, "epochs": args.epochs}
            if name.startswith("protected"):
                line["generator"] = sha256
            if any(line.items() <= done.items() for done in journal(args.journal)):
                continue
            began = time.monotonic()
            outcome = fit_victim(victim, data, test, augment, seed, precision)
            line |= {
                "last": round(outcome.last, 4),
                "best": round(outcome.best, 4),
                "train": round(outcome.train, 4),
                "mean_change": round(change, 3),
                "seconds": round(time.monotonic() - began),
                "victim": args.victim,
                "pictures": len(clean),
                "chance": 1 / len(clean.classes),
                "torch": torch.__version__,
                "machine": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
            }
            with args.journal.with_suffix(".jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line), file=sys.stderr, flush=True)


def journal(path: Path) -> list[dict[str, object]]:
    """Return the lines of the journal."""
    file = path.with_suffix(".jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def table(path: Path) -> str:
    """Return the journal as a Markdown table: mean and spread over seeds, in percent."""
    arms: dict[tuple[str, str], list[dict[str, object]]] = {}
    for line in journal(path):
        arms.setdefault((str(line["rho_a"]), str(line["arm"])), []).append(line)
    rows = ["| ρa | trained on | change, levels | last epoch | best epoch | train | seeds |"]
    rows.append("|---|---|---|---|---|---|---|")
    for (rho_a, arm), lines in sorted(arms.items(), key=lambda item: item[0][0]):
        cells = [_spread([float(str(n[field])) for n in lines]) for field in _FIELDS]
        change = f"{float(str(lines[0]['mean_change'])):.2f}"
        rows.append(f"| {rho_a} | {arm} | {change} | {' | '.join(cells)} | {len(lines)} |")
    return "\n".join(rows) + "\n"


_FIELDS = ("last", "best", "train")


def _spread(values: list[float]) -> str:
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["photos", "cifar"])
    parser.add_argument("data", type=Path)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--generator", default="base")
    parser.add_argument("--arms", type=lambda t: t.split(","), default="clean,placebo,protected")
    parser.add_argument("--grids", type=lambda t: [int(g) for g in t.split(",")], default=[64])
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--data-seed", type=int, default=0)
    parser.add_argument("--source-size", type=int, default=112)
    parser.add_argument("--victim", default="resnet-small")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rho-a", default="0/255")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    if isinstance(args.arms, str):
        args.arms = args.arms.split(",")
    run(args)
    args.journal.with_suffix(".md").write_text(table(args.journal))
    print(table(args.journal))


if __name__ == "__main__":
    main()
