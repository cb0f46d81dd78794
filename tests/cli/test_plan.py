"""`--plan`: what a run costs, said before it and without it; only a rate is kept."""

import json
import shutil
import tarfile

import pytest

from tests.support.protecting import make_photos, tree
from unlearn.cli.app import run
from unlearn.cli.console import folded
from unlearn.files.pace import remember

FEW = [f"{n}.png" for n in range(6)]
TRAIN = ["--arch", "resnet-small", "--image-size", "16", "--steps", "4", "--batch-size", "4"]
TRAIN += ["--set", "noise.attack.views=1", "--set", "noise.attack.steps=1"]
TRAIN += ["--set", "adversary.steps=1", "--device", "cpu", "--precision", "fp32"]
AUDIT = ["--epochs", "1", "--batch-size", "4", "--rho-a", "0", "--device", "cpu", "--workers", "0"]
AUDIT += ["--precision", "fp32", "--countermeasures", "none"]


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The system's folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def line(tmp_path, tiny_generator):
    make_photos(tmp_path / "photos", FEW)
    out = tmp_path / "protected"
    places = [str(tmp_path / "photos"), "--out", str(out), "-g", str(tiny_generator)]
    return ["protect", *places, "--workers", "0", "--device", "cpu"]


def planned(capsys, *line):
    capsys.readouterr()
    assert run([*map(str, line), "--plan", "--json"]) == 0
    return json.loads(capsys.readouterr().out)["plan"]


def stored(home):
    return json.loads((home / "state/unlearn/pace.json").read_bytes())


