"""Leaving a thread whose result nobody waits for any more; long work looks here between its steps.

No exception can be raised in another thread safely, and a flag handed down to the optimiser would
be an argument of everything between.
"""

import threading
from collections.abc import Callable

_THIS: threading.local = threading.local()


def run_until(flag: threading.Event, work: Callable[[], None]) -> None:
    """Do some work in this thread, which leaves it early and silently once the flag is set."""
    _THIS.flag = flag
    try:
        work()
    except SystemExit:
        pass
    finally:
        del _THIS.flag


def leave_if_abandoned() -> None:
    """Raise SystemExit if this thread's flag is set; a thread without one goes on."""
    flag: threading.Event | None = getattr(_THIS, "flag", None)
    if flag is not None and flag.is_set():
        raise SystemExit
