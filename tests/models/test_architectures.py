import pytest
import torch
from making import make_images, make_labels, make_network, make_small_net
from torch import nn

from unlearn.errors import UsageProblem
from unlearn.models import ARCHITECTURES, build_classifier
from unlearn.models.classifier import channels_last, count_parameters
from unlearn.objectives import cross_entropy

every = pytest.mark.parametrize("name", ARCHITECTURES)


@every
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (33, 21)])
def test_a_network_takes_pictures_of_any_size(name, shape):
    model = make_network(name, classes=7).eval()
    images = make_images(2, 33)[:, :, : shape[0], : shape[1]]
    with torch.no_grad():
        logits, features = model(images), model.features(images)
    assert logits.shape == (2, 7)
    assert features.shape == (2, model.head.in_features)
    assert torch.isfinite(logits).all()
    assert torch.equal(model.head(features), logits)


@every
def test_a_gradient_reaches_every_parameter(name):
    model = make_network(name).train()
    cross_entropy(model(make_images(4, 33)), make_labels(4)).mean().backward()
    for label, parameter in model.named_parameters():
        assert parameter.grad is not None, label
        assert float(parameter.grad.abs().max()) > 0, label


@every
def test_one_small_step_lowers_the_loss(name):
    model, images, labels = make_network(name).train(), make_images(8, 33), make_labels(8)
    before = cross_entropy(model(images), labels).mean()
    before.backward()
    with torch.no_grad():
        norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
        for parameter in model.parameters():
            parameter.sub_(parameter.grad / norm, alpha=0.01)
        assert cross_entropy(model(images), labels).mean() < before


@every
def test_weights_come_from_the_global_seed_alone(name):
    one, other, third = make_network(name), make_network(name), make_network(name, seed=1)
    assert all(map(torch.equal, one.parameters(), other.parameters()))
    assert not torch.equal(one.head.weight, third.head.weight)


@every
def test_the_number_of_classes_changes_the_head_only(name):
    ten, two = make_network(name, classes=10), make_network(name, classes=2)
    assert count_parameters(ten.body) == count_parameters(two.body)
    assert count_parameters(ten) - count_parameters(two) == 8 * (ten.head.in_features + 1)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("resnet18", 11_173_962),  # as in the CIFAR-10 literature
        ("resnet18-imagenet", 11_181_642),
        ("resnet18-thin", 701_466),
        ("resnet-small", 78_042),
    ],
)
def test_networks_have_their_known_sizes(name, weights):
    assert count_parameters(make_network(name, classes=10)) == weights


def test_normalisation_is_inside_the_network():
    model = make_small_net()
    grey = model.normalise(torch.tensor([0.0, 0.5, 1.0]))
    assert grey.tolist() == [-2, 0, 2]


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
        "unknown architecture 'resnet19'; choose one of "
        "resnet18, resnet18-imagenet, resnet18-thin, resnet-small"
    )


@pytest.mark.parametrize("classes", [0, -1])
def test_a_classifier_without_classes_is_refused(classes):
    with pytest.raises(UsageProblem, match=f"at least one class, not {classes}"):
        build_classifier("resnet-small", classes)
