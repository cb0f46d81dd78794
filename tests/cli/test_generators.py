"""unlearn generators: list, info and path, from headers alone."""

import hashlib
import json
import shutil

import pytest

from unlearn.cli.app import run
from unlearn.generators import catalogue
from unlearn.generators.recipes import described, settings_of
from unlearn.methods import METHODS


@pytest.fixture
def bundled(tiny_generator, tmp_path, monkeypatch):
    """A folder of bundled generators that holds the tiny one as "tiny"."""
    folder = tmp_path / "bundled"
    folder.mkdir()
    shutil.copy(tiny_generator, folder / "tiny.safetensors")
    monkeypatch.setattr(catalogue, "_FOLDER", folder)
    return folder / "tiny.safetensors"


def test_list_shows_what_matters_to_choose(bundled, capsys):
    assert run(["generators", "list"]) == 0
    (row,) = capsys.readouterr().out.splitlines()
    name, _, facts = row.partition(" bundled, ")
    assert name.strip() == "tiny"
    size, *others = facts.split(" · ")
    assert size.endswith(" kB")
    assert others == ["min-max-min", "rho 8/255", "rho-a 4/255", "3 classes", "MIT"]


def test_list_says_a_method_once_where_the_generator_has_its_name(bundled, capsys):
    bundled.rename(bundled.with_name("min-max-min.safetensors"))
    assert run(["generators", "list"]) == 0
    assert capsys.readouterr().out.count("min-max-min") == 1


def test_list_as_json_has_everything_and_the_whole_hash(bundled, capsys):
    assert run(["generators", "list", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["generators"]
    assert entry["sha256"] == hashlib.sha256(bundled.read_bytes()).hexdigest()
    assert entry["size_bytes"] == bundled.stat().st_size
    assert entry["config"]["noise"]["attack"]["radius"] == "8/255"
    assert entry["classes"] == ["a", "b", "c"]


def test_list_without_any_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(catalogue, "_FOLDER", tmp_path)
    assert run(["generators", "list"]) == 0
    assert "No generators are bundled" in capsys.readouterr().out


def test_info_by_name_and_by_file(bundled, tiny_generator, capsys):
    assert run(["generators", "info", "tiny"]) == 0
    shown = capsys.readouterr().out
    assert f"path               {bundled}" in shown
    assert "classes            a, b, c" in shown
    assert "noise=(against=None, attack=(radius=8/255" in shown
    assert "facts              rho-a=4/255" in shown
    assert "data fingerprint" not in shown
    assert "\nsettings           " in shown
    assert "made by unlearn    " in shown
    assert "training pictures  " in shown
    assert run(["generators", "info", str(tiny_generator), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["generator"]["path"] == str(tiny_generator)


def test_methods_lists_every_way_to_make_noise(capsys):
    assert run(["generators", "methods"]) == 0
    shown = capsys.readouterr().out
    names = [line.split()[0] for line in shown.splitlines()[::2]]
    assert names == list(METHODS)
    facts = shown.splitlines()[1::2]
    assert all(("rho " in line or "no bound" in line) and "recipes paper" in line for line in facts)
    assert run(["generators", "methods", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["methods"] == described()


def test_methods_shows_all_settings_of_a_recipe_by_their_names(capsys):
    assert run(["generators", "methods", "min-max-min", "--recipe", "fast"]) == 0
    lines = capsys.readouterr().out.splitlines()
    settings = settings_of("min-max-min", "fast")
    assert [line.split()[0] for line in lines] == ["setting", *settings]
    assert lines[0].split() == ["setting", "fast"]
    assert run(["generators", "methods", "min-max-min", "--recipe", "fast", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"] == settings


def test_an_unknown_method_names_the_known_ones(capsys):
    assert run(["generators", "methods", "zzz"]) == 2
    assert f"unknown method 'zzz'; choose one of {', '.join(METHODS)}" in capsys.readouterr().err


def test_path(bundled, capsys):
    assert run(["generators", "path", "tiny"]) == 0
    assert capsys.readouterr().out == f"{bundled}\n"
    assert run(["generators", "path", "tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "command": "generators path",
        "exit_code": 0,
        "path": str(bundled),
    }


@pytest.mark.parametrize("command", ["info", "path"])
def test_an_unknown_name_is_an_environment_problem(command, bundled, capsys):
    assert run(["generators", command, "portrait"]) == 4
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert '"portrait"' in shown
    assert "(tiny)" in shown


def test_a_pickle_and_a_text_are_refused(tmp_path, capsys):
    (tmp_path / "x.pt").write_bytes(b"PK\x03\x04 a zip")
    assert run(["generators", "info", str(tmp_path / "x.pt")]) == 4
    assert "is a pickle and can run code" in capsys.readouterr().err
    (tmp_path / "x.safetensors").write_text("hello, this is text")
    assert run(["generators", "info", str(tmp_path / "x.safetensors")]) == 4
    assert "not a safetensors file" in capsys.readouterr().err


def test_the_commands_alone_show_help(capsys):
    assert run(["generators"]) == 2
    assert "list" in capsys.readouterr().out


def test_the_bundled_base_is_there_and_says_how_it_was_trained(capsys):
    assert run(["generators", "info", catalogue.BUNDLED, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["generator"]
    assert told["name"] == catalogue.BUNDLED
    assert told["rho"] == "8/255"
    assert told["licence"] != "unstated"
    assert told["command"].startswith("unlearn train-generator")
