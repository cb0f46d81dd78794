"""Networks of torchvision with weights from ImageNet: fine-tuned whole, or probed with a head.

The one place that may load from the network: torchvision's download, into PyTorch's own cache.
"""

import contextlib
import io
import re
import textwrap
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from torch import Tensor, nn

from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.models.classifier import Classifier, Normalise
from unlearn.models.zoo import Body, check_zoo_name, zoo_body, zoo_names

_FINETUNE, _PROBE = "finetune:", "probe:"
_OLD_NAMES = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")  # in DenseNets' files of 2017


def is_pretrained(name: str) -> bool:
    """Tell whether a network's name asks for pretrained weights (finetune:NAME, probe:NAME)."""
    return name.startswith((_FINETUNE, _PROBE))


def build_pretrained(name: str, classes: int, weights: Path | None, *, offline: bool) -> Classifier:
    """Return a pretrained body with a fresh head: finetune:NAME, or probe:NAME with a frozen body.

    weights is a state dict of torchvision's NAME, .safetensors or .pth; the classes of its head do
    not matter. Without it torchvision downloads its default weights, unless they are cached. For
    names that only this tool has, such as resnet-small, it is a Classifier's, and must be given.
    Raises UsageProblem for names and EnvironmentProblem for weights that cannot be had or used.
    """
    if not is_pretrained(name):
        raise UsageProblem(f"{name!r} is no pretrained network; use finetune:NAME or probe:NAME")
    from unlearn.models import ARCHITECTURES  # imports this module

    zoo_name = name.partition(":")[2]
    own = None if zoo_name in zoo_names() else ARCHITECTURES.get(zoo_name)
    if own:
        return _own(name, own(classes), weights)
    check_zoo_name(zoo_name)
    if weights is None:
        source, state = downloaded(zoo_name, offline=offline)
    else:
        source, state = str(weights), read_weights(weights)
    body = zoo_body(zoo_name)
    _load(body, state, f"{source}: not weights of torchvision's {zoo_name}")
    network = FrozenBody(body.network) if name.startswith(_PROBE) else body.network
    expected = default_weights(zoo_name).transforms()
    normalise = Normalise(expected.mean, expected.std)
    return Classifier(network, body.feature_count, classes, normalise)


def check_weights(name: str, weights: Path | None, *, offline: bool) -> None:
    """Raise what build_pretrained would for this name, but for what a download would meet."""
    if weights is None and not offline and name.partition(":")[2] in zoo_names():
        return
    with torch.random.fork_rng(devices=[]):
        build_pretrained(name, 1, weights, offline=offline)


def _own(name: str, classifier: Classifier, weights: Path | None) -> Classifier:
    """Return a classifier of this tool whose body has weights that the tool trained."""
    if weights is None:
        raise UsageProblem(f"{name}: nobody offers such weights; use --weights FILE")
    state = read_weights(weights)
    for key in [key for key in state if key.startswith("body.")]:
        state[key.removeprefix("body.")] = state.pop(key)
    body = Body(classifier.body, classifier.head.in_features, ("head",))
    _load(body, state, f"{weights}: not weights of {name.partition(':')[2]}")
    if name.startswith(_PROBE):
        classifier.body = FrozenBody(classifier.body)
    return classifier


class FrozenBody(nn.Module):
    """A body that stays in eval mode whatever train() says, without gradients of its weights."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.train()

    def train(self, _mode: bool = True) -> "FrozenBody":  # noqa: FBT001, FBT002 - as in nn.Module
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.network(images))


def default_weights(name: str) -> Any:
    """Return torchvision's default weights of a network, or those that take 224 pixels."""
    from torchvision import models

    choices = models.get_model_weights(name)
    return min([choices.DEFAULT, *choices], key=lambda choice: max(choice.meta["min_size"]) > 224)


def downloaded(name: str, *, offline: bool) -> tuple[str, dict[str, Tensor]]:
    """Return where torchvision's weights come from, and the weights, from cache or network."""
    weights = default_weights(name)
    cached = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    if offline and not cached.exists():
        raise EnvironmentProblem(
            f"{name}: pretrained weights may not be downloaded with --offline; "
            f"fetch {weights.url} and use --weights FILE"
        )
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it announces the download there
            state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # what sockets, disks and damaged files raise has no common class
        raise EnvironmentProblem(
            f"{name}: cannot get pretrained weights from {weights.url} ({_short(error)}); "
            "use --weights FILE"
        ) from error
    return str(weights), state


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict; raises EnvironmentProblem for a file that holds anything else."""
    if not path.is_file():
        raise EnvironmentProblem(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what disks and damaged files raise has no common class
        raise EnvironmentProblem(f"{path}: not weights ({_short(error)})") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise EnvironmentProblem(f"{path}: not weights; use a state dict of tensors alone")
    return state


def _load(body: Body, state: dict[str, Tensor], complaint: str) -> None:
    """Copy weights into a body; those of heads are left out."""
    for key in list(state):
        tensor = state.pop(key)  # changed in place: its versions are an attribute of the dict
        if not key.startswith(tuple(f"{head}." for head in body.heads)):
            state[_OLD_NAMES.sub(r"\1\2", key)] = tensor
        if not torch.isfinite(tensor).all():
            raise EnvironmentProblem(f"{complaint}: {key} holds numbers that are not finite")
    try:
        outcome = body.network.load_state_dict(state, strict=False)
    except (RuntimeError, ValueError) as error:
        raise EnvironmentProblem(f"{complaint}: {_short(error)}") from error
    for trouble, keys in (("lacks", outcome.missing_keys), ("adds", outcome.unexpected_keys)):
        if keys:
            raise EnvironmentProblem(f"{complaint}: it {trouble} {_short(', '.join(keys))}")
    network: Any = body.network
    if hasattr(network, "transform_input"):
        network.transform_input = True  # their weights expect another normalisation


def _short(reason: object) -> str:
    return textwrap.shorten(str(reason), 200, placeholder=" …")
