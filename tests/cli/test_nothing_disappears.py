"""Nothing that was published disappears, whatever the next run is given: a matrix of such runs."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.protecting import (
    FakeGenerator,
    RefusingGenerator,
    make_generator_file,
    make_picture,
)
from tests.support.sweeps import few
from unlearn.cli.app import run
from unlearn.errors import EnvironmentProblem
from unlearn.protection import run as workflow

_MOST = 8  # levels that noise changes; pictures of two seeds are further apart


class Folder:
    """A person's folder: albums, one output beside them, and what each output was seen to show."""

    def __init__(self, place: Path, options: tuple[str, ...] = ()) -> None:
        self.place = place
        self.out = place / "out"
        self.options = options
        self.pictures: dict[int, np.ndarray] = {}
        make_generator_file(place / "fake.safetensors")

    def picture(self, name: str, seed: int) -> Path:
        """Put the picture of a seed into an album."""
        path = make_picture(self.place / name, seed)
        with Image.open(path) as image:
            self.pictures[seed] = np.asarray(image.convert("RGB")).astype(int)
        return path

    def protect(self, *inputs: str | Path, more: tuple[str, ...] = ()) -> int:
        """Run the command and return its exit code."""
        line = ["protect", *map(str, inputs), "--out", str(self.out), "--preview", "0", "-q"]
        line += ["-g", str(self.place / "fake.safetensors"), "--workers", "0", "--labels", "one"]
        return run([*line, *self.options, *more])

    def shown(self) -> dict[str, int]:
        """Return the seed of the picture that each published file shows; -1 for none of them."""
        files = sorted(path for path in self.out.rglob("*") if path.is_file())
        return {path.relative_to(self.out).as_posix(): self._seed(path) for path in files}

    def _seed(self, path: Path) -> int:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
        distances = {seed: np.abs(pixels - p).mean() for seed, p in self.pictures.items()}
        seed = min(distances, key=lambda known: distances[known])
        return seed if distances[seed] <= _MOST else -1


@dataclass(frozen=True)
class Case:
    """What is published first, what happens then, and the seeds that have to be there after."""

    name: str
    first: Callable[[Folder], int]
    then: Callable[[Folder], int]
    shows: frozenset[int]
    may_go: frozenset[int] = field(default=frozenset())  # seeds whose own file got other content


def _two_albums(there: Folder) -> int:
    there.picture("one/IMG_0001.jpg", 1)
    there.picture("two/IMG_0001.jpg", 2)
    return there.protect("one")


def _pair(there: Folder) -> int:
    there.picture("one/a.jpg", 1)
    there.picture("one/b.jpg", 2)
    return there.protect("one")


def _renamed(there: Folder) -> int:
    Path("one/a.jpg").rename("one/c.jpg")
    return there.protect("one")


def _swapped(there: Folder) -> int:
    Path("one/a.jpg").rename("one/c.jpg")
    Path("one/b.jpg").rename("one/a.jpg")
    return there.protect("one")


def _other_suffix(there: Folder) -> int:
    Path("one/a.jpg").unlink()
    there.picture("one/a.png", 3)
    return there.protect("one")


def _second_suffix(there: Folder) -> int:
    there.picture("one/a.png", 3)
    return there.protect("one")


def _changed(there: Folder) -> int:
    there.picture("one/a.jpg", 3)
    return there.protect("one")


def _linked(there: Folder) -> int:
    Path("album").symlink_to("one")
    return there.protect("album")


def _link_moved(there: Folder) -> int:
    Path("album").unlink()
    Path("album").symlink_to("two")
    return there.protect("album")


def _linked_album(there: Folder) -> int:
    there.picture("one/a.jpg", 1)
    there.picture("two/a.jpg", 2)
    Path("album").symlink_to("one")
    return there.protect("album")


def _broken(there: Folder) -> int:
    there.picture("two/b.jpg", 4)
    Path("two/a.jpg").write_bytes(b"\xff\xd8\xff")
    return there.protect("two")


