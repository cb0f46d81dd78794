"""Train the victims of an audit: in worker processes, journalled, resumable, with progress.

Of several ranks the first hands the victims out, and takes the results of all.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from unlearn import together
from unlearn.audits.costs import dealt
from unlearn.audits.journal import Journal
from unlearn.audits.plan import Cell
from unlearn.audits.report import Point, Result
from unlearn.audits.worker import CellJob, train_victim
from unlearn.errors import EnvironmentProblem, UnlearnError
from unlearn.files.replace import file_sha256
from unlearn.workers.pool import Interruption, Pool

_POLL_SECONDS = 1.0


class Interrupted(UnlearnError):
    """The person stopped the audit; the same audit goes on with what is left."""


@dataclass(frozen=True)
class CellsProgress:
    """How far the cells are: finished ones, the share of all work done, and the latest news."""

    done: int
    total: int
    share: float
    news: str
    finished: Result | None = None


@dataclass(frozen=True)
class _Handout:
    """The victims of each rank, the files that all must have, and the journal of the first."""

    hands: list[list[CellJob]]
    files: list[Path]
    journal: Journal


def train_cells(
    jobs: Sequence[CellJob],
    costs: Mapping[Cell, float],
    journal: Journal,
    workers: int,
    report: Callable[[CellsProgress], None],
) -> tuple[Result, ...]:
    """Train every victim that the journal does not hold yet; results are in the jobs' order.

    Other ranks help, see assist. Raises Interrupted if the person stops it and EnvironmentProblem
    if a worker dies.
    """
    pending = {job.cell: job for job in jobs if job.cell not in journal.results}
    dealing = dealt(list(pending), costs, together.size())
    hands = [[pending[cell] for cell in cells] for cells in dealing]
    files = jobs[0].files if pending and together.size() > 1 else []
    together.meet(_nothing)
    handout = together.from_first(_Handout(hands, files, journal))
    account = _Account(jobs, costs, journal, report)
    for result in _train(handout, hands[0], journal, workers, account):
        if result.cell not in journal.results:
            journal.append(result)
            account.tell(result)
    journal.absorb()
    return tuple(journal.results[job.cell] for job in jobs)


def assist(rank: int, device: str, workers: int) -> object:
    """Train what the first rank hands out until it has nothing more; return its last word.

    Raises as train_cells does.
    """
    while True:
        with Interruption(_nothing) as interruption:
            together.meet(partial(_stop_if, interruption))
        handout: object = together.from_first(None)
        if not isinstance(handout, _Handout):
            return handout
        hand = [replace(job, device=device) for job in handout.hands[rank]]
        journal = handout.journal.of_rank(rank)
        costs = dict.fromkeys((job.cell for job in hand), 1.0)
        _train(handout, hand, journal, workers, _Account(hand, costs, journal, lambda _: None))


def dismiss(word: object) -> None:
    """Let the other ranks go with a last word; no harm if they went before."""
    with suppress(RuntimeError):
        together.meet(_nothing)
        together.from_first(word)


def _train(
    handout: _Handout,
    hand: list[CellJob],
    journal: Journal,
    workers: int,
    account: "_Account",
) -> list[Result]:
    """Train a hand of victims and wait for the other ranks; return what all have finished."""
    try:
        together.check_alike(str([file_sha256(path) for path in handout.files]))
        with Interruption(account.stopping) as interruption, Pool(workers) as pool:
            pending, running = list(hand), dict[Future[Result], CellJob]()
            while pending or running:
                while pending and len(running) < max(1, workers) and not interruption.requested:
                    job = pending.pop(0)
                    running[pool.submit(train_victim, job)] = job
                _stop_if(interruption)
                done, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    job = running.pop(future)
                    result = _outcome(future, job)
                    journal.append(result)  # before its state goes, so that a kill loses nothing
                    job.checkpoint_path.unlink(missing_ok=True)
                    job.progress_path.unlink(missing_ok=True)
                    account.tell(result)
                account.look()
            together.meet(partial(_attend, interruption, account))
        mine = [journal.results[job.cell] for job in hand]
        return list(chain.from_iterable(together.gathered(mine)))
    except BaseException:
        together.leave()
        raise


def _attend(interruption: Interruption, account: "_Account") -> None:
    """Do what a rank does while it waits for others."""
    _stop_if(interruption)
    account.look()


def _stop_if(interruption: Interruption) -> None:
    """Raise Interrupted if the person asked to stop."""
    if interruption.requested:
        raise Interrupted("stopped while victims were being trained")


def _nothing() -> None:
    """Do nothing."""


def _outcome(future: "Future[Result]", job: CellJob) -> Result:
    """Return a finished victim's result."""
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise EnvironmentProblem(
            f"a worker died while training {job.cell.words} (out of memory?); finished victims are "
            "kept: run the same line again, with fewer --workers or a smaller --batch-size"
        ) from error


class _Account:
    """Keeps account of finished and running cells, and says so."""

    def __init__(
        self,
        jobs: Sequence[CellJob],
        costs: Mapping[Cell, float],
        journal: Journal,
        report: Callable[[CellsProgress], None],
    ) -> None:
        self.jobs = jobs
        self.costs = costs
        self.journal = journal
        self.report = report
        self.finished = {cell for cell in journal.results if cell in costs}
        self._shares: dict[Cell, float] = {}
        self._news = ""
        self._said = 0.0

    def tell(self, result: Result) -> None:
        """Say that a victim is finished."""
        self.finished.add(result.cell)
        self._shares.pop(result.cell, None)
        self._send(f"{result.cell.words}: {result.accuracy_last:.1%}", result)

    def look(self) -> None:
        """Read how far victims are, those of other ranks too, and say so if there is news."""
        if time.monotonic() - self._said < _POLL_SECONDS:
            return
        for result in self.journal.of_others():
            if result.cell not in self.finished:
                self.tell(result)
        for job in self.jobs:
            point = None if job.cell in self.finished else _read(job)
            if point is not None:
                total = max(1, job.training.epochs if job.training.steps is None else 20)
                share = min(1.0, point.epoch / total)
                if self._shares.get(job.cell) != share:
                    self._shares[job.cell] = share
                    self._news = f"{job.cell.words}: {point.accuracy:.1%}"
        self._send(self._news, None)

    def stopping(self) -> None:
        """Say that the person asked to stop."""
        self._send("stopping; finished victims are kept", None)

    def _send(self, news: str, result: Result | None) -> None:
        self._said = time.monotonic()
        done = sum(self.costs[cell] for cell in self.finished)
        done += sum(self.costs[cell] * share for cell, share in self._shares.items())
        whole = sum(self.costs[job.cell] for job in self.jobs)
        share = done / whole if whole else 1.0
        self.report(CellsProgress(len(self.finished), len(self.jobs), share, news, result))


def _read(job: CellJob) -> Point | None:
    """Return the last word of a running victim."""
    try:
        return Point(**json.loads(job.progress_path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
