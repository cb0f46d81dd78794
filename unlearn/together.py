"""One work by several processes: how they meet, and how they take the steps of one training.

Of a training each takes its share of every batch, and all have one model. Batches, random streams
and steps are those of one process. What a sum over pictures decides is summed over the processes:
gradients, terms of the loss, statistics of batch norm. So the weights are those of one process but
for the order in which numbers are added.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from typing import Final, TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from unlearn.errors import EnvironmentProblem, UnlearnError, UsageProblem
from unlearn.workers.ranks import Rank, rank_here, restarts

_PATIENCE: Final = timedelta(minutes=30)  # of the others, while the first tries its surrogate
_NO_END: Final = timedelta(days=365)  # what others do before all meet may take so long
_POLL_SECONDS: Final = 0.2
_alone: Final = ContextVar("alone", default=False)

T = TypeVar("T")


@contextmanager
def joined(device: torch.device) -> Iterator[Rank]:
    """Join the other processes of this run, if there are; a run of one needs nothing.

    Raises UsageProblem where no way leads to them, and EnvironmentProblem where one of them is lost
    on the way.
    """
    rank = rank_here()
    if rank is None:
        yield Rank(0, 1, 0)
        return
    try:
        _join(rank, device)
        yield rank
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and not _of_others(error):
            raise
        raise EnvironmentProblem(
            f"rank {rank.number} of {rank.count} lost the others of its run; run the same line "
            "again to go on from the last saved state"
        ) from error
    finally:
        leave()


def _join(rank: Rank, device: torch.device) -> None:
    """Find the other processes; raises UsageProblem where the environment does not say how."""
    # Its functions keep the group that is there when they are first imported, as defaults. Kept
    # so, its threads outlive it, and now and then abort a process that ends.
    import torch.distributed.nn.functional  # noqa: F401

    try:
        store, number, count = next(rendezvous("env://", timeout=_PATIENCE))
        # torchrun keeps its store when it restarts ranks, and with it the addresses of the dead.
        distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=PrefixStore(f"restart-{restarts()}", store),
            rank=number,
            world_size=count,
            timeout=_PATIENCE,
            device_id=device if device.type == "cuda" else None,
        )
    except ValueError as error:
        raise UsageProblem(
            f"rank {rank.number} of {rank.count} cannot find the others: {error}; start all with "
            "torchrun"
        ) from error


def leave() -> None:
    """Leave the other processes; whoever waits for this one learns it at once."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _of_others(error: Exception) -> bool:
    """Tell whether an error of PyTorch speaks of another process."""
    words = ("gloo", "NCCL", "Connection", "peer", "timed out", "ProcessGroup")
    return any(word in str(error) for word in words)


def size() -> int:
    """Return how many processes are joined."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def count() -> int:
    """Return how many processes take the steps of a training."""
    return 1 if _alone.get() else size()


@contextmanager
def alone() -> Iterator[None]:
    """Let this process, joined or not, take the steps of its trainings alone."""
    before = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(before)


def check_alike(fingerprint: str) -> None:
    """Raise UsageProblem unless all processes have the same data and settings."""
    found = gathered(fingerprint)
    other = next((number for number, one in enumerate(found) if one != found[0]), None)
    if other is not None:
        raise UsageProblem(
            f"rank {other} has other data, settings or versions than rank 0; start all with one "
            "line, on the same files"
        )


def gathered(value: T) -> list[T]:
    """Return what each process has, in order of their numbers."""
    found = [value] * size()
    if size() > 1:
        distributed.all_gather_object(found, value)
    return found


def from_first(value: T) -> T:
    """Return what the first process has."""
    held = [value]
    if size() > 1:
        distributed.broadcast_object_list(held)
    return held[0]


def by_first(work: Callable[[], T]) -> T:
    """Do a work in the first process; all return what came of it, or raise its UnlearnError."""
    first = not distributed.is_initialized() or distributed.get_rank() == 0
    found: tuple[T | None, UnlearnError | None] = (None, None)
    try:
        found = (work() if first else None, None)
    except UnlearnError as error:
        found = (None, error)
    result, refusal = from_first(found)
    if refusal is not None:
        raise refusal
    return cast("T", result)


def meet(meanwhile: Callable[[], None]) -> None:
    """Wait, however long it takes, until all processes are here, and do something meanwhile."""
    group = distributed.group.WORLD
    if group is None:
        return
    options = distributed.BarrierOptions()
    options.timeout = _NO_END
    work = group.barrier(options)
    while not work.is_completed():
        meanwhile()
        time.sleep(_POLL_SECONDS)
    work.wait()


def any_of(wanted: bool) -> bool:  # noqa: FBT001 - what is asked
    """Tell whether one of the processes wants something."""
    if count() == 1:
        return wanted
    votes = torch.tensor([float(wanted)], device=_device())
    return bool(summed(votes).item())


def share(index: Tensor) -> Tensor:
    """Return this process's share of a batch; the shares are the batch, without overlap."""
    if count() == 1:
        return index
    return index.tensor_split(count())[distributed.get_rank()]


