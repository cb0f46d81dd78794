"""One training by several processes: the steps, the pictures and the weights of one."""

import contextlib
import copy
import importlib
import itertools
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import multiprocessing, nn

from tests.support.making import CPU, make_data, make_small_net
from unlearn import together
from unlearn.errors import UsageProblem
from unlearn.methods.supervised import supervised
from unlearn.models.classifier import Classifier
from unlearn.training import SILENT, Schedule, Stage, train
from unlearn.views import Views

PORTS = itertools.count(16 * os.getpid())
SCHEDULE = Schedule(steps=5, batch_size=7, learning_rate=0.05)


def network():
    """A classifier with two batch norms, in double precision."""
    torch.manual_seed(0)
    body = nn.Sequential(
        *(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.Conv2d(6, 5, 3, stride=2), nn.BatchNorm2d(5, affine=False), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )
    return Classifier(body, 5, 4).double()


class Seen:
    """An observer that keeps the terms of every step."""

    def __init__(self):
        self.terms = []

    def started(self, state): ...

    def stepped(self, state, terms):
        self.terms.append({name: float(term.detach()) for name, term in terms.items()})


def losses(model, batch, numbers):
    """Cross entropy in double precision, and a note of the pictures that were seen."""
    numbers.append(batch.index.tolist())
    images = batch.pixels.double() / 255
    images = images + batch.rng.uniform(*images.shape[1:], high=0.1)
    error = nn.functional.cross_entropy(model(images), batch.labels)
    return {"loss": error, "half": error / 2}


def trained(rank, count, folder):
    """Train as one of several processes; save what became of it."""
    if count > 1:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
        os.environ["MASTER_PORT"] = (folder / "port").read_text()
    torch.set_num_threads(1)
    model, seen, numbers = network(), Seen(), []
    with together.joined(torch.device("cpu")):
        together.check_alike("all the same")
        train(model, lambda m, b: losses(m, b, numbers), make_data(10), SCHEDULE, CPU, seen)
        stops = together.any_of(rank == count - 1), together.any_of(False)
    torch.save([model.state_dict(), seen.terms, numbers, stops], folder / f"{count}.{rank}.pt")


def in_processes(work, count, folder):
    for name in ("port", "port of refusals"):
        (folder / name).write_text(str(free_port()))
    multiprocessing.spawn(work, (count, folder), count)


def trained_and_refused(rank, count, folder):
    """Train, then try what is refused: of a process it is the start that takes time."""
    trained(rank, count, folder)
    refused(rank, count, folder)


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """The folder in which two processes have trained and were refused."""
    folder = tmp_path_factory.mktemp("two")
    in_processes(trained_and_refused, 2, folder)
    return folder


def free_port():
    """Return a port that nobody listens on and that no system gives to a client meanwhile.

    Systems take those from 32768 on. Of those below, each process of these tests begins elsewhere.
    """
    while True:
        port = 20_000 + next(PORTS) % 12_000
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(of_two):
    check_training(of_two, 2)


@pytest.mark.slow
def test_three_processes_take_the_steps_of_one(tmp_path):
    in_processes(trained, 3, tmp_path)
    check_training(tmp_path, 3)


def check_training(folder, count):
    trained(0, 1, folder)
    weights, terms, numbers, _ = torch.load(folder / "1.0.pt")
    found = [torch.load(folder / f"{count}.{rank}.pt") for rank in range(count)]
    # The batches of one process, without overlap or loss.
    batches = zip(*(one[2] for one in found), strict=True)
    assert [list(itertools.chain(*parts)) for parts in batches] == numbers
    for own, own_terms, _, stops in found:
        assert stops == (True, False)
        assert own.keys() == weights.keys()
        for name, tensor in own.items():
            assert torch.equal(tensor, found[0][0][name])  # all have one model
            assert torch.allclose(tensor.double(), weights[name].double(), rtol=0, atol=1e-9), name
        for mine, whole in zip(own_terms, terms, strict=True):
            assert mine == pytest.approx(whole, abs=1e-6)
    moved = network().state_dict()
    assert max(float((weights[k].double() - moved[k].double()).abs().max()) for k in moved) > 1e-3


def refuse(text):
    raise UsageProblem(text)


def refused(rank, count, folder):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    os.environ["MASTER_PORT"] = (folder / "port of refusals").read_text()
    said = []

    def expect(work):
        try:
            work()
        except UsageProblem as error:
            said.append(str(error))

    data, step = make_data(10), supervised(CPU, Views())
    memory = Stage(SILENT, memory={"noise": torch.zeros(1)})
    with together.joined(torch.device("cpu")):
        expect(lambda: together.by_first(lambda: refuse(f"by {rank}")))
        assert together.by_first(lambda: rank) == 0
        expect(lambda: together.check_alike(f"data of {rank}"))
        expect(lambda: train(make_small_net(), step, data, SCHEDULE, CPU, memory))
        tiny = replace(SCHEDULE, batch_size=1)
        expect(lambda: train(make_small_net(), step, data, tiny, CPU))
        importlib.import_module("torch.distributed.nn.functional")  # as optimisers do
    (folder / f"said.{rank}").write_text("\n".join(said))
    threads = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    (folder / f"threads.{rank}").write_text("".join(threads))


@pytest.mark.slow
def test_what_processes_cannot_share_is_refused_by_all_of_them(of_two):
    for rank in range(2):
        first, other, memory, batches = (of_two / f"said.{rank}").read_text().splitlines()
        assert first == "by 0"
        assert other.startswith("rank 1 has other data, settings or versions than rank 0")
        assert "keeps noise from step to step" in memory
        assert batches == "2 processes cannot share batches of 1"


def test_one_process_is_left_as_it_is():
    model = network()
    before = copy.deepcopy(model)
    with together.one_batch_norm(model):
        images = torch.rand(4, 3, 12, 12, dtype=torch.float64)
        assert torch.equal(model.train()(images), before.train()(images))
    assert together.count() == 1
    index = torch.arange(5)
    assert together.share(index) is index
    assert together.summed(index) is index


@pytest.mark.slow
def test_no_thread_of_the_group_is_left_to_abort_the_end_of_a_process(of_two):
    for rank in range(2):
        assert "gloo" not in (of_two / f"threads.{rank}").read_text()
