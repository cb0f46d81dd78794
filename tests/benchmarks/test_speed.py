import json
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn

from tests.benchmarks.speed import floors, measure
from tests.benchmarks.speed.__main__ import main
from tests.benchmarks.speed.agreement import agreements, shares
from tests.benchmarks.speed.measure import Bench, Way, take_turns, turns
from tests.benchmarks.speed.plan import names, plan
from tests.support.making import flags_of, make_network, make_small_net
from unlearn.models import build_classifier

CPU = torch.device("cpu")
ONE = (1, 3, 8, 8)
CONVOLUTION, HEAD = 8 * 8 * 8 * 27, 4 * 32  # of make_small_net at 8x8: outputs x filter


# Floors


def test_a_pass_costs_each_layer_its_products_and_as_many_for_each_gradient():
    network = make_small_net()
    forward = CONVOLUTION + HEAD
    assert floors.attack_operations(network, ONE) == 2 * forward
    # no gradient of the pictures, so the first layer has only that of its weights
    assert floors.training_operations(network, ONE) == 3 * forward - CONVOLUTION
    assert floors.attack_operations(network, (5, 3, 8, 8)) == 5 * 2 * forward


def test_strides_and_groups_are_counted_as_they_multiply():
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
    with floors.counted(layer) as operations:
        layer(torch.zeros(1, 4, 8, 8))
    assert operations.forward == 6 * 4 * 4 * (2 * 9)
    assert operations.backward == operations.forward  # the weights'
    layer(torch.zeros(1, 4, 8, 8))
    assert operations.forward == 6 * 4 * 4 * (2 * 9), "no longer watched"


@pytest.mark.parametrize(
    ("name", "side", "billions"), [("resnet18", 32, 0.56), ("resnet18-imagenet", 224, 1.81)]
)
def test_residual_networks_cost_what_the_literature_says(name, side, billions):
    with torch.device("meta"):
        network = build_classifier(name, 10)
    found = floors.attack_operations(network, (1, 3, side, side))
    assert found / 2e9 == pytest.approx(billions, abs=0.01)


def test_counting_leaves_the_network_as_it_was():
    network = make_small_net().train()
    network.head.weight.requires_grad_(False)
    before = flags_of(network)
    floors.attack_operations(network, ONE)
    assert flags_of(network) == before
    assert network.head.weight.device == CPU


def test_the_rate_is_that_of_the_best_size(monkeypatch):
    seconds = iter([0.5] * 5 + [0.25] * 5)
    monkeypatch.setattr(floors, "seconds_of", lambda work, device: next(seconds))
    assert floors.matmul_rate("fp32", CPU, (8, 4)) == 8**3 / 0.5


def test_a_copy_reads_and_writes_every_byte(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(floors, "_COPIED_BYTES", (50, 300))
    monkeypatch.setattr(floors.time, "perf_counter", lambda: next(clock))
    assert floors.copy_rate() == 600


# Turns


def test_implementations_take_turns_after_a_shorter_warm_up():
    done = []

    def way(name):
        return Way(name, partial(done.append, name), 2, 3, 4, "bf16", lambda: done.append("warm"))

    found = take_turns({"one": way("a"), "two": way("b")}, Bench(CPU, repeats=2))
    assert done == ["warm", "warm", "a", "b", "a", "b"]
    assert [len(record.pop("seconds")) for record in found.values()] == [2, 2]
    expected = {"what": "b", "pictures": 2, "passes": 3, "operations": 4, "precision": "bf16"}
    assert found["two"] == expected


def test_slow_cases_stop_after_the_fewest_turns(monkeypatch):
    monkeypatch.setattr(measure, "PATIENCE_SECONDS", -1.0)
    assert list(turns(2)) == [0, 1]
    assert list(turns(9)) == [0, 1, 2]
    monkeypatch.setattr(measure, "PATIENCE_SECONDS", 60.0)
    assert len(list(turns(9))) == 9


# Agreement


def test_signs_are_shared_of_all_of_the_larger_and_weighted():
    delta, weights = torch.tensor([-1.0, 1, 1, 1]), torch.tensor([1.0, 2, 3, 4])
    assert shares(delta, torch.ones(4), weights) == [0.75, 1.0, 0.9]
    assert shares(delta, -delta, weights) == [0.0, 0.0, 0.0]


def test_a_folded_copy_in_float32_takes_the_plain_step():
    found = agreements(make_network(), torch.rand(4, 3, 8, 8), torch.arange(4))
    assert min(found["fp32"]) > 0.99
    assert 0.5 < found["bf16"][2] <= 1


# The command


def test_the_command_and_its_workers_start_without_pytorch():
    code = (
        "import sys, tests.benchmarks.speed.__main__, tests.benchmarks.speed.stages\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_quick_runs_every_case_and_one_again(tmp_path, capsys):
    out = tmp_path / "results" / "speed"
    line = ["--quick", "--repeats", "1", "--out", str(out)]
    assert main(line) == 0
    journal = out.with_name("speed_cpu.json")
    first = json.loads(journal.read_text())
    assert list(first) == names("cpu")
    for record in first.values():
        assert record["machine"]["torch"] == torch.__version__
        assert record["rates"]["fp32"] > 0
    page = out.with_suffix(".md").read_text()
    assert page in capsys.readouterr().out
    assert "These numbers mean nothing" in page
    assert "Not measured: CUDA." in page
    assert main(["victim", *line]) == 0
    second = json.loads(journal.read_text())
    assert list(second) == list(first)
    same = [name for name in first if first[name] == second[name]]
    assert same == [name for name in first if name != "victim"]


@pytest.mark.slow
def test_quick_writes_nothing_unless_told_where(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["victim", "--quick", "--repeats", "1"]) == 0
    assert not list(tmp_path.iterdir())
    assert "adversarial victim step" in capsys.readouterr().out


def test_unknown_cases_and_devices_are_refused():
    with pytest.raises(SystemExit, match=r"no case 'pgd-32-large' on cpu; there are pgd-32, pgd-2"):
        main(["pgd-32-large"])
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="--device cuda"):
            main(["--device", "cuda"])


def test_full_steps_have_the_published_number_of_pictures():
    cases = plan(Bench(CPU), None, None)
    full = plan(Bench(CPU, full=True), None, None)
    assert {full[name].size.pictures for name in ("generator", "victim")} == {128}
    assert [n for n in cases if cases[n] != full[n]] == ["generator", "victim"]
    cuda = plan(Bench(torch.device("cuda")), None, None)
    assert set(cuda) - set(cases) == {"pgd-32-large"}
    assert cuda["generator"].size == full["generator"].size
