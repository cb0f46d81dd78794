"""Noise kept between visits: where a visit starts, what it leaves, and exact resume."""

import copy
from dataclasses import replace

import pytest
import torch

from tests.support.making import (
    CPU,
    make_labels,
    make_method,
    make_network,
    make_pgd,
    make_pixels,
    make_rng,
    make_small_net,
    make_stripes,
    numbers_of,
    same_numbers,
)
from unlearn.methods import Spec
from unlearn.methods.visits import Visit, no_noise
from unlearn.radius import Radius
from unlearn.tensors import to_delta, to_images, to_levels
from unlearn.training import Schedule
from unlearn.views import Views

RHO = Radius.of_levels(8)
STILL = Views(flip=False, pad=0)
WARM = make_method(
    unlearn=make_pgd(8, 2, steps=1), warm=True, views=STILL, schedule=Schedule(7, 4, 0.05)
)


class Memory:
    """An observer that copies the kept noise at the beginning and after each step."""

    def __init__(self, restore=None, after=None):
        self.restore, self.after, self.kept, self.pictures, self.saved = (
            restore,
            after,
            [],
            [],
            None,
        )

    def started(self, state):
        if self.restore:
            model, optimiser, memory, state.finished = copy.deepcopy(self.restore)
            state.model.load_state_dict(model)
            state.optimiser.load_state_dict(optimiser)
            state.memory["noise"].copy_(memory["noise"])
        self.kept.append(state.memory["noise"].clone())

    def stepped(self, state, terms):
        self.kept.append(state.memory["noise"].clone())
        self.pictures.append(state.pictures.clone())
        if state.finished == self.after:
            states = state.model.state_dict(), state.optimiser.state_dict(), state.memory
            self.saved = (*copy.deepcopy(states), state.finished)


def step(method, module, visit, count=6):
    pixels, labels = make_pixels(count), make_labels(count)
    return method.step_losses(module, pixels, labels, CPU, make_rng(count), visit)


def test_a_visit_changes_the_noise_of_its_own_pictures_within_the_bound():
    watch, data = Memory(), make_stripes(10)
    WARM.fit(make_network(), data, CPU, watch)
    assert not watch.kept[0].any()
    assert watch.kept[0].dtype == torch.int8
    for before, after, pictures in zip(
        watch.kept[:-1], watch.kept[1:], watch.pictures, strict=True
    ):
        changed = (before != after).flatten(1).any(1)
        assert set(changed.nonzero().flatten().tolist()) == set(pictures.tolist())
        assert int((after.int() - before).abs().max()) <= 2  # one step of two levels a visit
    last = watch.kept[-1].int()
    assert int(last.abs().max()) > 2
    assert int(last.abs().max()) <= 8
    noisy = data.pixels.int() + last
    assert int(noisy.min()) >= 0
    assert int(noisy.max()) <= 255


def test_stage_one_starts_where_the_last_visit_ended(attacks):
    module, method = make_small_net().eval(), replace(WARM, unlearn=make_pgd(8, 2, steps=0))
    kept = make_rng(9).integers(9, 3, 8, 8).to(torch.int8) - 4
    pictures = torch.tensor([8, 2, 0, 5, 4, 1])
    before = kept.clone()
    step(method, module, Visit(0, kept, pictures))
    expected = to_levels(attacks[0]["delta"], RHO)
    assert torch.equal(kept[pictures].to(torch.int16), expected)
    room = to_images(make_pixels(6))
    inside = to_delta(before[pictures].to(torch.int16)).clamp(-room, 1 - room)
    assert torch.equal(expected, to_levels(inside, RHO))
    others = torch.tensor([3, 6, 7])
    assert torch.equal(kept[others], before[others])


def test_the_noise_that_is_kept_is_the_noise_the_surrogate_was_trained_on(attacks):
    kept = no_noise(make_stripes(6), RHO, CPU)
    step(WARM, make_small_net().train(), Visit(0, kept, torch.arange(6)))
    moved = (attacks[1]["images"] - to_images(make_pixels(6))) * 255
    assert torch.allclose(moved, kept.float(), atol=1e-3)


def test_visits_go_on_where_fresh_starts_would_begin_again():
    module, kept = make_network().eval(), no_noise(make_stripes(6), RHO, CPU)
    sizes = []
    for number in range(4):
        step(WARM, module, Visit(number, kept, torch.arange(6)))
        sizes.append(int(kept.abs().max()))
    assert sizes == [2, 4, 6, 8]


def test_kept_noise_lies_on_top_of_the_shared_part():
    method = replace(WARM, shared=Radius.of_levels(6))
    module = make_small_net().train()
    module.register_buffer("shared", torch.full((4, 3, 8, 8), 3 / 255))
    kept = no_noise(make_stripes(6), RHO, CPU)
    shared = module.shared[make_labels(6)]
    visit = Visit(0, kept, torch.arange(6))
    assert torch.equal(visit.start(shared), shared)
    visit.keep(torch.full((6, 3, 8, 8), 8 / 255), shared, RHO)
    assert torch.equal(kept, torch.full_like(kept, 5))
    assert torch.allclose(visit.start(shared), torch.tensor(8 / 255))
    step(method, module, visit)
    assert int(kept.abs().max()) <= 8


@pytest.mark.parametrize(("levels", "dtype"), [(127, torch.int8), (128, torch.int16)])
def test_noise_is_kept_in_one_byte_where_one_is_enough(levels, dtype):
    assert no_noise(make_stripes(2), Radius.of_levels(levels), CPU).dtype == dtype


@pytest.mark.parametrize("options", [{}, {"architectures": ("resnet-small",), "averaged": 2}])
@pytest.mark.parametrize("after", [1, 3, 6])
def test_a_resumed_training_equals_an_uninterrupted_one_bit_by_bit(after, options):
    radii = (Radius.of_levels(1), Radius.of_levels(7))
    method, data = replace(WARM, adversary_range=radii, **options), make_stripes(10)

    def fit(watch):
        torch.manual_seed(0)
        module = method.build(Spec("resnet-small", 4, 8))
        method.fit(module, data, CPU, watch)
        return numbers_of(module)

    whole = Memory(after=after)
    expected = fit(whole)
    rest = Memory(restore=whole.saved)
    assert same_numbers(fit(rest), expected)
    assert torch.equal(rest.kept[-1], whole.kept[-1])
    forgetful = (*whole.saved[:2], {"noise": torch.zeros_like(whole.kept[0])}, whole.saved[3])
    assert not same_numbers(fit(Memory(restore=forgetful)), expected)


def test_kept_noise_belongs_to_pictures_and_not_to_their_place_in_a_batch():
    module, data = make_small_net().eval(), make_stripes(6)
    noise = []
    for order in (torch.arange(6), torch.arange(6).flip(0)):
        kept = no_noise(data, RHO, CPU)
        method = replace(WARM, unlearn=make_pgd(8, 2, steps=2))
        rng = make_rng(6)
        rng.keys = rng.keys[order]
        for number in range(2):
            method.step_losses(
                module, data.pixels[order], data.labels[order], CPU, rng, Visit(number, kept, order)
            )
        noise.append(kept)
    assert float((noise[0] != noise[1]).float().mean()) < 0.01


def test_kept_noise_stays_out_of_the_artefact():
    module = WARM.build(Spec("resnet-small", 4, 8))
    names = set(module.state_dict())
    WARM.fit(module, make_stripes(6), CPU, Memory())
    assert set(module.state_dict()) == names == set(make_network().state_dict())
