"""What the tests of methods share."""

import pytest

from unlearn.attack import pgd


@pytest.fixture
def attacks(monkeypatch):
    """What pgd was asked for and what it answered, call by call."""
    calls = []

    def spy(losses, images, config, goal, rng, start=None):
        delta = pgd(losses, images, config, goal, rng, start)
        calls.append({"images": images, "config": config, "goal": goal, "delta": delta})
        return delta

    for module in ("min_max_min", "stage_one"):
        monkeypatch.setattr(f"unlearn.methods.{module}.pgd", spy)
    monkeypatch.setattr("unlearn.methods.stage_one._VIEWS_TOGETHER", 0)
    return calls
