"""Train a noise generator from a labelled folder and write it as one file with a model card."""

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unlearn import __version__, together
from unlearn.checkpoint import Checkpoint
from unlearn.datasets.folders import Loaded, load_classes, load_labelled, some_of_each
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run, select_run
from unlearn.errors import EnvironmentProblem, UnlearnError, UsageProblem
from unlearn.files.replace import TEMPORARY_PREFIX, file_sha256, replace_file
from unlearn.generators.artefact import NoiseGenerator, header_of
from unlearn.generators.header import Header, read_header
from unlearn.generators.model_card import model_card
from unlearn.generators.options import TrainOptions
from unlearn.generators.recipes import trained_plain, with_epochs
from unlearn.methods import Cost, Method, Spec
from unlearn.models.classifier import Classifier
from unlearn.objectives import average_prediction_randomness
from unlearn.training import TrainingState, predict
from unlearn.workers.ranks import Rank, restarts

READINGS = 50  # how often the terms of the loss are read
EVALUATIONS = 20  # how often the surrogate is tried on clean pictures (Figure 1)
_TRIED_PICTURES = 2000
WITHOUT_NETWORK = "none"  # the architecture of methods that use no network


@dataclass(frozen=True)
class Started:
    """What is about to be trained, and what that costs."""

    method: Method
    data: LabelledPictures
    test: LabelledPictures | None
    unreadable: tuple[tuple[str, str], ...]
    run: Run
    cost: Cost
    said: tuple[str, ...]  # about the classes


@dataclass(frozen=True)
class Resumed:
    """An earlier run took so many of the steps."""

    step: int


@dataclass(frozen=True)
class Stepped:
    """One finished step of all trainings; metrics only where they were read."""

    step: int
    steps: int
    metrics: dict[str, float]


Report = Callable[[Started | Resumed | Stepped], None]


@dataclass(frozen=True)
class TrainReport:
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
) -> TrainReport:
    """Train and write a generator; a set `stop` saves the state after the step under way.

    Raises UsageProblem for an existing --out or unusable data, Stopped when asked to stop.
    """
    run = select_run(options.device, options.precision, options.seed, compiled=options.compiled)
    with together.joined(run.device) as rank:
        hear = report if rank.number == 0 else _deaf
        return _train(options, run, rank, hear, stop or threading.Event())