def _dead_link(there: Folder) -> int:
    there.picture("two/b.jpg", 4)
    Path("two/a.jpg").symlink_to("nowhere.jpg")
    return there.protect("two")


def _raw(there: Folder) -> int:
    there.picture("one/a.jpg", 3)
    Path("one/a.jpg").rename("one/a.dng")
    return there.protect("one")


def _moved(there: Folder) -> int:
    Path("one").rename("elsewhere")
    return there.protect("elsewhere")


def _moved_beside_another(there: Folder) -> int:
    Path("one").rename("elsewhere")
    there.picture("one/a.jpg", 3)
    return there.protect("one")


def _case(there: Folder) -> int:
    there.picture("two/A.JPG", 3)
    return there.protect("two")


def _folder_called_so(there: Folder) -> int:
    there.picture("two/a.png/x.png", 3)
    return there.protect("two")


def _other_format(there: Folder) -> int:
    there.picture("two/a.jpg", 3)
    return there.protect("two", more=("--format", "tiff", "--force"))


def _forced(there: Folder) -> int:
    there.picture("two/a.jpg", 3)
    return there.protect("two", more=("--force",))


def _copied(there: Folder) -> int:
    shutil.copytree("one", "two")
    return there.protect("two")


def _third(there: Folder) -> int:
    there.picture("two/a.jpg", 3)
    there.picture("three/a.jpg", 4)
    there.protect("two")
    there.protect("three")
    return there.protect("one")


def _both_at_once(there: Folder) -> int:
    there.protect("two")
    return there.protect("one", "two")


CASES = (
    Case("two albums", _two_albums, lambda t: t.protect("two"), frozenset({1, 2})),
    Case("two albums, then both", _two_albums, _both_at_once, frozenset({1, 2})),
    Case("three albums, first again", _pair, _third, frozenset({1, 2, 3, 4})),
    Case(
        "two single files of one name",
        lambda t: (_two_albums(t), t.protect("one/IMG_0001.jpg"))[1],
        lambda t: t.protect("two/IMG_0001.jpg"),
        frozenset({1, 2}),
    ),
    Case("a source renamed", _pair, _renamed, frozenset({1, 2})),
    Case("two sources renamed in a ring", _pair, _swapped, frozenset({1, 2})),
    Case("a source with another suffix", _pair, _other_suffix, frozenset({1, 2, 3})),
    Case("a second source of that stem", _pair, _second_suffix, frozenset({1, 2, 3})),
    Case("a source changed", _pair, _changed, frozenset({2, 3}), frozenset({1})),
    Case("absolute", _pair, lambda t: t.protect(Path("one").resolve()), frozenset({1, 2})),
    Case("relative", _pair, lambda t: t.protect("./one/../one/"), frozenset({1, 2})),
    Case("a link", _pair, _linked, frozenset({1, 2})),
    Case("a link moved", _linked_album, _link_moved, frozenset({1, 2})),
    Case("fewer inputs", _pair, lambda t: t.protect("one/b.jpg"), frozenset({1, 2})),
    Case("another album's broken one", _pair, _broken, frozenset({1, 2, 4})),
    Case("another album's dead link", _pair, _dead_link, frozenset({1, 2, 4})),
    Case("the album moved", _pair, _moved, frozenset({1, 2})),
    Case(
        "another in its old place", _pair, _moved_beside_another, frozenset({2, 3}), frozenset({1})
    ),
    Case("a name in other case", _pair, _case, frozenset({1, 2, 3})),
    Case("a folder called like an output", _pair, _folder_called_so, frozenset({1, 2, 3})),
    Case("--force with another album", _pair, _forced, frozenset({1, 2, 3})),
    Case("--force as another format", _pair, _other_format, frozenset({1, 2, 3})),
    Case("a copy of the album", _pair, _copied, frozenset({1, 2})),
)


