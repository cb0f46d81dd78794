"""The record of what must not change tells every change, and takes no part of the package along."""

import ast
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks import same

BEFORE = {
    "about": {"python": "3.11.7", "versions": {"torch": "2.14.1"}},
    "sections": {
        "help": {"unlearn demo": "Usage: demo\n --seed  Seed\n --force  Force\n"},
        "protect-demo": {"default": {"outputs": {"a/1.png": "00ff", "a/2.png": "11ff"}}},
        "train-fast": {
            "header": {"classes": ["cat", "dog"], "seed": 3, "averaged": 1, "curve": {}}
        },
    },
}


def compared(tmp_path, after, *more):
    """Return the exit code of a comparison of `BEFORE` with another record."""
    paths = [tmp_path / name for name in ("before.json", "after.json")]
    for path, content in zip(paths, (BEFORE, after), strict=True):
        path.write_text(json.dumps(content))
    return same.main(["compare", *map(str, paths), *more])


@pytest.fixture
def after():
    return json.loads(json.dumps(BEFORE))


def test_equal_records_do_not_differ(tmp_path, after, capsys):
    assert compared(tmp_path, after) == 0
    assert capsys.readouterr().out.splitlines() == [
        "help: same (1 values)",
        "protect-demo: same (2 values)",
        "train-fast: same (5 values)",
        "Nothing differs.",
    ]


def test_every_difference_is_named(tmp_path, after, capsys):
    outputs = after["sections"]["protect-demo"]["default"]["outputs"]
    outputs["a/1.png"] = "00fe"
    outputs["a/3.png"] = outputs.pop("a/2.png")
    header = after["sections"]["train-fast"]["header"]
    header["classes"].append("emu")
    header["averaged"] = True
    header["curve"] = None
    assert compared(tmp_path, after) == 1
    assert capsys.readouterr().out.splitlines() == [
        "help: same (1 values)",
        'protect-demo: default/outputs/a/1.png: "00ff" -> "00fe"',
        'protect-demo: default/outputs/a/2.png: gone (was "11ff")',
        'protect-demo: default/outputs/a/3.png: new ("11ff")',
        "train-fast: header/averaged: 1 -> true",
        "train-fast: header/curve: {} -> null",
        'train-fast: header/classes/2: new ("emu")',
        "6 differences.",
    ]


def test_of_a_text_the_changed_lines_are_shown(tmp_path, after, capsys):
    after["sections"]["help"]["unlearn demo"] = "Usage: demo\n --seed  Seed\n --force  Replace\n"
    assert compared(tmp_path, after, "--only", "help") == 1
    assert capsys.readouterr().out.splitlines() == [
        "help: unlearn demo: other lines",
        "    @@ -3 +3 @@",
        "    - --force  Force",
        "    + --force  Replace",
        "1 difference.",
    ]


def test_versions_are_a_note_and_no_difference(tmp_path, after, capsys):
    after["about"]["versions"]["torch"] = "2.15.0"
    assert compared(tmp_path, after) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == 'note: versions/torch: "2.14.1" -> "2.15.0"'


def test_what_was_not_recorded_differs(tmp_path, after, capsys):
    del after["sections"]["help"]
    after["sections"]["train-fast"] = {"failed": "no space"}
    after["sections"]["verify"] = {"exit_code": 0}
    assert compared(tmp_path, after) == 1
    assert capsys.readouterr().out.splitlines() == [
        "help: recorded in the first only",
        "protect-demo: same (2 values)",
        "train-fast: failed while it was recorded, so nothing is known",
        "verify: recorded in the second only",
        "3 differences.",
    ]
    assert compared(tmp_path, after, "--only", "protect-demo") == 0
    assert compared(tmp_path, after, "--only", "audit-folders") == 1
    assert "audit-folders: recorded in neither" in capsys.readouterr().out


def test_a_section_that_fails_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    def broken(_place):
        raise RuntimeError("unlearn demo: exit 4")

    sections = {"broken": (broken, None), "sound": (lambda place: {"room": 1}, None)}
    monkeypatch.setattr(same, "SECTIONS", sections)
    assert same.main(["record", str(tmp_path / "out.json")]) == 1
    found = json.loads((tmp_path / "out.json").read_text())
    assert "RuntimeError: unlearn demo: exit 4" in found["sections"]["broken"]["failed"]
    assert found["sections"]["sound"] == {"room": 1}
    assert found["about"]["versions"]["torch"] != "not there"
    assert "sound: recorded after" in capsys.readouterr().out


