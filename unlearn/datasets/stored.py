"""Cache: a labelled set on disk, mapped into memory by every process that reads it."""

import json
from pathlib import Path

import safetensors
import safetensors.torch

from unlearn.datasets.labelled import LabelledPictures
from unlearn.files.places import check_space
from unlearn.files.replace import replace_file


def store(data: LabelledPictures, path: Path) -> None:
    """Write a set as one file, through a temporary one; raises EnvironmentProblem without room."""
    check_space(stored_bytes(data), path.parent)
    tensors = {"pixels": data.pixels, "labels": data.labels, "ids": data.ids}
    whole = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    replace_file(path, safetensors.torch.save(whole, {"classes": json.dumps(data.classes)}))


def load(path: Path) -> LabelledPictures:
    """Return a stored set; its pixels stay on disk until they are read."""
    with safetensors.safe_open(path, framework="pt") as file:
        classes = tuple(json.loads(file.metadata()["classes"]))
        pixels, labels, ids = (file.get_tensor(name) for name in ("pixels", "labels", "ids"))
    return LabelledPictures(pixels, labels, classes, ids)


def stored_bytes(data: LabelledPictures) -> int:
    """Return about how many bytes a set takes on disk."""
    return data.pixels.numel() + 16 * len(data) + 4096
