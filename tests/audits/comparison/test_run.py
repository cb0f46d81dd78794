"""Comparisons end to end with victims that are made up, so that every stage can be stopped."""

import json
import pickle
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.support.reports import learned
from tests.support.sweeps import few
from unlearn.audits import runner, study
from unlearn.audits.comparison import looks
from unlearn.audits.comparison import run as comparing
from unlearn.audits.comparison.run import compare
from unlearn.audits.costs import Costs
from unlearn.audits.options import AuditOptions
from unlearn.audits.report import Point, Result
from unlearn.datasets import stored
from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.generators.header import read_header
from unlearn.methods import METHODS
from unlearn.methods.lsp import Lsp
from unlearn.radius import Radius

METHODS_HERE = ("lsp", "motifs")
TRAINED, TESTED = 20, 4


def ignore(event):
    pass


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "cifar-10-batches-py"
    folder.mkdir()
    stream = np.random.default_rng(0)
    names = [b"cat", b"dog"]
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": names}))
    counts = {f"data_batch_{number}": TRAINED // 5 for number in range(1, 6)}
    for name, count in (counts | {"test_batch": TESTED}).items():
        data = stream.integers(40, 216, (count, 3072), np.uint8)
        content = {b"data": data, b"labels": [n % 2 for n in range(count)]}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    (folder.parent / "key").write_bytes(bytes(range(32)))
    return folder


def options_of(archive, out):
    return AuditOptions(
        clean=archive,
        out=out,
        key=archive.parent / "key",
        rho_a=(Radius.of_levels(0), Radius.of_levels(4)),
        epochs=1,
        batch_size=4,
        countermeasures=("none", "jpeg75"),
        device="cpu",
        precision="fp32",
        workers=0,
    )


@pytest.fixture
def options(archive, tmp_path):
    return options_of(archive, tmp_path / "comparison")


def free(plan, *_):
    """Costs that nobody measured."""
    return Costs(dict.fromkeys(plan.cells(), 1.0), 0)


class Victims:
    """Stands for the trainings; keeps each job with the strength of the noise that it was given."""

    def __init__(self, monkeypatch):
        self.trained = []
        self.largest = {}
        self.mean = {}
        monkeypatch.setattr(runner, "train_victim", self)
        monkeypatch.setattr(study, "estimate", free)
        monkeypatch.setattr(looks, "_SAMPLE", 3)

    def __call__(self, job):
        where = f"{job.sets.parent.name} {job.cell.key}"
        self.trained.append(where)
        if job.cell.arm in ("protected", "placebo"):
            clean, own = (
                stored.load(job.sets / f"{arm}.safetensors").pixels.int()
                for arm in ("clean", job.cell.arm)
            )
            change = (own - clean).abs()
            self.largest[where] = int(change.max())
            self.mean[where] = float(change.float().mean())
        accuracy = learned(job.cell) - 0.1 * (job.sets.parent.name == "lsp")
        return Result(
            cell=job.cell,
            accuracy_last=accuracy,
            accuracy_best=accuracy,
            best_epoch=1,
            train_accuracy=0.9,
            trained=TRAINED,
            tested=TESTED,
            curve=(Point(1, accuracy, 0.9),),
            seconds=float(len(self.trained)),
        )


@pytest.fixture
def victims(monkeypatch):
    return Victims(monkeypatch)


def numbers(options):
    """The written object without what may differ between equal comparisons."""
    found = json.loads((options.out / "comparison.json").read_text())
    del found["timings"], found["environment"]["started"]
    return found


def test_methods_share_controls_and_each_has_victims_of_its_own(options, victims):
    found = compare(options, METHODS_HERE, ignore)
    shared = [one for one in victims.trained if one.startswith("controls ")]
    assert len(shared) == 3 + 2  # clean at two radii and with JPEG, placebo at two radii
    for name in METHODS_HERE:
        own = [one for one in victims.trained if one.startswith(f"{name} ")]
        assert len(own) == 3
        assert all(" protected " in f" {one}" for one in own)
    assert [line.name for line in found.lines] == ["clean", "placebo", "lsp", "motifs"]
    for line in found.lines:
        assert sum(one is not None for one in line.summaries) == (
            2 if line.name == "placebo" else 3
        )
    lsp, motifs = (line for line in found.lines if line.entry)
    assert lsp.summaries[0].last.mean == pytest.approx(motifs.summaries[0].last.mean - 0.1)


def test_copies_keep_the_bound_and_the_placebo_is_as_strong_as_it_allows(options, victims):
    found = compare(options, METHODS_HERE, ignore)
    bounded = {name: METHODS[name].recipes()["paper"].bound for name in METHODS_HERE}
    assert bounded["lsp"] is None
    for where, largest in victims.largest.items():
        part = where.partition(" ")[0]
        assert largest <= 8 or part == "lsp"
        if part == "controls":
            assert largest == 8
            assert victims.mean[where] > 7.9
    lsp, motifs = (entry.record for entry in found.entries)
    assert (lsp.bounded, motifs.bounded) == (False, True)
    assert lsp.subject.largest_change == max(
        n for where, n in victims.largest.items() if where.startswith("lsp ")
    )
    assert lsp.subject.largest_change > 8
    assert lsp.looks.seen > motifs.looks.seen > 0
    assert lsp.looks.left["jpeg75"] > motifs.looks.left["jpeg75"] > 0  # coarse, and fine


def test_victims_share_no_seed_with_a_generator(options, victims):
    found = compare(replace(options, seeds=2), METHODS_HERE, ignore)
    seeds = {result.cell.seed for result in found.entries[0].record.results}
    assert seeds == {101, 102}
    for name in METHODS_HERE:
        header = read_header(options.out / "methods" / name / "generator.safetensors")
        assert header.seed not in seeds


class Killed(BaseException):
    """What a kill is to the code under test: nobody catches it."""


STAGES = {
    "a victim of the controls": (runner, "train_victim", 2),
    "a generator": (study, "fit_generator", 2),
    "the copies": (study, "make_arrays", 1),
    "the look at the copies": (comparing, "looks_of", 1),
    "storing the sets": (comparing, "study_of", 2),
    "a victim of the first method": (runner, "train_victim", 6),
    "the record of the first method": (comparing, "finished", 2),
    "the report": (comparing, "replace_file", 1),
    "the last victim": (runner, "train_victim", 11),
}


@pytest.fixture(scope="module")
def whole(archive, tmp_path_factory):
    """The numbers of a comparison that nobody stopped, and its victims."""
    with pytest.MonkeyPatch.context() as patched:
        victims = Victims(patched)
        options = options_of(archive, tmp_path_factory.mktemp("whole") / "comparison")
        compare(options, METHODS_HERE, ignore)
        return numbers(options), sorted(victims.trained)


@pytest.mark.parametrize("stage", few(STAGES, list(STAGES)[4]))
def test_a_comparison_killed_at_any_stage_ends_with_the_same_report(
    options, victims, monkeypatch, whole, stage
):
    before, every = whole
    module, name, call = STAGES[stage]
    real, calls = getattr(module, name), []

    def dying(*given, **more):
        calls.append(given)
        if len(calls) == call:
            raise Killed
        return real(*given, **more)

    with monkeypatch.context() as patched:
        patched.setattr(module, name, dying)
        with pytest.raises(Killed):
            compare(options, METHODS_HERE, ignore)
    made = {path: path.stat().st_mtime_ns for path in options.out.rglob("generator.safetensors")}
    copies = {path: path.stat().st_mtime_ns for path in options.out.rglob("protected/*")}
    compare(options, METHODS_HERE, ignore)
    assert numbers(options) == before
    assert sorted(victims.trained) == every  # none twice, none left out
    for path, when in (made | copies).items():
        assert path.stat().st_mtime_ns == when


def test_a_finished_comparison_does_nothing_again_and_takes_another_method(
    options, victims, monkeypatch
):
    compare(options, METHODS_HERE[:1], ignore)
    first = numbers(options)["methods"]
    victims.trained.clear()
    with monkeypatch.context() as patched:
        for name in ("fitted", "made", "study_of", "strongest_noise"):
            patched.setattr(comparing, name, None)
        compare(options, METHODS_HERE[:1], ignore)
    assert not victims.trained
    compare(options, METHODS_HERE, ignore)
    assert {one.partition(" ")[0] for one in victims.trained} == {"motifs"}
    assert numbers(options)["methods"][:1] == first
    assert not list(options.out.rglob("sets"))


def test_a_folder_that_grew_is_that_of_one_line_and_trains_nothing_twice(
    archive, options, victims, whole
):
    narrow = replace(options, rho_a=(Radius.of_levels(0),), countermeasures=("none",))
    compare(narrow, METHODS_HERE[:1], ignore)
    found = compare(narrow, METHODS_HERE[1:], ignore)
    assert [line.name for line in found.lines] == ["clean", "placebo", "motifs", "lsp"]
    assert all(any(line.summaries) for line in found.lines)
    generators = {path: path.stat().st_mtime_ns for path in options.out.rglob("*.safetensors")}
    found = compare(replace(narrow, rho_a=(Radius.of_levels(4),)), METHODS_HERE[1:], ignore)
    assert [column.rho_a.levels for column in found.columns] == [0, 4]
    lsp = found.lines[-1]
    assert lsp.name == "lsp"
    assert lsp.at(0)
    assert lsp.at(1) is None
    compare(options, METHODS_HERE, ignore)
    before, every = whole
    assert numbers(options) == before
    assert sorted(victims.trained) == every
    assert all(path.stat().st_mtime_ns == when for path, when in generators.items())


def test_seeds_of_the_winners_stand_beside_methods_of_one_seed(options, victims):
    compare(options, METHODS_HERE, ignore)
    found = compare(replace(options, seeds=3, countermeasures=("none",)), METHODS_HERE[:1], ignore)
    clean, _, lsp, motifs = found.lines
    assert [one.count for one in clean.summaries] == [3, 3, 1]
    assert [one.count for one in lsp.summaries] == [3, 3, 1]
    assert [one.count for one in motifs.summaries] == [1, 1, 1]
    assert "means over up to 3 seeds" in (options.out / "comparison.html").read_text()


def test_countermeasures_at_another_radius_get_columns(options, victims):
    compare(options, METHODS_HERE[:1], ignore)
    found = compare(replace(options, rho_a=(Radius.of_levels(4),)), METHODS_HERE[:1], ignore)
    columns = [(column.rho_a.levels, column.countermeasure) for column in found.columns]
    assert columns == [(0, "none"), (4, "none"), (0, "jpeg75"), (4, "jpeg75")]
    assert all(found.lines[-1].summaries)


def test_a_radius_added_without_a_placebo_keeps_the_placebo_of_the_others(options, victims):
    compare(options, METHODS_HERE[:1], ignore)
    added = replace(options, rho_a=(Radius.of_levels(2),), placebo=False, countermeasures=("none",))
    found = compare(added, METHODS_HERE[:1], ignore)
    placebo = next(line for line in found.lines if line.name == "placebo")
    at = {c.rho_a.levels: s for c, s in zip(found.columns, placebo.summaries, strict=True) if s}
    assert at.keys() == {0, 4}
    arms = [(one["arm"], one["rho_a"]) for one in numbers(options)["results"]]
    assert ("placebo", "0/255") in arms
    assert ("placebo", "2/255") not in arms


def test_a_method_that_refuses_the_pictures_is_a_row_with_the_reason(options, victims, monkeypatch):
    def refuse(self, module, data, run, observer):
        raise UsageProblem("it needs three classes")

    monkeypatch.setattr(Lsp, "fit", refuse)
    compare(options, METHODS_HERE, ignore)
    lsp, motifs = numbers(options)["methods"]
    assert (lsp["state"], lsp["refusal"]) == ("refused", "it needs three classes")
    assert all(row["last"] is None for row in lsp["accuracies"])
    assert motifs["state"] == "finished"
    assert "it needs three classes" in (options.out / "comparison.html").read_text()


def test_other_settings_or_a_changed_method_are_refused_unless_it_starts_over(options, victims):
    compare(options, METHODS_HERE[:1], ignore)
    for other in (replace(options, epochs=2), replace(options, rho=Radius.of_levels(4))):
        with pytest.raises(UsageProblem, match="other settings or pictures"):
            compare(other, METHODS_HERE[:1], ignore)
    changed = replace(options, key=options.out.with_name("other"))
    changed.key.write_bytes(bytes(32))
    with pytest.raises(UsageProblem, match="other settings or pictures"):
        compare(changed, METHODS_HERE[:1], ignore)
    shutil.rmtree(options.out / "controls")  # the methods know their settings themselves
    victims.trained.clear()
    with pytest.raises(UsageProblem, match=r"methods.lsp belongs to a comparison with other"):
        compare(replace(options, epochs=2), METHODS_HERE[:1], ignore)
    assert not victims.trained
    compare(replace(options, epochs=2, resume=False), METHODS_HERE[:1], ignore)
    assert len(victims.trained) == 5 + 3


def test_a_damaged_record_is_named(options, victims):
    compare(options, METHODS_HERE[:1], ignore)
    (options.out / "methods" / "lsp" / "record.json").write_text("{")
    with pytest.raises(EnvironmentProblem, match=r"lsp/record.json: damaged"):
        compare(options, METHODS_HERE[:1], ignore)


@pytest.mark.parametrize(
    ("methods", "changes", "message"),
    [
        ((), {}, "needs methods"),
        (("lsp", "nothing"), {}, "unknown method 'nothing'"),
        (("lsp:nothing",), {}, "lsp has no recipe 'nothing'"),
        (("lsp",), {"fractions": (Fraction(1, 2),)}, "leave out --fraction"),
        (("lsp",), {"against": Path(__file__).parent}, "leave out .*--against"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(
    options, methods, changes, message
):
    with pytest.raises(UsageProblem, match=message):
        compare(replace(options, **changes), methods, ignore)
    assert not options.out.exists()


def test_recipes_are_methods_of_their_own(options, victims):
    found = compare(options, ("motifs", "motifs:strong"), ignore)
    plain, strong = (entry.record for entry in found.entries)
    assert plain.settings != strong.settings
    assert (options.out / "methods" / "motifs-strong" / "journal.jsonl").exists()
