"""Large files are mapped, give the same picture, and are noticed when they change meanwhile."""

import os

import numpy as np
import pytest

from tests.support.made_pictures import CELLS, made_file
from unlearn.errors import PictureError
from unlearn.pictures import contents as module
from unlearn.pictures.contents import contents
from unlearn.pictures.read import Preparation, prepare


@pytest.mark.parametrize("cell", CELLS)
def test_a_mapped_file_is_the_same_picture(tmp_path, monkeypatch, cell):
    path = tmp_path / "a.dat"
    path.write_bytes(made_file(cell, (64, 48)))
    held = prepare(path, Preparation())
    monkeypatch.setattr(module, "LARGE_FILE", 8)
    mapped = prepare(path, Preparation())
    assert np.array_equal(held.pixels, mapped.pixels)
    assert (held.sha256, held.metadata, held.dropped) == (
        mapped.sha256,
        mapped.metadata,
        mapped.dropped,
    )
    assert (held.alpha is None) == (mapped.alpha is None)
    if held.alpha is not None:
        assert np.array_equal(held.alpha, mapped.alpha)


def test_a_mapped_file_that_changes_is_refused_and_a_held_one_is_what_it_was(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    data = made_file("png-rgb", (64, 48))
    for limit, refused in ((8, True), (len(data), False)):
        path.write_bytes(data)
        monkeypatch.setattr(module, "LARGE_FILE", limit)

        def change():
            with contents(path, 10_000) as source:
                assert bytes(source.data[:8]) == data[:8]
                with path.open("r+b") as file:
                    file.seek(60)
                    file.write(b"other")
                    os.fsync(file.fileno())
                return source.file.read()

        if refused:
            with pytest.raises(PictureError, match="changed while it was being read; run again"):
                change()
        else:
            assert change() == data
