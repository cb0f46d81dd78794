"""Run the missing units of a plan, one after the other, until they are done or time is up."""

import hashlib
import platform
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from tests.benchmarks.paper.journal import Journal, Line, identity
from tests.benchmarks.paper.material import Archive, add_placebo, clean_sets, noisy_sets
from tests.benchmarks.paper.plan import SURROGATE_SEED, Noise, Scale, Unit, Victim
from unlearn import __version__
from unlearn.audits.report import Point
from unlearn.audits.watch import StoppedError
from unlearn.audits.worker import CellJob, stored_name, train_victim
from unlearn.datasets import stored
from unlearn.device import Run, select_run
from unlearn.errors import UnlearnError
from unlearn.generators.options import TrainOptions
from unlearn.generators.train import Resumed, Started, Stepped, Stopped, train_generator
from unlearn.rng import content_ids

Outcome = Literal["done", "stopped", "failed"]

_SAVE_EVERY_SECONDS = 120.0
_MARGIN_SECONDS = 20.0  # for the step, the measurement and the saving of a state under way


class Deadline:
    """The moment at which work has to stop, so that all is saved within the minutes given."""

    def __init__(self, minutes: float | None) -> None:
        self._end = None
        if minutes is not None:
            seconds = 60 * minutes
            self._end = time.monotonic() + seconds - min(_MARGIN_SECONDS, seconds / 10)

    def over(self) -> bool:
        """Tell whether it is time to stop."""
        return self._end is not None and time.monotonic() >= self._end

    def check(self) -> None:
        """Raise StoppedError if it is time to stop."""
        if self.over():
            raise StoppedError


@dataclass(frozen=True)
class Bench:
    """Where units are made: archives, folder for state, device, journal and clock."""

    scale: Scale
    archives: dict[str, Archive]
    work: Path
    run: Run
    journal: Journal
    deadline: Deadline
    commit: str


def run_units(units: Iterable[Unit], bench: Bench) -> Outcome:
    """Make every unit that the journal lacks and whose pictures are there, until time is up.

    A unit that an earlier run left in the middle goes on from its state. One that fails is named
    and left out, with all that needs its generator if it was that.
    """
    outcome: Outcome = "done"
    broken: set[Noise | None] = set()
    for unit in units:
        noise = unit if isinstance(unit, Noise) else unit.noise
        known = unit.data in bench.archives and noise not in broken
        if not known or bench.journal.of(unit, bench.scale):
            continue
        try:
            bench.deadline.check()
            if isinstance(unit, Noise):
                make_generator(unit, bench)
            else:
                make_victim(unit, bench)
        except StoppedError:
            say("time is up: the state is saved, the same line goes on")
            return "stopped"
        except (UnlearnError, torch.OutOfMemoryError) as error:
            say(f"failed: {error}")
            outcome = "failed"
            if noise and not bench.journal.of(noise, bench.scale):
                broken.add(noise)
    return outcome


def make_generator(noise: Noise, bench: Bench) -> Path:
    """Train a generator unless that was done, note it, and return the stem of its files."""
    scale = bench.scale
    stem = bench.work / "-".join((*noise.fields.values(), scale.settings(noise)))
    out, spent = stem.with_suffix(".safetensors"), Seconds(stem.with_suffix(".seconds"))
    if out.exists() and bench.journal.of(noise, scale):
        return stem
    shutil.rmtree(stem, ignore_errors=True)  # the sets of an earlier generator of that name
    say(f"generator: {' '.join(noise.fields.values())}")
    stop = threading.Event()

    def report(event: Started | Resumed | Stepped) -> None:
        if bench.deadline.over():
            stop.set()
        if isinstance(event, Stepped) and "clean_test_accuracy" in event.metrics:
            say(f"  step {event.step}/{event.steps} {_shown(event.metrics)}")

    options = TrainOptions(
        data=bench.archives[noise.data].path,
        out=out,
        method=scale.method(noise.method),
        architecture=scale.network(noise.surrogate),
        device=str(bench.run.device),
        precision=bench.run.precision,
        seed=SURROGATE_SEED,
        save_every_minutes=_SAVE_EVERY_SECONDS / 60,
        force=True,  # a generator without its line was cut off between the two
    )
    with spent:
        try:
            trained = train_generator(options, report, stop)
        except Stopped as stopped:
            raise StoppedError from stopped
    bench.journal.append(
        {
            **identity(noise, scale),
            "built": options.architecture,
            "passes": scale.passes(noise),
            "curve": trained.header.curve,
            "sha256": trained.sha256,
            "seconds": round(spent.total, 1),
            **surroundings(bench, noise.data),
        }
    )
    return stem