def _train(
    options: TrainOptions, run: Run, rank: Rank, report: Report, stop: threading.Event
) -> TrainReport:
    """Train with the other processes of the run; the first one measures and writes."""
    began = time.monotonic()
    first = rank.number == 0
    written = together.by_first(lambda: _written_before(options))
    if written is not None:
        return replace(written, seconds=time.monotonic() - began)
    loaded = _load(options)
    data = loaded.data
    method = options.method
    if options.epochs is not None:
        method = with_epochs(method, options.epochs, len(data))
    cost = method.cost(len(data))
    architecture = options.architecture if cost.a_picture else WITHOUT_NETWORK
    torch.manual_seed(run.seed)
    module = method.build(Spec(architecture, len(data.classes), data.size))
    plan = _plan(options, method, data, run)
    checkpoint = Checkpoint(checkpoint_path(options.out), plan, writes=first)
    if not options.resume and first:
        checkpoint.path.unlink(missing_ok=True)
    together.check_alike(f"{plan} {__version__}")
    report(Started(method, data, loaded.test, loaded.unreadable, run, cost, _said(options, loaded)))
    trial = None
    if method.needs_labels and first:
        trial = _Trial(loaded.test or data, run, seen=loaded.test is None)
    watch = _Watch(trial, cost.steps, checkpoint, report, options, stop)
    method.fit(module, data, run, watch)
    header = header_of(
        method,
        architecture=architecture,
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
    if first:
        _write(NoiseGenerator.of(method, module, header, run), options.out)
    together.any_of(wanted=False)  # nobody leaves before it is written
    return _report(options.out, header, time.monotonic() - began)


def _report(out: Path, header: Header, seconds: float) -> TrainReport:
    """Return what is said of a written generator."""
    return TrainReport(out, _card(out), file_sha256(out) or "", header, seconds)


def _written_before(options: TrainOptions) -> TrainReport | None:
    """Return the report of a run that lost a rank once all was written and is started again.

    None otherwise; raises as _check_target does.
    """
    if restarts() and not options.force and options.out.exists():
        header = read_header(options.out)
        if header.command == options.command:
            checkpoint_path(options.out).unlink(missing_ok=True)
            return _report(options.out, header, 0)
    _check_target(options)
    return None


def _write(generator: NoiseGenerator, out: Path) -> None:
    """Write a generator and its card; the state of its training is not needed any more."""
    replace_file(_card(out), model_card(generator.header).encode())
    generator.save(out)
    checkpoint_path(out).unlink(missing_ok=True)


def _card(out: Path) -> Path:
    """Return where the card of a generator lies."""
    return out.with_suffix(".md")


def _deaf(_event: Started | Resumed | Stepped) -> None:
    """Hear nothing."""


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
    labels = options.labels if options.method.needs_labels else "one"
    loaded = load_labelled(options.data, options.image_size, labels)
    data = loaded.data
    if options.pictures is not None:
        data = some_of_each(data, options.pictures, options.seed)
    test, unreadable, notices = loaded.test, loaded.unreadable, loaded.notices
    if options.test is not None:
        own = "one" if labels == "one" else "auto"
        extra = load_classes(options.test, data.classes, data.size, own)
        test, unreadable = extra.data, unreadable + extra.unreadable
        notices += extra.notices
    return Loaded(data, test, unreadable, found=loaded.found, notices=notices)


def _said(options: TrainOptions, loaded: Loaded) -> tuple[str, ...]:
    """Return what the person should read about the classes, if there is a use for them."""
    found = (f"Labels: {loaded.found}",) if options.method.needs_labels else ()
    return (*found, *loaded.notices)


def _plan(options: TrainOptions, method: Method, data: LabelledPictures, run: Run) -> str:
    """Return the fingerprint of all that decides the trained weights."""
    plan = {
        "method": {"name": method.name, **trained_plain(method)},
        "architecture": options.architecture,
        "data": data.fingerprint,
        "seed": run.seed,
        "precision": run.precision,
        "device": run.device.type,
        "torch": torch.__version__,
    } | ({"compiled": True} if run.compiled else {})
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Trial:
    """The clean pictures that a surrogate is tried on; seen ones are those that it learns from."""

    data: LabelledPictures
    run: Run
    seen: bool

    def of(self, model: nn.Module) -> dict[str, float]:
        """Try a surrogate (Figure 1); nothing is said of what tells no classes apart."""
        tried = self.data
        if not isinstance(model, Classifier) or model.head.out_features != len(tried.classes):
            return {}
        if len(tried) > _TRIED_PICTURES:
            tried = some_of_each(tried, _TRIED_PICTURES, seed=0)
        guesses = predict(model, tried, self.run)
        spread = average_prediction_randomness(guesses, tried.labels, len(tried.classes))
        hits = float((guesses == tried.labels).float().mean())
        name = "clean_train_accuracy" if self.seen else "clean_test_accuracy"
        return {name: hits, "average_prediction_randomness": spread}


class _Watch:
    """The observer of a generator's trainings: restores, saves, measures and reports.

    Steps are counted through all trainings of the method, one after the other.
    """

    def __init__(
        self,
        trial: _Trial | None,
        steps: int,
        checkpoint: Checkpoint,
        report: Report,
        options: TrainOptions,
        stop: threading.Event,
    ) -> None:
        self.trial = trial
        self.steps = steps
        self.checkpoint = checkpoint
        self.report = report
        self.options = options
        self.stop = stop
        self.curve: dict[str, Any] = {}
        self.saved = time.monotonic()
        self._before = self._through = 0  # steps of earlier trainings, and up to this one's end

    def started(self, state: TrainingState) -> None:
        notes = self.checkpoint.restore(state)
        self.curve = self.curve or notes or {"step": []}
        self._before, self._through = self._through, self._through + state.schedule.steps
        if state.finished:
            self.report(Resumed(self._before + state.finished))

    def stepped(self, state: TrainingState, terms: dict[str, Tensor]) -> None:
        finished, steps = self._before + state.finished, self.steps
        last = state.finished == state.schedule.steps
        metrics: dict[str, float] = {}
        tried = finished % max(1, steps // EVALUATIONS) == 0 or last
        if tried or finished % max(1, steps // READINGS) == 0:
            metrics = {name: float(term.detach()) for name, term in terms.items()}
            if not math.isfinite(metrics["loss"]):
                raise UnlearnError(
                    f"the training diverged at step {finished}: its loss is no longer a number; "
                    "try larger batches or --precision fp32"
                )
        if tried:
            metrics |= self.trial.of(state.model) if self.trial else {}
            self._remember(finished, metrics)
        self.report(Stepped(finished, steps, metrics))
        if finished == steps:
            return
        stopping = together.any_of(self.stop.is_set())
        if stopping or time.monotonic() - self.saved > 60 * self.options.save_every_minutes:
            self.checkpoint.save(state, self.curve)
            self.saved = time.monotonic()
        if stopping:
            raise Stopped(f"stopped after step {finished}; run the same line again to continue")

    def _remember(self, finished: int, metrics: dict[str, float]) -> None:
        """Add a point to the curve that goes into the artefact; what was not measured is None."""
        before = len(self.curve["step"])
        for name in metrics:
            self.curve.setdefault(name, [None] * before)
        for name, values in self.curve.items():
            values.append(
                finished if name == "step" else metrics.get(name) and round(metrics[name], 6)
            )
