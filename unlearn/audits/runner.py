"""Train the victims of an audit: in worker processes, journalled, resumable, with progress."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from unlearn.audits.journal import Journal
from unlearn.audits.plan import Cell
from unlearn.audits.report import Point, Result
from unlearn.audits.worker import CellJob, train_victim
from unlearn.errors import EnvironmentProblem, UnlearnError
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


def train_cells(
    jobs: Sequence[CellJob],
    costs: Mapping[Cell, float],
    journal: Journal,
    workers: int,
    report: Callable[[CellsProgress], None],
) -> tuple[Result, ...]:
    """Train every victim that the journal does not hold yet; results are in the jobs' order.

    Raises Interrupted if the person stops it and EnvironmentProblem if a worker dies.
    """
    pending = [job for job in jobs if job.cell not in journal.results]
    whole = sum(costs[job.cell] for job in jobs)
    account = _Account(jobs, costs, whole, report)
    account.finished.update((c, r) for c, r in journal.results.items() if c in costs)
    with Interruption(account.stopping) as interruption, Pool(workers) as pool:
        running: dict[Future[Result], CellJob] = {}
        while pending or running:
            while pending and len(running) < max(1, workers) and not interruption.requested:
                job = pending.pop(0)
                running[pool.submit(train_victim, job)] = job
            if interruption.requested:
                pool.close(now=True)
                raise Interrupted("stopped while victims were being trained")
            done, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                job = running.pop(future)
                result = _outcome(future, job)
                journal.append(result)  # before its state goes, so that a kill loses nothing
                job.checkpoint_path.unlink(missing_ok=True)
                job.progress_path.unlink(missing_ok=True)
                account.finished[job.cell] = result
                account.tell(result)
            account.look(list(running.values()))
    return tuple(journal.results[job.cell] for job in jobs)


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
        whole: float,
        report: Callable[[CellsProgress], None],
    ) -> None:
        self.jobs = jobs
        self.costs = costs
        self.whole = whole
        self.report = report
        self.finished: dict[Cell, Result] = {}
        self._shares: dict[Cell, float] = {}
        self._news = ""
        self._said = 0.0

    def tell(self, result: Result) -> None:
        """Say that a victim is finished."""
        self._shares.pop(result.cell, None)
        self._send(f"{result.cell.words}: {result.accuracy_last:.1%}", result)

    def look(self, running: Sequence[CellJob]) -> None:
        """Read how far the running victims are, and say so if there is news."""
        for job in running:
            point = _read(job)
            if point is not None:
                total = max(1, job.training.epochs if job.training.steps is None else 20)
                self._shares[job.cell] = min(1.0, point.epoch / total)
                self._news = f"{job.cell.words}: {point.accuracy:.1%}"
        if time.monotonic() - self._said > _POLL_SECONDS:
            self._send(self._news, None)

    def stopping(self) -> None:
        """Say that the person asked to stop."""
        self._send("stopping; finished victims are kept", None)

    def _send(self, news: str, result: Result | None) -> None:
        self._said = time.monotonic()
        done = sum(self.costs[cell] for cell in self.finished)
        done += sum(self.costs[cell] * share for cell, share in self._shares.items())
        share = done / self.whole if self.whole else 1.0
        self.report(CellsProgress(len(self.finished), len(self.jobs), share, news, result))


def _read(job: CellJob) -> Point | None:
    """Return the last word of a running victim."""
    try:
        return Point(**json.loads(job.progress_path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
