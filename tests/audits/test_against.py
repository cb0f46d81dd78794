"""An audit of a folder without classes: the owner's pictures against those of others."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.making import make_generator
from unlearn.audits.forecast import counted
from unlearn.audits.options import AuditOptions
from unlearn.audits.pictures import gather
from unlearn.audits.run import conclude, run
from unlearn.audits.study import planned, prepare
from unlearn.datasets import stored
from unlearn.errors import UsageProblem
from unlearn.radius import Radius


def draw(folder: Path, names, seed: int) -> Path:
    """Write random pictures of these names."""
    stream = np.random.default_rng(seed)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(stream.integers(40, 216, (8, 8, 3), np.uint8))
        small.resize((32, 32), Image.Resampling.BICUBIC).save(path)
    return folder


@pytest.fixture
def mine(tmp_path):
    return draw(tmp_path / "my photos", [f"{n}.png" for n in range(10)], seed=0)


@pytest.fixture
def theirs(tmp_path):
    return draw(tmp_path / "theirs", [f"{a}/{n}.png" for a in "ab" for n in range(5)], seed=1)


@pytest.fixture
def options(tmp_path, mine, theirs):
    make_generator().save(tmp_path / "tiny.safetensors")
    return AuditOptions(
        clean=mine,
        against=theirs,
        generator=str(tmp_path / "tiny.safetensors"),
        out=tmp_path / "report",
        countermeasures=("none", "jpeg75"),
        rho_a=(Radius.of_levels(0),),
        epochs=1,
        workers=0,
        device="cpu",
        precision="fp32",
    )


@pytest.mark.parametrize("test", [None, Fraction(2, 5), "folder"])
@pytest.mark.parametrize("against", [True, False])
def test_a_plan_counts_the_pictures_that_an_audit_trains_on(
    options, tmp_path, theirs, test, against
):
    if not against:
        options = replace(options, clean=theirs, against=None)
    if test == "folder":
        classes = ("my photos", "theirs") if against else "ab"
        test = draw(tmp_path / "held", [f"{name}/0.png" for name in classes], seed=2)
    options = replace(options, test=test)
    found = gather(options.clean, 32, test, None, "auto", options.against).train
    assert counted(options) == (len(found), len(found.classes))


def test_only_the_owners_pictures_are_protected_and_the_copier_tells_them_apart(options, tmp_path):
    said = []
    study = prepare(options, planned(options), said.append)
    clean, copies = study.copies.clean, study.copies
    assert said[0].text == "Labels: 2 classes from two folders: my photos (10), theirs (10)"
    assert clean.train.classes == ("my photos", "theirs")
    assert set(clean.test.labels.tolist()) == {0, 1}
    mine = clean.train.labels == 0
    for name in ("protected", "placebo", "motif", "protected-jpeg75"):
        base = name.replace(name.partition("-")[0], "clean")
        one, other = (stored.load(study.sets / f"{n}.safetensors") for n in (name, base))
        changed = (one.pixels != other.pixels).flatten(1).any(dim=1)
        assert changed.tolist() == mine.tolist(), name
    written = {path.name for path in (options.out / "protected").rglob("*.png")}
    assert written == {n for n in clean.names if "/" not in n}
    assert study.subject.verified == int(mine.sum()) == len(written)
    assert study.subject.class_counts == {"my photos": len(written), "theirs": int((~mine).sum())}
    assert (copies.largest_change, str(copies.rho)) == (8, "8/255")
    report = conclude(study, run(study, said.append))
    assert report.subject.clean == "my photos against theirs"
    assert report.chance == 0.5
    assert [name for name, _ in report.previews] == [clean.names[0]]
    assert {one.pictures for one in report.visibility} == {len(written)}


def test_a_generator_trained_on_two_folders_protects_one_that_has_folders_of_its_own(options):
    names = [f"{a}/{n}.png" for a in "abc" for n in range(4)]
    clean = draw(options.clean.parent / "sorted", names, seed=3)
    changed = replace(options, clean=clean, method="lsp", key=clean.parent / "key")
    changed.key.write_bytes(bytes(32))
    changed.out.mkdir()
    copies = prepare(changed, planned(changed), lambda _: None).copies
    assert copies.files
    noise = copies.data.pixels.int() - copies.clean.train.pixels.int()
    assert noise[copies.clean.own].flatten(1).any(dim=1).all()


def test_folders_of_one_name_are_called_with_the_folders_around_them(options, tmp_path):
    other = draw(tmp_path / "other" / "my photos", [f"{n}.png" for n in range(10)], seed=2)
    changed = AuditOptions(**{**vars(options), "against": other})
    study = prepare(changed, planned(changed), lambda _: None)
    assert study.subject.classes == (f"{tmp_path.name}/my photos", "other/my photos")


def test_folders_that_share_pictures_and_a_folder_that_is_not_there_are_refused(options, mine):
    for against in (mine, mine / "sub"):
        with pytest.raises(UsageProblem, match="hold the same pictures"):
            planned(AuditOptions(**{**vars(options), "against": against}))
    missing = AuditOptions(**{**vars(options), "against": mine.parent / "nowhere"})
    with pytest.raises(UsageProblem, match="nowhere: no such folder"):
        prepare(missing, planned(missing), lambda _: None)


def test_a_folder_without_classes_says_what_to_do(options):
    with pytest.raises(UsageProblem, match=r"no classes that a network could .* --against FOLDER"):
        planned(AuditOptions(**{**vars(options), "against": None}))
