"""The command line of train-generator: what it prints, its JSON, Ctrl-C, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.support.made_pictures import noise_image
from unlearn.cli.app import run
from unlearn.config import to_plain
from unlearn.generators.header import read_header
from unlearn.methods import MinMaxMin
from unlearn.views import Views

QUICK = ["--arch", "resnet-small", "--image-size", "16", "--steps", "4", "--batch-size", "4"]
QUICK += ["--set", "noise.attack.views=1", "--set", "noise.attack.steps=1"]
QUICK += ["--set", "adversary.steps=1"]
QUICK += ["--device", "cpu", "--precision", "fp32"]


@pytest.fixture
def data(tmp_path):
    for k, name in enumerate(("cats", "dogs")):
        for n in range(4):
            path = tmp_path / "data" / name / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise_image((16, 16), 40 + 20 * k + n, 5 * k + n).save(path)
    return tmp_path / "data"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "gen.safetensors"


def test_it_says_what_it_does_and_what_comes_next(data, out, capsys):
    assert run(["train-generator", str(data), "--out", str(out), *QUICK, "-v"]) == 0
    text = capsys.readouterr()
    assert "rho 8/255 · rho-a 4/255 · resnet-small · device cpu (fp32)" in text.err
    assert "8 pictures of 16 px in 2 classes" in text.err
    assert "Labels: 2 classes from folders: cats (4), dogs (4)" in text.err
    assert (
        "Cost: 4 steps, 80 forward+backward passes; with its final noise 14 for each picture"
        in text.err
    )
    assert "left, measured on" not in text.err  # of 4 steps there is nothing to tell
    assert "step 4/4" in text.err
    assert f"Generator    {out}" in text.out
    assert "accuracy on its own clean pictures" in text.out
    protected = f"unlearn protect {data} --out {data}-protected --generator {out}"
    assert f"Next: {protected}" in text.out.splitlines()


def test_the_parts_of_a_data_set_are_trained_and_tried_on(data, out, capsys):
    for part, count in (("Train", 4), ("val", 2)):
        for path in sorted(data.glob("*/*.png"))[:: 4 // count]:
            target = data.parent / "set" / part / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    assert run(["train-generator", str(data.parent / "set"), "--out", str(out), *QUICK]) == 0
    text = capsys.readouterr()
    assert "8 pictures of 16 px in 2 classes, 4 clean test pictures" in text.err
    line = "Labels: 2 classes from folders under Train/ and val/: cats (6), dogs (6)"
    assert line in text.err.splitlines()
    assert "accuracy on unseen clean pictures" in text.out


def test_flat_parts_are_refused_for_training(tmp_path, data, out, capsys):
    (data / "cats").rename(data / "train"), (data / "dogs").rename(data / "test")
    assert run(["train-generator", str(data), "--out", str(out), *QUICK]) == 2
    assert "If they are classes, use --labels folders" in capsys.readouterr().err
    assert not out.exists()
    assert (
        run(["train-generator", str(data), "--out", str(out), *QUICK, "--labels", "folders"]) == 0
    )
    line = "Labels: 2 classes from folders: test (4), train (4)"
    assert line in capsys.readouterr().err.splitlines()


def test_it_says_whether_passes_are_compiled(data, out, capsys, monkeypatch):
    monkeypatch.setattr("torch.compile", lambda function, **_: function)
    line = ["train-generator", str(data), "--out", str(out), *QUICK, "--compile"]
    assert run(line) == 0
    assert "device cpu (fp32, compiled)" in capsys.readouterr().err


def test_json_is_one_object_with_the_curve(data, out, capsys):
    line = ["train-generator", str(data), "--out", str(out), *QUICK, "--json", "--test", str(data)]
    assert run(line) == 0
    text = capsys.readouterr()
    result = json.loads(text.out)
    assert result["generator"] == str(out)
    assert result["curve"]["step"] == [1, 2, 3, 4]
    assert 0 <= result["final"]["clean_test_accuracy"] <= 1


def test_quiet_prints_nothing(data, out, capsys):
    assert run(["train-generator", str(data), "--out", str(out), *QUICK, "-q"]) == 0
    text = capsys.readouterr()
    assert (text.out, text.err) == ("", "")


def test_options_reach_the_artefact(data, out):
    options = ["--rho", "6/255", "--recipe", "paper", "--epochs", "1"]
    settings = ["adversary.radius=0.01", "randomness=squared", "joint=true", "randomness_weight=2"]
    settings += ["noise.views.smallest_crop=0.5", "noise.views.grey=0.25", "final.steps=3"]
    options += [part for setting in settings for part in ("--set", setting)]
    options += ["--name", "mine", "--licence", "CC0", "--working-size", "48"]
    assert run(["train-generator", str(data), "--out", str(out), *QUICK, *options]) == 0
    header = read_header(out)
    assert (header.rho, header.facts, header.name) == ("6/255", {"rho-a": "2.55/255"}, "mine")
    assert (header.licence, header.working_size) == ("CC0", 48)
    config = header.config
    assert config["randomness"] == "squared"
    assert config["joint"] is True
    assert config["noise"]["views"] == to_plain(Views(smallest_crop=0.5, grey=0.25))
    assert config["final"] == config["noise"]["attack"] | {"steps": 3}
    assert config["schedule"]["steps"] == 2


def test_the_recipe_that_is_taken_is_fast(data, out, capsys):
    assert run(["train-generator", str(data), "--out", str(out), *QUICK]) == 0
    assert "with its final noise 14 for each picture" in capsys.readouterr().err  # 4/8 x 4 x 5 + 4
    fast = to_plain(MinMaxMin.recipes()["fast"])
    config = read_header(out).config
    assert config["noise"]["shared"] == fast["noise"]["shared"]
    assert config["schedule"]["shape"] == "cosine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "adversary.radius=8/255"], "rho-a 8/255 must be below rho 8/255"),
        (["--method", "zzz"], "unknown method 'zzz'; choose one of min-max-min"),
        (["--recipe", "zzz"], "min-max-min has no recipe 'zzz'; choose one of paper, fast"),
        (["--rho", "8"], "did you mean 8/255?"),
        (["--arch", "vgg99"], "unknown architecture 'vgg99'; choose one of resnet18"),
        (["--set", "zzz=1"], "min-max-min: unknown field 'zzz'; known: adversary, final"),
        (["--set", "joint"], "'joint' is no setting; write name=value"),
        (["--set", "noise.shared=9"], "did you mean 9/255?"),
        (["--out", "gen.pt"], "a generator is a .safetensors file; name it so"),
    ],
)
def test_wrong_requests_are_one_line_and_exit_code_2(data, out, options, message, capsys):
    assert run(["train-generator", str(data), "--out", str(out), *QUICK, *options]) == 2
    text = capsys.readouterr()
    (line,) = text.err.splitlines()
    assert line.startswith("Error: ")
    assert message in line
    assert not out.exists()


def test_unreadable_pictures_are_named_once(data, out, capsys):
    (data / "cats" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    assert run(["train-generator", str(data), "--out", str(out), *QUICK]) == 0
    assert "Left out: cats/broken.png (" in capsys.readouterr().err


def test_ctrl_c_keeps_the_state_and_the_same_line_goes_on(data, out, capsys, monkeypatch):
    line, steps = ["train-generator", str(data), "--out", str(out), *QUICK], []
    real = MinMaxMin.step_losses

    def interrupted_in_the_second(*given):
        steps.append(given)
        if len(steps) == 2:
            signal.raise_signal(signal.SIGINT)
        return real(*given)

    monkeypatch.setattr(MinMaxMin, "step_losses", interrupted_in_the_second)
    assert run(line) == 130
    said = capsys.readouterr().err
    assert "Error: stopped after step 2" in said
    assert "run the same line again to continue" in said
    assert out.with_suffix(".ckpt").exists()
    assert not out.exists()
    assert run(line) == 0
    assert len(steps) == 4
    assert out.exists()


@pytest.mark.slow
def test_ctrl_c_from_outside_keeps_the_state(data, out):
    line = [sys.executable, "-m", "unlearn", "train-generator", str(data), "--out", str(out)]
    line += [*QUICK, "--steps", "4000"]
    child = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        for text in child.stderr:
            if "measured on the first" in text:
                break
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        rest = child.stderr.read()
        assert child.wait(timeout=240) == 130
    finally:
        child.kill()
        child.stderr.close()
    assert "Error: stopped after step" in rest
    assert "run the same line again to continue" in rest
    assert out.with_suffix(".ckpt").exists()
    assert not out.exists()
