"""Compiled fast copies: what runs compiled, what it calculates, and what happens without compiler.

Most tests put a stand-in for the compiler, since the real one takes seconds to minutes.
"""

from dataclasses import replace

import pytest
import torch

from tests.support.bars import TRAINING, around, make_bars, make_cell
from tests.support.making import (
    make_data,
    make_images,
    make_labels,
    make_method,
    make_network,
    make_pgd,
    make_rng,
    make_small_net,
    noise_of,
    numbers_of,
    same_numbers,
)
from unlearn.attack import frozen
from unlearn.audits.victim import fit_victim
from unlearn.device import Run
from unlearn.errors import EnvironmentProblem
from unlearn.methods import Spec
from unlearn.models.folding import folded
from unlearn.objectives import cross_entropy
from unlearn.radius import Radius
from unlearn.training import SILENT, Schedule

CPU = Run(torch.device("cpu"))
COMPILED = replace(CPU, compiled=True)
# PyTorch's own code, at compiling: of gradients of tensors that are no leaves, of what it renamed.
NOISY = pytest.mark.filterwarnings("ignore")
TOLERANCES = [("fp32", 1e-4), ("bf16", 1e-2)]


@pytest.fixture
def compiler(monkeypatch):
    """A compiler that changes nothing, and the shapes that its code was called with."""
    shapes = []

    def compiled(function, **options):
        assert options["dynamic"] is False
        return lambda images: shapes.append(tuple(images.shape)) or function(images)

    monkeypatch.setattr(torch, "compile", compiled)
    return shapes


def pass_of(network, images, labels):
    """Return the logits of a pass and the gradient of its loss."""
    images = images.clone().requires_grad_()
    logits = network(images)
    (gradient,) = torch.autograd.grad(cross_entropy(logits, labels).sum(), images)
    return logits.detach(), gradient


def distance(one, other):
    return float((one - other).norm() / other.norm())


def test_the_first_shape_that_wants_gradients_runs_compiled_and_all_else_plainly(compiler):
    model, images, labels = make_small_net(), make_images(8), make_labels(8)
    with frozen(model, "fp32") as plain, frozen(model, "fp32", compiled=True) as network:
        assert network is not plain
        with torch.no_grad():
            network(images[:5])
        assert compiler == []
        for count in (8, 3, 8):
            found = pass_of(network, images[:count], labels[:count])
            assert all(map(torch.equal, found, pass_of(plain, images[:count], labels[:count])))
    assert compiler == [(8, 3, 8, 8)] * 2


def test_nothing_is_compiled_unless_asked_for(compiler):
    make_method().fit(make_small_net(), make_data(8), CPU, SILENT)
    with frozen(make_small_net(), "fp32") as network:
        pass_of(network, make_images(2), make_labels(2))
    assert compiler == []


def test_both_attacks_and_the_published_noise_run_compiled(compiler):
    attack, schedule = make_pgd(8, 2, steps=1, views=9), Schedule(5, 4, 0.05)
    method = make_method(attack=attack, schedule=schedule)
    modules = []
    for run in (CPU, COMPILED):
        torch.manual_seed(0)
        modules.append(method.build(Spec("resnet-small", 4, 8)))
        method.fit(modules[-1], make_data(8), run, SILENT)
    assert same_numbers(*map(numbers_of, modules))
    assert len(compiler) == 5 * (9 + method.adversary.steps)
    compiler.clear()
    noise = [
        noise_of(method, modules[1], make_images(4), make_labels(4), make_rng(4), run)
        for run in (CPU, COMPILED)
    ]
    assert torch.equal(*noise)
    assert len(compiler) == 9


def test_the_adversary_of_a_victim_runs_compiled(compiler):
    cell = make_cell(rho_a=Radius.of_levels(4))
    training = replace(TRAINING, pgd_steps=2, steps=3)
    results = [
        fit_victim(cell, training, make_bars(32), make_bars(8, 1), replace(around(), run=run))
        for run in (CPU, COMPILED)
    ]
    assert results[0].curve == results[1].curve
    assert len(compiler) == 3 * 2


def test_where_nothing_can_be_compiled_the_message_says_what_to_do(monkeypatch):
    def fail(*_):
        raise torch._dynamo.exc.BackendCompilerFailed("inductor", ValueError("no c++"), None)

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    network = folded(make_small_net().eval(), "fp32", compiled=True)
    with pytest.raises(EnvironmentProblem, match="--compile: PyTorch cannot compile for cpu"):
        pass_of(network, make_images(2), make_labels(2))


def test_a_failure_of_the_pass_itself_is_not_taken_for_one_of_the_compiler(monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    network = folded(make_small_net().eval(), "fp32", compiled=True)
    with pytest.raises(torch.OutOfMemoryError):
        pass_of(network, make_images(2), make_labels(2))


# The real compiler


@NOISY
@pytest.mark.slow
@pytest.mark.parametrize(("precision", "tolerance"), TOLERANCES)
def test_generated_code_agrees_with_the_plain_copy_and_follows_its_weights(precision, tolerance):
    model, images, labels = make_small_net(), make_images(8, 16), make_labels(8)
    before = None
    for _ in range(3):
        with frozen(model, precision) as plain:
            expected = pass_of(plain, images, labels)
        with frozen(model, precision, compiled=True) as network:
            found = pass_of(network, images, labels)
        assert distance(found[0], expected[0]) < tolerance
        assert distance(found[1], expected[1]) < tolerance
        assert before is None or distance(found[0], before) > 10 * tolerance
        before = found[0]
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.2).add_(0.01)


@NOISY
@pytest.mark.slow
def test_a_machine_without_a_compiler_gives_the_message(monkeypatch):
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", (None, "/nowhere/g++"))
    monkeypatch.setattr(config, "force_disable_caches", True)
    network = folded(make_small_net().eval(), "fp32", compiled=True)
    with pytest.raises(EnvironmentProblem, match=r"leave it out, or install a C\+\+ compiler"):
        pass_of(network, make_images(2, 16), make_labels(2))


@NOISY
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize(("precision", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("name", ["resnet-small", "resnet18", "vit"])
def test_graphs_on_cuda_agree_with_the_plain_copy_and_follow_its_weights(
    monkeypatch, name, precision, tolerance
):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model = make_network(name).cuda()
    images, labels = make_images(16, 32).cuda(), make_labels(16).cuda()
    for _ in range(3):
        with frozen(model, precision) as plain, frozen(model, precision, compiled=True) as network:
            found = [pass_of(network, images, labels) for _ in range(4)]  # warm-up, record, replay
            expected = pass_of(plain, images, labels)
            assert all(torch.equal(found[2][0], other[0]) for other in found[2:])
            assert distance(found[-1][0], expected[0]) < tolerance
            assert distance(found[-1][1], expected[1]) < 5 * tolerance
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.02).add_(0.001)
