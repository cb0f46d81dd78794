"""The measurement of killed ranks: what it calls the same end, and a kill of each command."""

import random

import pytest

from tests.benchmarks.killed_ranks import Trial, commands, is_good, table

GOOD = {"command": "audit", "ranks": 2, "way": "same", "then": 2, "done": 3}
GOOD |= {"kept": True, "same": True, "code": 1, "lines": 1, "traces": 0}


@pytest.mark.parametrize(
    ("change", "good"),
    [
        *[({}, True), ({"same": False}, False), ({"kept": False}, False), ({"traces": 1}, False)],
        *[({"code": 0}, False), ({"way": "restart", "code": 0}, True)],
        *[({"way": "restart"}, False), ({"same": 1e-3}, True), ({"same": 0.5}, False)],
    ],
)
def test_only_a_kill_that_cost_nothing_but_time_is_good(change, good):
    found = {**GOOD, **change}
    assert is_good(found) == good
    assert f"| 3 | {int(good)} |" in table([found])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["audit", "protect", "train-generator"])
@pytest.mark.parametrize("number", range(3))
def test_ranks_that_are_killed_come_to_the_same_end(tmp_path, name, number):
    trial = Trial(name, commands(tmp_path)[name], tmp_path)
    assert is_good(trial.kill(number, random.Random(number)))
