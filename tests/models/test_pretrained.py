import pickle
import re
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import safetensors.torch
import torch
from torchvision import models
from torchvision.transforms.functional import normalize

from tests.support.making import (
    flags_of,
    make_data,
    make_images,
    make_labels,
    make_rng,
    numbers_of,
    seeded,
)
from unlearn.attack import frozen
from unlearn.device import select_run
from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.generators.artefact import generator_from
from unlearn.methods import METHODS
from unlearn.models import check_architecture, check_picture_size, pretrained
from unlearn.models.folding import folded
from unlearn.models.pretrained import build_pretrained, default_weights
from unlearn.objectives import cross_entropy

NAME = "shufflenet_v2_x0_5"
URL = "https://download.pytorch.org/models/small-12345678.pth"


def normalised(images):
    return normalize(images, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def original():
    """torchvision's network with weights that nobody else has."""
    network = seeded(lambda: models.shufflenet_v2_x0_5(num_classes=9), seed=3).train()
    with torch.no_grad():
        network(make_images(8, 32))  # statistics of its own
    return network.eval()


@pytest.fixture(params=["weights.safetensors", "weights.pth"])
def weights(request, original, tmp_path):
    path = tmp_path / request.param
    if path.suffix == ".pth":
        torch.save(original.state_dict(), path)
    else:
        safetensors.torch.save_file(original.state_dict(), path)
    return path


@pytest.fixture
def one_file(original, tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(original.state_dict(), path)
    return path


def build(name=f"finetune:{NAME}", weights=None, offline=True, classes=4):
    return seeded(lambda: build_pretrained(name, classes, weights, offline=offline))


def failure(problem=EnvironmentProblem, **arguments):
    with pytest.raises(problem) as caught:
        build(**arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Weights from a file


@pytest.mark.parametrize("kind", ["finetune", "probe"])
def test_weights_from_a_file_make_the_body_and_the_head_is_fresh(kind, weights, original):
    model, images = build(f"{kind}:{NAME}", weights).eval(), make_images(2, 32)
    assert model.head.out_features == 4
    with torch.no_grad():
        assert torch.allclose(
            original.fc(model.features(images)), original(normalised(images)), atol=1e-5
        )


def test_a_fine_tuned_network_learns_everywhere(one_file):
    model = build(weights=one_file).train()
    cross_entropy(model(make_images(4, 64)), make_labels(4)).mean().backward()
    assert all(float(p.grad.abs().max()) > 0 for p in model.parameters())
    assert all(module.training for module in model.modules())


def test_a_file_of_another_network_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"conv1.weight": torch.zeros(3), "more": torch.zeros(1)}, path)
    start = f"{path}: not weights of torchvision's {NAME}: "
    assert failure(weights=path).startswith(start)
    safetensors.torch.save_file({"more": torch.zeros(1)}, path)
    assert failure(weights=path).startswith(f"{start}it lacks conv1.0.weight, conv1.1.weight, ")


def test_a_file_with_more_or_broken_numbers_is_refused(original, tmp_path):
    path, state = tmp_path / "weights.safetensors", dict(original.state_dict())
    safetensors.torch.save_file({**state, "more": torch.zeros(1)}, path)
    assert failure(weights=path).endswith(f"not weights of torchvision's {NAME}: it adds more")
    state["conv1.1.bias"] = torch.full((24,), torch.nan)
    safetensors.torch.save_file(state, path)
    assert failure(weights=path).endswith("conv1.1.bias holds numbers that are not finite")


def test_a_file_with_weights_of_other_shapes_is_refused(original, tmp_path):
    path, state = tmp_path / "weights.safetensors", dict(original.state_dict())
    state["conv1.1.bias"] = torch.zeros(7)
    safetensors.torch.save_file(state, path)
    text = failure(weights=path)
    assert text.startswith(f"{path}: not weights of torchvision's {NAME}: ")
    assert "conv1.1.bias" in text


class Opens:
    """A pickle that makes a file where it is loaded without care."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_file_that_could_run_code_is_refused_and_does_not_run_it(tmp_path):
    path, traces = tmp_path / "weights.pth", tmp_path / "traces"
    torch.save({"conv1.0.weight": Opens(traces)}, path)
    assert failure(weights=path).startswith(f"{path}: not weights (")
    path.write_bytes(pickle.dumps(Opens(traces)))
    assert failure(weights=path).startswith(f"{path}: not weights (")
    assert not traces.exists()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights", b"\x00" * 64, b"PK\x03\x04 half a zip"])
def test_a_damaged_file_is_refused(suffix, content, tmp_path):
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    assert failure(weights=path).startswith(f"{path}: not weights (")


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"state_dict": {"conv1": torch.zeros(1)}}])
def test_a_file_of_anything_but_tensors_is_refused(content, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    assert failure(weights=path) == f"{path}: not weights; use a state dict of tensors alone"


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_missing_file_is_named(suffix, tmp_path):
    path = tmp_path / f"weights.{suffix}"
    assert failure(weights=path) == f"{path}: no such file"


# Names


def test_names_are_checked_before_anything_is_loaded(tmp_path):
    missing = tmp_path / "none.pth"
    text = failure(UsageProblem, name="probe:resnet19", weights=missing)
    assert text.startswith("torchvision has no classifier 'resnet19'")
    text = failure(UsageProblem, name="resnet18", weights=missing)
    assert text == "'resnet18' is no pretrained network; use finetune:NAME or probe:NAME"


# Weights from torchvision


@pytest.fixture
def download(monkeypatch, tmp_path):
    """torchvision's weights without a network: state and error say what getting them does."""
    usual = models.ResNet18_Weights.DEFAULT.transforms
    fake = SimpleNamespace(url=URL, transforms=usual, state=None, error=None, calls=[])

    def get_state_dict(**options):
        fake.calls.append(options)
        print("Downloading")
        if fake.error:
            raise fake.error
        return fake.state

    fake.get_state_dict = get_state_dict
    monkeypatch.setattr(pretrained, "default_weights", lambda _name: fake)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return fake


def test_without_a_file_torchvision_gets_the_weights_in_silence(download, original, capsys):
    download.state = original.state_dict()
    model, images = build(offline=False).eval(), make_images(2, 32)
    assert download.calls == [{"progress": False, "check_hash": True, "weights_only": True}]
    with torch.no_grad():
        features = model.features(images)
        assert torch.allclose(original.fc(features), original(normalised(images)), atol=1e-5)
    assert capsys.readouterr().out == ""


def test_offline_nothing_is_downloaded(download):
    assert failure() == (
        f"{NAME}: pretrained weights may not be downloaded with --offline; "
        f"fetch {URL} and use --weights FILE"
    )
    assert download.calls == []


def test_offline_takes_what_was_downloaded_before(download, original, tmp_path):
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / "small-12345678.pth").touch()
    download.state = original.state_dict()
    build()
    assert len(download.calls) == 1


