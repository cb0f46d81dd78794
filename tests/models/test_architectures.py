import functools

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from tests.support.making import (
    count_parameters,
    make_images,
    make_labels,
    make_network,
    make_small_net,
    seeded,
)
from unlearn.errors import UsageProblem
from unlearn.models import ARCHITECTURES, build_classifier, check_architecture, check_picture_size
from unlearn.models.classifier import Classifier, Normalise, channels_last
from unlearn.models.resnet import Block
from unlearn.models.vit import WIDTH, positions
from unlearn.objectives import cross_entropy

PHOTOS_ONLY = {"vgg16-imagenet": 32, "vit-imagenet": 224}  # slow to build; with their least side
SIDES = {"resnet50": 8, "densenet121": 16, "wrn-34-10": 8, "vgg16": 32, **PHOTOS_ONLY}
HEAVY = {"resnet50", "resnet50-imagenet", "wrn-34-10", "densenet121", "densenet121-imagenet"}
HEAVY |= {"resnet18-imagenet", "vgg16"}


def networks(slow, but=()):
    """Parametrise over all networks, those that cost too much for each run marked as slow."""
    names = [name for name in ARCHITECTURES if name not in but]
    marked = [pytest.param(n, marks=pytest.mark.slow) if n in slow else n for n in names]
    return pytest.mark.parametrize("name", marked)


every = networks(slow=())
each = networks(slow=HEAVY | PHOTOS_ONLY.keys())
light = networks(slow=HEAVY | PHOTOS_ONLY.keys() | {"resnet18"})
any_size = networks(slow=HEAVY, but=PHOTOS_ONLY)


@functools.cache
def make_shapes(name, classes):
    """The network without numbers, which costs nothing to build."""
    with torch.device("meta"):
        return build_classifier(name, classes)


def check_outputs(model, images):
    with torch.no_grad():
        logits, features = model(images), model.features(images)
    assert logits.shape == (len(images), model.head.out_features)
    assert features.shape == (len(images), model.head.in_features)
    assert torch.isfinite(logits).all()
    assert torch.equal(model.head(features), logits)


@any_size
def test_a_network_takes_pictures_of_any_size(name):
    model, images = make_network(name, classes=7).eval(), make_images(2, 21)
    for height, width in ((1, 1), (7, 5), (21, 14)):
        check_outputs(model, images[:, :, :height, :width])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), PHOTOS_ONLY.items())
def test_a_network_for_photos_takes_them(name, side):
    check_outputs(make_network(name, classes=7).eval(), make_images(2, side))


@each
def test_a_gradient_reaches_every_parameter(name):
    model = make_network(name).train()
    images = make_images(4, SIDES.get(name, 33))
    cross_entropy(model(images), make_labels(4)).mean().backward()
    for label, parameter in model.named_parameters():
        assert parameter.grad is not None, label
        assert float(parameter.grad.abs().max()) > 0, label


@networks(slow=HEAVY, but=PHOTOS_ONLY)
def test_a_gradient_reaches_every_pixel(name):
    # Or noise there would be wasted. In eval mode: batch norm over one place knows no gradient.
    model = make_network(name).eval()
    images = make_images(1, 9).requires_grad_()
    cross_entropy(model(images), make_labels(1)).sum().backward()
    assert (images.grad != 0).any(dim=1).all()


@light
def test_one_small_step_lowers_the_loss(name):
    side = SIDES.get(name, 33)
    model, images, labels = make_network(name).train(), make_images(8, side), make_labels(8)

    def loss():
        return seeded(lambda: cross_entropy(model(images), labels).mean())  # dropout is random

    before = loss()
    before.backward()
    with torch.no_grad():
        norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
        for parameter in model.parameters():
            parameter.sub_(parameter.grad / norm, alpha=0.01)
        assert loss() < before


@light
def test_weights_come_from_the_global_seed_alone(name):
    one, other, third = make_network(name), make_network(name), make_network(name, seed=1)
    assert all(map(torch.equal, one.parameters(), other.parameters()))
    assert not torch.equal(one.head.weight, third.head.weight)


@networks(slow=HEAVY)
def test_the_number_of_classes_changes_the_head_only(name):
    ten, two = make_shapes(name, 10), make_shapes(name, 2)
    assert count_parameters(ten.body) == count_parameters(two.body)
    assert count_parameters(ten) - count_parameters(two) == 8 * (ten.head.in_features + 1)


SIZES = {
    "resnet18": 11_173_962,  # as in the CIFAR-10 literature
    "resnet18-imagenet": 11_181_642,
    "resnet18-thin": 701_466,
    "resnet-small": 78_042,
    "resnet-small-imagenet": 79_962,
    "resnet-small-imagenet64": 78_042,
    "resnet50": 23_520_842,  # as in the CIFAR-10 literature
    "resnet50-imagenet": 23_528_522,
    "vgg16": 14_728_266,  # as in the CIFAR-10 literature
    "vgg16-imagenet": 134_309_962,
    "densenet121": 6_956_426,  # of the literature, and 128 of the batch norm behind the stem
    "densenet121-imagenet": 6_964_106,
    "wrn-34-10": 46_160_474,  # as in the literature on adversarial training
    "vit": 3_705_354,
    "vit-imagenet": 85_806_346,
}


