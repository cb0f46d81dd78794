"""How soon a copier finds a noise while content tells nothing, since the labels are random.

    python -m tests.benchmarks.noise.found docs/results/noise.jsonl --photos imagenette5 \\
        --cache here/cache --only "casts" --rho-a 4

What a copier has not found on its own training pictures it cannot learn instead of their content.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from tests.benchmarks.noise.copier import CLASSES, Copier, attacked, crops, network, update
from tests.benchmarks.noise.pictures import Photos, load
from tests.benchmarks.noise.runner import protected, read
from unlearn.device import select_run

_RATE, _PART = 0.02, 50  # of SGD; steps that one accuracy is the mean of


def found(photos: Photos, noise: dict, copier: Copier, steps: int, seed: int) -> list[float]:
    """Return the accuracy on the training pictures, under attack, of each fifty steps."""
    draw = torch.Generator().manual_seed(5)
    labels = torch.randint(CLASSES, (len(photos.pixels),), generator=draw)
    pixels = protected(replace(photos, labels=labels), noise, Path())
    run = select_run("cpu", seed=seed)
    torch.manual_seed(seed)
    model = network(copier.view).train()
    stream = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(model.parameters(), lr=_RATE, momentum=0.9, weight_decay=5e-4)
    hits: list[float] = []
    for step in range(steps):
        index = torch.randint(len(pixels), (copier.batch,), generator=stream)
        images = crops(pixels[index], copier.view, copier.smallest, stream)
        if copier.rho_a:
            at = seed * 1000 + step
            images = attacked(model, images, labels[index], copier, run.precision, at)
        logits, _ = update(model, optimiser, run, images, labels[index])
        hits.append(float((logits.argmax(1) == labels[index]).float().mean()))
    return [round(float(part.mean()), 3) for part in torch.tensor(hits).split(_PART)]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("journal", type=Path, help="whose noises are tried")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--rho-a", type=float, default=4.0)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    photos = load(options.photos, options.cache)[0]
    copier = Copier(rho_a=options.rho_a, adversary="nfgsm")
    noises = {}
    for line in read(options.journal):
        job = json.loads(line)
        if options.only in job["name"] and "noise" in job:
            noises[json.dumps(job["noise"], sort_keys=True)] = job
    for job in noises.values():
        curve = found(photos, job["noise"], copier, options.steps, seed=1)
        print(json.dumps({"name": job["name"], "rho_a": options.rho_a, "curve": curve}), flush=True)


if __name__ == "__main__":
    main()
