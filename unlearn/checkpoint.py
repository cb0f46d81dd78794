"""Checkpoints: the state of a training in one safetensors file, for exact resume."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.files.replace import replace_file
from unlearn.training import TrainingState

_KEY = "unlearn-checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """Where the state of one training lies, and the fingerprint of the plan it belongs to."""

    path: Path
    plan: str

    def save(self, state: TrainingState, notes: dict[str, Any]) -> None:
        """Write weights, momentum, memory, the number of finished steps and JSON notes; atomic."""
        tensors = {f"model.{k}": v for k, v in state.model.state_dict().items()}
        tensors |= {f"memory.{k}": v for k, v in state.memory.items()}
        for number, buffer in enumerate(_momenta(state)):
            if buffer is not None:
                tensors[f"momentum.{number}"] = buffer
        head = {"plan": self.plan, "finished": state.finished, "notes": notes}
        stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        metadata = {_KEY: json.dumps(head, sort_keys=True)}
        replace_file(self.path, safetensors.torch.save(stored, metadata))

    def restore(self, state: TrainingState) -> dict[str, Any]:
        """Bring state to where it was saved and return the notes; nothing saved leaves it alone.

        Raises UsageProblem for the state of another plan and EnvironmentProblem for a damaged file.
        """
        if not self.path.exists():
            return {}
        try:
            with safetensors.safe_open(self.path, framework="pt") as file:
                head = json.loads((file.metadata() or {})[_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
            raise EnvironmentProblem(
                f"{self.path}: not a checkpoint; delete it or use --no-resume ({error})"
            ) from error
        if head["plan"] != self.plan:
            raise UsageProblem(
                f"{self.path} belongs to a training with other settings or data; "
                "use --no-resume to start over, or another --out"
            )
        _load(state, tensors)
        state.finished = int(head["finished"])
        notes: dict[str, Any] = head["notes"]
        return notes


def _momenta(state: TrainingState) -> list[Tensor | None]:
    """Return the momentum of each parameter, in order."""
    saved = state.optimiser.state
    return [
        saved[parameter].get("momentum_buffer") if parameter in saved else None
        for group in state.optimiser.param_groups
        for parameter in group["params"]
    ]


def _load(state: TrainingState, tensors: dict[str, Tensor]) -> None:
    """Copy saved tensors into model, memory and optimiser."""
    prefix = "model."
    state.model.load_state_dict(
        {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    )
    for name, kept in state.memory.items():
        kept.copy_(tensors[f"memory.{name}"])
    parameters = [p for group in state.optimiser.param_groups for p in group["params"]]
    for number, parameter in enumerate(parameters):
        buffer = tensors.get(f"momentum.{number}")
        if buffer is not None:
            like = torch.empty_like(parameter).copy_(buffer)  # keeps the memory format
            state.optimiser.state[parameter]["momentum_buffer"] = like
