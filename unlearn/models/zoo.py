"""torchvision's classification networks by name, with their last linear layer taken off."""

import difflib
from dataclasses import dataclass

from torch import nn

from unlearn.errors import UsageProblem
from unlearn.models.classifier import Classifier

_WITHOUT_LINEAR_LAYER = {"squeezenet1_0", "squeezenet1_1"}
_OPTIONS = {"googlenet": {"init_weights": True}, "inception_v3": {"init_weights": True}}
_EXTRA_HEADS = ("aux1", "aux2", "AuxLogits")


@dataclass(frozen=True)
class Body:
    """A network without its heads, how many features it returns, and what the heads were called."""

    network: nn.Module
    feature_count: int
    heads: tuple[str, ...]


def from_zoo(name: str, classes: int) -> Classifier:
    """Return a network of torchvision with fresh weights; raises UsageProblem for other names."""
    body = zoo_body(name)
    return Classifier(body.network, body.feature_count, classes)


def zoo_names() -> set[str]:
    """Return the names of torchvision's networks with a linear head."""
    from torchvision import models

    return set(models.list_models(module=models)) - _WITHOUT_LINEAR_LAYER


def check_zoo_name(name: str) -> None:
    """Raise UsageProblem unless torchvision has a network of this name with a linear head."""
    names = zoo_names()
    if name not in names:
        close = difflib.get_close_matches(name, sorted(names))
        meant = f"; did you mean {' or '.join(close)}?" if close else ""
        raise UsageProblem(f"torchvision has no classifier {name!r} with a linear head{meant}")


def zoo_body(name: str) -> Body:
    """Return a network of torchvision with fresh weights and without its heads."""
    check_zoo_name(name)
    from torchvision import models

    network = models.get_model(name, weights=None, **_OPTIONS.get(name, {}))
    extra = [head for head in _EXTRA_HEADS if hasattr(network, head)]
    for head in extra:
        setattr(network, head, None)
        network.aux_logits = False
    last, layer = [
        (path, layer) for path, layer in network.named_modules() if isinstance(layer, nn.Linear)
    ][-1]
    network.set_submodule(last, nn.Identity())
    return Body(network, layer.in_features, (last, *extra))
