"""Audits of CIFAR archives: copies are made and checked in memory."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.making import CPU, make_method, make_pgd
from tests.support.sweeps import few
from unlearn.audits import copies, study
from unlearn.audits.copies import NotProtected, check_arrays, make_arrays
from unlearn.audits.options import AuditOptions
from unlearn.audits.pictures import CleanPictures, gather
from unlearn.audits.run import audit
from unlearn.datasets import stored
from unlearn.datasets.cifar import as_png
from unlearn.datasets.labelled import LabelledPictures
from unlearn.errors import UsageProblem
from unlearn.generators.artefact import NoiseGenerator, generator_from, header_of
from unlearn.generators.header import read_header
from unlearn.methods import MinMaxMin, Spec
from unlearn.methods.lsp import Lsp
from unlearn.protection.options import ProtectOptions
from unlearn.protection.run import protect
from unlearn.radius import Radius
from unlearn.training import Schedule

EIGHT = Radius.of_levels(8)


def ignore(event):
    pass


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    stream = np.random.default_rng(0)

    def write(name, count):
        data = stream.integers(0, 256, (count, 3072), np.uint8)
        content = {b"data": data, b"labels": [n % 2 for n in range(count)]}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))

    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"cat", b"dog"]}))
    for number in range(1, 6):
        write(f"data_batch_{number}", 4)
    write("test_batch", 6)
    return folder


def make_generator(path, working_size=32, classes=("a", "b", "c")):
    """A generator file with random weights and noise that is random, cheap, and not the same."""
    method = make_method(attack=make_pgd(8, 1.6, steps=1, views=2))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = method.build(Spec("resnet-small", len(classes)))
    side = working_size
    header = header_of(
        method, architecture="resnet-small", classes=classes, image_size=side, working_size=side
    )
    NoiseGenerator.of(method, module, header, CPU).save(path)
    return path


@pytest.fixture
def options(archive, tmp_path):
    path = make_generator(tmp_path / "gen.safetensors", classes=("a", "b"))
    return AuditOptions(
        clean=archive,
        protected=None,
        out=tmp_path / "report",
        rho_a=(Radius.of_levels(0),),
        epochs=1,
        batch_size=4,
        countermeasures=("none",),
        generator=str(path),
        device="cpu",
        precision="fp32",
        workers=0,
    )


def test_an_archive_is_protected_in_memory_and_tried_on_its_own_test_pictures(options):
    report = audit(options, ignore)
    subject = report.subject
    assert (subject.trained, subject.tested, subject.verified) == (20, 6, 20)
    clean, protected = (
        stored.load(options.out / "sets" / f"{arm}.safetensors") for arm in ("clean", "protected")
    )
    change = (clean.pixels.int() - protected.pixels.int()).abs()
    assert int(change.max()) == subject.largest_change <= 8
    assert len(report.previews) == 2


def protecting(folder, working_size=32, **changes):
    """How the pictures below a folder are protected with a generator of some working size."""
    (folder / "key").write_bytes(bytes(range(32)))
    usual = ProtectOptions(
        inputs=(str(folder / "png"),),
        out=folder / "protected",
        generator=str(make_generator(folder / "generator.safetensors", working_size)),
        labels="folders",
        key=folder / "key",
        device="cpu",
        workers=0,
    )
    return replace(usual, **changes)


@pytest.mark.parametrize("working_size", few([16, 32, 64], 64))
def test_the_copies_of_an_archive_are_what_protect_writes(archive, tmp_path, working_size):
    data, options = gather(archive, None, None, None).train, protecting(tmp_path, working_size)
    names = []
    for number, (picture, label) in enumerate(zip(data.pixels, data.labels, strict=True)):
        names.append(f"{data.classes[label]}/{number}.png")
        path = tmp_path / "png" / names[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_png(picture.permute(1, 2, 0).numpy()))
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), picture.permute(1, 2, 0).numpy())
    protect(options, ignore)
    made = make_arrays(gather(archive, None, None, None), options)
    for name, pixels in zip(names, made.data.pixels, strict=True):
        with Image.open(options.out / name) as image:
            assert np.array_equal(np.asarray(image), pixels.permute(1, 2, 0).numpy())
    assert torch.equal(made.data.ids, data.ids)


def test_the_copies_of_an_archive_depend_on_the_key_and_not_on_threads(archive, tmp_path):
    clean, options = gather(archive, None, None, None), protecting(tmp_path)
    once = make_arrays(clean, options).data.pixels
    threads = replace(options, workers=3, out=tmp_path / "threads")
    assert torch.equal(make_arrays(clean, threads).data.pixels, once)
    options.key.write_bytes(bytes(32))
    assert not torch.equal(make_arrays(clean, options).data.pixels, once)


def test_the_copies_of_an_archive_are_made_once(archive, tmp_path, monkeypatch):
    clean, options = gather(archive, None, None, None), protecting(tmp_path)
    once = make_arrays(clean, options).data.pixels
    monkeypatch.setattr(copies, "load_generator", None)
    assert torch.equal(make_arrays(clean, options).data.pixels, once)


def test_copies_made_in_batches_are_those_made_one_by_one_but_for_rounding(archive, tmp_path):
    clean, options = gather(archive, None, None, None), protecting(tmp_path)
    alone, together = (make_arrays(clean, options, batch).data for batch in (1, 6))
    assert torch.equal(alone.ids, together.ids)
    differ = (alone.pixels != together.pixels).float().mean()
    assert differ < 0.01
    other = make_arrays(clean, replace(options, seed=1), 6).data
    assert (alone.pixels != other.pixels).float().mean() > 0.1


def test_noise_without_a_bound_is_not_cut_to_one(archive, tmp_path):
    clean, options = gather(archive, None, None, None), protecting(tmp_path)
    method = Lsp(strength=Radius.of_levels(20))
    path = tmp_path / "wide.safetensors"
    generator_from(clean.train, method, "none", CPU).save(path)
    found = [make_arrays(clean, replace(options, generator=str(path)), n) for n in (1, 6)]
    assert found[0].largest_change > 20
    assert torch.equal(found[0].data.pixels, found[1].data.pixels)


@pytest.mark.slow
def test_a_method_is_trained_once_on_the_training_pictures(options, monkeypatch):
    small = replace(
        MinMaxMin.recipes()["error-minimising"], schedule=Schedule(steps=2, batch_size=4)
    )
    monkeypatch.setattr(study, "trained_by", lambda *_: (small, "resnet-small"))
    options = replace(options, method="min-max-min")
    audit(options, ignore)
    artefact = options.out / "generator.safetensors"
    before = artefact.stat().st_mtime_ns
    report = audit(options, ignore)
    assert artefact.stat().st_mtime_ns == before
    monkeypatch.setattr(study, "trained_by", lambda *_: (small, "resnet18-thin"))
    study.fitted(options, gather(options.clean, 32, None, None), CPU)
    assert read_header(artefact).architecture == "resnet18-thin"
    assert report.subject.protection.startswith("generator min-max-min (SHA-256 ")


def test_a_generator_of_fewer_classes_is_refused(options, archive):
    (archive / "batches.meta").write_bytes(
        pickle.dumps({b"label_names": [b"cat", b"dog", b"owl"]}, protocol=2)
    )
    batch = pickle.loads((archive / "data_batch_1").read_bytes())  # noqa: S301 - made above
    test = pickle.loads((archive / "test_batch").read_bytes())  # noqa: S301 - made above
    for name, content in (("data_batch_1", batch), ("test_batch", test)):
        content[b"labels"][0] = 2
        (archive / name).write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(NotProtected, match="tells 2 classes apart, the data has 3"):
        audit(options, ignore)


@pytest.mark.parametrize("side", [16, 64])
def test_an_archive_is_shown_at_its_own_size(options, side):
    with pytest.raises(UsageProblem, match=f"--image-size {side}: .* archive are 32 pixels wide"):
        study.planned(replace(options, image_size=side))
    other = replace(options, architectures=("resnet-small@16",), image_size=32)
    assert study.planned(other).views == (16,)


def test_copies_of_an_archive_cannot_be_given(options, archive):
    with pytest.raises(UsageProblem, match="made on the fly"):
        audit(replace(options, protected=archive), ignore)


def test_arrays_over_the_bound_or_unchanged_are_refused(archive):
    clean = gather(archive, None, None, None)
    assert isinstance(clean, CleanPictures)

    def moved(levels: int, untouched: int = 0) -> LabelledPictures:
        pixels = clean.train.pixels.int()
        shift = torch.where(pixels < 128, levels, -levels)
        shift[:untouched] = 0
        return replace(clean.train, pixels=(pixels + shift).to(torch.uint8))

    assert check_arrays(clean, moved(8), EIGHT, "").largest_change == 8
    with pytest.raises(NotProtected, match="changed by 9/255"):
        check_arrays(clean, moved(9), EIGHT, "")
    with pytest.raises(NotProtected, match="picture 0 is unchanged"):
        check_arrays(clean, moved(8, untouched=1), EIGHT, "")


def test_a_mark_without_a_bound_may_be_there_already_in_a_few_pictures(archive):
    clean = gather(archive, None, None, None)
    times = 100 // len(clean.train) + 1
    many = replace(
        clean.train,
        pixels=clean.train.pixels.repeat(times, 1, 1, 1),
        labels=clean.train.labels.repeat(times),
    )
    clean = replace(clean, train=many)
    marked = many.pixels.clone()
    marked[:, :, 0, 0] ^= 64
    for untouched, refused in ((1, False), (2, True)):
        data = replace(many, pixels=marked.clone())
        data.pixels[:untouched] = many.pixels[:untouched]
        if refused:
            with pytest.raises(NotProtected, match="picture 0 is unchanged"):
                check_arrays(clean, data, None, "ops")
        else:
            words = f"1 of {len(many)} pictures have its mark already and are unchanged"
            assert words in check_arrays(clean, data, None, "ops").origin
