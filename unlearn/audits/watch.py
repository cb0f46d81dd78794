"""The observer of a victim's training: its curve, its state on disk, and the result."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unlearn.audits.arms import split
from unlearn.audits.plan import Cell
from unlearn.audits.report import Point, Result
from unlearn.checkpoint import Checkpoint
from unlearn.countermeasures.base import Countermeasure
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.training import TrainingState, predict


@dataclass(frozen=True)
class Surroundings:
    """Where a victim is trained, and what belongs to no cell of a plan.

    run.seed is that of the cell once the victim is fitted. countermeasure must be the
    one that the cell names, with stored already applied. weights and offline are for pretrained
    networks. checkpoint keeps the state every save_every_seconds; whoever keeps the result deletes
    it. progress is told every point of the curve. stop is asked after every step: once it says yes,
    the state is saved and StoppedError raised.
    """

    run: Run
    countermeasure: Countermeasure
    weights: Path | None = None
    offline: bool = False
    checkpoint: Checkpoint | None = None
    progress: Callable[[Point], None] | None = None
    save_every_seconds: float = 600.0
    stop: Callable[[], bool] | None = None


class DivergedError(Exception):
    """The loss of a victim is no longer a number."""


class StoppedError(Exception):
    """A victim was asked to stop before its end; its checkpoint, if any, goes on from there."""


class Watch:
    """Tries a victim on clean pictures after each period, keeps its curve and saves its state.

    Raises DivergedError after the period in which the loss stopped being a number, and
    StoppedError before the last step if asked to stop.
    """

    def __init__(
        self, cell: Cell, test: LabelledPictures, surroundings: Surroundings, period: int
    ) -> None:
        self.cell = cell
        self.test = test
        self.around = surroundings
        self.period = period
        self.diverged = False
        self._own = torch.zeros(len(test), dtype=torch.bool)  # the copier's own clean pictures
        if surroundings.countermeasure.clean:
            self._own[split(test, surroundings.countermeasure.clean)[1]] = True
        self._curve: list[Point] = []
        self._own_hits: list[int] = []  # of each point
        device = surroundings.run.device
        self._hits = torch.zeros((), dtype=torch.int64, device=device)  # since the last point
        self._seen = 0
        self._loss = torch.zeros((), device=device)  # its sum, to see whether it is a number
        self._began = self._saved = time.monotonic()
        self._earlier_seconds = 0.0

    def started(self, state: TrainingState) -> None:
        notes = self.around.checkpoint.restore(state) if self.around.checkpoint else {}
        if notes:
            self._curve = [Point(**point) for point in notes["curve"]]
            self._own_hits = notes["own_hits"]
            self._hits += notes["hits"]
            self._seen += notes["seen"]
            self._earlier_seconds = notes["seconds"]
        self._seed(state)

    def stepped(self, state: TrainingState, terms: dict[str, Tensor]) -> None:
        self._hits += terms["hits"]
        self._seen += int(terms["seen"])
        self._loss += terms["loss"].detach()
        finished, steps = state.finished, state.schedule.steps
        if finished % self.period == 0 or finished == steps:
            self._measure(state)
        if finished < steps:
            self._keep(state)
        self._seed(state)

    def result(self, trained: int) -> Result:
        """Return what a victim learned from so many pictures."""
        accuracies = [point.accuracy for point in self._curve]
        best = accuracies.index(max(accuracies))
        last = len(accuracies) - 1
        if self._own.any():
            last = self._own_hits.index(max(self._own_hits))
        return Result(
            cell=self.cell,
            accuracy_last=accuracies[last],
            accuracy_best=accuracies[best],
            best_epoch=self._curve[best].epoch,
            train_accuracy=self._curve[-1].train_accuracy,
            trained=trained,
            tested=int((~self._own).sum()),
            curve=tuple(self._curve),
            seconds=self._seconds(),
            diverged=self.diverged,
        )

    def _keep(self, state: TrainingState) -> None:
        """Save the state if it is time, or if the training has to stop here."""
        stopped = self.around.stop is not None and self.around.stop()
        due = time.monotonic() - self._saved >= self.around.save_every_seconds
        if self.around.checkpoint and (due or stopped):
            self.around.checkpoint.save(state, self._notes())
            self._saved = time.monotonic()
        if stopped:
            raise StoppedError

    def _measure(self, state: TrainingState) -> None:
        """Add a point to the curve and start counting anew."""
        right = predict(state.model, self.test, self.around.run) == self.test.labels.cpu()
        self._own_hits.append(int(right[self._own].sum()))
        others = right[~self._own]
        accuracy = int(others.sum()) / max(1, len(others))
        train_accuracy = int(self._hits) / self._seen
        point = Point(len(self._curve) + 1, accuracy, train_accuracy)
        self._curve.append(point)
        self._hits.zero_()
        self._seen = 0
        if self.around.progress:
            self.around.progress(point)
        if not math.isfinite(float(self._loss)):
            raise DivergedError

    def _notes(self) -> dict[str, Any]:
        return {
            "curve": [asdict(point) for point in self._curve],
            "own_hits": self._own_hits,
            "hits": int(self._hits),
            "seen": self._seen,
            "seconds": self._seconds(),
        }

    def _seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._began

    def _seed(self, state: TrainingState) -> None:
        """Make dropout a function of seed and step, so that a resumed victim draws the same."""
        torch.manual_seed((self.around.run.seed * 1_000_003 + state.finished) % 2**63)
