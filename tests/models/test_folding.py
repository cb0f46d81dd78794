import copy
import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from tests.support.making import (
    CPU,
    make_images,
    make_labels,
    make_network,
    make_pgd,
    make_rng,
    make_small_net,
    seeded,
    shake_norms,
)
from unlearn.attack import frozen, pgd
from unlearn.generators.artefact import NoiseGenerator
from unlearn.generators.catalogue import BUNDLED, resolve
from unlearn.models import ARCHITECTURES
from unlearn.models.classifier import Classifier
from unlearn.models.folding import folded
from unlearn.objectives import cross_entropy

LARGE = {"vgg16-imagenet", "vit-imagenet"}
DENSE = {"densenet121", "densenet121-imagenet"}
HEAVY = {"resnet50", "resnet50-imagenet", "resnet18-imagenet", "vgg16", "wrn-34-10", *DENSE, *LARGE}
SIDES = {
    "resnet18-imagenet": 32,
    "resnet50-imagenet": 32,
    "densenet121-imagenet": 32,
    "wrn-34-10": 8,
    "vgg16-imagenet": 32,
    "vit-imagenet": 224,
}
# Where a single place of a small picture is left, nothing averages its rounding out.
SIDES_IN_BF16 = {**SIDES, "resnet18-imagenet": 64, "resnet50-imagenet": 96, "vgg16": 64}


def networks(slow, without=()):
    """Parametrise over networks, those that cost too much for each run marked as slow."""
    names = [name for name in ARCHITECTURES if name not in without]
    marked = [pytest.param(n, marks=pytest.mark.slow) if n in slow else n for n in names]
    return pytest.mark.parametrize("name", marked)


def distance(one, other):
    return float((one - other).norm() / other.norm())


@torch.no_grad()
def logits_of(model, images, precision=None):
    with frozen(model, precision) as network:
        return network(images)


def agrees(model, images, tolerance=1e-4, precision="fp32"):
    return distance(logits_of(model, images, precision), logits_of(model, images)) < tolerance


@networks(slow=HEAVY)
def test_the_folded_copy_agrees_with_its_model_in_fp32(name):
    model, images = make_network(name), make_images(2, SIDES.get(name, 16))
    assert agrees(model, images)
    shake_norms(model)
    assert agrees(model, images)


@torch.no_grad()
def train_norms(model, images):
    """Give batch norms weights of all sizes, and the statistics that pictures leave behind."""
    shake_norms(model)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None  # the mean of all batches, here of one
            norm.reset_running_stats()
    model.train()(images)


def agrees_as_far_as_bf16_goes(model, images):
    """Folding rounds biases too, which costs at most 1.5 times the rounding of autocast here.

    How much autocast rounds is the processor's business: what emulates bfloat16 rounds more often.
    """
    exact = logits_of(model, images)
    with frozen(model) as network, torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        usual = distance(network(images), exact)
    return distance(logits_of(model, images, "bf16"), exact) < max(1e-2, 2.5 * usual)


@networks(slow=HEAVY)
def test_the_folded_copy_agrees_with_its_model_in_bf16(name):
    model, images = make_network(name), make_images(4, SIDES_IN_BF16.get(name, 16))
    assert agrees_as_far_as_bf16_goes(model, images)


@networks(slow={*HEAVY, "resnet18", "vgg16"}, without={"vit", "vit-imagenet"})
def test_the_folded_copy_agrees_on_trained_statistics(name):
    """In bf16, deep random networks enlarge any rounding, to a tenth of the logits at worst."""
    side = SIDES_IN_BF16.get(name, 32)
    model, images = make_network(name), make_images(8, side)
    train_norms(model, make_images(16, side, seed=1))
    assert agrees(model, images)
    assert agrees_as_far_as_bf16_goes(model, images)


def test_the_folded_copy_agrees_on_a_trained_network():
    model, images = NoiseGenerator.load(resolve(BUNDLED), CPU).module, make_images(16, 32)
    assert agrees(model, images)
    assert agrees_as_far_as_bf16_goes(model, images)


@networks(slow=HEAVY)
def test_one_step_on_the_folded_copy_has_the_signs_of_the_model(name):
    side = SIDES.get(name, 16)
    model, images, labels = make_network(name), make_images(4, side), make_labels(4)
    deltas = []
    for precision in (None, "fp32"):
        with frozen(model, precision) as network:
            deltas.append(
                pgd(
                    lambda x, network=network: cross_entropy(network(x), labels),
                    images,
                    make_pgd(8, 8, steps=1, random_start=False),
                    "minimise",
                    make_rng(4),
                )
            )
    assert float((deltas[0] == deltas[1]).float().mean()) >= 0.99