def make_victim(victim: Victim, bench: Bench) -> None:
    """Train a victim, from where it was left, and note what it learned."""
    scale = bench.scale
    sets = _sets(victim, bench)
    cell = victim.cell(scale.network(victim.network))
    say(f"victim: {' '.join(victim.fields.values())}")
    arm = "clean" if victim.arm == "remainder" else victim.arm
    pixels = stored.load(sets / stored_name(arm)).pixels
    contents = hashlib.sha256(content_ids(pixels).numpy().tobytes()).hexdigest()
    state = sets / scale.settings(victim)
    state.mkdir(exist_ok=True)
    job = CellJob(
        cell=cell,
        training=scale.training,
        sets=sets,
        state=state,
        fingerprint=f"{contents} {bench.run.words}",
        device=str(bench.run.device),
        precision=bench.run.precision,
    )
    result = train_victim(job, bench.deadline.over, _tell)
    bench.journal.append(
        {
            **identity(victim, scale),
            "table": victim.table,
            "arm": victim.arm,
            "built": cell.architecture,
            "last": result.accuracy_last,
            "best": result.accuracy_best,
            "best_point": result.best_epoch,
            "train": result.train_accuracy,
            "trained": result.trained,
            "tested": result.tested,
            "diverged": result.diverged,
            "curve": [[round(p.accuracy, 4), round(p.train_accuracy, 4)] for p in result.curve],
            "passes": scale.passes(victim),
            "contents": contents[:16],
            "seconds": round(result.seconds, 1),
            **surroundings(bench, victim.data),
        }
    )
    job.checkpoint_path.unlink(missing_ok=True)


def _sets(victim: Victim, bench: Bench) -> Path:
    """Return the folder of the sets of a victim; its generator and copies are made if missing."""
    stem = make_generator(victim.noise, bench) if victim.noise else None
    folder = clean_sets(bench.archives[victim.data], bench.work / victim.data)
    if victim.noise and stem:
        folder = noisy_sets(folder, stem, bench.run, bench.deadline.check)
        if victim.arm == "placebo":
            radius = bench.scale.method(victim.noise.method).bound
            add_placebo(folder, radius, bench.deadline.check)
    return folder


def _tell(point: Point) -> None:
    """Print a point of a victim's curve."""
    say(f"  {point.epoch}: test {point.accuracy:.2%}, training {point.train_accuracy:.2%}")


class Seconds:
    """Adds the seconds spent inside it to those in a file, also when what it holds fails."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.total = float(path.read_text()) if path.exists() else 0.0
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_exception: object) -> None:
        self.total += time.monotonic() - self._began
        self.path.write_text(f"{self.total}\n")


def surroundings(bench: Bench, data: str) -> Line:
    """Return what every line says of the machine, the program and the pictures."""
    device = bench.run.device
    on_cuda = device.type == "cuda"
    hardware = torch.cuda.get_device_name(device) if on_cuda else f"{platform.machine()} CPU"
    return {
        "drawn": bench.archives[data].drawn,
        "device": hardware,
        "precision": bench.run.precision,
        "threads": None if on_cuda else torch.get_num_threads(),
        "commit": bench.commit,
        "unlearn": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def commit_of_checkout() -> str:
    """Return the commit of the checkout, with a + if files differ from it; "unknown" without."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/unlearn", ":/tests")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def open_run(device: str, precision: str) -> Run:
    """Return the run of all units; its seed is the surrogates', victims have their own."""
    return select_run(device, precision, SURROGATE_SEED)


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def _shown(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
