"""Fast frozen copies of classifiers: batch norm folded in, channels_last, bfloat16."""

import copy
import weakref
from typing import Literal, cast

import torch
from torch import Tensor, fx, nn

from unlearn.models.classifier import Classifier

Precision = Literal["fp32", "bf16"]
_DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
_copies: "weakref.WeakKeyDictionary[nn.Module, dict[Precision, Folded]]" = (
    weakref.WeakKeyDictionary()
)


def folded(model: nn.Module, precision: Precision) -> nn.Module:
    """Return the fast copy of a Classifier with its present weights, any other module as it is.

    The graph is traced once for each model and precision; every call copies the weights, which
    costs less than one pass: version counters would miss what fused optimisers write.
    """
    if not isinstance(model, Classifier):
        return model
    copies = _copies.setdefault(model, {})
    if precision not in copies:
        copies[precision] = Folded(model, _DTYPES[precision])
    copies[precision].refresh(model)
    return copies[precision]


class Folded(nn.Module):
    """A frozen classifier in eval mode: images (N, 3, H, W) in [0, 1] -> logits (N, K)."""

    def __init__(self, model: Classifier, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.normalise = model.normalise
        graph = fx.symbolic_trace(copy.deepcopy(model.body).eval())
        self.pairs = _fold_graph(graph)
        self.body = graph.to(dtype=dtype, memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]
        self.head = copy.deepcopy(model.head).float().requires_grad_(False)

    @torch.no_grad()
    def refresh(self, model: Classifier) -> None:
        """Copy the model's weights and statistics, with batch norm folded in."""
        for name, parameter in self.body.named_parameters():
            if name.rpartition(".")[0] not in self.pairs:
                parameter.copy_(model.body.get_parameter(name))
        for name, buffer in self.body.named_buffers():
            buffer.copy_(model.body.get_buffer(name))
        for convolution, norm in self.pairs.items():
            _fold_pair(
                cast(nn.Conv2d, model.body.get_submodule(convolution)),
                cast(nn.BatchNorm2d, model.body.get_submodule(norm)),
                cast(nn.Conv2d, self.body.get_submodule(convolution)),
            )
        self.head.load_state_dict(model.head.state_dict())

    def forward(self, images: Tensor) -> Tensor:
        normalised = self.normalise(images).to(self.dtype, memory_format=torch.channels_last)
        logits: Tensor = self.head(self.body(normalised).float())
        return logits


def _fold_graph(graph: fx.GraphModule) -> dict[str, str]:
    """Take batch norms behind convolutions out of a graph; return {convolution: norm}."""
    modules = dict(graph.named_modules())
    pairs = {}
    for node in list(graph.graph.nodes):
        if node.op != "call_module" or not isinstance(modules[node.target], nn.BatchNorm2d):
            continue
        before = node.args[0]
        is_convolution = before.op == "call_module" and isinstance(
            modules[before.target], nn.Conv2d
        )
        if is_convolution and len(before.users) == 1:
            convolution = modules[before.target]
            convolution.bias = nn.Parameter(torch.zeros(convolution.out_channels))
            pairs[before.target] = node.target
            node.replace_all_uses_with(before)
            graph.graph.erase_node(node)
    graph.graph.lint()
    graph.delete_all_unused_submodules()
    graph.recompile()
    return pairs


def _fold_pair(convolution: nn.Conv2d, norm: nn.BatchNorm2d, into: nn.Conv2d) -> None:
    """Write convolution and norm in eval mode into one convolution with bias."""
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    scale = norm.weight / (variance + norm.eps).sqrt()
    bias = -mean if convolution.bias is None else convolution.bias - mean
    into.weight.copy_(convolution.weight * scale[:, None, None, None])
    cast(Tensor, into.bias).copy_(norm.bias + bias * scale)
