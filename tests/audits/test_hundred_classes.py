"""A hundred classes, as an archive in CIFAR-100's layout and as folders, trained on and audited."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from unlearn.audits.options import AuditOptions
from unlearn.audits.run import audit
from unlearn.generators.header import read_header
from unlearn.generators.options import TrainOptions
from unlearn.generators.train import train_generator
from unlearn.methods import METHODS
from unlearn.radius import Radius

FINE = [b"class %02d" % n for n in range(100)]


def ignore(event):
    pass


def make_archive(folder):
    """Two training pictures and a test picture of each fine class, with the keys of the field."""
    folder.mkdir()
    stream = np.random.default_rng(0)

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))

    for name, count in (("train", 200), ("test", 100)):
        content = {
            b"filenames": [b"%s_%03d.png" % (name.encode(), n) for n in range(count)],
            b"batch_label": f"{name} batch".encode(),
            b"fine_labels": [n % 100 for n in range(count)],
            b"coarse_labels": [n % 100 // 5 for n in range(count)],
            b"data": stream.integers(0, 256, (count, 3072), np.uint8),
        }
        write(name, content)
    coarse = [b"group %02d" % n for n in range(20)]
    write("meta", {b"fine_label_names": FINE, b"coarse_label_names": coarse})


def make_folders(folder):
    """A hundred class folders of two pictures each."""
    stream = np.random.default_rng(0)
    for number, name in enumerate(FINE):
        for copy in range(2):
            path = folder / name.decode() / f"{copy}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = stream.integers(0, 256, (16, 16 + number % 3, 3), np.uint8)
            Image.fromarray(pixels).save(path)


SETS = {"archive": (make_archive, 200, None), "folders": (make_folders, 100, Fraction(1, 2))}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "method"), [("archive", "ops"), ("folders", "cuda")])
def test_the_same_commands_train_and_audit(kind, method, tmp_path):
    make, trained, test = SETS[kind]
    data, out = tmp_path / "cifar-100-python", tmp_path / "gen.safetensors"
    make(data)
    made = METHODS[method]().at(Radius.of_levels(8))
    train_generator(TrainOptions(data=data, out=out, method=made, device="cpu"), ignore)
    header = read_header(out)
    names = tuple(name.decode() for name in FINE)
    assert header.classes == (() if METHODS[method].any_classes else names)
    assert header.data_count == 200
    report = audit(
        AuditOptions(
            clean=data,
            out=tmp_path / "report",
            generator=str(out),
            test=test,
            rho_a=(Radius.of_levels(0),),
            epochs=1,
            batch_size=100,
            countermeasures=("none",),
            device="cpu",
            precision="fp32",
            workers=0,
        ),
        ignore,
    )
    subject = report.subject
    assert (subject.trained, subject.verified) == (trained, trained)
    assert subject.tested == 100
    assert 1 <= subject.largest_change <= 8
