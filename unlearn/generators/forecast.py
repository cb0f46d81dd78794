"""What training a generator will cost: pictures are counted, passes follow, one step is tried."""

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Final

import torch

from unlearn.datasets.cifar import find_cifar, load_cifar
from unlearn.datasets.folders import find_files, fitting_size
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run, select_run
from unlearn.errors import NothingFound, UnlearnError, UsageProblem
from unlearn.files.pace import remember, seconds_each
from unlearn.forecast import Forecast
from unlearn.generators.options import TrainOptions
from unlearn.generators.recipes import trained_plain, with_at_most, with_epochs
from unlearn.methods import Cost, Method, Spec
from unlearn.models.flops import pass_flops
from unlearn.training import SILENT

_FEWEST: Final = 4  # pictures of the first step that is tried
_TRIAL_SECONDS: Final = 5.0  # for the second one
_MOST_FLOPS: Final = 3e12  # of the first one, which takes a CPU core about half a minute


@dataclass(frozen=True)
class Data:
    """How much is to be learned from: counted, not read."""

    pictures: int
    classes: int
    side: int


def forecast(options: TrainOptions) -> Forecast:
    """Return what a training costs; keeps the rate of a trial.

    Raises NothingFound and UsageProblem for data without pictures or classes.
    """
    run = select_run(options.device, options.precision, options.seed, compiled=options.compiled)
    data, method = counted(options), options.method
    if options.epochs is not None:
        method = with_epochs(method, options.epochs, data.pictures)
    cost = method.cost(data.pictures)
    work = f"{cost.steps:,} steps on {data.pictures:,} pictures of {data.side} px"
    if not cost.training:
        known_by = "no network is trained"
        return Forecast(work=work, passes=0, flops=0.0, seconds=0.0, known_by=known_by, most=1)
    each_flops = pass_flops(options.architecture, data.side)
    kind = pace_kind(method, options.architecture, data.side, run)
    known_by, each = "at the rate last measured here", seconds_each(kind)
    if each is None:
        each = try_step(method, options.architecture, data, run, each_flops)
        known_by = "no run here yet, and one step cannot be tried"
        if each is not None:
            remember(kind, each)
            known_by = "from a trial of one step"
    return Forecast(
        work=work,
        passes=cost.training,
        flops=float(cost.training * each_flops),
        seconds=None if each is None else each * cost.training,
        known_by=known_by,
        most=min(data.pictures, _batch(method, cost)),
    )


def counted(options: TrainOptions) -> Data:
    """Count pictures and classes without reading a picture of a folder."""
    if find_cifar(options.data) is not None:
        data, _ = load_cifar(options.data)
        found = Data(len(data), len(data.classes), data.size)
    else:
        labels = options.labels if options.method.needs_labels else "one"
        files = find_files(options.data, labels)
        if not files.train:
            raise NothingFound(f"{options.data}: no pictures to train on")
        if len(files.classes) < 2 and labels != "one":
            problem = f"{options.data}: labelled data needs at least two class folders"
            raise UsageProblem(files.with_hints(problem))
        side = options.image_size or fitting_size([source.path for source, _ in files.train])
        found = Data(len(files.train), len(files.classes), side)
    pictures = min(found.pictures, options.pictures or found.pictures)
    return Data(pictures, found.classes, found.side)


def pace_kind(method: Method, architecture: str, side: int, run: Run) -> str:
    """Return what trainings have in common whose passes take as long."""
    alike = trained_plain(with_at_most(method, 1))
    digest = hashlib.sha256(json.dumps(alike, sort_keys=True).encode()).hexdigest()[:12]
    threads = torch.get_num_threads()
    return f"train {method.name} {digest} {architecture} {side} px {run.words} {threads}"


def try_step(
    method: Method, architecture: str, data: Data, run: Run, each_flops: int
) -> float | None:
    """Return the seconds of a pass in one step on drawn pictures, None if it cannot be tried.

    A step of few pictures tells how many make a good trial. Not every method takes drawn pictures,
    and what costs a CPU too much is not begun.
    """
    short = with_at_most(method, 1)
    if short.cost(_FEWEST).training * each_flops > _MOST_FLOPS and run.device.type == "cpu":
        return None
    try:
        count, seconds = _FEWEST, _fit(short, architecture, data, run, _FEWEST)
        if seconds < _TRIAL_SECONDS:  # else it is a trial itself
            affordable = int(count * _TRIAL_SECONDS / seconds)
            count = max(count, min(affordable, _batch(short, short.cost(data.pictures))))
            seconds = _fit(short, architecture, data, run, count)
        return seconds / short.cost(count).training
    except UnlearnError:
        return None


def _batch(method: Method, cost: Cost) -> int:
    """Return how many pictures a step has, as far as passes go by steps."""
    schedule = getattr(method, "schedule", None)
    return schedule.batch_size if schedule is not None else max(1, cost.steps)


def _fit(method: Method, architecture: str, data: Data, run: Run, count: int) -> float:
    """Train on so many drawn pictures; return the seconds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pixels = torch.randint(256, (count, 3, data.side, data.side), dtype=torch.uint8)
        names = tuple(map(str, range(data.classes)))
        drawn = LabelledPictures(pixels, torch.arange(count) % data.classes, names)
        module = method.build(Spec(architecture, data.classes, data.side))
        began = time.perf_counter()
        method.fit(module, drawn, run, SILENT)
        if run.device.type == "cuda":
            torch.cuda.synchronize(run.device)
        return time.perf_counter() - began
