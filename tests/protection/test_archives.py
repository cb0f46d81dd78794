"""CIFAR archives through `protect`, and what the field's loaders read of them."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from tests.support.making import CPU, make_stripes
from unlearn.cli.app import run
from unlearn.datasets.cifar import load_cifar
from unlearn.generators.artefact import generator_from
from unlearn.methods.motifs import Motifs

KINDS = {
    "cifar-10-batches-py": ("batches.meta", "label_names", "labels", CIFAR10),
    "cifar-100-python": ("meta", "fine_label_names", "fine_labels", CIFAR100),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def make_archive(folder, kind, names=(b"cat", b"dog", b"emu")):
    """Nine training and three test pictures, with the keys of the field."""
    meta, named, labelled, _ = KINDS[kind]
    folder, stream = folder / kind, np.random.default_rng(0)
    folder.mkdir()

    def write(name, count):
        content = {
            b"batch_label": b"batch of " + name.encode(),
            labelled.encode(): [n % 3 for n in range(count)],
            b"data": stream.integers(0, 256, (count, 3072), np.uint8),
            b"filenames": [b"%s_%d.png" % (name.encode(), n) for n in range(count)],
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))

    if meta == "meta":
        write("train", 9)
        write("test", 3)
    else:
        for number, count in enumerate((2, 2, 1, 1, 3), 1):
            write(f"data_batch_{number}", count)
        write("test_batch", 3)
    (folder / meta).write_bytes(pickle.dumps({named.encode(): list(names)}, protocol=2))
    return folder


def line(tmp_path, archive, *more):
    generator = tmp_path / "motifs.safetensors"
    if not generator.exists():
        generator_from(make_stripes(4), Motifs(), "none", CPU, name="motifs").save(generator)
    start = ["protect", str(archive), "--out", str(tmp_path / "out"), "--preview", "0", "-q"]
    return [*start, "--generator", str(generator), "--workers", "0", "--device", "cpu", *more]


@kinds
def test_an_archive_is_protected_within_the_bound_and_packed_as_it_was(kind, tmp_path):
    archive = make_archive(tmp_path, kind)
    before = {path.name: path.read_bytes() for path in archive.iterdir()}
    assert run(line(tmp_path, archive)) == 0
    assert {path.name: path.read_bytes() for path in archive.iterdir()} == before
    packed = tmp_path / "out.archive" / kind
    assert {path.name for path in packed.iterdir()} == set(before)
    clean, protected = load_cifar(archive), load_cifar(packed)
    change = (clean[0].pixels.int() - protected[0].pixels.int()).abs().flatten(1).amax(dim=1)
    assert 1 <= int(change.min()) <= int(change.max()) <= 8
    assert torch.equal(clean[0].labels, protected[0].labels)
    assert clean[0].classes == protected[0].classes
    assert torch.equal(clean[1].pixels, protected[1].pixels)
    assert run(["verify", str(tmp_path / "out.unpacked"), str(tmp_path / "out"), "-q"]) == 0


@kinds
def test_the_field_s_loaders_read_the_packed_archive(kind, tmp_path, monkeypatch):
    archive = make_archive(tmp_path, kind)
    assert run(line(tmp_path, archive)) == 0
    packed = tmp_path / "out.archive" / kind
    for path in packed.iterdir():
        if path.name not in {"meta", "batches.meta", "test", "test_batch"}:
            by_bytes, by_text = (
                pickle.loads(path.read_bytes(), encoding=encoding)  # noqa: S301 - made here
                for encoding in ("bytes", "latin1")
            )
            original = pickle.loads((archive / path.name).read_bytes(), encoding="bytes")  # noqa: S301
            assert list(by_bytes) == list(original)
            assert list(by_text) == [key.decode() for key in original]
            assert np.array_equal(by_bytes[b"data"], by_text["data"])
            assert by_bytes[b"filenames"] == original[b"filenames"]
    loader = KINDS[kind][3]
    monkeypatch.setattr(loader, "_check_integrity", lambda self: True)  # it asks for known hashes
    monkeypatch.setattr(loader, "_load_meta", lambda self: None)
    loaded = loader(tmp_path / "out.archive", train=True)
    expected = load_cifar(packed)[0]
    assert loaded.targets == expected.labels.tolist()
    assert np.array_equal(loaded.data, expected.pixels.permute(0, 2, 3, 1).numpy())


def test_folders_can_be_had_without_an_archive_and_a_second_run_does_nothing(tmp_path):
    archive = make_archive(tmp_path, "cifar-100-python")
    for _ in range(2):
        assert run(line(tmp_path, archive, "--archive-as", "folder")) == 0
    assert not (tmp_path / "out.archive").exists()
    names = sorted(
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png")
    )
    assert len(names) == 9
    assert names[0] == str(Path("cat") / "000000.png")


@pytest.mark.parametrize("name", [b"../up", b"a/b", b"..", b"", b"a\\b"])
def test_a_class_that_would_leave_its_folder_is_refused_and_nothing_written(name, tmp_path):
    archive = make_archive(tmp_path, "cifar-100-python", (b"cat", name, b"emu"))
    assert run(line(tmp_path, archive)) == 2
    assert not list(tmp_path.glob("out*"))
    assert not (tmp_path / "up").exists()


@pytest.mark.parametrize("more", [["--dry-run"], ["--max-side", "16"]])
def test_options_that_archives_have_no_use_for_are_refused(more, tmp_path):
    assert run(line(tmp_path, make_archive(tmp_path, "cifar-100-python"), *more)) == 2
    assert not list(tmp_path.glob("out*"))


def test_an_output_in_the_archive_is_refused_and_nothing_written(tmp_path):
    archive = make_archive(tmp_path, "cifar-100-python")
    before = sorted(archive.iterdir())
    command = line(tmp_path, archive)
    command[command.index("--out") + 1] = str(archive / "out")
    assert run(command) == 2
    assert sorted(archive.iterdir()) == before
