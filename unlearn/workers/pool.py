"""Worker processes that can be replaced when one of them dies, threads, and stopping both at once.

Files are read and written in processes, because decoders crash; noise is made in threads of this
process, which share one network and let go of Python's lock while they calculate.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from types import FrameType, ModuleType
from typing import Any, Final, Self, TypeVar

from unlearn.errors import EnvironmentProblem
from unlearn.workers.abandoned import run_until
from unlearn.workers.limits import why_ended

T = TypeVar("T")
J = TypeVar("J")

_starting: Final = threading.Lock()  # one process at a time, of all pools
_shared: Final[list[Any]] = []  # of a worker process: what all its jobs have in common

# What starting a worker raises when the pool's own thread closes its pipes at that moment.
_HALF_CLOSED: Final = (OSError, AttributeError, TypeError, ValueError)
# What the system's refusal of semaphores or processes is known by.
_REFUSED: Final = (OSError, ImportError, NotImplementedError)
_NO_WORKERS: Final = "worker processes cannot be started here ({}); use --workers 0, or see to that"

_AGAIN_SECONDS: Final = 0.1


class Pool:
    """So many worker processes, started when first needed; 0 does the work in this process.

    `capacity` is how many pictures may be under way at a time, twice the workers unless given;
    `threads` is how many tasks of this process may run beside its main thread, 0 for none. `shared`
    is what all jobs have in common; a worker gets it once, when it starts.
    """

    def __init__(
        self, workers: int, capacity: int | None = None, threads: int = 0, shared: Any = None
    ) -> None:
        self.workers = workers
        self.capacity = capacity or max(1, workers) * 2
        self.threads = threads
        self._shared = shared
        self._running: list[threading.Thread] = []
        self._abandoned = threading.Event()
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(now=kind is not None)

    def submit(self, task: Callable[[J], T], job: J) -> "Future[T]":
        """Start a task; raises BrokenProcessPool if a worker has died since restart.

        Raises EnvironmentProblem where the system has no processes to give.
        """
        if self.workers == 0:
            return _done_here(task, job)
        executor = self._executor = self._executor or self._started()
        with _interrupts_held(), _main_module_hidden():
            try:
                return executor.submit(task, job)
            except _HALF_CLOSED as error:
                if isinstance(error, OSError) and error.errno and not self._processes():
                    raise EnvironmentProblem(_NO_WORKERS.format(error.strerror)) from error
                raise BrokenProcessPool("a worker died while another was started") from error

    def start(self, most: int) -> None:
        """Start up to so many workers now, which load what they need while this process goes on.

        One that dies is noticed by the next task. Raises EnvironmentProblem as submit does.
        """
        with contextlib.suppress(BrokenProcessPool):
            for _ in range(min(most, self.workers)):
                self.submit(_nothing, None)

    def _started(self) -> ProcessPoolExecutor:
        """Return an executor that starts its workers by and by."""
        context = multiprocessing.get_context("spawn")
        try:
            with _interrupts_held():  # it starts a process of its own, for semaphores
                return ProcessPoolExecutor(self.workers, context, start_worker, (self._shared,))
        except _REFUSED as error:
            reason = getattr(error, "strerror", None) or f"{error}".split(",")[0]
            raise EnvironmentProblem(_NO_WORKERS.format(reason)) from error

    def submit_shared(self, task: Callable[[Any, J], T], job: J) -> "Future[T]":
        """Start a task that takes what all jobs share, and its own; raises as submit does."""
        if self.workers == 0:
            return self.submit(partial(task, self._shared), job)
        return self.submit(_with_shared, (task, job))

    def submit_here(self, task: Callable[[J], T], job: J) -> "Future[T]":
        """Start a task in a thread of its own, or do it now if there are to be no threads.

        Starting a thread takes no time beside the noise of one picture.
        """
        if not self.threads:
            return _done_here(task, job)
        future: Future[T] = Future()
        work = (self._abandoned, lambda: _do(task, job, future))
        thread = threading.Thread(target=run_until, args=work)
        self._running = [other for other in self._running if other.is_alive()] + [thread]
        thread.start()
        return future

    def restart(self) -> str:
        """Give up the workers and return why one ended; new ones start with the next task.

        Raises EnvironmentProblem if new ones end before they have a task.
        """
        processes, executor = self._processes(), self._executor
        if executor is not None and executor._broken:
            _wait_for_the_broken(executor)  # only then are all exit codes known
        reason = why_ended([process.exitcode for process in processes])
        self._end_workers(now=True)
        self._prove()
        return reason

    def _prove(self) -> None:
        """Start a worker with nothing to do; raises EnvironmentProblem if that ends it."""
        try:
            self.submit(_nothing, None).result()
        except BrokenProcessPool as error:
            processes = self._processes()
            self._end_workers(now=True)
            codes = sorted({str(p.exitcode) for p in processes if p.exitcode not in (None, -15)})
            why = f"they end at once, with exit code {' and '.join(codes)}"
            raise EnvironmentProblem(_NO_WORKERS.format(why if codes else "one ended")) from error

    def close(self, *, now: bool = False) -> None:
        """End workers and threads: after what they are doing, or at once."""
        if now:
            self._abandoned.set()
        self._end_workers(now=now)
        for thread in self._running:
            thread.join()

    def _end_workers(self, *, now: bool) -> None:
        """End the workers: after what they are doing, or at once."""
        processes = self._processes() if now else []
        executor, self._executor = self._executor, None
        if executor is None:
            return
        for process in processes:
            process.kill()
        executor.shutdown(wait=True, cancel_futures=True)
        for process in processes:
            process.join()

    def _processes(self) -> list[Any]:
        """Return the workers, dead ones too."""
        # Private, but the public terminate_workers() needs Python 3.14 and tells no exit codes.
        return list(((self._executor and self._executor._processes) or {}).values())


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

    def __exit__(self, *_: object) -> None:
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
    """Delay what the terminal sends while a process may be starting: it stays deaf to the mask."""
    mask = getattr(signal, "pthread_sigmask", None)
    if mask is None:
        yield
        return
    before = mask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        mask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Keep a process that may be starting from running the caller's script, which no task needs.

    A script that calls this package without `if __name__ == "__main__"` would otherwise begin anew
    in each worker. multiprocessing finds the script through the main module and has no switch.
    """
    with _starting:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _wait_for_the_broken(executor: ProcessPoolExecutor) -> None:
    """Wait until a broken executor has ended its workers.

    It ends each once, and then waits for all. A worker that was just being started is not among
    those it ended, and would be waited for without end.
    """
    manager: Any = executor._executor_manager_thread
    while manager is not None and manager.is_alive():
        for process in list((executor._processes or {}).values()):
            with contextlib.suppress(OSError):
                process.terminate()
        manager.join(_AGAIN_SECONDS)
    executor.shutdown(wait=True)


def _done_here(task: Callable[[J], T], job: J) -> "Future[T]":
    """Do the task now and return its future."""
    future: Future[T] = Future()
    _do(task, job, future)
    return future


def _do(task: Callable[[J], T], job: J, future: "Future[T]") -> None:
    """Do the task and tell its future, which hands what it raised to whoever asks."""
    try:
        future.set_result(task(job))
    except BaseException as error:
        future.set_exception(error)
        if not isinstance(error, Exception):
            raise


def _nothing(_job: None) -> None:
    """Do nothing."""


def _with_shared(call: tuple[Callable[[Any, J], T], J]) -> T:
    """Do a task in a worker with what it got when it started."""
    task, job = call
    return task(_shared[0], job)


def start_worker(shared: Any = None) -> None:
    """Leave Ctrl-C and standard error to the main process, and do not outlive it."""
    _shared.append(shared)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders written in C complain there
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent.join,), daemon=True).start()


def _leave_with(wait: Callable[[], None]) -> None:
    """End this process once the wait is over; a killed parent would otherwise leave it behind."""
    wait()
    os._exit(1)
