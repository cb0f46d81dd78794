"""Previews of two folders: the most visible pictures, in files that lie beside the output."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.protecting import make_photos, make_picture, tree
from unlearn.errors import NothingFound, UsageProblem
from unlearn.previews import run as previews_module
from unlearn.previews.options import PreviewOptions
from unlearn.previews.run import preview


def changed(source, target, levels):
    """Write a picture whose every value is so many levels off."""
    target.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.asarray(Image.open(source).convert("RGB")).astype(int)
    moved = np.where(pixels > 127, pixels - levels, pixels + levels)
    Image.fromarray(moved.astype(np.uint8)).save(target.with_suffix(".png"))


@pytest.fixture
def folders(tmp_path):
    names = ["a/1.png", "a/2.png", "a/3.png", "b/4.png"]
    photos = make_photos(tmp_path / "photos", names)
    for name, levels in zip(names, (1, 12, 5, 3), strict=True):
        changed(photos / name, tmp_path / "out" / name, levels)
    return photos, tmp_path / "out"


def drawn(folders, **options):
    return preview(*folders, PreviewOptions(workers=1, **options), lambda *_: None)


def names(result):
    return [shown.name for shown in result.shown]


def test_the_most_visible_pictures_are_shown_first_one_of_each_class(folders):
    result = drawn(folders)
    assert names(result) == ["a/2.png", "b/4.png", "a/3.png", "a/1.png"]
    assert [shown.linf for shown in result.shown] == [12, 3, 5, 1]
    assert names(drawn(folders, pictures=2)) == ["a/2.png", "b/4.png"]


def test_both_files_lie_beside_the_output_and_never_in_it(folders, tmp_path):
    before = tree(folders[0]), tree(folders[1])
    result = drawn(folders)
    folder = tmp_path / "out.unlearn" / "preview"
    assert result.files == (folder / "sheet.png", folder / "page.html")
    assert all(file.stat().st_size for file in result.files)
    assert (tree(folders[0]), tree(folders[1])) == before


def test_a_source_that_is_no_picture_to_show_has_no_pair(folders, tmp_path):
    (tmp_path / "1.NEF").touch()
    with pytest.raises(NothingFound, match="belongs to one of the sources"):
        drawn((tmp_path / "1.NEF", folders[1] / "a" / "1.png"))


@pytest.mark.parametrize("name", ["look.html", "look.PNG"])
def test_a_file_can_be_named_and_is_not_replaced_unasked(folders, tmp_path, name):
    target = tmp_path / name
    assert drawn(folders, to=target).files == (target,)
    assert not (tmp_path / "out.unlearn").exists()
    first = target.read_bytes()
    with pytest.raises(UsageProblem, match="is there already; --force replaces it"):
        drawn(folders, to=target)
    assert target.read_bytes() == first
    drawn(folders, to=target, pictures=1, force=True)
    assert target.read_bytes() != first


@pytest.mark.parametrize("place", ["out/look.png", "out/a/look.html", "photos/look.png"])
def test_clean_crops_do_not_go_among_the_pictures(folders, tmp_path, place):
    with pytest.raises(UsageProblem, match="a preview holds clean crops, so write it elsewhere"):
        drawn(folders, to=tmp_path / place)


def test_other_kinds_of_files_are_refused():
    with pytest.raises(UsageProblem, match=r"a preview is a \.png or an \.html file"):
        PreviewOptions(to=Path("look.jpg"))


def test_what_cannot_be_shown_is_named(folders):
    (folders[1] / "a/2.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    make_picture(folders[1] / "b/4.png", 1, (9, 9))
    result = drawn(folders)
    assert names(result) == ["a/3.png", "a/1.png"]
    assert len(result.notices) == 2
    assert "b/4.png is not shown: the size of source and output differ" in result.notices


def test_without_pairs_there_is_nothing_to_show(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingFound, match="belongs to one of the sources"):
        drawn((folders[0], tmp_path / "empty"))
    for file in folders[1].rglob("*.png"):
        file.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(NothingFound, match=r"no picture can be shown; a/1\.png is not shown: "):
        drawn(folders)


def test_of_many_pictures_some_that_are_spread_are_measured(folders, monkeypatch):
    monkeypatch.setattr(previews_module, "MEASURED", 2)
    assert names(drawn(folders)) == ["a/3.png", "a/1.png"]


def test_two_files_can_be_shown(folders, tmp_path):
    pair = (folders[0] / "a/1.png", folders[1] / "a/2.png")
    result = drawn(pair, to=tmp_path / "look.html")
    assert (len(result.shown), result.pairs) == (1, 1)
