"""What options are described with: how values are read, and that describing costs no PyTorch."""

import subprocess
import sys
from pathlib import Path

import pytest

import unlearn
from unlearn.errors import UsageProblem
from unlearn.options import DEFAULT_RHO, read_bound, read_device
from unlearn.radius import Radius

PACKAGE = Path(unlearn.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("options.py")
)


def test_bounds_leave_room_for_a_step():
    assert read_bound("4/255") == Radius.of_levels(4)
    assert read_bound("8/255") == DEFAULT_RHO
    with pytest.raises(UsageProblem, match="could change"):
        read_bound("0.5/255")
    with pytest.raises(UsageProblem, match="did you mean 8/255"):
        read_bound("8")


def test_devices_are_read_in_any_case():
    assert [read_device(name) for name in ("auto", " CUDA:1 ", "mps")] == ["auto", "cuda:1", "mps"]
    with pytest.raises(UsageProblem, match="'tpu' is not a device"):
        read_device("tpu")


def test_there_are_options_in_every_package_of_commands():
    packages = {module.split(".")[1] for module in MODULES if module.count(".") > 1}
    assert packages == {"audits", "demo", "generators", "previews", "protection", "verification"}


def test_options_load_nothing_heavy():
    code = (
        "import importlib, sys\n"
        "heavy = {'torch', 'torchvision', 'numpy', 'PIL', 'safetensors', 'jinja2', 'typer'}\n"
        f"for module in {MODULES}:\n"
        "    importlib.import_module(module)\n"
        "    assert not heavy & set(sys.modules), (module, heavy & set(sys.modules))\n"
        "print('all light')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "all light\n", done.stderr
