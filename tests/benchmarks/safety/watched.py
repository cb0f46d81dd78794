"""A command with all its processes under watch: how it ended, how long it took, what it held."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

LOOK_SECONDS = 0.02
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Ended:
    """One run; `together` is the most that all its processes held at a time, `largest` the most of
    any one, both resident bytes with shared libraries counted in each process."""

    code: int
    seconds: float
    together: int
    largest: int
    stdout: str
    stderr: str


def start(command: list[str], folder: Path) -> "subprocess.Popen[str]":
    """Start a command in a session of its own, with its output in files beside `folder`."""
    with (folder / "stdout").open("w") as out, (folder / "stderr").open("w") as error:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=error,
            text=True,
            start_new_session=True,
        )


def watch(command: list[str], folder: Path) -> Ended:
    """Run a command to its end."""
    began = time.monotonic()
    process = start(command, folder)
    together = largest = 0
    while process.poll() is None:
        held = resident(process.pid)
        together = max(together, sum(held))
        largest = max(largest, *held, 0)
        time.sleep(LOOK_SECONDS)
    seconds = time.monotonic() - began
    texts = [(folder / name).read_text() for name in ("stdout", "stderr")]
    return Ended(process.returncode, seconds, together, largest, *texts)


def resident(session: int) -> list[int]:
    """Return the resident bytes of every process of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session:
                    found.append(int(fields[21]) * PAGE)
            except (OSError, IndexError):
                continue
    return found


def kill(process: "subprocess.Popen[str]", *, all_of_it: bool) -> None:
    """Kill the whole session, or only its first process and wait until the others have left."""
    if all_of_it:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while resident(process.pid):
        if time.monotonic() > deadline:
            raise TimeoutError("processes outlive the one that started them")
        time.sleep(LOOK_SECONDS)
