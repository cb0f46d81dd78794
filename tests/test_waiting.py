"""No step of a training makes the host wait for the device, or the device for the host."""

import contextlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.bars import TRAINING, around, make_bars, make_cell
from tests.support.making import (
    make_data,
    make_generator,
    make_method,
    make_network,
    make_pgd,
    make_small_net,
)
from tests.support.pretend import DEVICE, watched
from tests.support.sweeps import few
from unlearn.audits.crops import resized_whole
from unlearn.audits.victim import step_losses
from unlearn.audits.watch import Watch
from unlearn.countermeasures import COUNTERMEASURES
from unlearn.device import Run
from unlearn.generators.artefact import NoiseGenerator
from unlearn.methods import Spec
from unlearn.methods.em import Em
from unlearn.methods.rem import Rem
from unlearn.radius import Radius
from unlearn.training import SILENT, Schedule, train
from unlearn.views import Views

STEPS = Schedule(steps=2, batch_size=4, learning_rate=0.05)
FILES: dict[str, Any] = {"jpeg": 0.5, "shrink": 0.5, "blur": 0.5, "grey": 0.5}
TOGETHER = {
    "shared": Radius.of_levels(3),
    "window": 5,
    "joint": True,
    "views": Views(smallest_crop=0.5, **FILES),
}
METHODS = {
    "published": {},
    "files": {"views": Views(pad=1, **FILES), "attack": make_pgd(8, 2, steps=1, views=9)},
    "without_randomness": {"randomness_weight": 0.0},
    "together": TOGETHER,
}
SWEEPING = replace(Em.example(), every=1, schedule=STEPS)
OTHERS = {
    "em": SWEEPING,
    "em_by_class": replace(SWEEPING, shared=True),
    "rem": replace(Rem.example(), schedule=STEPS),
}
GENERATORS = [("together", "fp32"), *((name, "bf16") for name in METHODS | OTHERS)]
VICTIMS = {
    "plain": (make_cell(), TRAINING),
    "adversarial": (make_cell(rho_a=Radius.of_levels(4)), replace(TRAINING, pgd_steps=2)),
    "cropped": (make_cell(), replace(TRAINING, image_size=8)),
}
# randaugment and ueraser run torchvision picture by picture, with random numbers of the host.
WITHIN_STEPS = ["cutout", "mixup", "cutmix"]


class Steps:
    """An observer that calls a function after each step, before another observer sees it."""

    def __init__(self, call, observer=SILENT):
        self.call, self.observer = call, observer

    def started(self, state):
        self.observer.started(state)

    def stepped(self, state, terms):
        self.call(state.finished)
        self.observer.stepped(state, terms)


class Started:
    """An observer that calls a function before the first step."""

    def __init__(self, call):
        self.call = call

    def started(self, state):
        self.call()

    def stepped(self, state, terms):
        pass


def generator_fit(name):
    """Return what trains a generator in some run and calls a function after each step."""
    attacks = {"attack": make_pgd(8, 2, steps=1), "adversary": make_pgd(4, 2, steps=1)}
    changes = attacks | {"schedule": STEPS} | METHODS.get(name, {})
    method = OTHERS.get(name) or make_method(**changes)

    def fit(run, call):
        method.fit(method.build(Spec("resnet-small", 4, 8)), make_data(14), run, Steps(call))

    return fit


def victim_fit(name, countermeasure="none"):
    """Return what trains a victim under its usual watch, which tries it after the last step."""
    cell, training = VICTIMS[name]
    data = make_bars(14)
    test = replace(data, pixels=resized_whole(data.pixels, training.image_size))

    def fit(run, call):
        surroundings = replace(around(COUNTERMEASURES[countermeasure]), run=run)
        watch = Watch(cell, test, surroundings, period=100)
        losses = step_losses(cell, training, 4, surroundings)
        train(make_network(), losses, data, STEPS, run, Steps(call, watch))

    return fit


def waits_of_the_second_step(monkeypatch, fit, precision):
    """Return what is seen from the end of the first step to the end of the second."""
    seen = {}
    with watched(monkeypatch) as watch:
        fit(Run(DEVICE, precision), lambda finished: seen.update({finished: len(watch.seen)}))
    return watch.seen[seen[1] : seen[2]]


@pytest.mark.parametrize(
    ("name", "precision"),
    few(GENERATORS, ("together", "fp32"), ("published", "bf16"), ("em", "bf16")),
)
def test_a_step_of_a_generator_waits_for_nothing(monkeypatch, name, precision):
    assert waits_of_the_second_step(monkeypatch, generator_fit(name), precision) == []


