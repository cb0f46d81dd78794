"""The measurement of a sample: which pictures, what fails, what an interruption leaves."""

import json
import os
import signal
from concurrent.futures.process import BrokenProcessPool

import pytest

from tests.support.protecting import (
    FakeGenerator,
    Heard,
    make_photos,
    make_picture,
    options_for,
    tree,
)
from unlearn.files.replace import TEMPORARY_PREFIX
from unlearn.pictures.survival import TRANSFORMATIONS
from unlearn.protection import run as workflow
from unlearn.protection import survival as module
from unlearn.protection import worker
from unlearn.protection.manifest import PictureRecord
from unlearn.protection.run import protect
from unlearn.protection.survival import SAMPLE, sample
from unlearn.protection.worker import Failure

pytestmark = pytest.mark.usefixtures("fake")


def run(tmp_path, heard=None, **changes):
    return protect(
        options_for(tmp_path, report_survival=True, **changes), Heard() if heard is None else heard
    )


def records(names):
    return [
        PictureRecord(src=name, status="ok", out=f"{name}.png", out_sha256="0") for name in names
    ]


def test_a_sample_depends_on_the_names_alone_and_is_spread():
    names = [f"{folder}/{number:03}.jpg" for folder in "abcd" for number in range(100)]
    chosen = [record.src for record in sample(records(names))]
    assert len(chosen) == SAMPLE == 16
    assert chosen == sorted(chosen)
    assert {record.src for record in sample(records(reversed(names)))} == set(chosen)
    assert len({name[0] for name in chosen}) == 4
    more = {record.src for record in sample(records([*names, "z.jpg"]))}
    assert len(more & set(chosen)) >= SAMPLE - 1


def test_few_pictures_are_all_measured_also_with_names_that_are_no_text():
    found = records(["a", "b", os.fsdecode(b"\xff.png")])
    assert sample(found) == found


def test_pictures_of_earlier_runs_are_measured_too(tmp_path):
    make_photos(tmp_path / "photos", ["a.jpg"])
    protect(options_for(tmp_path), Heard())
    make_picture(tmp_path / "photos" / "b.png", 7)
    survival = run(tmp_path).survival
    assert [record.src for record, _ in survival.found] == ["a.jpg", "b.png"]
    assert survival.protected == 2


@pytest.mark.slow
def test_workers_find_the_same(tmp_path):
    make_photos(tmp_path / "photos")
    here = run(tmp_path).survival
    assert run(tmp_path, workers=1).survival == here
    assert set(here.summaries) == set(TRANSFORMATIONS)


def test_pictures_that_were_shrunk_are_compared_at_the_size_that_was_protected(tmp_path):
    make_picture(tmp_path / "photos" / "a.png", size=(60, 40))
    survival = run(tmp_path, max_side=30).survival
    ((_, found),) = survival.found
    assert all(0.2 < one.share < 1.1 for one in found.values())


def test_what_cannot_be_measured_is_only_a_notice(tmp_path, monkeypatch):
    make_photos(tmp_path / "photos", ["a.jpg", "b.jpg", "c.jpg"])
    real = worker.measure_survival

    def measure(shared, job):
        if job.source.name == "a.jpg":
            return Failure("no reason")
        if job.source.name == "b.jpg":
            raise LookupError("what is this")
        return real(shared, job)

    monkeypatch.setattr(worker, "measure_survival", measure)
    heard = Heard()
    result = run(tmp_path, heard)
    assert result.exit_code == 0
    assert [record.src for record, _ in result.survival.found] == ["c.jpg"]
    assert heard.notices[-2:] == [
        "Survival of a.jpg was not measured: no reason",
        "Survival of b.jpg was not measured: unexpected LookupError: what is this",
    ]


def test_without_any_measurement_there_is_no_report(tmp_path, monkeypatch):
    make_photos(tmp_path / "photos", ["a.jpg"])
    monkeypatch.setattr(worker, "measure_survival", lambda *_: Failure("no reason"))
    assert run(tmp_path).survival is None
    assert not (tmp_path / "protected.unlearn" / module.FILE_NAME).exists()


