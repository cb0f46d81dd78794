"""What one picture may cost a run: time, memory, a worker, and nothing else."""

import os
import stat
import sys

import pytest

from tests.support import protecting
from tests.support.protecting import (
    FakeGenerator,
    Heard,
    make_photos,
    make_picture,
    options_for,
    tree,
)
from unlearn.protection import pipeline as pipeline_module
from unlearn.protection import run as workflow
from unlearn.protection.pipeline import DIED, Pipeline
from unlearn.protection.run import protect
from unlearn.protection.steps import Steps
from unlearn.workers import limits

pytestmark = pytest.mark.usefixtures("fake")


@pytest.mark.skipif(sys.platform != "linux", reason="signals and limits of memory as on Linux")
def test_decoders_that_hang_crash_or_want_all_memory_cost_one_line_each(tmp_path, monkeypatch):
    monkeypatch.setattr(Steps, "read", staticmethod(protecting.badly_read))
    names = ["a.jpg", "crashing.jpg", "greedy.jpg", "hanging.jpg", "killed.jpg", "z.jpg"]
    make_photos(tmp_path / "photos", names)
    result = protect(options_for(tmp_path, workers=2, max_pixels=1_000_000), Heard())
    assert {record.src: record.reason for record in result.failed} == {
        "crashing.jpg": f"{DIED}: a decoder crashed",
        "greedy.jpg": "not enough memory for this picture; use --workers 1 or --max-side",
        "hanging.jpg": f"{DIED}: it took longer than its time limit",
        "killed.jpg": f"{DIED}: the system ended it, probably for want of memory",
    }
    assert {name.partition(".")[0] for name in tree(tmp_path / "protected")} == {"a", "z"}
    assert result.exit_code == 1


def test_the_time_limit_grows_with_the_picture_and_is_generous():
    assert limits.seconds_for(0) == 120
    assert limits.seconds_for(200_000_000) == 1320


def test_this_process_is_never_limited(monkeypatch):
    monkeypatch.setattr(limits, "_limit_memory", lambda _size: pytest.fail("limited"))
    with limits.limits(1, 1):
        pass


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        ([None, -15], "not enough memory, or a damaged file"),
        ([-15, -11], "a decoder crashed"),
        ([0, -9], "the system ended it, probably for want of memory"),
        ([1, -15], "it took longer than its time limit"),
    ],
)
def test_exit_codes_say_why_a_worker_ended(codes, words):
    assert limits.why_ended(codes) == words


def test_large_pictures_are_alone_and_small_ones_together(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline_module, "_MOST_PIXELS", 3000)
    seen = []
    real = Pipeline._submit

    def submit(self, number, job=None):
        real(self, number, job)
        numbers = [entry[0] for entry in self._flight.values()]
        numbers += [picture for picture, _ in (*self._read, *self._made)]
        seen.append(sorted(self._steps.pixels(picture) for picture in set(numbers)))

    monkeypatch.setattr(Pipeline, "_submit", submit)
    sizes = [(30, 30), (30, 30), (70, 50), (30, 30), (30, 30), (30, 30), (40, 50)]
    for seed, size in enumerate(sizes):
        make_picture(tmp_path / "photos" / f"{seed}.png", seed, size)
    assert protect(options_for(tmp_path, batch_size=8), Heard()).exit_code == 0
    assert [3500] in seen
    assert all(sum(pixels) <= 3000 or pixels == [3500] for pixels in seen)
    assert max(len(pixels) for pixels in seen) >= 3


def test_a_source_that_vanishes_before_it_is_read_or_written_costs_one_line(tmp_path, monkeypatch):
    photos = make_photos(tmp_path / "photos", ["a.jpg", "b.png", "c.png", "d.jpg"])

    class Vanishing(FakeGenerator):
        def noise_for_picture(self, *arguments):
            (photos / "b.png").unlink(missing_ok=True)
            (photos / "d.jpg").unlink(missing_ok=True)
            return super().noise_for_picture(*arguments)

    vanishing = Vanishing()
    monkeypatch.setattr(workflow, "load_generator", lambda _path, _device: (vanishing, "cpu"))
    result = protect(options_for(tmp_path, batch_size=2), Heard())
    assert {record.src: record.reason for record in result.failed} == {
        "b.png": "cannot be read (No such file or directory)",
        "d.jpg": "cannot be read (No such file or directory)",
    }
    assert sorted(name.partition(".")[0] for name in tree(tmp_path / "protected")) == ["a", "c"]


def test_hard_and_soft_links_become_files_of_their_own_and_stay_as_they_were(tmp_path):
    photos = make_photos(tmp_path / "photos", ["a.png"])
    elsewhere = make_picture(tmp_path / "elsewhere.png", 3)
    os.link(elsewhere, photos / "hard.png")
    (photos / "soft.png").symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    result = protect(options_for(tmp_path), Heard())
    assert (result.exit_code, len(result.protected)) == (0, 3)
    assert elsewhere.read_bytes() == before
    assert (photos / "soft.png").is_symlink()
    for name in ("a.png", "hard.png", "soft.png"):
        status = (tmp_path / "protected" / name).lstat()
        assert stat.S_ISREG(status.st_mode)
        assert status.st_nlink == 1
