"""The defects of the authors' published code, each with a test that it cannot come back."""

import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.making import (
    CPU,
    counted_calls,
    flags_of,
    make_batch,
    make_data,
    make_images,
    make_labels,
    make_method,
    make_network,
    make_pgd,
    make_pixels,
    make_rng,
    make_small_net,
    noise_of,
    property_test,
)
from unlearn.attack import frozen, pgd
from unlearn.methods.em import Em
from unlearn.methods.kept_noise import KeptNoise
from unlearn.methods.mi_ue import MiUe
from unlearn.methods.ntga import _TOGETHER, Ntga, Surroundings
from unlearn.methods.rem import Rem, Sem
from unlearn.methods.tue import discriminant
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import add_levels, project, to_delta, to_images, to_levels
from unlearn.training import SILENT, Batches, Schedule, train
from unlearn.views import Views

STILL = Views(flip=False, pad=0)
EIGHT = Radius.of_levels(8)


def step(method, module=None):
    module = make_small_net().train() if module is None else module
    return method.step_losses(module, make_batch(6), CPU)


# The authors clip images + δ: at white and at black half of the noise has no gradient and stays at
# its random start.


@pytest.mark.parametrize(("level", "inwards"), [(255, -1), (0, 1)])
@pytest.mark.parametrize("random_start", [False, True])
def test_saturated_pixels_get_live_noise(level, inwards, random_start):
    pixels = torch.full((4, 3, 8, 8), level, dtype=torch.uint8)
    method = make_method(attack=make_pgd(8, 2, steps=10, random_start=random_start), views=STILL)
    module = make_network().eval()
    noise = [
        noise_of(method, module, to_images(pixels), labels, make_rng(4))
        for labels in (make_labels(4), make_labels(4).flip(0))
    ]
    for delta in noise:
        levels = to_levels(delta, method.bound)
        # Each value is at one of the two ends that are left to it, or on its way between them.
        assert torch.all(levels * inwards >= 0)
        assert float((levels * inwards == 8).float().mean()) > 0.25
        assert torch.equal(add_levels(pixels, levels).int() - pixels.int(), levels.int())
    # It answers to the label, as a dead random start would not.
    assert float((noise[0] != noise[1]).float().mean()) > 0.3


@pytest.mark.parametrize(("level", "goal"), [(255, "minimise"), (0, "maximise")])
def test_every_saturated_pixel_moves_whose_loss_wants_it_to(level, goal):
    images = to_images(torch.full((2, 3, 8, 8), level, dtype=torch.uint8))
    start = project(make_rng(2).uniform(3, 8, 8, low=-1, high=1), images, Radius.of_levels(8))
    delta = pgd(lambda x: x.flatten(1).sum(1), images, make_pgd(8, 1.6), goal, make_rng(2), start)
    inwards = -8 if level else 8
    assert torch.equal(to_levels(delta, Radius.of_levels(8)), torch.full((2, 3, 8, 8), inwards))


# The authors drop the last incomplete batch, and all batches of a set smaller than one.


@property_test
@given(st.integers(1, 300), st.integers(1, 128), st.integers(0, 2**40))
def test_no_picture_is_skipped_or_stale(count, batch_size, seed):
    batches = Batches(count, batch_size, seed)
    epochs = 2
    steps = math.ceil(epochs * count / batches.batch_size)
    numbers = torch.cat([batches.at(number) for number in range(steps)])[: epochs * count]
    for epoch in numbers.split(count):
        assert torch.equal(epoch.sort().values, torch.arange(count))


@pytest.mark.parametrize(("count", "batch_size"), [(1, 8), (1, 1), (3, 8), (8, 8), (10, 8)])
def test_sets_smaller_than_a_batch_or_no_multiple_of_it_are_trained_on_whole(count, batch_size):
    seen = []
    data = make_data(count)

    def losses(model, batch):
        seen.append(batch.pixels)
        return {"loss": model(to_images(batch.pixels)).sum()}

    steps = math.ceil(count / min(batch_size, count))
    train(make_network(), losses, data, Schedule(steps, batch_size), CPU)
    assert len(torch.cat(seen).unique(dim=0)) == count


# The authors round δ to whole levels after clipping it to ρ: 2.5 becomes 3 for odd values.


@property_test
@given(st.fractions(1, 20, max_denominator=100), st.integers(0, 2**40))
def test_non_integer_radii_never_exceed_the_bound(levels, seed):
    radius = Radius(levels / 255)
    pixels = make_pixels(2, 6, seed)
    wild = make_rng(2, seed).uniform(3, 6, 6, low=-0.2, high=0.2)
    delta = project(wild, to_images(pixels), radius)
    moved = add_levels(pixels, to_levels(delta, radius)).int() - pixels.int()
    assert int(moved.abs().max()) <= levels


