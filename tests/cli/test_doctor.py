"""unlearn doctor: what it finds, and that it finds what is broken."""

import json
import sys
import types

import numpy as np
import pytest
import torch

from unlearn.cli.app import run
from unlearn.doctor import run as workflow
from unlearn.doctor import self_test
from unlearn.doctor.run import doctor
from unlearn.doctor.self_test import Device, made_picture, self_tests
from unlearn.protection.key import load_key

CPU = Device("cpu", "2 cores")
OTHER = Device("cuda:0", "a card", 8 << 30)


def fake(monkeypatch, **noises):
    """Replace loading by generators whose noise each device gives as a function of the call."""
    calls = dict.fromkeys(noises, 0)

    def load(_, device):
        kind = device.partition(":")[0]

        def noise_for_picture(pixels, *_):
            calls[kind] += 1
            return noises[kind](calls[kind]) * np.ones(pixels.shape, np.float32)

        return types.SimpleNamespace(
            working_size=64,
            bound=workflow_radius,
            run=types.SimpleNamespace(device=torch.device(kind)),
            noise_for_picture=noise_for_picture,
        )

    workflow_radius = types.SimpleNamespace(levels=8)
    monkeypatch.setattr(self_test, "_load", load)


def signs(seed, agree=1.0):
    """Return full-strength noise; a share of its signs agrees with that of agree=1."""
    rng = np.random.default_rng(seed)
    sign = np.sign(rng.normal(size=(64, 64, 3)))
    flipped = rng.random((64, 64, 3)) >= agree
    return lambda _: (np.where(flipped, -sign, sign) * 8 / 255).astype(np.float32)