def summed(gradient: Tensor) -> Tensor:
    """Return the sum of a gradient over all processes."""
    if count() == 1:
        return gradient
    total = gradient.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total


def reduce_step(model: nn.Module, terms: dict[str, Tensor], weight: float) -> dict[str, Tensor]:
    """Sum the gradients of the model over all processes, and the weighted terms of the loss."""
    if count() == 1:
        return terms
    held = [p for p in model.parameters() if p.grad is not None]
    values = torch.stack([term.detach().float() for term in terms.values()]) * weight
    parts = [values, *(p.grad.flatten() for p in held if p.grad is not None)]
    flat = summed(torch.cat(parts))
    reduced, *gradients = flat.split([part.numel() for part in parts])
    for parameter, gradient in zip(held, gradients, strict=True):
        if parameter.grad is not None:
            parameter.grad.copy_(gradient.view_as(parameter))
    return dict(zip(terms, reduced, strict=True))


@contextmanager
def one_batch_norm(model: nn.Module) -> Iterator[None]:
    """Let batch norm see the whole batch of all processes while the model trains.

    PyTorch's SyncBatchNorm has no form for CPUs.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    norms = norms if count() > 1 else []
    for norm in norms:
        norm.__dict__["forward"] = partial(_norm, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.__dict__["forward"]


def _norm(norm: nn.BatchNorm2d, images: Tensor) -> Tensor:
    """Normalise features (N, C, H, W) by the mean and variance over all processes."""
    if not norm.training:
        plain: Tensor = nn.BatchNorm2d.forward(norm, images)
        return plain
    wide = images if images.dtype == torch.float64 else images.float()
    size = wide.new_tensor([wide.numel() // wide.shape[1]])
    total = _total(torch.cat([wide.sum((0, 2, 3)), size]))
    number = total[-1].detach()
    mean = total[:-1] / number
    centred = wide - mean[None, :, None, None]
    variance = _total(centred.square().sum((0, 2, 3))) / number
    with torch.no_grad():
        _remember(norm, mean, variance * number / (number - 1))
    scaled = centred * (variance + norm.eps).rsqrt()[None, :, None, None]
    if norm.affine:
        scaled = scaled * norm.weight[None, :, None, None] + norm.bias[None, :, None, None]
    return scaled.to(images.dtype)


class _Total(torch.autograd.Function):
    """The sum of a tensor over all processes, which each of them sends its gradient through."""

    @staticmethod
    def forward(_context: object, part: Tensor) -> Tensor:
        return summed(part)

    @staticmethod
    def backward(_context: object, gradient: Tensor) -> Tensor:
        return summed(gradient)


def _total(part: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes."""
    total: Tensor = _Total.apply(part)
    return total


def _remember(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics as PyTorch does."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    factor = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), factor)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), factor)


def _device() -> torch.device:
    """Return where the processes meet."""
    return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")