@pytest.mark.parametrize("levels", [2.5, 1.6, 7.65, 0.5])
def test_the_surrogate_trains_on_noise_inside_a_non_integer_radius(levels, attacks):
    method = make_method(
        attack=make_pgd(levels, levels / 4, steps=3),
        adversary=make_pgd(levels / 2, levels / 8, steps=1),
        views=STILL,
    )
    step(method)
    moved = (attacks[1]["images"] - make_images(6)) * 255
    assert float(moved.abs().max()) <= int(levels) + 1e-3
    assert torch.allclose(moved, moved.round(), atol=1e-3)


# The authors leave the model in eval mode, without gradients, when an attack fails.


@pytest.mark.parametrize("failing", ["minimise", "maximise"])
def test_modes_and_flags_are_restored_after_an_exception_in_either_stage(failing, monkeypatch):
    def fail(losses, images, config, goal, rng, start=None):
        if goal == failing:
            raise MemoryError
        return pgd(losses, images, config, goal, rng, start)

    module = make_small_net().train()
    module.body[0].eval()
    module.head.weight.requires_grad_(False)
    flags = flags_of(module)
    for part in ("min_max_min", "stage_one"):
        monkeypatch.setattr(f"unlearn.methods.{part}.pgd", fail)
    with pytest.raises(MemoryError):
        step(make_method(), module)
    assert flags_of(module) == flags
    with pytest.raises(MemoryError), frozen(module):
        raise MemoryError
    assert flags_of(module) == flags


# Algorithm I as printed differentiates the second attack by δu; Eq. 3 maximises over δa.


def test_the_second_attack_moves_the_adversarial_noise_and_not_the_protective_one(attacks):
    method = make_method(views=STILL)
    module = make_small_net().train()
    with counted_calls(module) as calls:
        step(method, module)
    first, second = attacks
    assert (first["goal"], first["config"]) == ("minimise", method.noise.attack)
    assert (second["goal"], second["config"]) == ("maximise", method.adversary)
    assert torch.equal(first["images"], make_images(6))
    protective = to_delta(to_levels(first["delta"], method.bound))
    assert torch.equal(second["images"], first["images"] + protective)
    adversarial = second["delta"]
    assert float(adversarial.abs().max()) <= 4 / 255 + 1e-7
    assert float(adversarial.abs().max()) > 3 / 255
    # The surrogate sees the sum; the protective noise in it is whole and unchanged.
    assert torch.equal(calls[0], make_images(6) + protective + adversarial)


def test_the_second_attack_raises_the_loss_that_the_first_lowered():
    module, images, labels = make_small_net().eval(), make_images(6), make_labels(6)
    method = make_method(views=STILL)
    with counted_calls(module) as calls:
        method.step_losses(module, make_batch(6), CPU)
    delta = noise_of(method, module, images, labels, make_rng(6))
    noisy = images + to_delta(to_levels(delta, method.bound))
    with torch.no_grad():
        clean, lowered, raised = (
            torch.nn.functional.cross_entropy(module(seen), labels, reduction="none")
            for seen in (images, noisy, calls[0])
        )
    assert (lowered < clean).all()
    assert (raised > lowered).all()


# The authors' code ignores its own setting and always starts at random.


def test_the_random_start_setting_of_the_noise_is_respected():
    images, labels = make_images(4), make_labels(4)
    module = make_network().eval()

    def noise(seed, random_start):
        config = make_pgd(8, 2, steps=0, random_start=random_start)
        method, rng = make_method(attack=config), Rng.for_images(seed, torch.arange(4))
        return noise_of(method, module, images, labels, rng)

    assert torch.equal(noise(0, random_start=False), torch.zeros_like(images))
    assert float(noise(0, random_start=True).abs().mean()) > 2 / 255
    assert not torch.equal(noise(0, random_start=True), noise(1, random_start=True))


# The authors' clean batch is another random view than the poisoned one; both passes of the
# surrogate run in train mode, the attacks in eval mode with running statistics.


def test_attacks_run_in_eval_mode_and_the_step_in_train_mode(monkeypatch):
    modes = []
    module = make_small_net().train()
    module.register_forward_pre_hook(lambda module, _: modes.append(module.training))

    def slow(model, precision=None, **_):
        return frozen(model)

    monkeypatch.setattr("unlearn.methods.min_max_min.frozen", slow)
    monkeypatch.setattr("unlearn.methods.stage_one._VIEWS_TOGETHER", 0)
    step(make_method(), module)
    assert modes == [False] * (3 * 2 + 2) + [True] * 2


# Surrogate and victim of the authors' scripts share one seed, and so their first weights.


def test_networks_of_other_seeds_share_no_weights():
    one, other = make_network(seed=0), make_network(seed=1)
    assert not torch.equal(one.body[0].weight, other.body[0].weight)


# The code of REM and SEM clips pictures like that of min-max-min, so that saturated values keep
# their random start; the script that should make SEM for ImageNet makes REM.