@pytest.mark.parametrize("name", ["resnet18", "resnet-small"])
def test_the_signs_that_bf16_turns_are_those_of_the_smallest_gradients(name):
    model, images, labels = make_network(name), make_images(4, 32), make_labels(4)
    gradients = []
    for precision in (None, "bf16"):
        with frozen(model, precision) as network:
            pictures = images.clone().requires_grad_()
            loss = cross_entropy(network(pictures), labels).sum()
            gradients.append(torch.autograd.grad(loss, pictures)[0])
    exact, fast = gradients
    same, size = exact.sign() == fast.sign(), exact.abs()
    larger = size > size.flatten(1).quantile(0.25, dim=1).view(-1, 1, 1, 1)
    assert float(same.float().mean()) > 0.9
    assert float(same[larger].float().mean()) > 0.98
    assert float((same * size).sum() / size.sum()) > 0.985


def test_the_folded_copy_has_no_batch_norm_behind_a_convolution_left():
    copied = folded(make_network("resnet18").eval(), "fp32")
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in copied.modules())


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_the_folded_copy_computes_in_its_precision_and_answers_in_float32(precision, dtype):
    copied = folded(make_small_net().eval(), precision)
    assert {parameter.dtype for parameter in copied.body.parameters()} == {dtype}
    assert copied(make_images(2)).dtype == torch.float32
    weights = copied.body.get_submodule("0").weight
    assert weights.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_folded_copy_lies_on_the_device_of_its_model(precision):
    copied = folded(make_network().to("meta").eval(), precision)
    assert {tensor.device.type for tensor in copied.state_dict().values()} == {"meta"}


def test_the_copy_is_made_once_and_follows_changed_weights():
    model, images = make_small_net(), make_images(4)
    with frozen(model, "fp32") as first:
        before = first(images)
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.mul_(1.5).add_(0.01)
    with frozen(model, "fp32") as second:
        assert second is first
        assert distance(second(images), before) > 0.01
    assert agrees(model, images)


def test_the_copy_follows_running_statistics():
    model, images = make_small_net(), make_images(4)
    before = logits_of(model, images, "fp32")
    model.train()(make_images(8, seed=1))
    assert distance(logits_of(model, images, "fp32"), before) > 1e-3
    assert agrees(model, images)


def test_the_copy_follows_a_loaded_state():
    model, images = make_small_net(), make_images(4)
    logits_of(model, images, "fp32")
    model.load_state_dict(make_small_net(seed=5).state_dict())
    assert agrees(model, images)


OPTIMISERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.5, momentum=0.9),
    "sgd-foreach": lambda p: torch.optim.SGD(p, 0.5, momentum=0.9, foreach=True),
    "sgd-fused": lambda p: torch.optim.SGD(p, 0.5, momentum=0.9, fused=True),
    "adam-foreach": lambda p: torch.optim.Adam(p, 0.05, foreach=True),
    "adam-fused": lambda p: torch.optim.Adam(p, 0.05, fused=True),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_copy_is_never_stale_after_an_optimiser_step(name):
    model, images, labels = make_small_net(), make_images(8), make_labels(8)
    optimiser = OPTIMISERS[name](model.parameters())
    for _ in range(3):
        before = logits_of(model, images, "fp32")
        optimiser.zero_grad()
        # In eval mode, so that no running statistics change and tell the copy to look.
        cross_entropy(model.eval()(images), labels).mean().backward()
        optimiser.step()
        assert distance(logits_of(model, images, "fp32"), before) > 1e-3
        assert agrees(model, images)


def test_a_copied_model_has_a_fast_copy_of_its_own():
    model, images = make_small_net(), make_images(4)
    logits_of(model, images, "fp32")
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.head.weight.mul_(3)
    assert agrees(other, images)
    assert agrees(model, images)
    assert folded(other.eval(), "fp32") is not folded(model.eval(), "fp32")


def test_a_fast_copy_does_not_keep_its_model_alive():
    model = make_small_net()
    logits_of(model, make_images(1), "fp32")
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


class PreActivation(nn.Module):
    """Batch norms in front of convolutions, behind sums, and behind convolutions used twice."""

    def __init__(self):
        super().__init__()
        self.first_norm = nn.BatchNorm2d(3)
        self.stem = nn.Conv2d(3, 6, 3, padding=1)  # with a bias, and read twice
        self.norm = nn.BatchNorm2d(6)
        self.inner = nn.Conv2d(6, 6, 3, padding=1)  # with a bias, foldable
        self.inner_norm = nn.BatchNorm2d(6)
        self.last_norm = nn.BatchNorm2d(6)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, images):
        stem = self.stem(self.first_norm(images))
        inner = self.inner_norm(self.inner(self.norm(stem).relu()))
        return self.pool(self.last_norm(stem + inner)).flatten(1)


@pytest.fixture
def pre_activation():
    model = seeded(lambda: Classifier(PreActivation(), 6, 4))
    shake_norms(model)
    return model


