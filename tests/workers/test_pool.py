"""Worker processes, whatever program asks for them."""

import errno
import math
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import process
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from unlearn.errors import EnvironmentProblem
from unlearn.workers.pool import Pool

CHECKOUT = Path(__file__).parents[2]
UNGUARDED = f"""
import sys
sys.path.insert(0, {str(CHECKOUT)!r})
print("begun")
import math
from unlearn.workers.pool import Pool
main = sys.modules["__main__"]
with Pool(2) as pool:
    print(sorted(future.result() for future in [pool.submit(math.sqrt, n) for n in (4, 9, 16)]))
print(sys.modules["__main__"] is main)
"""


@pytest.mark.parametrize("way", ["a script", "-c", "standard input"])
def test_no_worker_begins_the_program_anew_that_asked_for_it(tmp_path, way):
    script = tmp_path / "unguarded.py"
    script.write_text(UNGUARDED, encoding="utf-8")
    line = {"a script": [str(script)], "-c": ["-c", UNGUARDED], "standard input": ["-"]}[way]
    done = subprocess.run(
        [sys.executable, *line], input=UNGUARDED, capture_output=True, text=True, check=False
    )
    assert done.stdout.split("\n") == ["begun", "[2.0, 3.0, 4.0]", "True", ""]
    assert (done.returncode, done.stderr) == (0, "")


def test_a_worker_that_started_too_late_to_be_ended_holds_up_no_restart():
    with Pool(1) as pool:
        assert pool.submit(math.sqrt, 4).result() == 2
        (first,) = pool._processes()
        late = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
        late.start()
        end, asked = late.terminate, []
        late.terminate = lambda: end() if asked else asked.append("too early")
        pool._executor._processes[late.pid] = late
        first.kill()
        while not pool._executor._broken:
            time.sleep(0.01)
        assert pool.restart() == "the system ended it, probably for want of memory"
        assert asked
        assert not late.is_alive()
        assert pool.submit(math.sqrt, 9).result() == 3


def test_a_system_without_semaphores_is_said_to_have_none(monkeypatch):
    def refused(*_args, **_kwargs):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("_multiprocessing.SemLock", refused)
    with Pool(1) as pool, pytest.raises(EnvironmentProblem, match="Function not implemented"):
        pool.submit(math.sqrt, 4)


def test_a_python_without_semaphores_is_said_to_have_none(monkeypatch):
    def refused():
        raise NotImplementedError("system provides too few semaphores (1 available, 256 necessary)")

    monkeypatch.setattr(process, "_check_system_limits", refused)
    with Pool(1) as pool, pytest.raises(EnvironmentProblem, match="too few semaphores"):
        pool.submit(math.sqrt, 4)


def test_a_system_that_gives_no_process_is_no_death_of_a_worker(monkeypatch):
    def refused(_process):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", refused)
    with Pool(1) as pool, pytest.raises(EnvironmentProblem, match=r"started here \(.*--workers 0"):
        pool.submit(math.sqrt, 4)


def test_workers_that_end_before_they_have_a_task_end_the_run(tmp_path, monkeypatch):
    ending = "import os, sys\nif any('spawn_main' in word for word in sys.orig_argv): os._exit(3)"
    (tmp_path / "sitecustomize.py").write_text(ending)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Pool(1) as pool:
        with pytest.raises(BrokenProcessPool):
            pool.submit(math.sqrt, 4).result()
        with pytest.raises(EnvironmentProblem, match="they end at once, with exit code 3"):
            pool.restart()
        monkeypatch.delenv("PYTHONPATH")
        assert pool.submit(math.sqrt, 4).result() == 2
