"""NoiseGenerator: a trained method in one safetensors file, and the noise it makes."""

import hashlib
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unlearn.config import from_plain, to_plain
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run, select_run
from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.generators.header import Header, read_header, serialised
from unlearn.methods import METHODS, Method, NoiseMaker, Spec
from unlearn.radius import Radius
from unlearn.rng import Rng, id_of_digest
from unlearn.tensors import to_images
from unlearn.training import SILENT


@dataclass(frozen=True)
class NoiseGenerator:
    """A method, the module that it trained, what makes noise of both, and their header."""

    method: Method
    module: nn.Module
    maker: NoiseMaker
    header: Header
    sha256: str = ""
    run: Run = field(default_factory=select_run)
    _others: dict[Radius, NoiseMaker] = field(default_factory=dict, compare=False, repr=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes it was trained on; classes to protect take their places."""
        return self.header.classes

    @property
    def working_size(self) -> int:
        """The short side in pixels of the grid on which it makes noise."""
        return self.header.working_size

    @property
    def bound(self) -> Radius | None:
        """ρu, the radius of its noise, or None if it keeps no bound of its own."""
        return self.method.bound

    @property
    def by_class(self) -> bool:
        """Whether all pictures of a class carry the same kind of noise."""
        return self.method.needs_labels

    @classmethod
    def of(cls, method: Method, module: nn.Module, header: Header, run: Run) -> Self:
        """Return the generator of a fitted module; what changes in the module later is ignored."""
        return cls(method, module, method.ready(module, run), header, run=run)

    @classmethod
    def load(cls, path: Path, run: Run | None = None) -> Self:
        """Read an artefact; raises EnvironmentProblem for anything but a whole generator."""
        header = read_header(path)
        if header.method not in METHODS:
            raise EnvironmentProblem(
                f"{path}: unknown method {header.method!r}; this unlearn has {', '.join(METHODS)}"
            )
        content, chosen = path.read_bytes(), run or select_run()
        try:
            method: Method = from_plain(METHODS[header.method], header.config, "method")
            module = method.build(Spec(header.architecture, len(header.classes), header.image_size))
            module.load_state_dict(_finite(safetensors.torch.load(content)))
        except (RuntimeError, UsageProblem, safetensors.SafetensorError) as error:
            reason = textwrap.shorten(str(error), 300)  # torch names each tensor on its own line
            raise EnvironmentProblem(
                f"{path}: not a generator this version can use: {reason}"
            ) from error
        maker = method.ready(module.to(chosen.device).eval(), chosen)
        return cls(method, module, maker, header, hashlib.sha256(content).hexdigest(), chosen)

    def save(self, path: Path) -> str:
        """Write the artefact through a temporary file; return its SHA-256."""
        tensors = {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in self.module.state_dict().items()
        }
        return serialised(tensors, self.header, path)

    def at(self, radius: Radius | None) -> NoiseMaker:
        """Return what makes its noise in a ball; None is its own, or none at all."""
        if radius is None or radius == self.bound:
            return self.maker
        if radius not in self._others:
            self._others[radius] = self.method.at(radius).ready(self.module, self.run)
        return self._others[radius]

    def noise_for_picture(
        self,
        pixels: NDArray[np.uint8],
        target: int,
        stream_seed: int,
        content_sha256: str,
        radius: Radius | None = None,
    ) -> NDArray[np.float32]:
        """Return δ (h, w, C) for one picture (h, w, C), C = 1 or 3, drawn towards class `target`.

        In shares of the colour range, |δ| ≤ radius (default: the generator's own). It depends on
        the arguments alone; each picture goes through the network by itself, so neither batch size
        nor order can change it. Threads may call it at the same time. Methods that need no labels
        find the target themselves.
        """
        images = to_images(torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None])
        device = self.run.device
        ids = torch.tensor([id_of_digest(content_sha256)], device=device)
        images, label = images.to(device), torch.tensor([target], device=device)
        maker, rng = self.at(radius), Rng.for_images(stream_seed, ids)
        delta = maker(images, maker.targets(images, label, rng), rng)
        return np.ascontiguousarray(delta[0].permute(1, 2, 0).cpu().numpy())


def _finite(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors; raises UsageProblem for nan, whose noise would be a placebo."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise UsageProblem(f"{name} holds numbers that are not finite")
    return tensors


def header_of(method: Method, *, classes: tuple[str, ...], **fields: object) -> Header:
    """Return a header whose fields on the method are filled in from it.

    One that serves any classes has none: the pictures to protect may have as many as they like.
    """
    return Header(
        method=method.name,
        config=to_plain(method),
        rho=None if method.bound is None else str(method.bound),
        facts=dict(method.facts()),
        classes=() if method.any_classes else classes,
        **fields,  # type: ignore[arg-type]
    )


def generator_from(
    data: LabelledPictures, method: Method, architecture: str, run: Run, **fields: object
) -> NoiseGenerator:
    """Train a method on a set, unwatched, and return its generator; fields go into the header."""
    torch.manual_seed(run.seed)
    module = method.build(Spec(architecture, len(data.classes), data.size))
    method.fit(module, data, run, SILENT)
    header = header_of(
        method,
        classes=data.classes,
        architecture=architecture,
        image_size=data.size,
        working_size=data.size,
        precision=run.precision,
        seed=run.seed,
        data_fingerprint=data.fingerprint,
        data_count=len(data),
        **fields,
    )
    return NoiseGenerator.of(method, module, header, run)
