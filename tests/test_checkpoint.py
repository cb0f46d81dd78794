"""What a checkpoint holds of a training, and that nothing else comes back from it."""

import pytest
import torch

from tests.support.making import make_small_net, numbers_of, same_numbers
from unlearn.checkpoint import Checkpoint
from unlearn.training import Schedule, TrainingState


def make_state(seed=0, memory=None):
    model = make_small_net(seed=seed)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return TrainingState(model, optimiser, Schedule(), memory=memory or {})


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16])
def test_memory_comes_back_in_place_with_weights_and_steps(tmp_path, dtype):
    kept = torch.arange(-100, 92, dtype=dtype).view(1, 3, 8, 8)
    saved, checkpoint = make_state(memory={"noise": kept}), Checkpoint(tmp_path / "state", "plan")
    saved.finished = 7
    checkpoint.save(saved, {"step": [1]})
    here = torch.zeros_like(kept)
    fresh = make_state(seed=1, memory={"noise": here})
    assert checkpoint.restore(fresh) == {"step": [1]}
    assert fresh.finished == 7
    assert fresh.memory["noise"] is here
    assert torch.equal(here, kept)
    assert same_numbers(numbers_of(fresh.model), numbers_of(saved.model))


def test_memory_is_no_part_of_the_weights(tmp_path):
    state = make_state(memory={"noise": torch.ones(2)})
    assert not any("noise" in name for name in state.model.state_dict())
    checkpoint = Checkpoint(tmp_path / "state", "plan")
    checkpoint.save(state, {})
    without = make_state(seed=1)
    checkpoint.restore(without)
    assert without.memory == {}


def test_momentum_of_parameters_that_were_not_trained_yet_stays_away(tmp_path):
    state, checkpoint = make_state(), Checkpoint(tmp_path / "state", "plan")
    state.model.head(torch.ones(1, 32)).sum().backward()  # the body has no gradients
    state.optimiser.step()
    checkpoint.save(state, {})
    fresh = make_state(seed=1)
    checkpoint.restore(fresh)
    assert set(fresh.optimiser.state) == set(fresh.model.head.parameters())
    for one, other in zip(
        fresh.model.head.parameters(), state.model.head.parameters(), strict=True
    ):
        buffers = [
            part.optimiser.state[parameter]["momentum_buffer"]
            for part, parameter in ((fresh, one), (state, other))
        ]
        assert torch.equal(*buffers)


def adapted(seed=0):
    """A state whose optimiser is Adam and has taken two steps."""
    state = make_state(seed)
    state.optimiser = torch.optim.Adam(state.model.parameters(), lr=0.1)
    for _ in range(2):
        state.model.head(torch.ones(1, 32)).sum().backward()
        state.optimiser.step()
    return state


def test_what_adam_remembers_comes_back_and_leads_to_the_same_next_step(tmp_path):
    state, checkpoint = adapted(), Checkpoint(tmp_path / "state", "plan")
    checkpoint.save(state, {})
    fresh = make_state(seed=1)
    fresh.optimiser = torch.optim.Adam(fresh.model.parameters(), lr=0.1)
    checkpoint.restore(fresh)
    for part in (state, fresh):
        part.optimiser.zero_grad()
        part.model.head(torch.ones(1, 32)).sum().backward()
        part.optimiser.step()
    assert same_numbers(numbers_of(fresh.model), numbers_of(state.model))


def test_an_earlier_stage_leaves_a_later_one_as_it_begins(tmp_path):
    checkpoint = Checkpoint(tmp_path / "state", "plan")
    checkpoint.save(adapted(), {"step": [1]})
    later = make_state(seed=1)
    later.stage, before = 1, numbers_of(later.model)
    assert checkpoint.restore(later) == {"step": [1]}
    assert later.finished == 0
    assert same_numbers(numbers_of(later.model), before)
    assert not later.optimiser.state


def test_a_later_stage_finishes_an_earlier_one_with_the_model_that_it_left(tmp_path):
    saved, checkpoint = adapted(), Checkpoint(tmp_path / "state", "plan")
    saved.stage, saved.finished = 1, 2
    checkpoint.save(saved, {})
    earlier = make_state(seed=1)
    checkpoint.restore(earlier)
    assert earlier.finished == earlier.schedule.steps
    assert same_numbers(numbers_of(earlier.model), numbers_of(saved.model))
    assert not earlier.optimiser.state
