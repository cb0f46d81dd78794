"""One cell of an audit in a worker process: read its set, train its victim, say how far it is."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn.audits.plan import NONE, Cell, Training

if TYPE_CHECKING:
    from unlearn.audits.report import Point, Result
    from unlearn.datasets.labelled import LabelledPictures


@dataclass(frozen=True, kw_only=True)
class CellJob:
    """What a worker needs to train one victim; pictures come from files that it maps."""

    cell: Cell
    training: Training
    sets: Path  # folder of stored sets, see stored_name
    state: Path  # where progress and checkpoints of the cells lie
    fingerprint: str  # of the audit, which a checkpoint must carry
    device: str
    precision: str
    compiled: bool = False
    weights: Path | None = None
    purifier: Path | None = None
    offline: bool = False

    @property
    def files(self) -> list[Path]:
        """What victims of the audit are made of; it lies before any is trained."""
        return [*sorted(self.sets.glob("*")), *own_files(self.weights, self.purifier)]

    @property
    def checkpoint_path(self) -> Path:
        """Where the worker keeps the state of its training."""
        return self.state / f"{file_name(self.cell)}.ckpt"

    @property
    def progress_path(self) -> Path:
        """Where the worker says how far it is."""
        return self.state / f"{file_name(self.cell)}.json"


def own_files(*places: Path | None) -> list[Path]:
    """Return the files besides pictures that decide numbers."""
    found = []
    for path in filter(None, places):
        folder = path if path.is_dir() else path.parent
        beside = folder.rglob("*") if path.is_dir() else folder.glob("config.json")
        found += sorted({path, *beside})
    return [path for path in found if path.is_file()]


def file_name(cell: Cell) -> str:
    """Return the cell's key as a name that every file system takes."""
    return "".join(char if char.isalnum() or char in "-." else "_" for char in cell.key)


def stored_name(arm: str, countermeasure: str = NONE) -> str:
    """Return the file name of a stored set; countermeasures that act on files have their own."""
    return f"{arm}{'' if countermeasure == NONE else f'-{countermeasure}'}.safetensors"


def train_victim(
    job: CellJob,
    stop: Callable[[], bool] | None = None,
    hear: "Callable[[Point], None] | None" = None,
) -> "Result":
    """Train the victim of one cell; on the CPU with one thread, so that bytes do not depend on it.

    Whoever trains in a process of its own may stop it and hear of every point, as in Surroundings;
    otherwise the points are left in a file. Raises what training raises.
    """
    import torch

    from unlearn.audits.defences import countermeasure_of
    from unlearn.audits.victim import Surroundings, fit_victim
    from unlearn.checkpoint import Checkpoint
    from unlearn.device import select_run

    run = select_run(job.device, job.precision, compiled=job.compiled)
    if run.device.type == "cpu":
        torch.set_num_threads(1)
    checkpoint = Checkpoint(job.checkpoint_path, f"{job.fingerprint} {job.cell.key}")
    surroundings = Surroundings(
        run=run,
        countermeasure=countermeasure_of(job.cell.countermeasure, job.purifier),
        weights=job.weights,
        offline=job.offline,
        checkpoint=checkpoint,
        progress=hear or (lambda point: _tell(job, point)),
        stop=stop,
    )
    data, test = _sets(job)
    return fit_victim(job.cell, job.training, data, test, surroundings)


def _sets(job: CellJob) -> "tuple[LabelledPictures, LabelledPictures]":
    """Return what the cell trains on and what it is tried on."""
    from unlearn.audits.arms import training_set
    from unlearn.datasets import stored

    def set_of(arm: str) -> "LabelledPictures":
        """Return a stored set, the countermeasure's own if it has one."""
        own = job.sets / stored_name(arm, job.cell.countermeasure)
        return stored.load(own if own.exists() else job.sets / stored_name(arm))

    clean, arm = set_of("clean"), job.cell.arm
    copies = set_of(arm) if arm in ("protected", "placebo", "motif") else None
    return training_set(job.cell, clean, copies), stored.load(job.sets / stored_name("test"))


def _tell(job: CellJob, point: "Point") -> None:
    """Leave word of an epoch for the main process."""
    temporary = job.progress_path.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(point)))
    temporary.replace(job.progress_path)