@pytest.mark.parametrize(
    "error", [URLError("no route"), RuntimeError("invalid hash value"), OSError(28, "disk full")]
)
def test_a_failed_download_says_what_to_do(download, error):
    download.error = error
    assert failure(offline=False) == (
        f"{NAME}: cannot get pretrained weights from {URL} ({error}); use --weights FILE"
    )


def test_a_file_needs_no_download(download, one_file):
    build(weights=one_file, offline=False)
    assert download.calls == []


def test_a_network_gets_the_normalisation_that_its_weights_expect(download, original):
    download.state = original.state_dict()
    download.transforms = models.EfficientNet_V2_L_Weights.DEFAULT.transforms
    model = build(offline=False)
    grey = model.normalise(torch.full((1, 3, 1, 1), 0.75))
    assert grey.flatten().tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("resnet50", models.ResNet50_Weights.IMAGENET1K_V2),
        ("vit_h_14", models.ViT_H_14_Weights.IMAGENET1K_SWAG_LINEAR_V1),  # the default needs 518
        ("swin_v2_t", models.Swin_V2_T_Weights.IMAGENET1K_V1),  # made for 256, take 224
    ],
)
def test_weights_are_the_default_ones_that_take_pictures_of_224_pixels(name, weights):
    assert default_weights(name) is weights


def test_every_network_has_weights():
    for name in models.list_models(module=models):
        assert default_weights(name).url.startswith("https://download.pytorch.org/models/")


