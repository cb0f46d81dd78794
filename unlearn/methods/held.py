"""What an artefact holds of its training pictures: as many rows as there were pictures to hold."""

from collections.abc import Mapping

from torch import Tensor, nn


def with_room(module: nn.Module, **empty: Tensor) -> nn.Module:
    """Give a module buffers without rows, which a loaded state fills with as many as it has."""
    for name, tensor in empty.items():
        module.register_buffer(name, tensor)

    def make_room(loading: nn.Module, state: Mapping[str, Tensor], prefix: str, *_: object) -> None:
        for name, tensor in empty.items():
            if prefix + name in state:
                rows = len(state[prefix + name])
                loading.register_buffer(name, tensor.new_empty(rows, *tensor.shape[1:]))

    module.register_load_state_dict_pre_hook(make_room)
    return module


def keep(module: nn.Module, **tensors: Tensor) -> None:
    """Put tensors where with_room made room for them."""
    for name, tensor in tensors.items():
        module.register_buffer(name, tensor.detach().clone())
