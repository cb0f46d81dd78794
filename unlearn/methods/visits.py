"""What a method knows of its training beyond the batch: the step, kept noise, late copies."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unlearn.datasets.labelled import Data
from unlearn.device import Run
from unlearn.radius import Radius
from unlearn.tensors import to_delta, to_levels
from unlearn.training import Observer, TrainingState

_NOISE = "noise"
_INT8 = 127


@dataclass(frozen=True)
class Visit:
    """One step's visit to its pictures: the step's number, and the noise kept of all pictures.

    kept are whole levels (N, 3, S, S) of a data set, 0 before the first visit, or None; pictures
    are the numbers of the batch in it.
    """

    step: int = 0
    kept: Tensor | None = None
    pictures: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def start(self, shared: Tensor | None) -> Tensor | None:
        """Return where the noise of the batch starts: kept noise on top of a shared part."""
        if self.kept is None:
            return shared
        own = to_delta(self.kept[self.pictures])
        return own if shared is None else shared + own

    def keep(self, delta: Tensor, shared: Tensor | None, radius: Radius) -> None:
        """Keep the batch's noise, less the shared part, for the next visit, in place.

        A picture that a batch holds twice drew the same numbers twice: the last one counts.
        """
        if self.kept is not None:
            own = delta if shared is None else delta - shared
            self.kept[self.pictures] = to_levels(own, radius).to(self.kept.dtype)


def no_noise(data: Data, radius: Radius, run: Run) -> Tensor:
    """Return zero levels for each picture, on the run's device, in one byte where that is enough.

    The start is zero and not random, so that it needs no memory of who was visited.
    """
    dtype = torch.int8 if radius.levels <= _INT8 else torch.int16
    return torch.zeros(data.pixels.shape, dtype=dtype, device=run.device)


class Visits:
    """Watches a training on behalf of its method and hands everything on to another observer.

    Kept noise becomes part of the training's state, so that checkpoints hold it and artefacts do
    not; actions run after the steps that they stand under.
    """

    def __init__(
        self,
        observer: Observer,
        kept: Tensor | None,
        actions: Mapping[int, Callable[[], None]],
    ) -> None:
        self.observer = observer
        self.kept = kept
        self.actions = actions

    def started(self, state: TrainingState) -> None:
        self.state = state
        if self.kept is not None:
            state.memory[_NOISE] = self.kept
        self.observer.started(state)

    def stepped(self, state: TrainingState, terms: dict[str, Tensor]) -> None:
        if state.finished in self.actions:
            self.actions[state.finished]()
        self.observer.stepped(state, terms)

    def visit(self) -> Visit:
        """Return the visit under way; only within a training."""
        return Visit(self.state.finished, self.kept, self.state.pictures)
