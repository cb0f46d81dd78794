"""The entry point of the `unlearn` script and of `python -m unlearn`."""

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command line and leave with its exit code."""
    # A service is stopped, a terminal closed. A rank ends at once: it may wait for a lost one.
    for name in ("SIGTERM", "SIGHUP") if "WORLD_SIZE" not in os.environ else ():
        number = getattr(signal, name, None)  # Windows has one of them
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _as_ctrl_c)
    try:
        # Late, because worker processes import this module and need no terminal.
        from unlearn.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before the first command could say what to do about it
        code = 130
    sys.exit(code)


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does at this moment, even where a shell had it ignored."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(number, frame)


if __name__ == "__main__":
    main()
