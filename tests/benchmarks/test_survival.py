"""The benchmark of survival: noise within its bound, and a page that says what its record says."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.survival import noises as module
from tests.benchmarks.survival.__main__ import some_of_each
from tests.benchmarks.survival.noises import DEFAULT, NOISES, RHO, Noises, drawn
from tests.benchmarks.survival.page import JUDGED, TARGET, below, each_class, page, verdict
from tests.support.sweeps import few
from unlearn.generators.catalogue import resolve
from unlearn.generators.header import read_header
from unlearn.pictures.decoded import to_image
from unlearn.pictures.read import Picture
from unlearn.pictures.survival import TRANSFORMATIONS

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def picture(size=(40, 30), channels=3):
    pixels = np.full((size[1], size[0], channels), 100, np.uint8)
    return Picture(to_image(pixels), sha256="0" * 64)


@pytest.fixture
def noises():
    return Noises()


@pytest.mark.parametrize("noise", [name for name in NOISES if not name.endswith(("128", "256"))])
@pytest.mark.parametrize("channels", few([1, 3], 3))
def test_every_noise_is_there_and_keeps_the_bound(noises, noise, channels):
    source = picture(channels=channels)
    change = noises.add(noise, source, 1).astype(int) - source.pixels
    assert 1 <= np.abs(change).max() <= RHO.levels == 8
    assert np.array_equal(noises.add(noise, source, 1) - source.pixels.astype(int), change)
    assert not np.array_equal(noises.add(noise, source, 2) - source.pixels.astype(int), change)


def test_random_noise_has_the_whole_radius_at_every_place_of_its_grid():
    assert drawn(picture(), None, 0).shape == (30, 40, 3)
    assert drawn(picture((400, 300)), 32, 0).shape == (32, 43, 3)
    assert np.all(np.abs(drawn(picture(), None, 0)) == np.float32(8 / 255))


def test_the_generators_noise_is_enlarged_with_the_gain_of_protect(noises, monkeypatch):
    source = picture((400, 300))
    with_gain = noises.add("base, grid 32", source, 0).astype(int) - 100
    made = {**NOISES, "base, grid 32": (True, 32, 1.0)}
    monkeypatch.setattr(module, "NOISES", made)
    without = noises.add("base, grid 32", source, 0).astype(int) - 100
    assert np.abs(with_gain).mean() > 1.1 * np.abs(without).mean()


def test_some_of_each_class_are_taken_evenly(tmp_path):
    for name, count in (("a", 10), ("b", 2)):
        (tmp_path / name).mkdir()
        for number in range(count):
            (tmp_path / name / f"{number}.png").touch()
    names = [name for name, _ in some_of_each(tmp_path, 4)]
    assert names == ["a/0.png", "a/2.png", "a/5.png", "a/7.png", "b/0.png", "b/1.png"]


def line(noise, name, share):
    found = {key: [share, 1.0, share] for key in TRANSFORMATIONS}
    return {"set": "photos", "picture": name, "size": [4, 3], "noise": noise, **found}


def classes(name, *shares, spread=40.0):
    return {
        "set": "photos",
        "picture": name,
        "size": [1024, 512],
        "spread": spread,
        "shares": list(shares),
        "full_colour": [share + 0.05 for share in shares],
    }


def test_the_verdict_counts_what_is_below_the_target():
    lines = [line(noise, name, 0.9) for noise in NOISES for name in "ab"]
    assert "leaves 0.90 on average and 0.90 at worst (a): met on every picture. Pictures" in (
        verdict(lines, "photos").replace("\n", " ")
    )
    lines = [entry for entry in lines if (entry["noise"], entry["picture"]) != (DEFAULT, "b")]
    lines.append(line(DEFAULT, "b", TARGET - 0.01))
    assert below(lines, "photos", DEFAULT) == ["b"]
    assert "0.79 at worst (b): missed on 1 of 2." in verdict(lines, "photos").replace("\n", " ")


def test_pictures_below_the_target_are_named_with_what_they_are():
    text = each_class([classes("a", 0.9, 0.95), classes("b", 0.7, 0.85, spread=0.0)])
    assert " ".join(text.split()) == (
        "Every picture with the default noise of each of the generator's 2 classes: 0.85 on "
        "average, 0.70 at worst, 1 of 4 below the target. b (1024 x 512, one flat colour, a "
        "cell of the grid is 2.0 pixels wide after the shrinking) has 0.70 to 0.85; with "
        "colour at full resolution in that JPEG 0.75 to 0.90. All other pictures keep at least "
        "0.90 with every class."
    )
    assert "All other" not in each_class([classes("a", 0.9, 0.95)])


def test_the_default_grid_is_that_of_the_bundled_generator():
    assert read_header(resolve("base")).working_size == module.GRID


def test_the_page_is_what_its_record_says():
    record = json.loads((RESULTS / "survival.json").read_text(encoding="utf-8"))
    assert page(record) == (RESULTS / "survival.md").read_text(encoding="utf-8")
    assert {entry["noise"] for entry in record["lines"]} == set(NOISES)
    assert {entry["set"] for entry in record["lines"]} == {"photos", "small"}
    assert all(entry[JUDGED] is not None for entry in record["lines"])