def test_protecting_is_tried_once_and_leaves_a_rate_and_nothing_else(
    line, tmp_path, home, temporary, capsys
):
    before = tree(tmp_path)
    assert run([*line, "--plan", "--deadline", "8h"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Plan         6 pictures to protect, 0.0 megapixels; nothing was written"
    assert lines[1] == "Passes       6 forward and backward, of one picture"
    assert lines[2].startswith("Here         about ")
    assert lines[2].endswith(" s, from a trial of 6 of them")
    assert "by arithmetic: " in lines[3]
    assert lines[4] == "In 8 h       1 machine like this one, or 1 H100"
    assert all(len(part) <= 60 for text in lines for part in folded(text, 60, 13).splitlines())
    assert tree(tmp_path) == before
    assert list(tree(home)) == ["state/unlearn/pace.json"]
    first = stored(home)
    assert planned(capsys, *line)["known_by"] == "at the rate last measured here"
    assert stored(home) == first


def test_a_plan_is_linear_in_pictures_and_counts_those_that_are_left(line, tmp_path, home, capsys):
    planned(capsys, *line)
    (kind,) = stored(home)
    remember(kind, 50.0)
    six = planned(capsys, *line)
    for n in range(6):
        shutil.copy(tmp_path / "photos" / f"{n}.png", tmp_path / "photos" / f"again{n}.png")
    twelve = planned(capsys, *line)
    assert twelve["passes"] == 2 * six["passes"]
    assert twelve["flops"] == pytest.approx(2 * six["flops"])
    rounded = pytest.approx(2 * six["seconds"], abs=0.002)  # said to the millisecond
    assert twelve["seconds"] == rounded
    assert run(line) == 0
    left = planned(capsys, *line, "--deadline", "1s")
    assert (left["seconds"], left["passes"], left["machines"]) == (0, 0, 1)
    assert left["work"].startswith("0 pictures")


def test_a_plan_has_the_rate_of_the_run_before_it(line, home, capsys):
    planned(capsys, *line)
    (kind,) = stored(home)
    remember(kind, 50.0)
    assert planned(capsys, *line)["seconds"] == pytest.approx(50 * (6 * 0.1), rel=0.05)
    assert run([*line, "--plan", "--quiet"]) == 0


def test_too_few_pictures_to_try_are_said_to_be(line, tmp_path, home, capsys):
    for n in range(3):
        (tmp_path / "photos" / f"{n}.png").unlink()
    assert run([*line, "--plan", "--deadline", "8h"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "Here         not known, no run here yet, and a trial needs 4 pictures"
    assert lines[4] == "In 8 h       how many machines like this one is not known, or 1 H100"
    assert tree(home) == {}


def test_pictures_in_a_tar_are_tried_as_those_in_a_folder(line, tmp_path, home, capsys):
    with tarfile.open(tmp_path / "shards.tar", "w") as tar:
        for name in FEW:
            tar.add(tmp_path / "photos" / name, name)
    line[1] = str(tmp_path / "shards.tar")
    found = planned(capsys, *line)
    assert found["work"] == "6 pictures to protect, 0.0 megapixels"
    assert found["known_by"] == "from a trial of 6 of them"
    assert list(tree(home)) == ["state/unlearn/pace.json"]


def test_a_training_is_planned_at_the_rate_of_the_last_one_like_it(clean, tmp_path, home, capsys):
    line = ["train-generator", str(clean), "--out", str(tmp_path / "gen.safetensors"), *TRAIN]
    found = planned(capsys, *line, "--deadline", "1s")
    assert found["work"] == "4 steps on 12 pictures of 16 px"
    assert found["known_by"] == "from a trial of one step"
    assert found["passes"] == 80
    (kind,) = stored(home)
    assert list(tree(home)) == ["state/unlearn/pace.json"]
    assert set(tree(tmp_path)) == {f"clean/{c}/{n}.png" for c in ("cats", "dogs") for n in range(6)}
    longer = planned(capsys, *line, "--steps", "40")
    assert longer["passes"] == 800
    assert longer["seconds"] == pytest.approx(10 * found["seconds"], rel=0.05, abs=0.01)
    remember(kind, 50.0)
    assert run(line) == 0
    assert stored(home).keys() == {kind}
    assert stored(home)[kind] < 50
    assert planned(capsys, *line)["known_by"] == "at the rate last measured here"


def test_what_trains_no_network_costs_nothing(clean, tmp_path, home, capsys):
    line = ["train-generator", str(clean), "--out", str(tmp_path / "gen.safetensors")]
    assert run([*line, "--method", "motifs", "--plan", "--deadline", "1h"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "Here         about 1 s, no network is trained"
    assert lines[3:] == [
        "An H100      no help: there are no passes",
        "In 1 h       1 machine like this one",
    ]
    assert tree(home) == {}


def test_an_audit_s_victims_are_planned_as_it_counts_them(
    clean, tmp_path, home, tiny_generator, capsys
):
    line = ["audit", str(clean), "--out", str(tmp_path / "report"), "-g", str(tiny_generator)]
    before = tree(tmp_path)
    assert run([*line, *AUDIT, "--plan", "--deadline", "8h"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Plan         4 victims on 10 pictures; nothing was written"
    assert lines[1] == "Passes       32 forward and backward, of one picture"
    assert lines[-1] == "Not counted  making the copies; see protect --plan"
    assert tree(tmp_path) == before
    assert tree(home) == {}
    ten = planned(capsys, *line, *AUDIT, "--epochs", "10")
    assert ten["passes"] == 320
    assert run([*line, *AUDIT]) == 0
    assert "Cost: 32 forward+backward passes" in capsys.readouterr().err
    known = planned(capsys, *line, *AUDIT)
    assert known["known_by"] == "from a trial of one step and the last audit here"


@pytest.mark.parametrize("command", ["protect", "audit", "train-generator"])
def test_of_several_ranks_only_the_first_plans(
    clean, tmp_path, home, tiny_generator, monkeypatch, capsys, command
):
    out = tmp_path / "out.safetensors"
    more = {"protect": ["-g", str(tiny_generator)], "audit": AUDIT, "train-generator": TRAIN}
    line = [command, str(clean), "--out", str(out), *more[command], "--plan"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert run([*line, "--json"]) == 0
    assert tuple(capsys.readouterr()) == ("", "")
    assert tree(home) == {}  # nothing was tried
    monkeypatch.setenv("RANK", "0")
    assert run(line) == 0
    assert capsys.readouterr().out.startswith("Plan         ")
    assert [path.name for path in tmp_path.iterdir()] == ["clean"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--deadline", "8h"], "--deadline belongs to --plan"),
        (["--plan", "--deadline", "soon"], "is no duration"),
        (["--plan", "--compare", "motifs"], "leave out --compare"),
    ],
)
def test_what_cannot_be_planned_is_one_line(clean, more, said, capsys):
    assert run(["audit", str(clean), *more]) == 2
    assert said in capsys.readouterr().err