def test_a_source_that_is_gone_by_then_is_a_failure(tmp_path):
    job = worker.Finished(source=tmp_path / "gone", protected=tmp_path / "gone")
    assert (
        worker.measure_survival(worker.Preparation(), job).reason
        == "cannot be read (No such file or directory)"
    )


REAL = worker.measure_survival


def dying(preparation, job):
    if job.source.name == "deadly.jpg":
        os._exit(1)
    return REAL(preparation, job)


@pytest.mark.slow
def test_a_worker_that_dies_ends_neither_the_run_nor_the_measurement(tmp_path, monkeypatch):
    make_photos(tmp_path / "photos", ["a.jpg", "deadly.jpg", "e.jpg", "f.jpg", "g.jpg"])
    protect(options_for(tmp_path), Heard())
    monkeypatch.setattr(worker, "measure_survival", dying)
    heard = Heard()
    result = run(tmp_path, heard, workers=1)
    assert result.exit_code == 0
    assert f"Survival of deadly.jpg was not measured: {module._DIED}" in heard.notices
    assert "g.jpg" in {record.src for record, _ in result.survival.found}


def test_a_pool_that_cannot_be_restarted_is_a_failure(tmp_path):
    class Broken:
        restarts = 0

        def submit_shared(self, *_):
            raise BrokenProcessPool

        def restart(self):
            self.restarts += 1

    pool = Broken()
    assert module._outcome(module._started(None, pool)) == Failure(module._DIED)
    assert pool.restarts == 2


def test_an_interruption_leaves_the_pictures_and_no_report(tmp_path, monkeypatch):
    make_photos(tmp_path / "photos")
    real, done = worker.measure_survival, []

    def measure(shared, job):
        done.append(job)
        signal.raise_signal(signal.SIGINT)
        return real(shared, job)

    with monkeypatch.context() as patched:
        patched.setattr(worker, "measure_survival", measure)
        result = run(tmp_path)
    assert (result.exit_code, result.left, result.survival) == (130, 0, None)
    assert len(done) == 1
    assert len(tree(tmp_path / "protected")) == 3
    assert run(tmp_path).survival.protected == 3


def test_after_an_interrupted_run_nothing_is_measured(tmp_path, monkeypatch):
    class Interrupting(FakeGenerator):
        def noise_for_picture(self, *arguments):
            signal.raise_signal(signal.SIGINT)
            return super().noise_for_picture(*arguments)

    monkeypatch.setattr(workflow, "load_generator", lambda *_: (Interrupting(), "cpu"))
    make_photos(tmp_path / "photos")
    heard = Heard()
    assert run(tmp_path, heard).survival is None
    assert not [text for text in heard.notices if "Measuring" in text]


@pytest.mark.parametrize("error", [OSError(28, "no"), OSError("no")])
def test_a_report_that_cannot_be_written_is_only_a_notice(tmp_path, monkeypatch, error):
    make_photos(tmp_path / "photos", ["a.jpg"])
    protect(options_for(tmp_path), Heard())

    def refuse(_target):
        raise error

    monkeypatch.setattr(module, "replacing", refuse)
    heard = Heard()
    assert run(tmp_path, heard).survival is not None
    place = tmp_path / "protected.unlearn" / "survival.json"
    assert heard.notices[-1] == f"{place} was not written: no"


def test_the_file_is_replaced_by_that_of_the_next_measurement(tmp_path):
    make_photos(tmp_path / "photos", ["a.jpg"])
    run(tmp_path)
    place = tmp_path / "protected.unlearn" / "survival.json"
    first = json.loads(place.read_text())
    make_picture(tmp_path / "photos" / "b.png", 7)
    run(tmp_path)
    second = json.loads(place.read_text())
    assert (first["measured"], second["measured"]) == (1, 2)
    assert second["pictures"][0] == first["pictures"][0]
    assert not [name for name in tree(place.parent) if name.startswith(TEMPORARY_PREFIX)]
