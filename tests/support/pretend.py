"""A device without numbers in the place of a GPU, to see where a program copies or waits.

The meta device holds shapes only, so that these tests run anywhere. What is asked of the host while
tensors lie on it (a number, a shape that depends on numbers, a copy to or from the host) is
recorded with the place that asked, and answered with zeros.
"""

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import unlearn
from unlearn import lossy, tensors

DEVICE = torch.device("meta")
_PACKAGE = str(Path(unlearn.__file__).parent)
_aten = torch.ops.aten
_COPIES = (_aten._to_copy, _aten.copy_)
_NUMBERS = (_aten._local_scalar_dense, _aten.equal)
_SHAPES = (
    _aten.nonzero,
    _aten.masked_select,
    _aten._unique,
    _aten._unique2,
    _aten.unique_dim,
    _aten.unique_consecutive,
    _aten.bincount,
    _aten.repeat_interleave,
)
_TABLES = (torch.tensor, torch.asarray, torch.as_tensor, Tensor.new_tensor)
_INDEXING = (_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_)


class Watched(TorchDispatchMode):
    """Records in `seen` whatever would make a GPU wait for the host or the host for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func.overloadpacket
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        pretended = [tensor for tensor in given if tensor.is_meta]
        if packet in _COPIES:
            return self._copied(func, args, kwargs)
        if pretended and any(t.ndim and not t.is_meta for t in given):
            self.note(func, "a tensor of the host among those of the device")
        if packet in _INDEXING and any(t.dtype in (torch.bool, torch.uint8) for t in pretended[1:]):
            self.note(func, "the places where a mask is true")
        if packet in _SHAPES and pretended and kwargs.get("output_size") is None:
            self.note(func, "a shape that depends on numbers")
        if packet in _NUMBERS and pretended:
            self.note(func, "a number of the device is read")
            return torch.zeros((), dtype=pretended[0].dtype).item()
        return func(*args, **kwargs)

    def _copied(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Copy, with zeros for what the device cannot give back."""
        if func.overloadpacket is _aten.copy_:
            into, source = args[0], args[1]
            if into.device != source.device:
                self.note(func, f"from {source.device} to {into.device}")
            return into.zero_() if source.is_meta and not into.is_meta else func(*args, **kwargs)
        source, device = args[0], kwargs.get("device") or args[0].device
        if source.device != device:
            self.note(func, f"from {source.device} to {device}")
        if source.is_meta and device.type != "meta":
            return torch.zeros(source.shape, dtype=kwargs.get("dtype") or source.dtype)
        return func(*args, **kwargs)

    def note(self, func: Any, what: str) -> None:
        """Record what waits, with the place that asked for it."""
        ours = [f for f in traceback.extract_stack() if f.filename.startswith(_PACKAGE)]
        place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "a test"
        self.seen.append(f"{place}: {func}: {what}")


class Tables(TorchFunctionMode):
    """Records tensors that are made for the device from numbers of the host.

    What PyTorch dispatches for them differs from release to release; what is called does not.
    """

    def __init__(self, watch: Watched) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        given = args[1] if func is Tensor.new_tensor else args[0] if args else None
        if func in _TABLES and made.is_meta and not isinstance(given, Tensor):
            self.watch.note(func.__name__, "numbers of the host become a tensor of the device")
        return made


@contextlib.contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """Watch a block; tables made for the device before it are not known in it, nor those after.

    Autocast does not know the device: all it does are casts on a device, which nobody waits for.
    """
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    caches = (tensors.constant, lossy._cosines)
    for cache in caches:
        cache.cache_clear()
    try:
        with Watched() as watch, Tables(watch):
            yield watch
    finally:
        for cache in caches:
            cache.cache_clear()
