"""Labelled pictures: a set of equally sized ones in memory, as uint8."""

import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unlearn.errors import UsageProblem
from unlearn.rng import content_ids


@dataclass(frozen=True)
class LabelledPictures:
    """Pixels uint8 (N, 3, S, S), labels int64 (N,) of named classes, and ids of the contents.

    Raises UsageProblem if shapes or labels do not fit together.
    """

    pixels: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    ids: Tensor = field(default_factory=lambda: torch.empty(0))

    def __post_init__(self) -> None:
        if (
            self.pixels.ndim != 4
            or self.pixels.shape[1] != 3
            or len(self.pixels) != len(self.labels)
        ):
            raise UsageProblem(
                f"pixels {tuple(self.pixels.shape)} and labels {tuple(self.labels.shape)} are no "
                "data set"
            )
        for label in (int(self.labels.min()), int(self.labels.max())) if len(self.labels) else ():
            if not 0 <= label < len(self.classes):
                raise UsageProblem(f"label {label} of {len(self.classes)} classes")
        if len(self.ids) != len(self.pixels):
            object.__setattr__(self, "ids", content_ids(self.pixels))

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def size(self) -> int:
        """The side of the pictures in pixels."""
        return int(self.pixels.shape[-1])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of classes, labels and contents, in order."""
        digest = hashlib.sha256("\0".join(self.classes).encode("utf-8", "surrogateescape"))
        digest.update(self.labels.cpu().numpy().tobytes())
        digest.update(self.ids.cpu().numpy().tobytes())
        return digest.hexdigest()

    def to(self, device: torch.device) -> "LabelledPictures":
        """Return the same data on a device."""
        return LabelledPictures(
            self.pixels.to(device), self.labels.to(device), self.classes, self.ids.to(device)
        )

    def subset(self, index: Tensor) -> "LabelledPictures":
        """Return the pictures at index, int64, in its order."""
        return LabelledPictures(
            self.pixels[index], self.labels[index], self.classes, self.ids[index]
        )