def test_norms_without_a_convolution_of_their_own_stay_norms(pre_activation):
    assert agrees(pre_activation, make_images(4))
    copied = folded(pre_activation.eval(), "fp32")
    left = [name for name, layer in copied.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    assert left == ["body.first_norm", "body.norm", "body.last_norm"]
    assert agrees(pre_activation, make_images(4), 2e-2, "bf16")


def test_norms_that_stay_norms_follow_their_running_statistics(pre_activation):
    images = make_images(4)
    before = logits_of(pre_activation, images, "fp32")
    shake_norms(pre_activation, seed=1)
    assert distance(logits_of(pre_activation, images, "fp32"), before) > 1e-3
    assert agrees(pre_activation, images)


def test_using_the_copy_leaves_the_model_as_it_is(pre_activation):
    numbers = {name: value.clone() for name, value in pre_activation.state_dict().items()}
    logits_of(pre_activation, make_images(4), "bf16")
    after = pre_activation.state_dict()
    assert all(torch.equal(after[name], value) for name, value in numbers.items())
    assert {value.dtype for value in pre_activation.parameters()} == {torch.float32}


class Odd(nn.Module):
    """What a trace cannot follow, or what must not be folded; each one with its own forward."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.first_norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.second_norm = nn.BatchNorm2d(6)

    def forward(self, images):
        maps = self.first_norm(self.first(images)).relu()
        return self.rest(maps).mean(dim=(2, 3))


class TakesAPath(Odd):
    def rest(self, maps):
        return self.second_norm(self.second(maps)) if maps.sum() > 0 else maps


class CountsPlaces(Odd):
    def rest(self, maps):
        places = torch.linspace(0, 1, maps.shape[-1], device=maps.device)
        return self.second_norm(self.second(maps + places))


class DropsOut(Odd):
    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def rest(self, maps):
        maps = functional.dropout(self.dropout(maps), 0.5, training=self.training)
        return self.second_norm(self.second(maps))


class UsesAConvolutionTwice(Odd):
    def rest(self, maps):
        return self.second_norm(self.second(self.second(maps))) + self.second(maps)


class UsesANormTwice(Odd):
    def rest(self, maps):
        return self.first_norm(self.second(maps))


class SharesWeights(Odd):
    def __init__(self):
        super().__init__()
        self.third = nn.Conv2d(6, 6, 3, padding=1)
        self.third.weight = self.second.weight

    def rest(self, maps):
        return self.second_norm(self.second(maps)) + self.third(maps)


class HoldsATensor(Odd):
    def __init__(self):
        super().__init__()
        self.weights = torch.rand(6, 1, 1)  # no buffer

    def rest(self, maps):
        return self.second_norm(self.second(maps * self.weights))


class CalculatesItsWeights(Odd):
    def __init__(self):
        super().__init__()
        parametrizations.weight_norm(self.second)

    def rest(self, maps):
        return self.second_norm(self.second(maps))


class NormalisesByTheBatch(Odd):
    def __init__(self):
        super().__init__()
        self.second_norm = nn.BatchNorm2d(6, track_running_stats=False)

    def rest(self, maps):
        return self.second_norm(self.second(maps))


class NormalisesOnly(Odd):
    def __init__(self):
        super().__init__()
        self.second_norm = nn.BatchNorm2d(6, affine=False)

    def rest(self, maps):
        return self.second_norm(self.second(maps))


ODD = [
    TakesAPath,
    CountsPlaces,
    DropsOut,
    UsesAConvolutionTwice,
    UsesANormTwice,
    SharesWeights,
    HoldsATensor,
    CalculatesItsWeights,
    NormalisesByTheBatch,
    NormalisesOnly,
]


@pytest.mark.parametrize("body", ODD)
def test_bodies_that_cannot_simply_be_folded_have_a_right_copy_all_the_same(body):
    model, images = seeded(lambda: Classifier(body(), 6, 4)).train(), make_images(4)
    model(make_images(8, seed=1))
    assert agrees(model, images)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5).add_(0.01)
    model(make_images(8, seed=2))
    assert agrees(model, images)
    assert agrees(model, images, 2e-2, "bf16")
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("body", [TakesAPath, SharesWeights, HoldsATensor])
def test_a_body_that_cannot_be_folded_is_copied_and_computes_in_its_precision(body):
    model = seeded(lambda: Classifier(body(), 6, 4)).eval()
    fast, exact = folded(model, "bf16"), folded(model, "fp32")
    assert isinstance(fast.body, body)
    assert 1e-5 < distance(fast(make_images(4)), exact(make_images(4))) < 2e-2
    assert fast(make_images(4)).dtype == torch.float32
    assert not any(parameter.requires_grad for parameter in fast.parameters())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_copy_of_a_body_that_cannot_be_traced_lets_gradients_through(precision):
    model, images = make_network("vit"), make_images(2).requires_grad_()
    with frozen(model, precision) as network:
        network(images).sum().backward()
    assert (images.grad != 0).any(dim=1).all()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_transformer_keeps_its_weights_in_float32_and_its_copy_follows_them():
    model, images = make_network("vit"), make_images(2)
    assert agrees(model, images, 3e-2, "bf16")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.2)
    assert agrees(model, images, 3e-2, "bf16")
    assert {parameter.dtype for parameter in folded(model, "bf16").parameters()} == {torch.float32}
