"""A thousand steps keep no more memory than two hundred."""

import gc
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.support.bars import TRAINING, around, make_bars, make_cell
from tests.support.making import make_data, make_method, make_pgd, make_small_net
from unlearn.audits.victim import step_losses
from unlearn.audits.watch import Watch
from unlearn.device import Run
from unlearn.methods import Spec
from unlearn.radius import Radius
from unlearn.training import SILENT, Schedule, train
from unlearn.views import Views

RUN = Run(torch.device("cpu"), "bf16")
THOUSAND = Schedule(steps=1000, batch_size=4, learning_rate=0.01)
SETTLED = 200  # steps after which all that is made once has been made
MEGABYTES = 2  # one batch in float32 lost in each step would be 2.3
STATUS = Path("/proc/self/statm")


class Memory:
    """An observer that counts live tensors and resident bytes now and then."""

    def __init__(self, observer=SILENT):
        self.observer, self.tensors, self.resident = observer, [], []

    def started(self, state):
        self.observer.started(state)

    def stepped(self, state, terms):
        self.observer.stepped(state, terms)
        if state.finished % 100 == 0 and state.finished >= SETTLED:
            gc.collect()
            self.tensors.append(sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects()))
            pages = int(STATUS.read_text().split()[1])
            self.resident.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)


def fit_generator(memory):
    method = make_method(
        attack=make_pgd(8, 2, steps=1),
        adversary=make_pgd(4, 2, steps=1),
        views=Views(pad=1, jpeg=0.5, grey=0.5),
        shared=Radius.of_levels(4),
        schedule=THOUSAND,
    )
    module = method.build(Spec("resnet-small", 4, 8))
    method.fit(module, make_data(14), RUN, memory)


def fit_victim(memory):
    cell, data = make_cell(rho_a=Radius.of_levels(4)), make_bars(14)
    surroundings = replace(around(), run=RUN)
    memory.observer = Watch(cell, data, surroundings, period=50)
    losses = step_losses(cell, replace(TRAINING, pgd_steps=2), 4, surroundings)
    train(make_small_net(), losses, data, THOUSAND, RUN, memory)


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="this system does not tell the memory in use")
@pytest.mark.parametrize("fit", [fit_generator, fit_victim])
def test_a_thousand_steps_keep_no_more_memory_than_two_hundred(fit):
    memory = Memory()
    fit(memory)
    assert len(memory.tensors) == 9
    assert set(memory.tensors) == {memory.tensors[0]}
    assert memory.resident[-1] - memory.resident[0] < MEGABYTES
