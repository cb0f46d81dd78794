"""Worker processes, whatever program asks for them."""

import math
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import pytest

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


@pytest.mark.timeout(60)
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