@every
def test_networks_have_their_known_sizes(name):
    assert count_parameters(make_shapes(name, 10)) == SIZES[name]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shrunk"), [("densenet121", 8), ("densenet121-imagenet", 32)])
def test_the_stems_of_densenet_shrink_pictures_by_what_they_should(name, shrunk):
    body = make_shapes(name, 2).body
    assert body[0](torch.empty(1, 3, 64, 64, device="meta")).shape[-1] == 64 // shrunk


@pytest.mark.parametrize("name", ["vgg16", "densenet121"])
def test_pools_that_keep_a_last_odd_place_change_nothing_on_even_sizes(name):
    model, images = make_network(name).eval(), make_images(1, 32)
    with torch.no_grad():
        before = model(images)
        for layer in model.modules():
            if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
                assert layer.ceil_mode
                layer.ceil_mode = False
        assert torch.equal(model(images), before)


def test_no_two_places_of_the_small_transformer_look_alike():
    embedding = positions(9, 12, torch.device("cpu"))
    assert embedding.shape == (9 * 12, WIDTH)
    distances = torch.cdist(embedding, embedding) + 9 * torch.eye(9 * 12)
    assert float(distances.min()) > 0.5


def test_the_small_transformer_fills_up_with_grey():
    model, images = make_network("vit").eval(), make_images(2, 8)
    images[:, :, :, 5:] = 0.5
    with torch.no_grad():
        assert torch.allclose(model(images), model(images[:, :, :, :5]), atol=1e-6)


def test_normalisation_is_inside_the_network():
    model = make_small_net()
    grey = model.normalise(torch.tensor([0.0, 0.5, 1.0]))
    assert grey.tolist() == [-2, 0, 2]


def test_a_network_may_have_a_normalisation_of_its_own():
    usual = make_small_net()
    own = Classifier(usual.body, 32, 4, Normalise((0.1, 0.2, 0.3), (0.5, 0.25, 1.0)))
    images = torch.full((1, 3, 2, 2), 0.6)
    assert own.normalise(images)[0, :, 0, 0].tolist() == pytest.approx([1.0, 1.6, 0.3])
    assert own.state_dict().keys() == usual.state_dict().keys()


def test_channels_last_changes_the_layout_only():
    model, images = make_small_net().eval(), make_images(2)
    with torch.no_grad():
        before = model(images)
        after = channels_last(model)(images)
    assert torch.allclose(after, before, atol=1e-6)
    weights = [layer.weight for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


def test_unknown_architectures_are_refused_with_the_choices():
    with pytest.raises(UsageProblem) as caught:
        build_classifier("resnet19", 10)
    assert str(caught.value) == (
        f"unknown architecture 'resnet19'; choose one of {', '.join(ARCHITECTURES)}, "
        "or torchvision:NAME; audits also take finetune:NAME and probe:NAME"
    )


@pytest.mark.parametrize("classes", [0, -1])
def test_a_classifier_without_classes_is_refused(classes):
    with pytest.raises(UsageProblem, match=f"at least one class, not {classes}"):
        build_classifier("resnet-small", classes)


@pytest.mark.parametrize("name", [*ARCHITECTURES, "torchvision:resnet34", "probe:vit_b_16"])
def test_a_name_is_checked_without_building_anything(name, monkeypatch):
    monkeypatch.setattr(nn, "Linear", None)
    check_architecture(name)


@pytest.mark.parametrize("name", ["resnet19", "", "torchvision:", "probe:resnet19", "resnet18:x"])
def test_names_of_no_network_are_refused(name):
    with pytest.raises(UsageProblem):
        check_architecture(name)


@pytest.mark.parametrize("name", ["finetune:resnet18", "probe:resnet18"])
def test_networks_that_need_weights_are_not_built_without(name):
    check_architecture(name)
    with pytest.raises(UsageProblem, match=f"{name} needs pretrained weights; only audits"):
        build_classifier(name, 10)


@pytest.mark.parametrize("name", ["resnet18", "vgg16", "vit"])
def test_sizes_that_a_network_takes_pass_the_check(name):
    check_picture_size(name, 1)


@pytest.mark.parametrize(
    ("name", "side", "least"),
    [
        ("vgg16-imagenet", 31, 32),
        ("vit-imagenet", 32, 224),
        ("torchvision:alexnet", 32, 64),
        ("probe:vit_b_32", 225, 224),
    ],
)
def test_sizes_that_a_network_cannot_take_are_refused(name, side, least):
    check_picture_size(name, least)
    with pytest.raises(UsageProblem, match=f"{name} cannot take pictures of {side}x{side}: "):
        check_picture_size(name, side)


def test_networks_that_plan_with_numbers_pass_the_check_of_sizes():
    check_picture_size("torchvision:regnet_x_400mf", 32)


@pytest.mark.parametrize(("inside", "stride"), [(16, 1), (8, 2)])
def test_the_block_of_the_small_networks_is_that_of_torchvision(inside, stride):
    skip = nn.Conv2d(inside, 16, 1, stride) if stride > 1 else None
    theirs, ours = (
        seeded(lambda kind=kind: kind(inside, 16, stride, skip)) for kind in (BasicBlock, Block)
    )
    assert [(k, v.tolist()) for k, v in ours.state_dict().items()] == [
        (k, v.tolist()) for k, v in theirs.state_dict().items()
    ]
    maps = torch.rand(2, inside, 8, 8)
    assert torch.equal(ours(maps), theirs(maps))