@pytest.mark.slow
def test_the_old_names_in_the_files_of_densenets_are_understood(download):
    network = seeded(lambda: models.densenet121(num_classes=3)).eval()
    download.state = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2", key): tensor
        for key, tensor in network.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in download.state
    model, images = build("finetune:densenet121", offline=False).eval(), make_images(1, 32)
    with torch.no_grad():
        features = model.features(images)
        assert torch.allclose(network.classifier(features), network(normalised(images)), atol=1e-5)


def test_networks_with_extra_heads_and_a_normalisation_of_their_own_are_understood(download):
    network = seeded(
        lambda: models.googlenet(num_classes=3, init_weights=False, transform_input=True)
    ).eval()
    download.state = network.state_dict()
    model, images = build("probe:googlenet", offline=False).eval(), make_images(1, 32)
    with torch.no_grad():
        features = model.features(images)
        assert torch.allclose(network.fc(features), network(normalised(images)), atol=1e-5)


# Probes


@pytest.fixture
def probe(one_file):
    return build(f"probe:{NAME}", one_file)


def test_the_body_of_a_probe_stays_as_it_is_while_its_head_learns(probe):
    before = numbers_of(probe)
    optimiser = torch.optim.SGD(probe.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        cross_entropy(probe.train()(make_images(8, 32)), make_labels(8)).mean().backward()
        optimiser.step()
    changed = {name for name, value in probe.state_dict().items() if (value != before[name]).any()}
    assert changed == {"head.weight", "head.bias"}


@pytest.mark.parametrize("mode", [True, False])
def test_the_body_of_a_probe_stays_in_eval_mode(probe, mode):
    assert probe.train(mode) is probe
    assert probe.training is probe.head.training is mode
    assert not any(module.training for module in probe.body.modules())
    assert not any(parameter.requires_grad for parameter in probe.body.parameters())
    assert all(parameter.requires_grad for parameter in probe.head.parameters())


@pytest.mark.parametrize("precision", [None, "fp32", "bf16"])
def test_freezing_a_probe_for_an_attack_restores_its_flags(probe, precision):
    flags, images = flags_of(probe.train()), make_images(2, 32).requires_grad_()
    with frozen(probe, precision) as network:
        network(images).sum().backward()
    assert flags_of(probe) == flags
    assert (images.grad != 0).any()


def test_the_fast_copy_of_a_probe_follows_its_head(probe):
    images = make_rng(2).uniform(3, 32, 32)
    with torch.no_grad():
        probe.head.weight.add_(0.1)
        assert torch.allclose(folded(probe.eval(), "fp32")(images), probe(images), atol=1e-4)


@pytest.fixture
def own_weights(tmp_path):
    """The artefact of a plainly trained resnet-small, as `tap` leaves one."""
    data = make_data(8, size=16)
    generator = generator_from(data, METHODS["tap"].example(), "resnet-small", select_run("cpu"))
    path = tmp_path / "cifar.safetensors"
    generator.save(path)
    return path, generator.module


@pytest.mark.parametrize("kind", ["finetune", "probe"])
def test_a_network_of_the_tool_begins_with_weights_that_it_trained(kind, own_weights):
    path, trained = own_weights
    check_architecture(f"{kind}:resnet-small")
    check_picture_size(f"{kind}:resnet-small", 64)
    model, images = build(f"{kind}:resnet-small", path, classes=3).eval(), make_images(2, 32)
    trained = trained.float().eval()
    assert torch.allclose(model.features(images), trained.features(images), atol=1e-6)
    assert model(images).shape == (2, 3)
    assert any(p.requires_grad for p in model.body.parameters()) == (kind == "finetune")


def test_a_network_of_the_tool_needs_a_file_of_its_own_kind(own_weights, weights):
    text = failure(UsageProblem, name="finetune:resnet-small", weights=None)
    assert text == "finetune:resnet-small: nobody offers such weights; use --weights FILE"
    path, _ = own_weights
    assert "not weights of resnet18-thin: " in failure(name="probe:resnet18-thin", weights=path)
    assert "not weights of resnet-small: " in failure(name="finetune:resnet-small", weights=weights)


def test_a_name_that_torchvision_has_too_stays_torchvisions():
    with pytest.raises(UsageProblem, match="torchvision has no classifier"):
        check_architecture("finetune:resnet-tiny")
    check_architecture("finetune:resnet18")