def test_sections_without_their_pictures_are_left_out_or_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(same, "SECTIONS", {"photos": (lambda place: {}, "photos")})
    assert same.main(["record", str(tmp_path / "out.json")]) == 0
    assert capsys.readouterr().out == "photos: left out, it needs --photos\n"
    for line, reason in (
        (["--only", "photos"], "photos needs --photos"),
        (["--only", "fotos"], "--only fotos: the sections are photos"),
        (["--photos", str(tmp_path / "none")], "there is no such file or folder"),
    ):
        with pytest.raises(SystemExit):
            same.main(["record", str(tmp_path / "out.json"), *line])
        assert reason in capsys.readouterr().err


def test_times_and_folders_are_not_recorded(tmp_path):
    place = same.Place(tmp_path, same.Given(photos=Path("/somewhere/photos")))
    line = {"inputs": ["/somewhere/photos"], "out": f"{tmp_path}/out", "ms": 3, "rho": "8/255"}
    assert place.steady([{"started": "today", "run": line}]) == [
        {"run": {"inputs": ["PHOTOS"], "out": "ROOM/out", "rho": "8/255"}}
    ]


def test_commands_see_a_home_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("UNLEARN_DEVICE", "cuda")
    monkeypatch.setenv("FORCE_COLOR", "1")
    seen = same.Place(tmp_path, same.Given()).environment()
    assert seen["HOME"] == str(tmp_path / "home")
    assert seen["ATEN_CPU_CAPABILITY"] == "avx2"
    assert not {"UNLEARN_DEVICE", "FORCE_COLOR"} & set(seen)
    native = same.Place(tmp_path, same.Given(native=True)).environment()
    assert set(seen) - set(native) == set(same.AVX2)


def test_an_artefact_is_recorded_tensor_by_tensor(tmp_path):
    def written(weights, seed):
        head = {
            "weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "__metadata__": {"unlearn": json.dumps({"seed": seed}), "note": "plain"},
        }
        text = json.dumps(head).encode()
        data = np.array(weights, np.float32).tobytes()
        path = tmp_path / "one.safetensors"
        path.write_bytes(struct.pack("<Q", len(text)) + text + data)
        return same.artefact(path)

    first = written([1, 2], seed=3)
    assert first["header"] == {"unlearn": {"seed": 3}, "note": "plain"}
    assert first["tensors"]["weight"].startswith("F32 2 ")
    assert same.differences(first, written([1, 2], seed=4)) == ["header/unlearn/seed: 3 -> 4"]
    told = same.differences(first, written([1, 3], seed=3))
    assert [line.partition(":")[0] for line in told] == ["all_tensors", "tensors/weight"]


def test_both_forms_of_cifar_give_the_same_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(same, "BATCH", 3)
    monkeypatch.setattr(same, "TRAIN_PICTURES", 2)
    monkeypatch.setattr(same, "TEST_PICTURES", 1)
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, (n, 32, 32, 3), np.uint8) for n in (15, 3))
    labels = {"train": np.arange(15) % 2, "test": np.arange(3) % 2}
    arrays = {"x_train": train, "y_train": labels["train"], "x_test": test}
    classes = np.array(["cat", "dog"])
    np.savez(tmp_path / "cifar10.npz", **arrays, y_test=labels["test"], classes=classes)
    folder = tmp_path / "python"
    folder.mkdir()
    batches = {f"data_batch_{n + 1}": (train, "train", slice(3 * n, 3 * n + 3)) for n in range(5)}
    for name, (pixels, split, part) in (batches | {"test_batch": (test, "test", slice(3))}).items():
        rows = pixels[part].transpose(0, 3, 1, 2).reshape(3, -1)
        content = {b"data": rows, b"labels": labels[split][part].tolist()}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"cat", b"dog"]}))
    packed, names = same.cifar_rows(tmp_path / "cifar10.npz")
    loose, loose_names = same.cifar_rows(folder)
    assert names == loose_names == ["cat", "dog"]
    assert [labels for _, labels in packed] == [labels for _, labels in loose]
    assert [len(rows) for rows, _ in packed] == [2, 2, 2, 2, 2, 1]
    for (one, _), (other, _) in zip(packed, loose, strict=True):
        np.testing.assert_array_equal(one, other)
    assert packed[1][0][0].tolist() == train[3].transpose(2, 0, 1).reshape(-1).tolist()


def test_the_package_is_not_imported():
    tree = ast.parse(Path(same.__file__).read_text(encoding="utf-8"))
    imported = {
        name.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for name in node.names
    } | {
        (node.module or "").partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert imported.isdisjoint({"unlearn", "tests"})
