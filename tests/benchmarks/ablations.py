"""What each option of min-max-min is worth, and the fast recipe beside the published one.

    python -m tests.benchmarks.ablations cifar-10-batches-py --processes 2

The mini scale: 5,000 CIFAR-10 pictures and the small residual network, in batches of 32 so that a
recipe's visits to each picture, and its passes, are those it has on 50,000. Every arm is a
generator (seed 1) and its victims, trained as in the CPU-sized proof with seeds from 101. Killed,
it goes on; --minutes stops between two trainings with exit code 75. OUT.jsonl has a line for each
generator and victim, OUT.md the tables; --work keeps sets and journals.
"""

import argparse
import json
import math
import multiprocessing
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from tests.benchmarks.ablation_table import page
from tests.benchmarks.class_noise import noisy
from tests.benchmarks.cpu_proof import GENERATOR_SEED, NETWORK, PICTURES, TRAINING, prepare
from unlearn.attack import Pgd
from unlearn.audits.arms import placebo
from unlearn.audits.journal import Journal
from unlearn.audits.plan import NONE, WHOLE, Cell
from unlearn.audits.worker import CellJob, stored_name, train_victim
from unlearn.config import to_plain
from unlearn.datasets import stored
from unlearn.device import select_run
from unlearn.generators.artefact import NoiseGenerator, generator_from
from unlearn.methods import RECIPES, MinMaxMin
from unlearn.radius import Radius
from unlearn.views import Views

LEVELS = Radius.of_levels
RHO = LEVELS(8)
FULL_SIZE, BATCH = 50_000, 32
SEEDS = (101, 102, 103)
ENDED_EARLY = 75
BASE_NAME, CONTROLS = "base", "controls"
PROOF = Path("docs/results/cpu_proof.jsonl")
MAIN = ("clean", "placebo", "published", "fast", BASE_NAME, "own")

FAST = RECIPES["fast"]
BASE = replace(FAST, unlearn=Pgd(RHO, LEVELS(2), steps=2), warm=True)
OWN = replace(BASE, shared=LEVELS(0), final=Pgd(RHO, LEVELS(1.6), steps=10))


@dataclass(frozen=True)
class Arm:
    """One row: a method at full scale, and what is tried on its pictures besides ρa = 4/255."""

    words: str
    method: MinMaxMin
    ordinary: int = 1  # victim seeds at ρa = 0
    projected: int = 0  # victim seeds at ρa = 0 after orthogonal projection


ARMS = {
    "published": Arm("the published recipe", RECIPES["min-max-min"], 3, 3),
    "fast": Arm("the fast recipe: own noise only when published", FAST, 3, 3),
    "base": Arm("shared noise, and own noise also in training", BASE, 3, 3),
    "own": Arm("own noise alone", OWN, 3, 3),
    "patterns": Arm("four shared patterns a class", replace(BASE, patterns=4), 3, 3),
    "budget": Arm("shared part of 4/255", replace(BASE, shared=LEVELS(4)), 1, 1),
    "long-final": Arm(
        "published noise in 10 steps of 1.6/255",
        replace(BASE, final=Pgd(RHO, LEVELS(1.6), steps=10)),
        projected=1,
    ),
    "jitter": Arm("uniform draw of 4/255 in stage 1", replace(BASE, jitter=LEVELS(4))),
    "range": Arm("ρa drawn from 1 … 7/255", replace(BASE, adversary_range=(LEVELS(1), LEVELS(7)))),
    "cosine": Arm("cosine term, weight 1", replace(BASE, cosine_weight=1.0)),
    "two-forwards": Arm("two forward passes in stage 2", replace(BASE, joint=False)),
    "cold": Arm("noise not kept between visits", replace(BASE, warm=False)),
    "averaged": Arm("three late states", replace(BASE, averaged=3)),
    "views": Arm(
        "JPEG, blur and grey views", replace(BASE, views=Views(jpeg=0.3, blur=0.3, grey=0.3))
    ),
    "no-randomness": Arm("no randomness term", replace(BASE, randomness_weight=0.0)),
    "rotation": Arm("thin ResNet-18 in turn", replace(BASE, architectures=("resnet18-thin",))),
    CONTROLS: Arm("clean pictures", BASE),
}


def mini(method: MinMaxMin) -> MinMaxMin:
    """Return a method with as many visits to each picture as on the full set."""
    visits = method.schedule.steps * method.schedule.batch_size / FULL_SIZE
    steps = math.ceil(visits * PICTURES / BATCH)
    return replace(method, schedule=replace(method.schedule, steps=steps, batch_size=BATCH))


