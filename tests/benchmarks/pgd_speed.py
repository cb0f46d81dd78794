"""Pictures a second of `pgd`, and whether the fast path agrees with the plain one.

    python -m tests.benchmarks.pgd_speed --out docs/results/pgd_speed

Plain is float32, NCHW, batch norm apart, as the field writes it. The paths take turns in one run,
so that a busy machine slows all of them; the medians and the ratios are what to quote.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch

from unlearn.attack import Pgd, frozen, pgd
from unlearn.models import build_classifier
from unlearn.objectives import cross_entropy
from unlearn.radius import Radius
from unlearn.rng import Rng

PATHS = {"plain fp32": None, "folded fp32": "fp32", "folded bf16": "bf16"}
RADIUS = Radius.of_levels(8)


def run_pgd(model, images, labels, precision, steps):
    """Run PGD from zero and return δ and the seconds it took."""
    config = Pgd(RADIUS, Radius.of_levels(1.6), steps=steps, random_start=False)
    rng = Rng(torch.arange(len(images)))
    with frozen(model, precision) as network:
        began = time.perf_counter()
        delta = pgd(lambda x: cross_entropy(network(x), labels), images, config, "minimise", rng)
        return delta, time.perf_counter() - began


def gradient(model, images, labels):
    """Return the plain gradient of the loss, to weigh signs by."""
    with frozen(model) as network:
        images = images.clone().requires_grad_()
        (found,) = torch.autograd.grad(cross_entropy(network(images), labels).sum(), images)
    return found


def agreement(delta, reference, weights):
    """Return the share of equal signs: of all pixels, of the larger three quarters, weighted."""
    equal = (delta.sign() == reference.sign()).double()
    size = weights.abs().double()
    large = size > size.flatten().kthvalue(size.numel() // 4).values
    weighted = (equal * size).sum() / size.sum()
    return [float(equal.mean()), float(equal[large].mean()), float(weighted)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="resnet18")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = build_classifier(args.architecture, 10)
    images = torch.rand(args.batch_size, 3, args.size, args.size) * 0.8 + 0.1
    labels = torch.randint(0, 10, (args.batch_size,))
    with torch.no_grad():  # batch-norm statistics of a network that has seen pictures
        model.train()(images)
    reference, _ = run_pgd(model, images, labels, None, 1)
    weights = gradient(model, images, labels)
    agreements = {
        name: agreement(run_pgd(model, images, labels, path, 1)[0], reference, weights)
        for name, path in PATHS.items()
    }
    seconds = {name: [] for name in PATHS}
    for _ in range(args.repeats):
        for name, path in PATHS.items():
            seconds[name].append(run_pgd(model, images, labels, path, args.steps)[1])
    count = args.batch_size * args.steps
    speeds = {name: count / statistics.median(taken) for name, taken in seconds.items()}
    plain = statistics.median(seconds["plain fp32"])
    lines = ["| path | forward+backward passes/s | against plain | equal signs after a step: all "
             "pixels | the larger 3/4 of gradients | weighted by gradient |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for name, speed in speeds.items():
        ratio = plain / statistics.median(seconds[name])
        shares = " | ".join(f"{share:.2%}" for share in agreements[name])
        lines.append(f"| {name} | {speed:.0f} | {ratio:.2f}x | {shares} |")
    print("\n".join(lines))
    if args.out:
        record = {
            "command": "python -m tests.benchmarks.pgd_speed",
            "settings": {k: v for k, v in vars(args).items() if k != "out"},
            "machine": platform.machine(),
            "torch": torch.__version__,
            "seconds": seconds,
            "agreement": agreements,
        }
        args.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
        args.out.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
