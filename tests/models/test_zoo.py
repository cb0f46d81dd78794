import pytest
import torch
from torchvision import models

from tests.support.making import (
    count_parameters,
    make_images,
    make_labels,
    make_network,
    seeded,
)
from tests.support.sweeps import few
from unlearn.errors import UsageProblem
from unlearn.models import build_classifier
from unlearn.models.zoo import check_zoo_name
from unlearn.objectives import cross_entropy

FAMILIES = [
    "alexnet",
    "convnext_tiny",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "mobilenet_v3_small",
    "resnext50_32x4d",
    "swin_t",
    "vgg11",
    "vit_b_32",
]


@pytest.mark.parametrize("name", few(FAMILIES, "resnext50_32x4d", "vit_b_32"))
def test_a_network_of_torchvision_is_a_body_and_a_head(name):
    with torch.device("meta"):
        model = build_classifier(f"torchvision:{name}", 7).train()
        images = torch.empty(2, 3, 224, 224)
        logits, features = model(images), model.features(images)
    assert logits.shape == (2, 7)
    assert features.shape == (2, model.head.in_features)


def test_networks_that_plan_with_numbers_are_built_too():
    model = make_network("torchvision:regnet_y_400mf", classes=7).eval()
    with torch.no_grad():
        assert model(make_images(2, 32)).shape == (2, 7)


def test_a_network_of_torchvision_is_the_one_of_our_own_name():
    own, theirs = make_network("resnet18-imagenet"), make_network("torchvision:resnet18")
    assert count_parameters(own) == count_parameters(theirs)
    photos = seeded(lambda: models.shufflenet_v2_x0_5(num_classes=4)).eval()
    model = make_network("torchvision:shufflenet_v2_x0_5").eval()
    model.body.load_state_dict(photos.state_dict(), strict=False)
    model.head.load_state_dict(photos.fc.state_dict())
    images = make_images(2, 32)
    with torch.no_grad():
        assert torch.equal(model(images), photos((images - 0.5) / 0.25))


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "googlenet"])
def test_a_gradient_reaches_every_parameter(name):
    model = make_network(f"torchvision:{name}").train()
    cross_entropy(model(make_images(4, 64)), make_labels(4)).mean().backward()
    for label, parameter in model.named_parameters():
        assert parameter.grad is not None, label
        assert float(parameter.grad.abs().max()) > 0, label


def test_every_classifier_of_torchvision_has_its_name():
    for name in models.list_models(module=models):
        if not name.startswith("squeezenet"):
            check_zoo_name(name)


def test_networks_without_a_linear_layer_are_refused():
    with pytest.raises(UsageProblem, match="no classifier 'squeezenet1_1' with a linear head"):
        check_zoo_name("squeezenet1_1")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet19", "; did you mean resnet18 or resnet152 or resnet101?"),
        ("fasterrcnn_resnet50_fpn", ""),
        ("quantized_resnet18", "; did you mean resnet18?"),
        ("", ""),
    ],
)
def test_unknown_names_are_refused_with_what_is_close(name, hint):
    with pytest.raises(UsageProblem) as caught:
        build_classifier(f"torchvision:{name}", 10)
    assert str(caught.value) == f"torchvision has no classifier {name!r} with a linear head{hint}"
