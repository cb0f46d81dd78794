"""What the command line's tests share: a generator with random weights, and a labelled folder."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.remembering import remembered  # noqa: F401


@pytest.fixture(scope="session")
def tiny_generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained generator file: 3 classes, working size 32."""
    import torch

    from tests.support.making import make_method, make_pgd
    from unlearn.device import select_run
    from unlearn.generators.artefact import NoiseGenerator, header_of
    from unlearn.methods import Spec

    path = tmp_path_factory.mktemp("generator") / "tiny.safetensors"
    method = make_method(attack=make_pgd(8, 1.6, steps=1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = method.build(Spec("resnet-small", 3))
    header = header_of(
        method,
        architecture="resnet-small",
        classes=("a", "b", "c"),
        image_size=32,
        working_size=32,
        name="tiny",
        licence="MIT",
    )
    NoiseGenerator.of(method, module, header, select_run("cpu")).save(path)
    return path


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """A folder of two classes of six small pictures."""
    stream = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        for n in range(6):
            path = tmp_path / "clean" / name / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            small = Image.fromarray(stream.integers(40, 216, (8, 8, 3), np.uint8))
            small.resize((32, 32), Image.Resampling.BICUBIC).save(path)
    return tmp_path / "clean"
