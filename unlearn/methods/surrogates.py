"""Several networks in the place of the surrogate: trained in turn, and copied late in training."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from unlearn.attack import frozen
from unlearn.device import Run
from unlearn.models.classifier import Classifier
from unlearn.models.folding import Precision, settled

LATE = 5  # copies are taken in the last fifth of the steps


class Surrogates(nn.Module):
    """Classifiers that are trained in turn, and frozen copies that keep late states of them.

    Every copy holds its own batch statistics, which averaged weights would have to measure anew.
    The logits are the mean of the networks in training.
    """

    def __init__(self, networks: Sequence[Classifier], copies: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        late = [copy.deepcopy(network) for _ in range(copies) for network in networks]
        self.late = nn.ModuleList(late).requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([network(images) for network in self.networks]).mean(dim=0)

    def keepings(self, steps: int) -> dict[int, Callable[[], None]]:
        """Return what to do after which of the steps: take the copies, evenly spread."""
        copies = len(self.late) // len(self.networks)
        return {
            steps - steps // LATE * left // copies: partial(self.keep, copies - left)
            for left in range(1, copies + 1)
        }

    def keep(self, number: int) -> None:
        """Copy the present state of every network into its late copy of a number."""
        first = number * len(self.networks)
        for place, network in enumerate(self.networks, first):
            self.late[place].load_state_dict(network.state_dict())


def on_turn(module: nn.Module, step: int) -> nn.Module:
    """Return the network that a step trains."""
    if not isinstance(module, Surrogates):
        return module
    return module.networks[step % len(module.networks)]


@contextmanager
def all_frozen(module: nn.Module, run: Run) -> Iterator[list[nn.Module]]:
    """Freeze every network that published noise is made against (see frozen)."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(frozen(network, run.precision, compiled=run.compiled))
            for network in _networks(module)
        ]


def all_settled(module: nn.Module, precision: Precision) -> nn.Module:
    """Return a stand-in for a trained module, for all_frozen and for noise, that threads may share.

    Its networks are fast copies that nothing refreshes; all_frozen would do that on every call.
    """
    copies = [settled(cast(Classifier, network), precision) for network in _networks(module)]
    stand_in = copies[0]
    if isinstance(module, Surrogates):
        stand_in = Surrogates(cast(list[Classifier], copies), 0)
    for name, buffer in module.named_buffers(recurse=False):
        stand_in.register_buffer(name, buffer)
    return stand_in.eval().requires_grad_(False)


def _networks(module: nn.Module) -> list[nn.Module]:
    """Return the networks that published noise is made against."""
    return [*module.networks, *module.late] if isinstance(module, Surrogates) else [module]
