"""Train a noise generator from a labelled folder and write it as one file with a model card."""

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unlearn.checkpoint import Checkpoint
from unlearn.config import to_plain
from unlearn.datasets.folders import Loaded, load_classes, load_labelled, some_of_each
from unlearn.datasets.labelled import Data
from unlearn.device import Run, select_run
from unlearn.errors import EnvironmentProblem, UnlearnError, UsageProblem
from unlearn.files.replace import TEMPORARY_PREFIX, replace_file
from unlearn.generators.artefact import NoiseGenerator, header_of
from unlearn.generators.header import Header
from unlearn.generators.model_card import model_card
from unlearn.generators.options import TrainOptions
from unlearn.methods import MinMaxMin, Spec
from unlearn.objectives import average_prediction_randomness
from unlearn.training import TrainingState, predict

READINGS = 50  # how often the terms of the loss are read
EVALUATIONS = 20  # how often the surrogate is tried on clean pictures (Figure 1)
_TRIED_PICTURES = 2000


@dataclass(frozen=True)
class Started:
    """What is about to be trained, and its cost in forward+backward passes of the network."""

    method: MinMaxMin
    data: Data
    test: Data | None
    unreadable: tuple[tuple[str, str], ...]
    run: Run
    passes: int
    resumed_at: int
    said: tuple[str, ...]  # about the classes


@dataclass(frozen=True)
class Stepped:
    """One finished step; metrics only where they were read."""

    step: int
    steps: int
    metrics: dict[str, float]


Report = Callable[[Started | Stepped], None]


@dataclass(frozen=True)
class Trained:
    """The written artefact."""

    path: Path
    card: Path
    sha256: str
    header: Header
    seconds: float


class Stopped(UnlearnError):
    """The training was asked to stop and kept its state."""

    exit_code = 130


def train_generator(
    options: TrainOptions, report: Report, stop: threading.Event | None = None
) -> Trained:
    """Train and write a generator; a set `stop` saves the state after the step under way.

    Raises UsageProblem for an existing --out or unusable data, Stopped when asked to stop.
    """
    began = time.monotonic()
    _check_target(options)
    run = select_run(options.device, options.precision, options.seed, compiled=options.compiled)
    loaded = _load(options)
    data = loaded.data
    method = _scheduled(options, len(data))
    torch.manual_seed(run.seed)
    module = method.build(Spec(options.architecture, len(data.classes), data.size))
    checkpoint = Checkpoint(checkpoint_path(options.out), _plan(options, method, data, run))
    if not options.resume:
        checkpoint.path.unlink(missing_ok=True)
    watch = _Watch(options, method, loaded, run, checkpoint, report, stop or threading.Event())
    method.fit(module, data, run, watch)
    header = header_of(
        method,
        architecture=options.architecture,
        classes=data.classes,
        image_size=data.size,
        working_size=options.working_size or data.size,
        precision=run.precision,
        seed=run.seed,
        name=options.name or options.out.stem,
        licence=options.licence,
        training_data=options.data.resolve().name,
        data_fingerprint=data.fingerprint,
        data_count=len(data),
        command=options.command,
        curve=watch.curve,
    )
    generator = NoiseGenerator(method, module, header, run=run)
    card = options.out.with_suffix(".md")
    replace_file(card, model_card(header).encode())
    sha256 = generator.save(options.out)
    checkpoint.path.unlink(missing_ok=True)
    return Trained(options.out, card, sha256, header, time.monotonic() - began)


def checkpoint_path(out: Path) -> Path:
    """Return where the state of a training is kept until it is done."""
    return out.with_suffix(".ckpt")