class Worker:
    """One process: takes arms that no other process holds, trains what is missing, and says so."""

    def __init__(self, work: Path, until: float) -> None:
        self.work = work
        self.until = until

    def run(self, names: list[str]) -> bool:
        """Train all that the arms need and no other process holds; return whether time was up."""
        torch.set_num_threads(1)
        for name in names:
            try:
                with FileLock(self.work / f"{name}.lock", timeout=0):
                    if not self._arm(name):
                        return True
            except Timeout:
                continue
        return False

    def _arm(self, name: str) -> bool:
        folder, sets = self.work / name, self.work / (BASE_NAME if name == CONTROLS else name)
        folder.mkdir(exist_ok=True)
        made = sets / "made.json"
        if not made.exists():
            if name == CONTROLS or time.time() > self.until:
                return False
            made.write_text(json.dumps(self._make(name, folder)))
            print(f"{name}: {made.read_text()}", flush=True)
        content = stored.load(sets / stored_name("protected"))
        plan = f"{TRAINING} {replace(content, ids=torch.empty(0)).fingerprint}"
        journal = Journal(folder / "journal.jsonl", plan)
        for cell in cells(name):
            if cell in journal.results:
                continue
            if time.time() > self.until:
                return False
            precision = select_run("cpu").precision
            job = CellJob(
                cell=cell,
                training=TRAINING,
                sets=sets,
                state=folder,
                fingerprint=plan,
                device="cpu",
                precision=precision,
            )
            journal.append(result := train_victim(job))
            print(f"{name}: {cell.words}: {result.accuracy_last:.1%}", flush=True)
        return True

    def _make(self, name: str, folder: Path) -> dict[str, Any]:
        """Train an arm's generator and store its sets; return what is said of it."""
        method = mini(ARMS[name].method)
        clean, run = (
            stored.load(self.work / stored_name("clean")),
            select_run("cpu", seed=GENERATOR_SEED),
        )
        began = time.process_time()
        generator = generator_from(clean, method, NETWORK, run, name=name)
        generator.save(folder / "generator.safetensors")
        generator = NoiseGenerator.load(folder / "generator.safetensors", select_run("cpu"))
        protected = noisy(generator, clean, RHO)
        seconds = time.process_time() - began
        test = stored.load(self.work / stored_name("test"))
        random = placebo(clean, protected, RHO, clean.size, 99)
        sets = {"clean": clean, "test": test, "placebo": random, "protected": protected}
        for arm, data in sets.items():
            stored.store(data, folder / stored_name(arm))
        change = (protected.pixels.float() - clean.pixels.float()).abs().mean()
        return {
            "arm": name,
            "passes": method.passes_per_image(len(clean)),
            "cpu_seconds": round(seconds),
            "mean_change": round(float(change), 2),
            "method": to_plain(method),
        }


def cells(name: str) -> Iterator[Cell]:
    """Yield the victims of an arm, the same seeds for all; controls belong to the base."""

    def cell(arm: str, levels: int, seed: int, countermeasure: str = NONE) -> Cell:
        return Cell(arm, NETWORK, LEVELS(levels), WHOLE, countermeasure, "cosine", seed)

    if name == CONTROLS:
        for seed in SEEDS:  # the others are those of the CPU-sized proof
            yield cell("clean", 0, seed, "projection")
        return
    for number, seed in enumerate(SEEDS):
        yield cell("protected", 4, seed)
        if number < ARMS[name].ordinary:
            yield cell("protected", 0, seed)
        if number < ARMS[name].projected:
            yield cell("protected", 0, seed, "projection")


def lines(work: Path) -> Iterator[dict[str, Any]]:
    """Yield a line for each generator and victim that is finished."""
    for name in ARMS:
        made, journal = work / name / "made.json", work / name / "journal.jsonl"
        if made.exists() and name != CONTROLS:
            yield json.loads(made.read_text())
        for text in journal.read_text().splitlines()[1:] if journal.exists() else ():
            found = json.loads(text)
            cell = found["cell"]
            yield {
                "arm": name if cell["arm"] == "protected" else cell["arm"],
                "rho_a": cell["rho_a"],
                "countermeasure": cell["countermeasure"],
                "seed": cell["seed"],
                "last": round(found["accuracy_last"], 4),
                "best": round(found["accuracy_best"], 4),
                "train": round(found["train_accuracy"], 4),
                "torch": torch.__version__,
                "machine": platform.machine(),
            }


def proof_controls() -> Iterator[dict[str, Any]]:
    """Yield the clean and placebo victims of the CPU-sized proof, which are trained alike."""
    for text in PROOF.read_text().splitlines() if PROOF.exists() else ():
        line = json.loads(text)
        if line["arm"] in ("clean", "placebo"):
            kept = {name: line[name] for name in ("arm", "rho_a", "seed", "last", "best", "train")}
            machine = {"torch": line["torch"], "machine": platform.machine()}
            yield kept | {"countermeasure": NONE} | machine


def write(work: Path, out: Path) -> None:
    """Write the journal and the tables of what is finished."""
    journal = [*proof_controls(), *lines(work)]
    out.with_suffix(".jsonl").write_text("".join(json.dumps(line) + "\n" for line in journal))
    words = {name: arm.words for name, arm in ARMS.items() if name != CONTROLS}
    out.with_suffix(".md").write_text(page(journal, words, MAIN))


def work_on(work: Path, names: list[str], until: float) -> None:
    """Be one of the processes."""
    raise SystemExit(ENDED_EARLY if Worker(work, until).run(names) else 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/results/ablations"))
    parser.add_argument("--work", type=Path, default=Path("ablation_work"))
    parser.add_argument("--only", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=math.inf)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if not (args.work / stored_name("test")).exists():
        prepare(args.data, args.work)
    until = time.time() + 60 * args.minutes
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=work_on, args=(args.work, args.only, until))
        for _ in range(args.processes)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    write(args.work, args.out)
    raise SystemExit(max(abs(process.exitcode or 0) for process in processes))


if __name__ == "__main__":
    main()
