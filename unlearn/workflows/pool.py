"""A pool of worker processes that can be replaced when one of them dies, and stopped at once."""

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import FrameType, TracebackType
from typing import Any, Final, Self, TypeVar

from unlearn.workflows.tasks import start_worker

T = TypeVar("T")
J = TypeVar("J")

# What starting a worker raises when the pool's own thread closes its pipes at that moment.
_HALF_CLOSED: Final = (OSError, AttributeError, TypeError, ValueError)


class Pool:
    """So many worker processes, started when first needed; 0 does the work in this process.

    `capacity` is how many jobs may be under way at a time, twice the workers unless given.
    """

    def __init__(self, workers: int, capacity: int | None = None) -> None:
        self.workers = workers
        self.capacity = capacity or max(1, workers) * 2
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(now=kind is not None)

    def submit(self, task: Callable[[J], T], job: J) -> "Future[T]":
        """Start a task; raises BrokenProcessPool if a worker has died since restart."""
        if self.workers == 0:
            return _done_here(task, job)
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                self.workers, multiprocessing.get_context("spawn"), initializer=start_worker
            )
        with _interrupts_held():
            try:
                return self._executor.submit(task, job)
            except _HALF_CLOSED as error:
                raise BrokenProcessPool("a worker died while another was started") from error

    def restart(self) -> None:
        """Give up the workers; new ones start with the next task."""
        self.close(now=True)

    def close(self, *, now: bool = False) -> None:
        """End the workers: after what they are doing, or at once."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        # Private, but the public terminate_workers() needs Python 3.14.
        processes = list((executor._processes or {}).values()) if now else []
        for process in processes:
            process.kill()
        executor.shutdown(wait=True, cancel_futures=True)
        for process in processes:
            process.join()


class Interruption:
    """Turns the first Ctrl-C into a request to stop and the second into KeyboardInterrupt."""

    def __init__(self, notify: Callable[[], None]) -> None:
        self.requested = False
        self._notify = notify
        self._previous: Any = None
        self._installed = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, self._previous)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        """Take one Ctrl-C."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        # In a thread: a handler may interrupt a write to the very stream that the notice goes to.
        threading.Thread(target=self._notify).start()


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Delay Ctrl-C while a process may be starting: it inherits the mask and stays deaf to it."""
    mask = getattr(signal, "pthread_sigmask", None)
    if mask is None:
        yield
        return
    before = mask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        mask(signal.SIG_SETMASK, before)


def _done_here(task: Callable[[J], T], job: J) -> "Future[T]":
    """Do the task now and return its future."""
    future: Future[T] = Future()
    try:
        future.set_result(task(job))
    except Exception as error:  # noqa: BLE001 - a future hands it to whoever asks for the result
        future.set_exception(error)
    return future
