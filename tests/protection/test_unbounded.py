"""Noise that keeps no bound of its own: asked for, measured, recorded, verified by the record."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.support.made_pictures import noise_image
from tests.support.making import CLASSES, CPU, make_stripes
from unlearn.audits.copies import check_files
from unlearn.audits.pictures import gather
from unlearn.cli.app import run
from unlearn.generators.artefact import generator_from
from unlearn.methods.lsp import Lsp
from unlearn.radius import Radius


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with labelled PNG and JPEG files and a generator of unbounded noise."""
    folder = tmp_path_factory.mktemp("unbounded")
    for number, label in enumerate(CLASSES):
        for kind in ("png", "jpg"):
            path = folder / "photos" / label / f"{number}.{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise_image((40, 32), 20, number).save(path, quality=95)
    made = generator_from(make_stripes(8), Lsp(), "none", CPU, name="lsp")
    made.save(folder / "lsp.safetensors")
    (folder / "key").write_bytes(bytes(32))
    return folder


@pytest.fixture(scope="module")
def protected(work):
    assert run([*line(work, work / "out"), "--allow-unbounded", "-q"]) == 0
    return work / "out"


def line(work, out):
    line = ["protect", str(work / "photos"), "--out", str(out), "--key", str(work / "key")]
    return [*line, "--generator", str(work / "lsp.safetensors"), "--preview", "0", "--workers", "0"]


def records(out):
    manifest = out.with_name(f"{out.name}.unlearn") / "manifest.jsonl"
    return [json.loads(text) for text in manifest.read_text().splitlines()]


def largest_change(work, out):
    return max(
        int(np.abs(pixels(work / "photos" / one["src"]) - pixels(out / one["out"])).max())
        for one in records(out)
        if one["type"] == "image"
    )


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"), np.int16)


def test_it_has_to_be_allowed_in_so_many_words(work, tmp_path, capsys):
    assert run(line(work, tmp_path / "out")) == 2
    (text,) = capsys.readouterr().err.splitlines()
    assert text.startswith("Error: the noise of ")
    assert "(lsp) keeps no bound of its own; with --allow-unbounded its largest change" in text
    assert not (tmp_path / "out").exists()


def test_the_manifest_says_that_it_is_unbounded_and_what_was_measured(work, protected):
    header = next(one for one in records(protected) if one["type"] == "run")
    assert header["rho"] == "unbounded"
    claims = [one["linf"] for one in records(protected) if one["type"] == "image"]
    assert max(claims) == largest_change(work, protected)
    assert 8 < max(claims) < 40  # 6/255 is the root mean square


def test_verify_checks_the_files_against_what_was_measured(work, protected, capsys):
    assert run(["verify", str(work / "photos"), str(protected), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    largest = largest_change(work, protected)
    assert (told["rho"], told["rho_from"]) == (f"{largest}/255", "measured")
    assert max(file["linf"] for file in told["files"]) == largest
    assert told["notices"] == [
        f"the noise keeps no bound; {largest}/255 is the largest change that the manifest claims"
    ]
    assert run(["verify", str(work / "photos"), str(protected)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"max change {largest}/255" in shown
    assert f"within rho {largest}/255 (the largest change that the manifest claims)" in shown


def test_verify_finds_a_file_beyond_what_was_measured(work, tmp_path):
    assert run([*line(work, tmp_path / "out"), "--allow-unbounded", "-q"]) == 0
    path = tmp_path / "out" / CLASSES[0] / "0.png"
    changed = pixels(path)
    changed[0, 0] = np.where(changed[0, 0] > 128, 0, 255)
    Image.fromarray(changed.astype(np.uint8)).save(path)
    assert run(["verify", str(work / "photos"), str(tmp_path / "out")]) == 1


def test_a_bound_of_ones_own_is_still_a_bound(work, protected):
    assert run(["verify", str(work / "photos"), str(protected), "--rho", "2/255"]) == 1


def test_the_same_line_has_nothing_left_to_do_and_a_bounded_one_is_refused(work, protected, capsys):
    before = len(records(protected))
    assert run([*line(work, protected), "--allow-unbounded"]) == 0
    assert len(records(protected)) == before
    capsys.readouterr()
    bounded = line(work, protected)
    bounded[bounded.index("--generator") + 1] = "base"
    assert run(bounded) == 2
    assert "was made with rho unbounded, you asked 8/255" in capsys.readouterr().err


def test_an_audit_says_that_the_bound_is_what_was_measured(work, protected):
    material = gather(work / "photos", 32, None, None)
    copies = check_files(material, protected, None, "copies as given")
    assert copies.rho == Radius.of_levels(largest_change(work, protected))
    assert copies.origin == (
        "copies as given; its noise keeps no bound, rho is the largest change measured"
    )
