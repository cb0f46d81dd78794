from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from tests.benchmarks.speed import naive
from tests.support.making import counted_calls, make_method, make_network, make_pgd

CPU = torch.device("cpu")


class TwoLogits(nn.Module):
    """Logits (w·x, 0): the loss of class 0 falls along w."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, images):
        first = (images * self.weights).flatten(1).sum(1)
        return torch.stack([first, torch.zeros_like(first)], dim=1)


def test_naive_attacks_land_on_the_corner_that_a_linear_loss_asks_for():
    weights = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    images, labels = torch.full((2, 3, 4, 4), 0.5), torch.zeros(2, dtype=torch.int64)
    attack = make_pgd(8, 4, steps=5, views=2)
    for up, sign in ((True, -1), (False, 1)):
        delta = naive.perturbed(TwoLogits(weights), images, labels, attack, naive.unchanged, up=up)
        corner = sign * float(attack.radius) * weights.sign()
        assert torch.allclose(delta, corner.expand_as(delta), atol=1e-6)


def pictures(count, transforms, side=8):
    arrays = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    return naive.Pictures(arrays, torch.arange(count) % 4, naive.transforms.Compose(transforms))


def test_naive_noise_is_made_picture_by_picture_without_gradients_of_weights():
    network, attack = make_network(), make_pgd(8, 2, steps=3)
    stored = pictures(2, [naive.transforms.ToTensor()])
    with counted_calls(network) as calls:
        found = naive.one_by_one(network, stored, naive.view_of(8), attack)
    assert [tuple(call.shape) for call in calls] == [(1, 3, 8, 8)] * 6
    with counted_calls(network) as calls:
        batch = naive.in_a_batch(network, stored, naive.view_of(8), attack)
    assert [tuple(call.shape) for call in calls] == [(2, 3, 8, 8)] * 3
    for delta in (*found, batch):
        assert float(delta.abs().max() * 255) == pytest.approx(8, abs=1e-5)
    assert all(weights.grad is None and weights.requires_grad for weights in network.parameters())


def test_naive_views_are_drawn_for_each_picture():
    torch.manual_seed(0)
    same = torch.rand(1, 3, 16, 16).expand(8, -1, -1, -1)
    for view in (naive.view_of(16), naive.view_of(16, 0.08)):
        views = view(same)
        assert views.shape == same.shape
        assert len({tuple(one.flatten().tolist()) for one in views}) > 4


def test_naive_steps_make_as_many_passes_as_ours_and_train():
    method, attack = make_method(), make_pgd(4, 0.8, steps=3)
    learner = naive.Learner("resnet-small", pictures(4, [naive.transforms.ToTensor()]), CPU)
    ready = learner.batch()
    steps = [
        (method.passes_per_step, partial(naive.generator_step, learner, naive.view_of(8), method)),
        (4, partial(naive.victim_step, learner, attack)),
        (4, partial(naive.victim_step_through_weights, learner, *ready, attack)),
    ]
    for passes, step in steps:
        before = learner.model.head.weight.detach().clone()
        with counted_calls(learner.model) as calls:
            step()
        assert [len(call) for call in calls] == [4] * passes
        assert not torch.equal(learner.model.head.weight, before)
        assert learner.model.training
