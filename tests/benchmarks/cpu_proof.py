"""The CPU-sized proof: the paper's order of methods, on two cores, in under 40 minutes.

    python -m tests.benchmarks.cpu_proof cifar-10-batches-py --out docs/results/cpu_proof

Trains an error-minimising generator (no adversary, no randomness) and a min-max-min generator on
the same 5,000 CIFAR-10 pictures, protects them, and trains victims on clean, placebo, error-
minimising and min-max-min pictures, ordinarily and adversarially. The noise of min-max-min is
shared by class (StageOne.shared); --ablation SEEDS adds error-minimising noise that is shared
too, both parts together, and noise of each picture's own as published. Victims are those of
`unlearn audit` (unlearn/audits/victim.py), with seeds that no generator has. Killed, it goes on.
OUT.jsonl has a line per victim, OUT.md the table; --work keeps sets and journals.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import torch

from tests.benchmarks.class_noise import noisy
from unlearn.attack import Pgd
from unlearn.audits.arms import placebo
from unlearn.audits.journal import Journal
from unlearn.audits.plan import NONE, WHOLE, Cell, Training
from unlearn.audits.report import Result
from unlearn.audits.runner import CellsProgress, train_cells
from unlearn.audits.worker import CellJob, stored_name
from unlearn.datasets import stored
from unlearn.datasets.folders import load_labelled, some_of_each
from unlearn.device import select_run
from unlearn.generators.artefact import NoiseGenerator, generator_from
from unlearn.methods import MinMaxMin
from unlearn.methods.stage_one import StageOne
from unlearn.radius import Radius
from unlearn.training import Schedule
from unlearn.workers.pool import Pool

LEVELS = Radius.of_levels
RHO, RHO_A = LEVELS(8), (LEVELS(0), LEVELS(4))
NETWORK = "resnet-small"
PICTURES, TESTED = 5000, 2500
GENERATOR_SEED, FIRST_SEED = 1, 101
TRAINING = Training(32, 32, epochs=12, batch_size=64, pgd_steps=4, step_share=Fraction(1, 2))
NOTHING = Pgd(LEVELS(0), LEVELS(0), steps=0)

_MINIMISING = MinMaxMin(
    noise=StageOne(Pgd(RHO, LEVELS(1.6), steps=5)),
    final=Pgd(RHO, LEVELS(1.6), steps=10),
    adversary=NOTHING,
    randomness_weight=0.0,
    schedule=Schedule(steps=300),
)
_SHARED = MinMaxMin(
    noise=StageOne(Pgd(RHO, LEVELS(1.6), steps=0), shared=RHO),
    adversary=Pgd(LEVELS(4), Radius(LEVELS(8).value / 3), steps=3),
    joint=True,
    schedule=Schedule(steps=1500, shape="cosine"),
)
MAIN = {"error-minimising": _MINIMISING, "min-max-min": _SHARED}
ABLATION = {  # which part of it is it?
    "error-minimising, shared": replace(_SHARED, adversary=NOTHING, randomness_weight=0.0),
    "min-max-min, both parts": replace(
        _SHARED, noise=StageOne(Pgd(RHO, LEVELS(1.6), steps=2), shared=RHO)
    ),
    "min-max-min, per picture": replace(
        _SHARED,
        noise=StageOne(Pgd(RHO, LEVELS(1.6), steps=5)),
        final=Pgd(RHO, LEVELS(1.6), steps=10),
        schedule=Schedule(steps=600, shape="cosine"),
    ),
}
METHODS = MAIN | ABLATION


def make_generator(name: str, work: Path) -> None:
    """Train a generator in a process of its own, unless that was done before."""
    if not (work / f"{name}.safetensors").exists():
        with Pool(1) as pool:
            seconds = pool.submit(fit_generator, (name, METHODS[name], work)).result()
        print(f"{name}: generator trained in {seconds:.0f} s", flush=True)


def fit_generator(job: tuple[str, MinMaxMin, Path]) -> float:
    """Train a generator with one thread and store it; return the seconds."""
    name, method, work = job
    torch.set_num_threads(1)
    began = time.monotonic()
    data, run = stored.load(work / stored_name("clean")), select_run("cpu", seed=GENERATOR_SEED)
    generator = generator_from(data, method, NETWORK, run, name=name)
    generator.save(work / f"{name}.safetensors")
    return time.monotonic() - began


def prepare(data: Path, work: Path) -> None:
    """Store the clean and the held-out pictures."""
    loaded = load_labelled(data)
    if loaded.test is None:
        raise SystemExit("the proof needs the archive's test pictures")
    stored.store(some_of_each(loaded.data, PICTURES, 0), work / stored_name("clean"))
    stored.store(some_of_each(loaded.test, TESTED, 0), work / stored_name("test"))


def protect(name: str, work: Path) -> Path:
    """Store the sets of one method: clean, test, placebo and protected; return their folder."""
    torch.set_num_threads(1)
    folder = work / name
    folder.mkdir(exist_ok=True)
    if not (folder / stored_name("protected")).exists():
        clean = stored.load(work / stored_name("clean"))
        generator = NoiseGenerator.load(work / f"{name}.safetensors", select_run("cpu"))
        protected = noisy(generator, clean, RHO)
        for arm, data in (
            ("clean", clean),
            ("test", stored.load(work / stored_name("test"))),
            ("placebo", placebo(clean, protected, RHO, clean.size, 99)),
            ("protected", protected),
        ):
            stored.store(data, folder / stored_name(arm))
    return folder


def cells(name: str, seeds: int) -> Iterator[Cell]:
    """Yield the victims of a method; controls belong to min-max-min, placebos get one seed."""
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        for rho_a in reversed(RHO_A):
            if name == "min-max-min":
                yield Cell("clean", NETWORK, rho_a, WHOLE, NONE, "cosine", seed)
                if seed == FIRST_SEED:
                    yield Cell("placebo", NETWORK, rho_a, WHOLE, NONE, "cosine", seed)
            yield Cell("protected", NETWORK, rho_a, WHOLE, NONE, "cosine", seed)


def victims(name: str, work: Path, seeds: int, workers: int) -> tuple[Result, ...]:
    """Train the victims of one method."""
    sets = protect(name, work)
    contents = stored.load(sets / stored_name("protected"))
    plan = f"{TRAINING} {replace(contents, ids=torch.empty(0)).fingerprint}"
    jobs = [
        CellJob(
            cell=cell,
            training=TRAINING,
            sets=sets,
            state=sets,
            fingerprint=plan,
            device="cpu",
            precision=select_run("cpu").precision,
        )
        for cell in cells(name, seeds)
    ]
    costs = {job.cell: 3.5 if job.cell.rho_a.value else 1.0 for job in jobs}
    return train_cells(jobs, costs, Journal(sets / "journal.jsonl", plan), workers, tell)


def tell(event: CellsProgress) -> None:
    """Print every finished victim."""
    if event.finished:
        print(f"{event.done}/{event.total} {event.news}", flush=True)


def lines(found: dict[str, tuple[Result, ...]]) -> Iterator[dict[str, object]]:
    """Yield what is published of every victim."""
    for name, results in found.items():
        for result in results:
            arm = name if result.cell.arm == "protected" else result.cell.arm
            yield {
                "arm": arm,
                "rho_a": str(result.cell.rho_a),
                "seed": result.cell.seed,
                "last": round(result.accuracy_last, 4),
                "best": round(result.accuracy_best, 4),
                "train": round(result.train_accuracy, 4),
                "network": NETWORK,
                "seconds": round(result.seconds),
                "torch": torch.__version__,
            }


def table(journal: list[dict[str, object]]) -> str:
    """Return mean and spread over seeds, in percent, as Markdown."""
    rows = [
        "| ρa | trained on | last epoch | best epoch | train | seeds |",
        "|---|---|---|---|---|---|",
    ]
    for rho_a in map(str, RHO_A):
        for arm in ("clean", "placebo", *METHODS):
            found = [line for line in journal if (line["rho_a"], line["arm"]) == (rho_a, arm)]
            if found:
                values = (
                    spread([float(str(n[x])) for n in found]) for x in ("last", "best", "train")
                )
                rows.append(f"| {rho_a} | {arm} | {' | '.join(values)} | {len(found)} |")
    return "\n".join(rows) + "\n"


def spread(values: list[float]) -> str:
    """Return mean ± standard deviation in percent."""
    deviation = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{deviation}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("cpu_proof_work"))
    parser.add_argument("--ablation", type=int, default=0, metavar="SEEDS")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    began = time.monotonic()
    args.work.mkdir(parents=True, exist_ok=True)
    prepare(args.data, args.work)
    found = {}
    with ThreadPoolExecutor(1) as beside:  # the longer training, while the other core goes on
        slow = beside.submit(make_generator, "min-max-min", args.work)
        make_generator("error-minimising", args.work)
        found["error-minimising"] = victims("error-minimising", args.work, args.seeds, workers=1)
        slow.result()
    found["min-max-min"] = victims("min-max-min", args.work, args.seeds, workers=2)
    if args.ablation:
        with ThreadPoolExecutor(2) as both:
            list(both.map(lambda name: make_generator(name, args.work), ABLATION))
        for name in ABLATION:
            found[name] = victims(name, args.work, args.ablation, workers=2)
    journal = list(lines(found))
    args.out.with_suffix(".jsonl").write_text("".join(json.dumps(n) + "\n" for n in journal))
    minutes = (time.monotonic() - began) / 60
    end = f"\n{minutes:.0f} minutes in all on {platform.machine()}, two processes of one thread.\n"
    args.out.with_suffix(".md").write_text(table(journal) + end)
    print(table(journal) + end)


if __name__ == "__main__":
    main()
