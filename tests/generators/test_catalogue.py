"""Generators by name or path."""

import pytest

from unlearn.errors import EnvironmentProblem
from unlearn.generators import catalogue
from unlearn.generators.header import read_header


@pytest.fixture
def bundled():
    return catalogue.resolve(catalogue.BUNDLED)


def test_the_bundled_generator_is_small_permissive_and_says_where_it_is_from(bundled):
    header = read_header(bundled)
    assert bundled.stat().st_size < 8 << 20
    assert header.name == catalogue.BUNDLED
    assert (header.rho, header.working_size) == ("8/255", 64)
    assert header.command.startswith("unlearn train-generator ")
    assert header.training_data
    assert len(header.classes) >= 10
    card = bundled.with_suffix(".md").read_text()
    assert header.command in card


def test_known_lists_what_resolve_finds(bundled):
    entry, *others = catalogue.known()
    assert [other.name for other in others] == ["casts", "motifs", "strong"]
    assert (entry.name, entry.path) == (catalogue.BUNDLED, bundled)
    assert entry.size_bytes == bundled.stat().st_size
    assert len(entry.sha256) == 64


def test_a_path_is_taken_as_it_is(bundled, tmp_path, monkeypatch):
    copy = tmp_path / "mine.safetensors"
    copy.write_bytes(bundled.read_bytes())
    assert catalogue.resolve(str(copy)) == copy
    monkeypatch.chdir(tmp_path)
    assert catalogue.resolve("mine.safetensors").name == "mine.safetensors"
    assert catalogue.entry_of(copy).sha256 == catalogue.entry_of(bundled).sha256


@pytest.mark.parametrize("name", ["portrait", "../base", "base.safetensors", ""])
def test_an_unknown_name_says_which_there_are(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EnvironmentProblem, match=r"nor one of .* \(base, casts, motifs, strong\)"):
        catalogue.resolve(name)