@pytest.mark.parametrize(
    ("name", "precision"), [("adversarial", "fp32"), *((name, "bf16") for name in VICTIMS)]
)
def test_a_step_of_a_victim_waits_for_nothing(monkeypatch, name, precision):
    assert waits_of_the_second_step(monkeypatch, victim_fit(name), precision) == []


@pytest.mark.parametrize("name", few(WITHIN_STEPS, "mixup"))
def test_a_step_under_a_countermeasure_waits_for_nothing(monkeypatch, name):
    assert waits_of_the_second_step(monkeypatch, victim_fit("plain", name), "fp32") == []


@pytest.mark.parametrize(("steps", "epochs"), [(3, 1), (4, 2), (7, 2), (8, 3)])
def test_the_order_of_the_pictures_is_copied_once_an_epoch(monkeypatch, steps, epochs):
    """Four pictures a step out of 14: the fourth and the eighth step cross a border."""
    marks = []

    def losses(model, _):
        return {"loss": model.head.bias.sum()}

    with watched(monkeypatch) as watch:
        observer = Started(lambda: marks.append(len(watch.seen)))
        train(
            make_small_net(),
            losses,
            make_data(14),
            replace(STEPS, steps=steps),
            Run(DEVICE),
            observer,
        )
    copies = watch.seen[marks[0] :]
    assert len(copies) == epochs
    assert all("training.py" in copy and "from cpu to meta" in copy for copy in copies)


def test_the_noise_of_a_picture_waits_at_its_beginning_and_end_only(monkeypatch):
    method = make_method(views=Views(pad=1, **FILES), shared=Radius.of_levels(3))
    made = make_generator(method)
    with watched(monkeypatch) as watch:
        module = made.module.to(DEVICE)
        generator = NoiseGenerator.of(method, module, made.header, Run(DEVICE, "bf16"))
        for number in range(2):
            before = len(watch.seen)
            generator.noise_for_picture(np.zeros((8, 8, 3), np.uint8), number, 0, "00" * 32)
    waits = watch.seen[before:]
    assert all(wait.startswith("artefact.py") for wait in waits)
    assert [wait.rpartition(" ")[2] for wait in waits] == ["device", "meta", "device", "cpu"]


# On a GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("fit", [*map(generator_fit, METHODS | OTHERS), *map(victim_fit, VICTIMS)])
def test_cuda_itself_finds_nothing_that_waits(fit, precision):
    def call(finished):
        torch.cuda.set_sync_debug_mode("error" if finished == 1 else "default")

    try:
        fit(Run(torch.device("cuda"), precision), call)
    finally:
        torch.cuda.set_sync_debug_mode("default")


# The watch itself


class WaitsInItsBackwardPass(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):
        return values * 1

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float(gradient.sum())


WAITS = {
    "a number": lambda x: float(x.sum()),
    "a truth": lambda x: bool((x > 0).any()),
    "a comparison": lambda x: torch.equal(x, x),
    "a list": lambda x: x.tolist(),
    "a copy to the host": lambda x: x.cpu(),
    "a copy into the host": lambda x: torch.zeros(4).copy_(x),
    "a copy to the device": lambda x: torch.zeros(4).to(x.device),
    "a copy into the device": lambda x: x.copy_(torch.zeros(4)),
    "a table": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "a table like another": lambda x: x.new_tensor([1.0, 2.0]),
    "an index of the host": lambda x: x[torch.tensor([0, 1])],
    "a mask": lambda x: x[x > 0],
    "writing under a mask": lambda x: x.index_put_((x > 0,), torch.ones(1, device=x.device)),
    "places": lambda x: x.nonzero(),
    "different values": lambda x: x.unique(),
    "a pass backwards": lambda x: WaitsInItsBackwardPass.apply(x.requires_grad_()).sum().backward(),
}


@pytest.mark.parametrize("name", WAITS)
def test_the_watch_sees_what_waits(monkeypatch, name):
    with watched(monkeypatch) as watch:
        values = torch.ones(4, device=DEVICE)
        with contextlib.suppress(NotImplementedError):  # shapes that nobody knows without numbers
            WAITS[name](values)
    assert watch.seen


def test_the_watch_sees_nothing_where_nothing_waits(monkeypatch):
    with watched(monkeypatch) as watch:
        values = torch.ones(4, device=DEVICE, requires_grad=True)
        chosen = values[torch.zeros(2, dtype=torch.int64, device=DEVICE)] * 2 + 1
        torch.where(chosen > 0, chosen, 0.0).sum().backward()
        host = torch.tensor([1.0, 2.0])
        float(host[host > 1].sum())
    assert watch.seen == []