def _check_target(options: TrainOptions) -> None:
    """Refuse a target that exists, is no safetensors file or cannot be written."""
    out = options.out
    if out.suffix != ".safetensors":
        raise UsageProblem(f"--out {out}: a generator is a .safetensors file; name it so")
    if out.exists() and not options.force:
        raise UsageProblem(f"{out} exists; choose another --out, or --force to replace it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        probe = out.with_name(f"{TEMPORARY_PREFIX}{out.name}")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise EnvironmentProblem(f"{out}: cannot be written ({error.strerror})") from error


def _load(options: TrainOptions) -> Loaded:
    """Read training and test pictures; test classes must be among the training classes."""
    loaded = load_labelled(options.data, options.image_size, options.labels)
    data = loaded.data
    if options.pictures is not None:
        data = some_of_each(data, options.pictures, options.seed)
    test, unreadable, notices = loaded.test, loaded.unreadable, loaded.notices
    if options.test is not None:
        extra = load_classes(options.test, data.classes, data.size)
        test, unreadable = extra.data, unreadable + extra.unreadable
        notices += extra.notices
    return Loaded(data, test, unreadable, found=loaded.found, notices=notices)


def _scheduled(options: TrainOptions, count: int) -> MinMaxMin:
    """Return the method with epochs turned into steps."""
    if options.epochs is None:
        return options.method
    schedule = options.method.schedule
    steps = max(1, math.ceil(options.epochs * count / min(count, schedule.batch_size)))
    return replace(options.method, schedule=replace(schedule, steps=steps))


def _plan(options: TrainOptions, method: MinMaxMin, data: Data, run: Run) -> str:
    """Return the fingerprint of all that decides the trained weights."""
    plan = {
        "method": to_plain(replace(method, final=None, final_views=None)),
        "architecture": options.architecture,
        "data": data.fingerprint,
        "seed": run.seed,
        "precision": run.precision,
        "device": run.device.type,
        "torch": torch.__version__,
    } | ({"compiled": True} if run.compiled else {})
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()


@dataclass
class _Watch:
    """The observer of a generator's training: restores, saves, measures and reports."""

    options: TrainOptions
    method: MinMaxMin
    loaded: Loaded
    run: Run
    checkpoint: Checkpoint
    report: Report
    stop: threading.Event
    curve: dict[str, Any] = field(default_factory=dict)
    saved: float = field(default_factory=time.monotonic)

    def started(self, state: TrainingState) -> None:
        self.curve = self.checkpoint.restore(state) or {"step": []}
        method, batch = self.method, state.schedule.batch_size
        left = state.schedule.steps - state.finished
        passes = left * min(batch, len(self.loaded.data)) * method.passes_per_step
        self.report(
            Started(
                method,
                self.loaded.data,
                self.loaded.test,
                self.loaded.unreadable,
                self.run,
                passes,
                state.finished,
                (f"Labels: {self.loaded.found}", *self.loaded.notices),
            )
        )

    def stepped(self, state: TrainingState, terms: dict[str, Tensor]) -> None:
        finished, steps = state.finished, state.schedule.steps
        metrics: dict[str, float] = {}
        tried = finished % max(1, steps // EVALUATIONS) == 0 or finished == steps
        if tried or finished % max(1, steps // READINGS) == 0:
            metrics = {name: float(term.detach()) for name, term in terms.items()}
            if not math.isfinite(metrics["loss"]):
                raise UnlearnError(
                    f"the training diverged at step {finished}: its loss is no longer a number; "
                    "try larger batches or --precision fp32"
                )
        if tried:
            metrics |= self._evaluate(state)
            self._remember(finished, metrics)
        self.report(Stepped(finished, steps, metrics))
        if finished == steps:
            return
        waited = time.monotonic() - self.saved
        if self.stop.is_set() or waited > 60 * self.options.save_every_minutes:
            self.checkpoint.save(state, self.curve)
            self.saved = time.monotonic()
        if self.stop.is_set():
            raise Stopped(f"stopped after step {finished}; run the same line again to continue")

    def _evaluate(self, state: TrainingState) -> dict[str, float]:
        """Try the surrogate on clean pictures, unseen ones if there are any (Figure 1)."""
        tried = self.loaded.test or self.loaded.data
        if len(tried) > _TRIED_PICTURES:
            tried = some_of_each(tried, _TRIED_PICTURES, seed=0)
        guesses = predict(state.model, tried, self.run)
        spread = average_prediction_randomness(guesses, tried.labels, len(tried.classes))
        hits = float((guesses == tried.labels).float().mean())
        name = "clean_test_accuracy" if self.loaded.test else "clean_train_accuracy"
        return {name: hits, "average_prediction_randomness": spread}

    def _remember(self, finished: int, metrics: dict[str, float]) -> None:
        """Add a point to the curve that goes into the artefact."""
        self.curve["step"].append(finished)
        for name, value in metrics.items():
            self.curve.setdefault(name, []).append(round(value, 6))
