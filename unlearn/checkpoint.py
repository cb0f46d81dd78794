"""Checkpoints: the state of a training in one safetensors file, for exact resume."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.files.replace import replace_file
from unlearn.training import TrainingState

_KEY = "unlearn-checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """Where the state of one training lies, and the fingerprint of the plan it belongs to."""

    path: Path
    plan: str
    writes: bool = True  # False: another process of the run does

    def save(self, state: TrainingState, notes: dict[str, Any]) -> None:
        """Write weights, momentum, memory, the number of finished steps and JSON notes; atomic."""
        if not self.writes:
            return
        tensors = {f"model.{k}": v for k, v in state.model.state_dict().items()}
        tensors |= {f"memory.{k}": v for k, v in state.memory.items()}
        tensors |= _memories(state)
        head = {
            "plan": self.plan,
            "stage": state.stage,
            "finished": state.finished,
            "notes": notes,
        }
        stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        metadata = {_KEY: json.dumps(head, sort_keys=True)}
        replace_file(self.path, safetensors.torch.save(stored, metadata))

    def restore(self, state: TrainingState) -> dict[str, Any]:
        """Bring state to where it was saved and return the notes; nothing saved leaves it alone.

        Neither does the state of an earlier stage change it. That of a later one finishes it.
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
        notes: dict[str, Any] = head["notes"]
        if head["stage"] >= state.stage:
            prefix = "model."
            saved = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            state.model.load_state_dict(saved)
        if head["stage"] == state.stage:
            _load_memories(state, tensors)
            state.finished = int(head["finished"])
        elif head["stage"] > state.stage:
            state.finished = state.schedule.steps
        return notes


def _parameters(state: TrainingState) -> list[nn.Parameter]:
    """Return what the optimiser moves, in order."""
    return [p for group in state.optimiser.param_groups for p in group["params"]]


def _memories(state: TrainingState) -> dict[str, Tensor]:
    """Return what the optimiser remembers of each parameter, such as momentum."""
    saved = state.optimiser.state
    return {
        f"optimiser.{number}.{name}": memory
        for number, parameter in enumerate(_parameters(state))
        for name, memory in saved.get(parameter, {}).items()
        if memory is not None
    }


def _load_memories(state: TrainingState, tensors: dict[str, Tensor]) -> None:
    """Copy saved tensors into the memory and the optimiser."""
    for name, kept in state.memory.items():
        kept.copy_(tensors[f"memory.{name}"])
    parameters = _parameters(state)
    for key, saved in tensors.items():
        if key.startswith("optimiser."):
            _, number, name = key.split(".", 2)
            parameter = parameters[int(number)]
            like = saved  # Adam's count of steps stays where it counts
            if saved.shape == parameter.shape:
                like = torch.empty_like(parameter).copy_(saved)  # keeps the memory format
            state.optimiser.state[parameter][name] = like
