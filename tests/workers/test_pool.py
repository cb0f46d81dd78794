"""Worker processes, whatever program asks for them."""

import subprocess
import sys
from pathlib import Path

import pytest

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
