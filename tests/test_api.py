"""The public API: what is offered, what it costs to import, and that it works from anywhere."""

import os
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, assert_type

import pytest
import torch

import unlearn
from unlearn import api
from unlearn.audits.options import AuditOptions
from unlearn.demo.options import DemoOptions
from unlearn.demo.run import demo
from unlearn.generators.options import MethodOptions, TrainOptions
from unlearn.protection import ranks
from unlearn.protection.options import ProtectOptions
from unlearn.verification.options import VerifyOptions

if TYPE_CHECKING:
    from unlearn.protection.manifest import PictureRecord

CHECKOUT = Path(__file__).parents[1]
GUIDE = CHECKOUT / "docs" / "api.md"


def python(*line, cwd=CHECKOUT, **environment):
    """Run Python with this checkout's package and a home of its own."""
    told = os.environ | {"PYTHONPATH": str(CHECKOUT)} | environment
    return subprocess.run(
        [sys.executable, *line],
        cwd=cwd,
        env=told,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def photos(tmp_path):
    demo(DemoOptions(tmp_path / "photos", per_class=1))
    return tmp_path / "photos"


@pytest.fixture
def key(tmp_path):
    (tmp_path / "key").write_bytes(bytes(range(32)))
    return tmp_path / "key"


def test_what_is_offered_is_what_is_there():
    assert dir(unlearn) == sorted(set(unlearn.__all__))
    assert len(dir(unlearn)) == len(unlearn.__all__)
    assert set(unlearn.__all__) == {*unlearn._HOMES, "__version__"}
    for name in unlearn.__all__:
        assert getattr(unlearn, name).__doc__
    assert {"protect", "verify", "audit", "train_generator"} < set(unlearn.__all__)
    assert unlearn.METHODS["min-max-min"] is unlearn.MinMaxMin
    assert unlearn.protect is api.protect


def test_what_is_not_offered_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'unlearn' has no attribute 'protekt'"):
        unlearn.protekt  # noqa: B018


def test_importing_takes_no_time_and_loads_nothing_heavy():
    # Seconds of the processor, and the best of five: other work on the machine changes them little.
    code = (
        "import sys, time; began = time.process_time(); import unlearn; "
        "print(time.process_time() - began < 0.1, {'torch', 'numpy', 'PIL'} & set(sys.modules))"
    )
    assert any(python("-c", code).stdout == "True set()\n" for _ in range(5))


def test_errors_radii_and_the_functions_are_had_without_pytorch():
    names = "unlearn.UnlearnError, unlearn.Radius, unlearn.protect, unlearn.audit"
    done = python("-c", f"import sys, unlearn; {names}; print('torch' in sys.modules)")
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize(
    ("keywords", "kinds", "others"),
    [
        (
            api.ProtectKeywords,
            [ProtectOptions],
            {"inputs", "out", "generator_name", "argv", "merge"},
        ),
        (api.AuditKeywords, [AuditOptions], {"clean", "protected", "command"}),
        (api.TrainKeywords, [MethodOptions, TrainOptions], {"data", "out", "method", "command"}),
    ],
)
def test_the_typed_keywords_are_the_fields_of_the_options(keywords, kinds, others):
    names = {field.name for kind in kinds for field in fields(kind)}
    assert set(keywords.__annotations__) | others == names


def test_the_keywords_of_verify_are_the_fields_of_its_options():
    named = {"rho" if field.name == "radius" else field.name for field in fields(VerifyOptions)}
    assert named - {"max_pixels"} == set(api.verify.__kwdefaults__)


def test_pictures_are_protected_and_verified_without_a_word(photos, key, capfd):
    out = photos.with_name("protected")
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    heard = []
    report = unlearn.protect(
        [photos], out, rho="4/255", key=key, workers=0, preview=0, hear=heard.append
    )
    assert isinstance(report, unlearn.ProtectReport)
    assert (len(report.protected), report.failed, report.exit_code) == (4, (), 0)
    assert len([event for event in heard if type(event).__name__ == "Progress"]) == 4
    found = unlearn.verify(str(photos), out)
    assert isinstance(found, unlearn.VerifyReport)
    assert found.ok
    assert str(found.radius) == "4/255"
    assert unlearn.verify(photos, out, rho=unlearn.Radius.of_levels(4), workers=1, sample=2).ok
    assert not unlearn.verify(photos, out, rho="1/255").ok
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")


def test_errors_are_those_of_the_command_line(tmp_path):
    with pytest.raises(unlearn.UsageProblem, match="There is no file or folder"):
        unlearn.protect([tmp_path / "nothing"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(unlearn.NothingFound):
        unlearn.protect(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(unlearn.UsageProblem, match="did you mean rho"):
        unlearn.protect(tmp_path / "empty", tmp_path / "out", rhoo="8/255")
    assert issubclass(unlearn.NothingFound, unlearn.UnlearnError)


def test_an_interrupted_run_raises_what_ctrl_c_raises(photos, key, monkeypatch):
    def interrupted(options, hear):
        return replace(work(options, hear), interrupted=True)

    work = ranks.protect
    monkeypatch.setattr(ranks, "protect", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unlearn.protect(photos, photos.with_name("out"), key=key, workers=0, dry_run=True)


def test_a_generator_is_trained_by_name_and_by_method(photos, tmp_path):
    out = tmp_path / "lines.safetensors"
    report = unlearn.train_generator(
        photos, out, method="lsp", rho="8/255", image_size=16, device="cpu"
    )
    assert isinstance(report, unlearn.TrainReport)
    assert report.path == out
    assert report.header.command == "unlearn.train_generator"
    generator = unlearn.NoiseGenerator.load(out)
    again = unlearn.train_generator(
        photos, tmp_path / "again.safetensors", method=generator.method, image_size=16, device="cpu"
    )
    assert again.header.config == report.header.config
    with pytest.raises(unlearn.UsageProblem, match="recipe changes a method that is given by its"):
        unlearn.train_generator(photos, out, method=generator.method, recipe="paper")


def test_an_audit_takes_paths_and_raises_what_the_command_would_print(photos, tmp_path):
    with pytest.raises(unlearn.UsageProblem, match="budget: 'slow' is not one of 'quick'"):
        unlearn.audit(photos, budget="slow")
    with pytest.raises(unlearn.UnlearnError):
        unlearn.audit(photos, tmp_path / "nothing", out=tmp_path / "audit")


@pytest.mark.skipif(not GUIDE.is_file(), reason="not run from a checkout")
@pytest.mark.slow
@pytest.mark.parametrize("way", ["a script without a guard", "-c"])
def test_the_guides_example_protects_the_demo_folder_from_any_program(photos, tmp_path, way):
    (example,) = re.findall(r"```python\n(import .*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "script.py").write_text(example, encoding="utf-8")
    line = ("-c", example) if way == "-c" else ("script.py",)
    done = python(*line, cwd=tmp_path, HOME=str(tmp_path), XDG_CONFIG_HOME="")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "4 protected, 0 not\nwithin the bound: True\n"


def test_type_checkers_may_believe_the_types():
    assert (Path(unlearn.__file__).parent / "py.typed").is_file()


if TYPE_CHECKING:  # the gate checks the types of tests; an ignore that is not needed is an error

    def typed() -> None:
        """Use the API as a type checker must see it."""
        report = unlearn.protect(["photos"], out="protected", rho="8/255")
        assert_type(report.failed, tuple[PictureRecord, ...])
        assert_type(unlearn.verify("photos", "protected").ok, bool)
        assert_type(unlearn.audit("photos", rho_a=["0", "4/255"]), unlearn.AuditReport)
        unlearn.protect("photos", "protected", rhoo="8/255")  # type: ignore[call-arg]
        unlearn.protect("photos", "protected", rho=8)  # type: ignore[arg-type]
        unlearn.protekt()  # type: ignore[attr-defined]
