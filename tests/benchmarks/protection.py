"""What a victim learns from protected pictures, beside clean ones and a placebo.

    python -m tests.benchmarks.protection photos DATA --generator base --grids 64,128
    python -m tests.benchmarks.protection cifar DATA --generator gen.safetensors --pictures 5000

DATA is `imagenette5` (train and val with class folders) or a CIFAR-10 python archive. Photos go
through `unlearn protect` into files and are read back; the victim never shares a seed with the
generator. Writes one JSON object, and a table as Markdown, to --out.
"""

import argparse
import io
import json
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from tests.benchmarks.victim import Outcome, Victim, fit_victim, padded_views, photo_views, shrunk
from unlearn.data.arrays import Data
from unlearn.data.folder import load_labelled, some_of_each
from unlearn.device import select_run
from unlearn.generator import NoiseGenerator
from unlearn.generators import resolve
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import add_levels, to_images, to_levels

RHO = Radius.of_levels(8)
KEY = b"\x07" * 32  # the benchmark's own key, so that its numbers can be repeated
TESTED_SIZE = 64


@dataclass(frozen=True)
class Arm:
    """One way to prepare the training pictures, and its victims' outcomes."""

    name: str
    mean_change: float
    outcomes: list[Outcome]


def placebo(data: Data, grid: int) -> Data:
    """Add ±8 levels drawn at random on a grid and spread like the noise: same look, no method."""
    ids, shape = data.ids, (3, grid, grid)
    signs = Rng.for_images(99, ids).uniform(*shape, low=-1).sign() * float(RHO)
    return with_noise(data, signs)


def with_noise(data: Data, delta: torch.Tensor) -> Data:
    """Spread δ over the pictures as `protect` does and add it in levels."""
    from unlearn.data.grid import add_noise
    from unlearn.workflows.protect import GAIN

    gain = 1.0 if delta.shape[-1] == data.size else GAIN
    pixels = [
        add_noise(p.permute(1, 2, 0).numpy(), d.permute(1, 2, 0).numpy(), RHO.levels, gain)
        for p, d in zip(data.pixels, delta, strict=True)
    ]
    stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    return Data(stacked, data.labels, data.classes)


def protect_files(folder: Path, out: Path, generator: str, grid: int) -> None:
    """Protect a folder with the real command."""
    key = out.parent / "key"
    key.write_bytes(KEY)
    line = [sys.executable, "-m", "unlearn", "protect", str(folder), "--out", str(out), "-q"]
    line += ["--generator", generator, "--grid", str(grid), "--key", str(key), "--preview", "0"]
    subprocess.run(line, check=True)


def as_jpeg(data: Data, quality: int) -> Data:
    """Send every picture through JPEG, as a scraper's store does."""
    pixels = torch.empty_like(data.pixels)
    for n, picture in enumerate(data.pixels):
        store = io.BytesIO()
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(store, "JPEG", quality=quality)
        pixels[n] = torch.from_numpy(np.array(Image.open(store))).permute(2, 0, 1)
    return Data(pixels, data.labels, data.classes)


def change(data: Data, clean: Data) -> float:
    """Return the mean absolute change in levels."""
    return float((data.pixels.float() - clean.pixels.float()).abs().mean())


def photo_arms(args: argparse.Namespace) -> tuple[dict[str, Data], Data]:
    """Return the training sets and the clean test set for photos."""
    clean = load_labelled(args.data / "train", args.source_size).data
    test = load_labelled(args.data / "val", args.source_size).data
    small = shrunk(test.pixels, TESTED_SIZE).round().to(torch.uint8)
    arms = {"clean": clean, "placebo": placebo(clean, args.grids[0])}
    with TemporaryDirectory() as temporary:
        for grid in args.grids:
            out = Path(temporary, f"grid{grid}")
            protect_files(args.data / "train", out, args.generator, grid)
            arms[f"protected, grid {grid}"] = load_labelled(out, args.source_size).data
    first = arms[f"protected, grid {args.grids[0]}"]
    arms[f"protected, grid {args.grids[0]}, then JPEG 75"] = as_jpeg(first, 75)
    return arms, replace(test, pixels=small, ids=torch.empty(0))


def cifar_arms(args: argparse.Namespace) -> tuple[dict[str, Data], Data]:
    """Return the training sets and the clean test set for CIFAR-10."""
    loaded = load_labelled(args.data)
    clean = some_of_each(loaded.data, args.pictures, args.data_seed)
    generator = NoiseGenerator.load(resolve(args.generator), select_run("cpu"))
    delta = torch.cat(
        [
            generator.method.noise(
                generator.module,
                to_images(part.pixels),
                part.labels,
                generator.run,
                Rng.for_images(generator.run.seed, part.ids),
            )
            for part in (clean.subset(n) for n in torch.arange(len(clean)).split(500))
        ]
    )
    pixels = add_levels(clean.pixels, to_levels(delta, RHO))
    protected = Data(pixels, clean.labels, clean.classes)
    return {"clean": clean, "placebo": placebo(clean, 32), "protected": protected}, loaded.test


def run_arms(args: argparse.Namespace) -> list[Arm]:
    """Train every victim on every arm."""
    arms, test = (photo_arms if args.what == "photos" else cifar_arms)(args)
    augment = photo_views if args.what == "photos" else padded_views
    victim = Victim(args.victim, args.epochs, args.batch_size, Radius.parse(args.rho_a))
    precision = select_run("cpu").precision
    results = []
    for name, data in arms.items():
        outcomes = []
        for seed in range(101, 101 + args.seeds):
            outcomes.append(fit_victim(victim, data, test, augment, seed, precision))
            last = outcomes[-1]
            print(f"{name}, seed {seed}: last {last.last:.3f} best {last.best:.3f} "
                  f"train {last.train:.3f}", file=sys.stderr, flush=True)  # fmt: skip
        results.append(Arm(name, change(data, arms["clean"]), outcomes))
    return results


def table(results: list[Arm], chance: float) -> str:
    """Return the results as a Markdown table, accuracies in percent."""
    rows = ["| trained on | mean change, levels | last epoch | best epoch | on its training set |"]
    rows.append("|---|---|---|---|---|")
    for arm in results:
        cells = [_spread([getattr(o, f) for o in arm.outcomes]) for f in ("last", "best", "train")]
        rows.append(f"| {arm.name} | {arm.mean_change:.2f} | {' | '.join(cells)} |")
    return "\n".join([*rows, "", f"Chance: {chance:.0%}."])


def _spread(values: list[float]) -> str:
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["photos", "cifar"])
    parser.add_argument("data", type=Path)
    parser.add_argument("--generator", default="base")
    parser.add_argument("--grids", type=lambda t: [int(g) for g in t.split(",")], default=[64])
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--data-seed", type=int, default=0)
    parser.add_argument("--source-size", type=int, default=224)
    parser.add_argument("--victim", default="resnet-small")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rho-a", default="0/255")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    began = time.monotonic()
    results = run_arms(args)
    classes = 5 if args.what == "photos" else 10
    text = table(results, 1 / classes)
    print(text)
    if args.out:
        record = {
            "command": " ".join(["python", "-m", "tests.benchmarks.protection", *sys.argv[1:]]),
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, CPU",
            "torch": torch.__version__,
            "minutes": round((time.monotonic() - began) / 60, 1),
            "chance": 1 / classes,
            "arms": [asdict(arm) for arm in results],
        }
        args.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
        args.out.with_suffix(".md").write_text(text + "\n")


if __name__ == "__main__":
    main()
