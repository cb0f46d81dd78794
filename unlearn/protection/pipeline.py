"""The pipeline: workers read pictures, this process makes their noise, workers write them.

Few are under way at a time, and nothing about a picture depends on when its turn comes.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any, Final, Literal

from unlearn.errors import EnvironmentProblem, PictureError, UsageProblem
from unlearn.protection.noise import Delta
from unlearn.protection.steps import Steps
from unlearn.protection.worker import Failure, Job, Reading
from unlearn.workers.pool import Pool

_GLANCE_SECONDS: Final = 0.2  # how long a request to stop may go unnoticed
_MOST_PIXELS: Final = 200_000_000  # of all pictures under way, unless one alone has more
DIED: Final = "a worker process died on it, twice"
_Step = Literal["read", "noise", "write"]


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
        self._death = ""
        self._flight: dict[Future[Any], tuple[int, _Step]] = {}
        self._read: deque[tuple[int, Reading]] = deque()
        self._made: deque[tuple[int, Delta | None]] = deque()

    def run(self, numbers: Sequence[int]) -> None:
        """Run the pictures; after a stop only those are finished whose noise was begun."""
        self._waiting = deque(numbers)
        while not self._stopped() and (self._waiting or self._under_way() or self._suspects):
            self._start_more()
            self._collect()
            self._go_on()
        self._flight = {f: entry for f, entry in self._flight.items() if entry[1] != "read"}
        self._read.clear()
        while self._under_way():
            self._collect()
            self._go_on()

    def _under_way(self) -> int:
        """Return how many pictures are in a step or wait for the next one."""
        return len(self._flight) + len(self._read) + len(self._made)

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
            and self._fits(self._waiting[0])
        ):
            self._submit(self._waiting.popleft())

    def _fits(self, number: int) -> bool:
        """Tell whether there is memory for one more picture; the first always fits."""
        numbers = [entry[0] for entry in self._flight.values()]
        numbers += [entry[0] for entry in (*self._read, *self._made)]
        taken = sum(self._steps.pixels(picture) for picture in numbers)
        return not taken or taken + self._steps.pixels(number) <= _MOST_PIXELS

    def _submit(self, number: int, job: Job | None = None) -> None:
        """Start reading a picture, or writing it if there is a job for that."""
        try:
            future: Future[Any] = (
                self._pool.submit_shared(self._steps.read, self._steps.read_job(number))
                if job is None
                else self._pool.submit_shared(self._steps.write, job)
            )
        except BrokenProcessPool:
            self._replace_pool()
            self._suspect(number)
        else:
            self._flight[future] = (number, "write" if job else "read")

    def _collect(self) -> None:
        """Take the results that are there; wait a moment for one if there is none."""
        done, _ = wait(self._flight, _GLANCE_SECONDS, FIRST_COMPLETED)
        if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
            self._replace_pool()
        else:
            for future in done:
                self._take(future)

    def _take(self, future: "Future[Any]") -> None:
        """Pass on the result of one future that is done."""
        number, step = self._flight.pop(future)
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            self._suspect(number)
        elif error is not None:
            self._fail(number, error, step)
        elif step == "write" or isinstance(future.result(), Failure):
            self._steps.finish(number, future.result())
        elif step == "read":
            self._read.append((number, future.result()))
        else:
            self._made.append((number, future.result()))

    def _fail(self, number: int, error: BaseException, step: _Step) -> None:
        """Give up a picture, or the run if noise cannot be made at all."""
        if step == "noise" and isinstance(error, EnvironmentProblem | UsageProblem):
            raise error
        if step == "noise" and isinstance(error, PictureError):
            self._steps.finish(number, Failure(str(error)))
        elif isinstance(error, EnvironmentProblem):
            self._steps.finish(number, Failure(str(error), disk_full=True))
        else:  # whatever it was, one picture must not end a night's run
            self._steps.finish(number, Failure(f"unexpected {type(error).__name__}: {error}"))

    def _go_on(self) -> None:
        """Begin writing what has its noise, and making noise in as many threads as there are."""
        while self._made:
            number, delta = self._made.popleft()
            try:
                job = self._steps.write_job(number, delta)
            except Exception as error:  # noqa: BLE001 - as in _fail
                self._fail(number, error, "write")
            else:
                if job is not None:
                    self._submit(number, job)
        thinking = sum(step == "noise" for _, step in self._flight.values())
        for _ in range(min(len(self._read), max(1, self._pool.threads) - thinking)):
            number, reading = self._read.popleft()
            make = partial(self._steps.make_noise, number)
            self._flight[self._pool.submit_here(make, reading)] = (number, "noise")

    def _replace_pool(self) -> None:
        """Sort what was under way into results and suspects, and start with fresh workers."""
        wait(self._flight)
        self._death = self._pool.restart()
        for future in list(self._flight):
            self._take(future)

    def _suspect(self, number: int) -> None:
        """Put a picture back whose worker died, or give it up if it was alone."""
        if number == self._alone:
            self._steps.finish(number, Failure(f"{DIED}: {self._death}"))
        else:
            self._suspects.append(number)