def test_everything_works_here(tiny_generator, capsys):
    assert run(["doctor", "-g", str(tiny_generator)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert lines[-1] == "Everything works."
    assert [line for line in lines if line and not line.startswith(" ")][:5] == [
        "Versions",
        "Devices",
        "Self-test",
        "Formats",
        "Places",
    ]
    assert f"  torch              {torch.__version__.partition('+')[0]}" in captured.out
    assert "works: largest change 8 of 8 levels, repeated exactly" in captured.out


def test_json_has_the_findings(tiny_generator, capsys, monkeypatch, home):
    monkeypatch.setenv("UNLEARN_DEVICE", "cpu")
    assert run(["doctor", "-g", str(tiny_generator), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert told["problems"] == []
    assert told["devices"][0]["name"] == "cpu"
    assert [test["ok"] for test in told["tests"]] == [True] * len(told["devices"])
    assert told["environment"]["UNLEARN_DEVICE"] == "cpu"
    assert told["codecs"].keys() == {"JPEG", "PNG", "WebP", "TIFF", "AVIF", "HEIC"}
    assert {place["name"]: place["writable"] for place in told["places"]} == {
        "key": True,
        "generators": True,
        "state": True,
        "temporary": True,
    }
    assert all(place["free_bytes"] > 0 for place in told["places"])
    assert str(home) in told["places"][0]["path"]


def test_nothing_is_written(tiny_generator, home):
    doctor(str(tiny_generator))
    assert list(home.rglob("*")) == []


def test_the_keys_fingerprint_is_shown_and_the_key_is_not(tiny_generator):
    assert doctor(str(tiny_generator)).key == "none yet; made on first use"
    key = load_key(create=True)
    result = doctor(str(tiny_generator))
    assert result.key == f"fingerprint {key.fingerprint}"
    assert key.secret.hex() not in str(result)


def test_a_broken_key_is_a_problem(tiny_generator, home, capsys):
    load_key(create=True)
    (path,) = home.rglob("key")
    path.write_bytes(b"short")
    assert run(["doctor", "-g", str(tiny_generator)]) == 4
    assert "not a key" in capsys.readouterr().err


def test_a_missing_generator_is_a_problem_with_its_reason(capsys):
    assert run(["doctor", "-g", "portrait", "--json"]) == 4
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert told["ok"] is False
    assert captured.err.startswith('Error: self-test on cpu: generator "portrait"')


def test_a_place_that_cannot_be_written_is_a_problem(tiny_generator, home):
    (home / "config").write_text("a file where the config folder should be")
    result = doctor(str(tiny_generator))
    assert any("cannot write to" in problem for problem in result.problems)


def test_a_missing_codec_and_a_missing_package_are_shown(tiny_generator, monkeypatch, capsys):
    monkeypatch.setattr(workflow.features, "check", lambda name: name != "webp")
    monkeypatch.setattr(workflow, "PACKAGES", ("torch", "no-such-package"))
    assert run(["doctor", "-g", str(tiny_generator)]) == 4
    captured = capsys.readouterr()
    assert "  WebP               MISSING" in captured.out
    assert "  no-such-package    missing" in captured.out
    assert captured.out.splitlines()[-1] == "1 problem"
    assert captured.err == "Error: Pillow has no WebP codec\n"


def test_what_reads_avif_and_heic_is_told_and_its_lack_is_no_problem(monkeypatch):
    def no_package(name):
        raise workflow.PackageNotFoundError(name)

    monkeypatch.setattr(workflow.features, "check", lambda name: name != "avif")
    monkeypatch.setattr(workflow, "version", no_package)
    told = workflow._codecs()
    assert told["AVIF"] == "no, Pillow was built without"
    assert told["HEIC"] == "no, pip install pi-heif"
    assert all(told.values())
    monkeypatch.setattr(workflow, "version", {"pi-heif": "1.2"}.__getitem__)
    assert workflow._codecs()["HEIC"] == "pi-heif 1.2"


def test_pytorch_that_cannot_be_imported_is_a_problem_and_not_a_bug(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert run(["doctor"]) == 4
    captured = capsys.readouterr()
    assert "PyTorch cannot be imported" in captured.err
    assert "Self-test" not in captured.out


def test_other_devices_are_listed_with_their_memory(monkeypatch):
    card = types.SimpleNamespace(name="Card", total_memory=8_000_000_000)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    devices = workflow._devices([])
    assert [device.name for device in devices] == ["cpu", "cuda:0", "mps"]
    assert devices[1].memory_bytes == 8_000_000_000


def test_memory_is_printed(monkeypatch, capsys):
    fake(monkeypatch, cpu=signs(0), cuda=signs(0))
    monkeypatch.setattr(workflow, "_devices", lambda _: (CPU, OTHER))
    assert run(["doctor"]) == 0
    assert "  cuda:0             a card, 8.6 GB" in capsys.readouterr().out


def test_a_device_that_agrees_with_the_cpu_works(monkeypatch):
    fake(monkeypatch, cpu=signs(0), cuda=signs(0, agree=0.9))
    cpu, other = self_tests("base", (CPU, OTHER))
    assert cpu.ok
    assert other.ok
    assert "90% of the signs as on the CPU" in other.detail


@pytest.mark.parametrize(
    ("cpu", "cuda", "complaint"),
    [
        (signs(0), signs(0, agree=0.5), "of the noise has the CPU's sign; use --device cpu"),
        (signs(0), lambda _: np.float32(np.nan), "no numbers"),
        (signs(0), lambda _: np.float32(0), "largest change 0, expected 1 to 8"),
    ],
    ids=["wrong signs", "nan", "zero"],
)
def test_a_device_that_computes_nonsense_is_found(cpu, cuda, complaint, monkeypatch):
    fake(monkeypatch, cpu=cpu, cuda=cuda)
    right, wrong = self_tests("base", (CPU, OTHER))
    assert right.ok
    assert not wrong.ok
    assert complaint in wrong.detail


def test_a_cpu_that_does_not_repeat_itself_is_found(monkeypatch):
    fake(monkeypatch, cpu=lambda call: np.float32(call / 255))
    (test,) = self_tests("base", (CPU,))
    assert not test.ok
    assert "different noise the second time" in test.detail


def test_noise_beyond_the_bound_is_cut_before_it_is_judged(monkeypatch):
    fake(monkeypatch, cpu=lambda _: np.float32(1))
    (test,) = self_tests("base", (CPU,))
    assert test.detail == "largest change 8 of 8 levels, repeated exactly"


def test_the_made_picture_reaches_black_and_white():
    picture = made_picture()
    assert picture.shape == (64, 64, 3)
    assert (picture.min(), picture.max()) == (0, 255)
