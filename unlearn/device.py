"""Run: where and how numbers are computed (device, precision), and the seed they start from."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.models.folding import Precision
from unlearn.workers.ranks import rank_here


@dataclass(frozen=True)
class Run:
    """The surroundings of one computation; nothing in it changes what is asked for.

    compiled lets PyTorch generate code for the passes of attacks (see Folded).
    """

    device: torch.device
    precision: Precision = "fp32"
    seed: int = 0
    compiled: bool = False

    @property
    def words(self) -> str:
        """Device, precision and what is unusual, for people."""
        return f"{self.device} ({self.precision}{', compiled' if self.compiled else ''})"

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Compute the forward pass of a training step in the run's precision."""
        enabled = self.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled):
            yield


def select_run(
    device: str = "auto", precision: str = "auto", seed: int = 0, *, compiled: bool = False
) -> Run:
    """Choose the device (see select_device) and the precision ("auto", "fp32", "bf16").

    Raises EnvironmentProblem for a device that is not there and UsageProblem for an unknown name.
    """
    chosen = select_device(device)
    if precision not in ("auto", "fp32", "bf16"):
        raise UsageProblem(f"unknown precision {precision!r}; choose auto, fp32 or bf16")
    fast = precision == "bf16" or (precision == "auto" and has_fast_bf16(chosen))
    return Run(chosen, "bf16" if fast else "fp32", seed, compiled)


def select_device(name: str) -> torch.device:
    """Return the device called "cpu", "cuda", "cuda:1" or "mps"; "auto" is CUDA if there is one.

    Of several ranks on one machine each gets a CUDA device of its own, as far as there are.
    """
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        rank = rank_here()
        if rank is None:
            return torch.device("cuda")
        return torch.device("cuda", rank.local % torch.cuda.device_count())
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageProblem(
            f"unknown device {name!r}; choose auto, cpu, cuda, cuda:N or mps"
        ) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EnvironmentProblem(
            f"--device {name}: this PyTorch sees {torch.cuda.device_count()} CUDA devices; "
            'see "unlearn doctor", or use --device cpu'
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise EnvironmentProblem(f"--device {name}: not available here; use --device cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageProblem(f"unknown device {name!r}; choose auto, cpu, cuda, cuda:N or mps")
    return device


def has_fast_bf16(device: torch.device) -> bool:
    """Tell whether the device multiplies bfloat16 in hardware; emulating it would be slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        # The library that multiplies may be told to make do with less than the processor has.
        return bool(has and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return False
