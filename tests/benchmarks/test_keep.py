"""The benchmark of JPEG that stays JPEG counts what it says it counts."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks import keep


class Coarse:
    """Stands in for the bundled generator."""

    def noise_for_picture(self, pixels, _target, _seed, _sha256, radius):
        rng = np.random.default_rng(0)
        small = rng.choice([-1, 1], (8, 8, pixels.shape[2])).astype(np.float32)
        return np.kron(small, np.ones((8, 8, 1), np.float32)) * np.float32(radius)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(1)
    for number in range(4):
        place = tmp_path / "val" / f"class{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(rng.integers(30, 226, (6, 6, 3), np.uint8))
        image = small.resize((64, 64), Image.Resampling.BICUBIC)
        image.save(place / f"{number}.jpg", quality=90)
    image.convert("CMYK").save(tmp_path / "val" / "class0" / "ink.jpg")
    return tmp_path


def test_files_are_chosen_evenly(folder):
    assert len(keep.files_in(folder, None)) == 5
    assert [path.parent.name for path in keep.files_in(folder, 2)] == ["class0", "class0"]
    assert [path.name for path in keep.files_in(folder, 3)] == ["0.jpg", "2.jpg", "1.jpg"]


@pytest.mark.slow
def test_the_record_holds_every_set_and_curve(folder, monkeypatch, capsys):
    (folder / "val" / "class0" / "ink.jpg").unlink()
    monkeypatch.setattr(keep.NoiseGenerator, "load", lambda *_: Coarse())
    monkeypatch.setattr(keep, "resolve", lambda _: None)
    monkeypatch.setattr(keep, "STEPS", (65_535, 8))
    monkeypatch.setattr(keep, "BOUNDS", (8,))
    line = ["keep", "--small", str(folder / "val"), "--out", str(folder / "found")]
    monkeypatch.setattr(sys, "argv", line)
    keep.main()
    told = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    record = json.loads((folder / "found.json").read_text())
    found = record["sets"]["small"]
    assert (found["files"], found["kept"], found["within_bound"]) == (4, 4, 4)
    assert found["size_total"] == pytest.approx(
        sum(line["bytes"] for line in told) / sum(line["source_bytes"] for line in told)
    )
    assert found["correlation_least"] == min(line["correlation"] for line in told)
    assert [line["largest_step"] for line in record["curves"]["steps"]] == [65_535, 8]
    assert [line["levels"] for line in record["curves"]["bounds"]] == [8]
    page = (folder / "found.md").read_text()
    assert "| small | 4 | 4 | 4 |" in page
    assert "| the source's own | 4 |" in page


def test_what_cannot_be_kept_is_counted_by_its_reason():
    lines = [{"file": "a", "pixels": 9, "reason": "why", "seconds": 1.0}]
    assert keep.summary(lines, 8) == {"files": 1, "kept": 0}
    assert keep.cells(keep.summary(lines, 8)).startswith("1 | 0 |")
