"""One adversarially trained step of a ResNet-18 victim: pictures/s, ours against the field's.

    python -m tests.benchmarks.victim_speed --threads 1 --out docs/results/victim_speed

The plain implementation is written as published code writes it: fp32, NCHW, PGD-10 by
`loss.backward()` through the training network (so that weight gradients are computed and thrown
away), one SGD step. Ours is what `unlearn audit` runs. Both take turns in one run; the medians of
the repeats count.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from unlearn.audit.plan import Cell, Training
from unlearn.audit.victim import Surroundings, step_losses
from unlearn.countermeasures import NONE
from unlearn.device import select_run
from unlearn.models import build_classifier
from unlearn.models.classifier import channels_last
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import to_images

RHO_A, STEPS = Radius.of_levels(4), 10


def make_plain(batch: int, device: torch.device) -> Callable[[], None]:
    """Return one step as the field writes it."""
    torch.manual_seed(0)
    model = build_classifier("resnet18", 10).to(device)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    pixels, labels = _batch(batch, device)
    radius, step = float(RHO_A), float(RHO_A) / 5

    def run() -> None:
        images = to_images(pixels)
        delta = torch.empty_like(images).uniform_(-radius, radius)
        model.eval()
        for _ in range(STEPS):
            delta.requires_grad_()
            F.cross_entropy(model((images + delta).clamp(0, 1)), labels).backward()
            with torch.no_grad():
                delta = (delta + step * delta.grad.sign()).clamp(-radius, radius)
        model.train()
        optimiser.zero_grad()
        F.cross_entropy(model((images + delta.detach()).clamp(0, 1)), labels).backward()
        optimiser.step()

    return run


def make_ours(batch: int, device: torch.device, precision: str) -> Callable[[], None]:
    """Return one step as an audit's victim takes it."""
    torch.manual_seed(0)
    run = select_run(str(device), precision)
    model = channels_last(build_classifier("resnet18", 10).to(device)).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    pixels, labels = _batch(batch, device)
    cell = Cell("clean", "resnet18", RHO_A, 1, "none", "cosine", 101)
    training = Training(32, 32, pgd_steps=STEPS)
    losses = step_losses(cell, training, 10, Surroundings(run, NONE))
    streams = Rng.for_images(0, torch.arange(batch, device=device))

    def step() -> None:
        loss = losses(model, pixels, labels, streams)["loss"]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step


def _batch(count: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = Rng.for_images(1, torch.arange(count)).integers(256, 3, 32, 32).to(torch.uint8)
    return pixels.to(device), (torch.arange(count) % 10).to(device)


def seconds_of(step: Callable[[], None], device: torch.device) -> float:
    """Return the seconds of one step."""
    began = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def measure(batch: int, repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Time every implementation in turn, after one step to warm up."""
    steps = {
        "plain fp32": make_plain(batch, device),
        "ours fp32": make_ours(batch, device, "fp32"),
        "ours": make_ours(batch, device, "auto"),
    }
    for step in steps.values():
        seconds_of(step, device)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            times[name].append(seconds_of(step, device))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    times = measure(args.batch, args.repeats, device)
    plain = statistics.median(times["plain fp32"])
    rows = ["| step | pictures/s | against plain |", "|---|---|---|"]
    for name, values in times.items():
        median = statistics.median(values)
        rows.append(f"| {name} | {args.batch / median:.1f} | {plain / median:.2f}x |")
    print("\n".join(rows))
    if args.out:
        machine = f"{platform.machine()} {device.type}, {args.threads} threads"
        found = {"seconds": times, "batch": args.batch, "machine": machine}
        found |= {"torch": torch.__version__, "precision": select_run(args.device).precision}
        args.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
        args.out.with_suffix(".md").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