@pytest.fixture
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fake = FakeGenerator()
    monkeypatch.setattr(workflow, "load_generator", lambda _path, _device: (fake, "cpu"))
    return Folder(tmp_path)


@pytest.mark.parametrize("form", few(["auto", "png"], "auto"))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_nothing_published_disappears_and_no_name_comes_to_hold_another(there, case, form):
    own = form == "auto" or case.name == "--force as another format"
    there.options = () if own else ("--format", form)
    assert case.first(there) in (0, 1)
    before = there.shown()
    code = case.then(there)
    after = there.shown()
    kept = {name: seed for name, seed in before.items() if seed not in case.may_go}
    assert {name: after.get(name) for name in kept} == kept
    assert (code == 2 and after == before) or set(after.values()) >= case.shows


@pytest.mark.parametrize(("source", "other"), [("one", "two"), ("two", "one"), ("link", "two")])
def test_two_albums_of_one_output_are_each_verified_against_their_own(there, capsys, source, other):
    _two_albums(there)
    there.protect("two")
    Path("link").symlink_to("one")
    capsys.readouterr()
    assert run(["verify", source, "out"]) == 0
    said = capsys.readouterr()
    assert "1 of 1 file is" in said.out
    assert "1 output of another source is in this folder by the manifest, and not compared" in (
        " ".join(said.err.split())
    )
    assert f"/{other}/; name that folder as SRC" in "".join(said.err.split("\n"))


def test_what_is_not_the_file_that_another_album_wrote_is_extra(there):
    _two_albums(there)
    there.protect("two")
    shutil.copy("two/IMG_0001.jpg", there.out / "clean.jpg")
    assert run(["verify", "one", "out"]) == 1
    (there.out / "clean.jpg").unlink()
    assert run(["verify", "one", "out"]) == 0
    shutil.copy("two/IMG_0001.jpg", there.out / "IMG_0001-2.png")
    assert run(["verify", "one", "out"]) == 1


def test_an_output_whose_source_is_gone_from_the_same_album_is_extra(there):
    _pair(there)
    Path("one/b.jpg").unlink()
    Path("link").symlink_to("one")
    assert run(["verify", "one", "out"]) == run(["verify", "link", "out"]) == 1


def test_the_second_of_two_albums_is_done_once_and_says_what_it_is_called(there, capsys):
    _two_albums(there)
    there.options = ("--verbose",)
    line = ["protect", "two", "--out", "out", "--preview", "0", "-g", "fake.safetensors"]
    assert run([*line, "--workers", "0"]) == 0
    assert (
        "IMG_0001.jpg, as PNG, is called IMG_0001-2.png, since another picture has its name"
        in capsys.readouterr().err
    )
    before = there.shown()
    assert run([*line, "--workers", "0"]) == 0
    assert "Protecting" not in capsys.readouterr().err
    assert there.shown() == before == {"IMG_0001.png": 1, "IMG_0001-2.png": 2}


def test_a_manifest_of_an_earlier_version_still_tells_albums_apart(there):
    _two_albums(there)
    manifest = there.place / "out.unlearn" / "manifest.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    for line in lines:
        line.pop("origin", None)
    manifest.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    before = there.shown()
    assert there.protect("two") == 0
    assert there.shown() == before | {"IMG_0001-2.png": 2}
    there.picture("one/IMG_0001.jpg", 3)
    assert there.protect("one") == 0
    assert there.shown() == {"IMG_0001.png": 3, "IMG_0001-2.png": 2}


def test_a_redo_that_is_stopped_leaves_what_it_did_not_reach(there, monkeypatch):
    _pair(there)
    before = there.shown()
    stopping = RefusingGenerator(EnvironmentProblem("the device is gone"))
    monkeypatch.setattr(workflow, "load_generator", lambda _path, _device: (stopping, "cpu"))
    assert there.protect("one", more=("--force",)) == 4
    assert there.shown() == before
