"""The pipeline: pictures are read in workers, get their noise here, and are written in workers.

Few are under way at a time, and nothing about a picture depends on when its turn comes.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final, Protocol

from unlearn.errors import EnvironmentProblem, PictureError, UsageProblem
from unlearn.workflows.pool import Pool
from unlearn.workflows.tasks import Failure, Reading, ReadJob, WriteJob, Writing

_GLANCE_SECONDS: Final = 0.2  # how long a request to stop may go unnoticed
DIED: Final = "a worker process died on it, twice; not enough memory, or a damaged file"


class Steps(Protocol):
    """What is done with each picture, known by its number."""

    read: Callable[[ReadJob], Reading | Failure]
    write: Callable[[WriteJob], Writing | Failure]

    def read_job(self, number: int) -> ReadJob: ...

    def write_job(self, number: int, reading: Reading) -> WriteJob | None:
        """Make the noise; None if nothing is to be written. PictureError fails the picture."""

    def finish(self, number: int, outcome: Writing | Failure) -> None:
        """Take note of what became of a picture; called once for each."""


class Pipeline:
    """Runs pictures through their steps until all are finished or `stopped` says so.

    A worker that dies takes down the whole pool, so the pictures under way are suspects: each is
    done again alone, and the one that kills its worker a second time is given up.
    """

    def __init__(self, pool: Pool, steps: Steps, stopped: Callable[[], bool]) -> None:
        self._pool = pool
        self._steps = steps
        self._stopped = stopped
        self._waiting: deque[int] = deque()
        self._suspects: deque[int] = deque()
        self._alone: int | None = None
        self._ready: deque[tuple[int, Reading]] = deque()
        self._flight: dict[
            Future[Any], tuple[int, bool]
        ] = {}  # number, whether it is being written

    def run(self, numbers: Sequence[int]) -> None:
        """Run the pictures; after a stop only what is being written is finished."""
        self._waiting = deque(numbers)
        while not self._stopped() and (self._waiting or self._under_way() or self._suspects):
            self._start_more()
            self._collect()
            self._make_noise()
        self._flight = {f: entry for f, entry in self._flight.items() if entry[1]}
        while self._flight:
            self._collect()

    def _under_way(self) -> int:
        """Return how many pictures are being read or written, or wait for their noise."""
        return len(self._flight) + len(self._ready)

    def _start_more(self) -> None:
        """Begin reading as many pictures as may be under way; suspects first, one by one."""
        if not self._under_way():
            self._alone = self._suspects.popleft() if self._suspects else None
            if self._alone is not None:
                self._submit(self._alone)
        while (
            self._waiting
            and self._alone is None
            and not self._suspects
            and self._under_way() < self._pool.capacity
        ):
            self._submit(self._waiting.popleft())

    def _submit(self, number: int, job: WriteJob | None = None) -> None:
        """Start reading a picture, or writing it if there is a job for that."""
        try:
            future: Future[Any] = (
                self._pool.submit(self._steps.read, self._steps.read_job(number))
                if job is None
                else self._pool.submit(self._steps.write, job)
            )
        except BrokenProcessPool:
            self._suspect(number)
            self._replace_pool()
        else:
            self._flight[future] = (number, job is not None)

    def _collect(self) -> None:
        """Take the results that are there; wait a moment for one if there is nothing else to do."""
        patience = 0 if self._ready else _GLANCE_SECONDS
        done, _ = wait(self._flight, patience, FIRST_COMPLETED)
        if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
            self._replace_pool()
        else:
            for future in done:
                self._take(future)

    def _take(self, future: "Future[Any]") -> None:
        """Pass on the result of one future that is done."""
        number, _ = self._flight.pop(future)
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            self._suspect(number)
        elif error is not None:  # whatever it was, one picture must not end a night's run
            self._steps.finish(number, Failure(f"unexpected {type(error).__name__}: {error}"))
        elif isinstance(future.result(), Reading):
            self._ready.append((number, future.result()))
        else:
            self._steps.finish(number, future.result())

    def _replace_pool(self) -> None:
        """Sort what was under way into results and suspects, and start with fresh workers."""
        wait(self._flight)
        for future in list(self._flight):
            self._take(future)
        self._pool.restart()

    def _suspect(self, number: int) -> None:
        """Put a picture back whose worker died, or give it up if it was alone."""
        if number == self._alone:
            self._steps.finish(number, Failure(DIED))
        else:
            self._suspects.append(number)

    def _make_noise(self) -> None:
        """Make the noise of one picture that has been read, and start writing it."""
        if not self._ready:
            return
        number, reading = self._ready.popleft()
        try:
            job = self._steps.write_job(number, reading)
        except (EnvironmentProblem, UsageProblem):
            raise
        except PictureError as error:
            self._steps.finish(number, Failure(str(error)))
        except Exception as error:  # noqa: BLE001 - as in _take
            self._steps.finish(number, Failure(f"unexpected {type(error).__name__}: {error}"))
        else:
            if job is not None:
                self._submit(number, job)
