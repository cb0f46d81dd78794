"""The arrays that the checkout carries are those of the whole sets, and they stay few."""

import pytest
import torch

from tests.support.oracles import EXACT, FACTS, Oracle, carried, oracle, whole

NAMES = sorted(path.stem for path in FACTS.glob("*.npz"))


@pytest.mark.parametrize("name", NAMES)
def test_carried_numbers_are_those_of_the_whole_set(name):
    if whole(name) is None:
        pytest.skip("shared/data/oracles is not beside this checkout")
    everything = oracle(name)
    for key in carried(name):
        torch.testing.assert_close(Oracle(carried(name))[key], everything[key], **EXACT)


def test_carried_numbers_are_small():
    assert len(NAMES) >= 4
    assert sum(path.stat().st_size for path in FACTS.iterdir()) < 300_000
