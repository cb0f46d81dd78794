"""Fast frozen copies of classifiers: batch norm folded in, channels_last, bfloat16."""

import copy
import itertools
import weakref
from collections import Counter
from collections.abc import Callable
from textwrap import shorten
from typing import Literal, cast

import torch
from torch import Tensor, fx, nn

from unlearn.errors import EnvironmentProblem
from unlearn.models.classifier import Classifier, channels_last

Precision = Literal["fp32", "bf16"]
_DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
_copies: "weakref.WeakKeyDictionary[nn.Module, dict[tuple[Precision, bool], Folded]]" = (
    weakref.WeakKeyDictionary()
)


def folded(model: nn.Module, precision: Precision, *, compiled: bool = False) -> nn.Module:
    """Return the fast copy of a Classifier with its present weights, any other module as it is.

    The graph is traced once for each model and precision; every call copies the weights, which
    costs less than one pass: version counters would miss what fused optimisers write.
    """
    if not isinstance(model, Classifier):
        return model
    copies, kind = _copies.setdefault(model, {}), (precision, compiled)
    if kind not in copies:
        copies[kind] = Folded(model, _DTYPES[precision], compiled=compiled)
    copies[kind].refresh(model)
    return copies[kind]


def settled(model: Classifier, precision: Precision, *, compiled: bool = False) -> "Folded":
    """Return a fast copy of its own that stays as the model is now; threads may share it."""
    copied = Folded(model, _DTYPES[precision], compiled=compiled)
    copied.refresh(model)
    copied.eval()
    return copied


class Folded(nn.Module):
    """A frozen classifier in eval mode: images (N, 3, H, W) in [0, 1] -> logits (N, K).

    A body that cannot be traced, or has no batch norm to fold, is copied as it is with its weights
    in float32. Autocast chooses the precision of layers that are not in it already. Compiled, the
    first shape that gradients are asked for runs as generated code, on CUDA as one graph; other
    shapes, and passes without gradients, run as they are. Raises EnvironmentProblem where nothing
    can be compiled.
    """

    def __init__(self, model: Classifier, dtype: torch.dtype, *, compiled: bool = False) -> None:
        super().__init__()
        self.dtype = dtype
        self.normalise = model.normalise
        body: nn.Module = copy.deepcopy(model.body).eval()
        graph = _traced(body)
        self.pairs = _fold_graph(graph) if graph else {}
        self.inner_dtype = dtype if self.pairs else torch.float32
        if graph and self.pairs:
            body = _cast(graph, dtype)
        self.body = channels_last(body).requires_grad_(False)
        self.head = copy.deepcopy(model.head).float().requires_grad_(False)
        self._shape: torch.Size | None = None  # what the compiled body was compiled for
        self._compiled = _compiled(self.body) if compiled else None

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

    def features(self, images: Tensor) -> Tensor:
        """Return the pooled features float32 (N, F) that the head reads."""
        normalised = self.normalise(images).to(self.inner_dtype, memory_format=torch.channels_last)
        fast = self.dtype != torch.float32
        with torch.autocast(images.device.type, self.dtype, enabled=fast):
            features: Tensor = self._body_for(normalised)(normalised)
        return features.float()

    def _body_for(self, normalised: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the compiled body for its own shape, the plain one for all others."""
        if self._compiled is None or not normalised.requires_grad:
            return self.body
        self._shape = self._shape or normalised.shape
        return self._generated if normalised.shape == self._shape else self.body

    def _generated(self, normalised: Tensor) -> Tensor:
        """Run the compiled body, which PyTorch compiles now if this is its first call."""
        try:
            features = cast(Callable[[Tensor], Tensor], self._compiled)(normalised)
            return features.clone()  # a graph's next run writes its results into the same place
        except RuntimeError as error:
            if not type(error).__module__.startswith("torch._"):
                raise  # no failure of the compiler, but of the pass itself
            raise EnvironmentProblem(
                f"--compile: PyTorch cannot compile for {normalised.device} here; leave it out, or "
                f"install a C++ compiler, for CUDA also Triton ({shorten(str(error), 160)})"
            ) from error

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


def _compiled(body: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the body as PyTorch compiles it at its first call, which takes seconds to minutes."""
    on_cuda = any(parameter.is_cuda for parameter in body.parameters())
    compiled: Callable[[Tensor], Tensor] = torch.compile(
        body.forward, dynamic=False, mode="reduce-overhead" if on_cuda else None
    )
    return compiled


def _traced(body: nn.Module) -> fx.GraphModule | None:
    """Return the body as a graph, or None where a graph or folding in it could be wrong."""
    try:
        graph = fx.symbolic_trace(body)
    except (TypeError, ValueError, RuntimeError, AttributeError, NotImplementedError):
        return None  # its path depends on numbers that a trace does not know
    own, traced = (
        dict(itertools.chain(module.named_parameters(), module.named_buffers()))
        for module in (body, graph)
    )
    named = sum(1 for _ in body.named_parameters(remove_duplicate=False))
    is_shared = named > sum(1 for _ in body.parameters())
    return None if is_shared or traced.keys() - own.keys() else graph


def _cast(graph: fx.GraphModule, dtype: torch.dtype) -> nn.Module:
    """Bring a graph to a precision, all but the batch norms left: these calculate in float32."""
    graph.to(dtype)
    for layer in graph.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.float()
    return graph


def _fold_graph(graph: fx.GraphModule) -> dict[str, str]:
    """Take batch norms behind convolutions out of a graph; return {convolution: norm}."""
    modules = dict(graph.named_modules())
    uses = Counter(node.target for node in graph.graph.nodes if node.op == "call_module")
    pairs = {}
    for node in list(graph.graph.nodes):
        if node.op != "call_module" or not node.all_input_nodes:
            continue
        before, norm = node.all_input_nodes[0], modules[node.target]
        convolution = modules.get(str(before.target)) if before.op == "call_module" else None
        if _can_fold(convolution, norm) and len(before.users) == uses[before.target] == 1:
            _give_bias(cast(nn.Conv2d, convolution))
            pairs[before.target] = node.target
            node.replace_all_uses_with(before)
            graph.graph.erase_node(node)
    graph.graph.lint()
    graph.delete_all_unused_submodules()
    graph.recompile()
    return pairs


def _can_fold(convolution: nn.Module | None, norm: nn.Module) -> bool:
    """Tell whether both are the plain layers; subclasses may calculate their weights."""
    is_plain = type(convolution) is nn.Conv2d and type(norm) is nn.BatchNorm2d
    return is_plain and bool(norm.affine) and bool(norm.track_running_stats)


def _give_bias(convolution: nn.Conv2d) -> None:
    convolution.bias = nn.Parameter(
        torch.zeros(convolution.out_channels, device=convolution.weight.device)
    )


def _fold_pair(convolution: nn.Conv2d, norm: nn.BatchNorm2d, into: nn.Conv2d) -> None:
    """Write convolution and norm in eval mode into one convolution with bias."""
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    scale = norm.weight / (variance + norm.eps).sqrt()
    bias = -mean if convolution.bias is None else convolution.bias - mean
    into.weight.copy_(convolution.weight * scale[:, None, None, None])
    cast(Tensor, into.bias).copy_(norm.bias + bias * scale)