@pytest.mark.parametrize("method", [Rem.example(), Sem.example()])
@pytest.mark.parametrize(("level", "inwards"), [(255, -1), (0, 1)])
def test_saturated_pixels_get_live_noise_of_rem_and_sem(method, level, inwards):
    images = to_images(torch.full((4, 3, 8, 8), level, dtype=torch.uint8))
    method = replace(method, attack=make_pgd(8, 2, steps=10), views=STILL)
    noise = [
        to_levels(noise_of(method, make_network().eval(), images, labels, make_rng(4)), EIGHT)
        for labels in (make_labels(4), make_labels(4).flip(0))
    ]
    for levels in noise:
        assert torch.all(levels * inwards >= 0)
        assert float((levels * inwards == 8).float().mean()) > 0.25
    assert float((noise[0] != noise[1]).float().mean()) > 0.3


@pytest.mark.parametrize("size", [8, 32, 224])
def test_sem_attacks_nothing_while_it_makes_noise_and_rem_does(size, attacks):
    images, labels, module = make_images(1, size), make_labels(1), make_small_net().eval()
    for method, steps in ((Sem.example(), {0, 3}), (Rem.example(), {2, 3})):
        attacks.clear()
        noise_of(method, module, images, labels, make_rng(1))
        assert {call["config"].steps for call in attacks} == steps


# EM's loader sets negative noise to 0 and cuts levels off; its loader for ImageNet takes the noise
# of a picture from the place of its class; its training goes on for ever where mistakes stay.


@property_test
@given(st.integers(0, 2**40))
def test_noise_of_both_signs_is_published_and_rounded(seed):
    noise = make_rng(2, seed).uniform(3, 6, 6, low=-float(EIGHT), high=float(EIGHT))
    middle = torch.full(noise.shape, 128, dtype=torch.uint8)
    moved = add_levels(middle, to_levels(noise, EIGHT)).int() - 128
    assert float((moved - 255 * noise).abs().max()) <= 0.5 + 1e-5


def test_pictures_of_one_class_have_noise_of_their_own_unless_they_share_it():
    images, labels = make_images(3), torch.zeros(3, dtype=torch.int64)
    noise = noise_of(Em.example(), make_network(), images, labels, make_rng(3))
    assert len(noise.flatten(1).unique(dim=0)) == 3


def test_a_training_that_keeps_making_mistakes_ends_with_its_schedule():
    class Finished:
        def started(self, state):
            pass

        def stepped(self, state, terms):
            self.steps = state.finished

    watch = Finished()
    method = replace(Em.example().at(Radius.of_levels(0)), enough=Fraction(1, 1000))
    method.fit(make_network(), make_data(8), CPU, watch)
    assert watch.steps == method.schedule.steps


# NTGA's code leaves out the last incomplete batch of held-out pictures, and its pictures beyond the
# last whole block get no noise.


def test_every_held_out_picture_has_a_say_and_every_picture_gets_noise():
    method, data = Ntga.example(), make_data(_TOGETHER + 9)
    block, others = data.pixels[:8], data.pixels[8:]
    held = (block, data.labels[:8], others, data.labels[8:])
    images = to_images(block).requires_grad_()

    def gradient(*held):
        losses = Surroundings(method, *held).losses(images.detach(), data.labels[:8])
        return torch.autograd.grad(losses(images).sum(), images)[0]

    everything, without = gradient(*held), gradient(*held[:2], others[:-1], held[3][:-1])
    assert len(others) % _TOGETHER == 1
    assert not torch.equal(everything.sign(), without.sign())
    assert (everything.flatten(1).abs().amax(dim=1) > 0).all()


# TUE's code stops at a batch of a single class, whose loss is a whole number without gradient;
# MI-UE's adds noise to mirrored pictures that it then gives to pictures as they are.


def test_groups_of_a_single_class_leave_noise_where_it_is():
    noise = make_images(3).requires_grad_()
    (gradient,) = torch.autograd.grad(discriminant(noise, torch.ones(3, dtype=torch.int64)), noise)
    assert torch.equal(gradient, torch.zeros_like(noise))


def test_the_kept_noise_of_a_picture_is_mirrored_with_it():
    method, data, seen = MiUe.example(), make_data(4), []
    method = replace(method, views=Views(pad=0), schedule=Schedule(1, 4), sweeps=1)
    kept = KeptNoise(data, make_images(4, seed=1) / 10, 1, 4, CPU)

    def losses(model, noisy, batch):
        view = method.views(noisy, batch.rng)
        whole = (to_images(data.pixels) + kept.noise)[batch.index]
        mirrored = (view == whole.flip(3)).flatten(1).all(dim=1)
        assert (mirrored | (view == whole).flatten(1).all(dim=1)).all()
        seen.extend(mirrored.tolist())
        return model(view).sum(dim=1)

    kept.train(make_network(), losses, lambda *parts: parts[2], method.schedule, SILENT)
    assert len(seen) == 4
    assert any(seen)
