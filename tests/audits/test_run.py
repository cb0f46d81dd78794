"""Audits end to end: what is trained on what, the reports, resuming, and what is refused."""

import json
import pickle
import shutil
import signal
from concurrent.futures import Future
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.making import CPU, make_method, make_pgd
from tests.support.sweeps import few
from unlearn.audits import runner, study
from unlearn.audits.copies import NotProtected
from unlearn.audits.options import AuditOptions
from unlearn.audits.pictures import gather
from unlearn.audits.render.words import subject_text
from unlearn.audits.report import AuditReport
from unlearn.audits.run import audit
from unlearn.audits.runner import CellsProgress
from unlearn.audits.study import Study, planned
from unlearn.countermeasures import COUNTERMEASURES
from unlearn.datasets import folders, stored
from unlearn.errors import EnvironmentProblem, NothingFound, UsageProblem
from unlearn.generators.artefact import NoiseGenerator, header_of
from unlearn.methods import Spec
from unlearn.protection.events import Notice, Progress
from unlearn.radius import Radius
from unlearn.workers.pool import Pool

CLASSES = ("cats", "dogs", "owls")
ORDINARY = (Radius.of_levels(0),)


class Counting:
    """A function that keeps the paths it was called with."""

    def __init__(self, function):
        self.function, self.paths = function, []

    def __call__(self, path, *others):
        self.paths.append(path)
        return self.function(path, *others)


def ignore(event):
    pass


def draw(folder: Path, per_class: int = 6, side: int = 32, seed: int = 0) -> Path:
    """Fill class folders with random pictures."""
    stream = np.random.default_rng(seed)
    for name in CLASSES:
        for n in range(per_class):
            path = folder / name / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            small = Image.fromarray(stream.integers(40, 216, (8, 8, 3), np.uint8))
            small.resize((side, side), Image.Resampling.BICUBIC).save(path)
    return folder


def copy_with_noise(clean: Path, folder: Path, levels: int = 8) -> Path:
    """Write copies that differ by ±levels."""
    stream = np.random.default_rng(1)
    for path in sorted(clean.glob("*/*.png")):
        pixels = np.asarray(Image.open(path)).astype(np.int16)
        noisy = pixels + stream.choice([-levels, levels], pixels.shape)
        target = folder / path.relative_to(clean)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(target)
    return folder


@pytest.fixture(scope="session")
def generator(tmp_path_factory) -> Path:
    """A generator file with random weights: 3 classes, working size 32, cheap noise."""
    path = tmp_path_factory.mktemp("generator") / "tiny.safetensors"
    method = make_method(attack=make_pgd(8, 1.6, steps=1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = method.build(Spec("resnet-small", 3))
    header = header_of(
        method, architecture="resnet-small", classes=CLASSES, image_size=32, working_size=32
    )
    NoiseGenerator.of(method, module, header, CPU).save(path)
    return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A folder with pictures in `clean` and their copies in `copies`, which no test changes."""
    folder = tmp_path_factory.mktemp("pictures")
    copy_with_noise(draw(folder / "clean"), folder / "copies")
    return folder


def options_of(folder: Path, out: Path, generator: Path) -> AuditOptions:
    return AuditOptions(
        clean=folder / "clean",
        protected=folder / "copies",
        out=out,
        rho_a=ORDINARY,
        epochs=2,
        batch_size=4,
        countermeasures=("none",),
        generator=str(generator),
        device="cpu",
        precision="fp32",
        workers=0,
        command="unlearn audit clean copies",
    )


@pytest.fixture
def options(tmp_path, pictures, generator) -> AuditOptions:
    """An audit of pictures that the test may change."""
    shutil.copytree(pictures, tmp_path, dirs_exist_ok=True)
    return options_of(tmp_path, tmp_path / "report", generator)


@dataclass(frozen=True)
class Finished:
    """A finished audit: its options, what it reported and said, and the pictures before it."""

    options: AuditOptions
    report: AuditReport
    events: list
    before: dict


def state_of(folder: Path) -> dict:
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*.png")}


@pytest.fixture(scope="session")
def finished(pictures, generator, tmp_path_factory) -> Finished:
    """An audit that was done once; tests only look at it."""
    options = options_of(pictures, tmp_path_factory.mktemp("finished") / "report", generator)
    events: list[Any] = []
    before = state_of(pictures)
    report = audit(options, events.append)
    assert report is not None
    return Finished(options, report, events, before)


@pytest.fixture
def done(finished, tmp_path) -> AuditOptions:
    """The finished audit in a folder of the test's own."""
    out = shutil.copytree(finished.options.out, tmp_path / "report")
    return replace(finished.options, out=out)


def results_of(options: AuditOptions) -> dict[str, object]:
    """The written report without what may differ between equal audits."""
    report = json.loads((options.out / "report.json").read_text())
    report.pop("timings")
    for name in ("started", "threads"):
        report["environment"].pop(name)
    return report


def test_an_audit_trains_controls_and_writes_every_report(finished):
    options, report = finished.options, finished.report
    arms = [result.cell.arm for result in report.results]
    assert arms == ["clean", "placebo", "motif", "protected"]
    for name in ("report.json", "report.html", "results.csv", "curves.csv"):
        assert (options.out / name).stat().st_size
    subject = report.subject
    assert (subject.largest_change, subject.verified) == (8, subject.trained)
    assert (subject.trained, subject.tested) == (15, 3)
    assert len(report.previews) == 3


def test_what_is_seen_of_every_noise_is_measured(finished):
    report = finished.report
    found = [(one.arm, one.shown, one.pictures) for one in report.visibility]
    squares = [(arm, "squares of 32 px", 15) for arm in ("placebo", "motif", "protected")]
    assert found == [*squares, ("protected", "files at full size", 15)]
    *_, squares_of_protected, files = report.visibility
    assert squares_of_protected.ciede2000 == files.ciede2000 > 0  # they are no larger
    assert files.ciede2000_p95 >= files.ciede2000
    assert squares_of_protected.seen is None
    assert files.seen is not None


def test_a_victim_never_sees_a_held_out_picture_and_its_set_is_what_its_arm_says(finished):
    options = finished.options
    sets = {
        arm: stored.load(options.out / "sets" / f"{arm}.safetensors")
        for arm in ("clean", "protected", "placebo", "motif", "test")
    }
    assert not torch.isin(sets["test"].ids, sets["clean"].ids).any()
    change = (sets["protected"].pixels.int() - sets["clean"].pixels.int()).abs()
    noise = (sets["placebo"].pixels.int() - sets["clean"].pixels.int()).abs()
    assert change.max() == 8
    assert noise.max() <= 8
    signs = (sets["motif"].pixels.int() - sets["clean"].pixels.int()).abs()
    assert signs.max() == 8
    assert float(signs.float().mean()) > 7.5
    assert torch.equal(sets["motif"].ids, sets["clean"].ids)
    assert float(noise.float().mean()) == pytest.approx(float(change.float().mean()), rel=0.1)
    for number, name in enumerate(gather(options.clean, 32, None, None).names):
        pixels = np.asarray(Image.open(options.protected / name)).transpose(2, 0, 1)
        assert np.array_equal(sets["protected"].pixels[number].numpy(), pixels)


def test_copies_made_on_the_fly_are_protected_files_of_the_training_pictures_only(options):
    options = replace(options, protected=None, rho=Radius.of_levels(4), epochs=1)
    report = audit(options, ignore)
    written = {
        p.relative_to(options.out / "protected").as_posix()
        for p in (options.out / "protected").rglob("*.png")
    }
    assert written == set(gather(options.clean, 32, None, None).names)
    assert report.subject.largest_change <= 4
    assert "tiny" in report.subject.protection


@pytest.mark.slow
def test_an_interruption_while_protecting_is_none_of_the_copies_fault(options):
    options = replace(options, protected=None, epochs=1)

    def stop_at_the_first(event):
        if isinstance(event, Progress) and event.done == 1:
            signal.raise_signal(signal.SIGINT)

    assert audit(options, stop_at_the_first) is None
    assert not (options.out / "journal.jsonl").exists()
    report = audit(options, ignore)
    assert report.subject.verified == len(gather(options.clean, 32, None, None).names)


def test_a_second_run_trains_nothing_and_reports_the_same(done, monkeypatch):
    before = results_of(done)
    monkeypatch.setattr(runner, "train_victim", None)
    audit(done, ignore)
    assert results_of(done) == before


@pytest.mark.parametrize("kept", few([0, 1, 2], 1))
def test_an_audit_killed_anywhere_ends_with_the_same_report(done, kept):
    before = results_of(done)
    journal = done.out / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    torn = lines[kept + 1][:20]
    journal.write_bytes(b"".join(lines[: kept + 1]) + torn)
    (done.out / "report.json").unlink()
    events = []
    audit(done, events.append)
    assert results_of(done) == before
    assert [e.finished for e in events if isinstance(e, Study)] == [kept]


class Pickling:
    """Stands in for worker processes: does at once what came to it, and answers, as bytes."""

    _processes = None

    def __init__(self):
        self.jobs = 0

    def submit(self, task, job):
        self.jobs += 1
        task, job = pickle.loads(pickle.dumps((task, job)))  # noqa: S301 - made here
        future = Future()
        future.set_result(pickle.loads(pickle.dumps(task(job))))  # noqa: S301 - made here
        return future

    def shutdown(self, **_):
        pass


def test_victims_that_travel_to_workers_and_back_are_the_same(finished, tmp_path, monkeypatch):
    workers = Pickling()
    monkeypatch.setattr(Pool, "_started", lambda _: workers)
    other = replace(finished.options, out=tmp_path / "other", workers=2)
    audit(other, ignore)
    assert workers.jobs == 4
    assert results_of(other) == results_of(finished.options)


@pytest.mark.slow
def test_workers_do_not_change_a_number(finished, tmp_path):
    other = replace(finished.options, out=tmp_path / "other", workers=2)
    audit(other, ignore)
    assert results_of(other) == results_of(finished.options)


def test_a_journal_of_other_settings_is_refused_and_left_alone(done):
    before = (done.out / "journal.jsonl").read_bytes()
    with pytest.raises(UsageProblem, match="other settings or pictures"):
        audit(replace(done, epochs=1), ignore)
    assert (done.out / "journal.jsonl").read_bytes() == before
    audit(replace(done, epochs=1, resume=False), ignore)
    assert (done.out / "journal.jsonl").read_bytes() != before


@pytest.mark.slow
def test_compiled_passes_make_another_audit(options, monkeypatch):
    calls = []

    def compiled(function, **_):
        return lambda images: calls.append(images) or function(images)

    monkeypatch.setattr(torch, "compile", compiled)
    options = replace(
        options, rho_a=(Radius.of_levels(4),), epochs=1, pgd_steps=1, placebo=False, motif=False
    )
    plain = audit(options, ignore)
    assert not calls
    with pytest.raises(UsageProblem, match="other settings or pictures"):
        audit(replace(options, compiled=True), ignore)
    report = audit(replace(options, compiled=True, resume=False), ignore)
    assert calls
    assert report.environment["device"] == plain.environment["device"] + ", compiled"
    curves = [[result.curve for result in each.results] for each in (plain, report)]
    assert curves[0] == curves[1]  # the stand-in changes no number


@pytest.mark.parametrize("changes", [{"adversary": "n-fgsm"}, {"motif": False}, {"placebo": False}])
def test_another_adversary_and_another_control_make_another_audit(done, changes):
    with pytest.raises(UsageProblem, match="other settings or pictures"):
        audit(replace(done, **changes), ignore)


@pytest.mark.slow
def test_another_bound_for_given_copies_makes_another_audit(options):
    copies = copy_with_noise(options.clean, options.out.with_name("copies"), 4)
    given = replace(options, protected=copies, rho=Radius.of_levels(4), epochs=1, placebo=False)
    audit(given, ignore)  # with a motif of 4
    with pytest.raises(UsageProblem, match="other settings or pictures"):
        audit(replace(given, rho=Radius.of_levels(8)), ignore)


def test_changed_pictures_make_another_audit(done, options):
    audit(options, ignore)  # of the same pictures in another place: the finished audit
    draw(options.clean, seed=5)
    copy_with_noise(options.clean, options.protected)
    with pytest.raises(UsageProblem, match="other settings or pictures"):
        audit(options, ignore)


def test_copies_over_the_bound_stop_the_audit_before_any_training(options):
    copy_with_noise(options.clean, options.protected, levels=9)
    with pytest.raises(NotProtected, match=r"not a protected copy.*over"):
        audit(options, ignore)
    assert not (options.out / "journal.jsonl").exists()


def test_an_unchanged_copy_stops_the_audit(options):
    (options.protected / "cats/3.png").write_bytes((options.clean / "cats/3.png").read_bytes())
    with pytest.raises(NotProtected, match=r"cats/3\.png: unchanged"):
        audit(options, ignore)


def test_copies_of_other_pictures_stop_the_audit(options, tmp_path):
    other = copy_with_noise(draw(tmp_path / "other", seed=9), tmp_path / "other copies")
    with pytest.raises(NotProtected, match="is not a protected copy of"):
        audit(replace(options, protected=other), ignore)


def test_a_missing_copy_stops_the_audit(options):
    (options.protected / "dogs/1.png").unlink()
    with pytest.raises(NotProtected, match=r"dogs/1\.png: missing"):
        audit(options, ignore)


@pytest.mark.slow
def test_fractions_bring_the_remainder_control(options):
    options = replace(options, fractions=(Fraction(1, 2), Fraction(1)), epochs=1)
    report = audit(options, ignore)
    found = [(r.cell.arm, str(r.cell.fraction), r.trained) for r in report.results]
    assert sorted(found) == sorted(
        [
            ("clean", "1", 15),
            ("placebo", "1/2", 15),
            ("placebo", "1", 15),
            ("motif", "1", 15),
            ("remainder", "1/2", 9),
            ("protected", "1/2", 15),
            ("protected", "1", 15),
        ]
    )


def test_countermeasures_on_files_get_sets_of_their_own(options):
    audit(replace(options, countermeasures=("none", "jpeg75"), epochs=1), ignore)
    for arm, folder in (("clean", options.clean), ("protected", options.protected)):
        changed_set = stored.load(options.out / "sets" / f"{arm}-jpeg75.safetensors")
        name = gather(options.clean, 32, None, None).names[0]
        changed = COUNTERMEASURES["jpeg75"].stored(Image.open(folder / name), 0)
        assert np.array_equal(changed_set.pixels[0].permute(1, 2, 0).numpy(), np.asarray(changed))
        assert torch.equal(changed_set.ids, stored.load(options.out / "sets/clean.safetensors").ids)


@pytest.mark.slow
def test_held_out_pictures_may_come_from_a_folder(options, tmp_path):
    test = draw(tmp_path / "test", per_class=2, seed=7)
    report = audit(replace(options, test=test, epochs=1), ignore)
    assert (report.subject.trained, report.subject.tested) == (18, 6)


@pytest.mark.slow
def test_labels_of_held_out_pictures_come_from_where_those_of_others_come_from(options, tmp_path):
    test = draw(tmp_path / "test", per_class=2, seed=7)
    for folder in sorted(test.iterdir()):
        folder.rename(test / f"{'train' if folder.name == CLASSES[0] else 'val'}-{folder.name}")
    rows = ["path,label"]
    for root in (options.clean, test):
        for path in sorted(root.glob("*/*.png")):
            label = path.parent.name.rpartition("-")[2]
            rows.append(f"{path.relative_to(tmp_path)},{label}")
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(rows))
    report = audit(replace(options, test=test, labels=f"csv:{table}", epochs=1), ignore)
    assert report.subject.classes == CLASSES
    assert report.subject.tested == 6


@pytest.mark.slow
def test_guessing_is_the_share_of_the_largest_class_held_out(options, tmp_path):
    test = draw(tmp_path / "test", per_class=2, seed=7)
    for path in sorted((test / CLASSES[1]).iterdir()):
        shutil.copy(path, path.with_stem(f"{path.stem}-again"))
    report = audit(replace(options, test=test, epochs=1), ignore)
    assert report.subject.tested == 8
    assert report.chance == 0.5
    assert "guessing (the largest class for all) gets 50.0 %" in subject_text(report)


def test_a_network_that_sees_the_same_by_another_name_is_trained_once(options):
    names = ("resnet-small@32", "resnet-small", "vit", "resnet-small@16", "vit@32")
    plan = planned(replace(options, architectures=names))
    assert plan.architectures == ("resnet-small@32", "vit", "resnet-small@16")


def test_only_pictures_that_are_chosen_are_decoded(options, monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "prepare", counting := Counting(folders.prepare))
    few = gather(options.clean, 32, None, 6)
    held = {path for path in counting.paths if path not in few.files}
    assert (len(few.files), len(few.test), len(counting.paths)) == (6, len(held), 6 + len(held))
    assert torch.bincount(few.train.labels).tolist() == [2, 2, 2]
    everything = gather(options.clean, 32, None, None)
    assert set(few.names) < set(everything.names)
    assert torch.equal(few.test.pixels, everything.test.pixels)
    larger = gather(options.clean, 16, None, None)  # the same, at whatever size they are read
    assert larger.names == everything.names
    for n, name in enumerate(few.names):
        alone = Image.open(options.clean / name)
        assert np.array_equal(few.train.pixels[n].permute(1, 2, 0).numpy(), np.asarray(alone))
    counting.paths.clear()
    given = gather(options.clean, 32, draw(tmp_path / "test", per_class=2, seed=7), 3)
    assert (len(given.files), len(given.test), len(counting.paths)) == (3, 6, 9)


def test_copies_of_a_file_are_never_on_both_sides(options):
    for path in sorted(options.clean.glob("*/*.png")):
        shutil.copy(path, path.with_stem(f"copy of {path.stem}"))
    clean = gather(options.clean, 32, None, None)
    assert clean.duplicates == 0
    assert len(clean.train) + len(clean.test) == 36


@pytest.mark.slow
def test_held_out_pictures_found_in_training_raise_a_flag(options):
    report = audit(replace(options, test=options.clean, epochs=1), ignore)
    assert report.subject.duplicates == 18
    assert "test-in-training" in {flag.name for flag in report.flags}


def test_thin_data_is_flagged(finished):
    flags = {flag.name for flag in finished.report.flags}
    assert {"too-few", "one-seed"} <= flags


def test_progress_ends_with_everything_done(finished):
    last = [event for event in finished.events if isinstance(event, CellsProgress)][-1]
    assert (last.done, last.total, last.share) == (4, 4, 1.0)


@pytest.mark.slow
def test_the_parts_of_a_data_set_are_trained_on_and_held_out(tmp_path, options):
    draw(tmp_path / "set/Train"), draw(tmp_path / "set/val", per_class=2, seed=3)
    events = []
    options = replace(options, clean=tmp_path / "set", protected=None, epochs=1)
    subject = audit(options, events.append).subject
    assert (subject.trained, subject.tested, subject.classes) == (18, 6, CLASSES)
    written = [p for p in (options.out / "protected").rglob("*.png") if p.parts[-3] == "Train"]
    assert len(written) == len(list((options.out / "protected").rglob("*.png"))) == 18
    said = [event.text for event in events if isinstance(event, Notice)]
    assert said[:2] == [
        "Labels: 3 classes from folders under Train/ and val/: cats (8), dogs (8), owls (8)",
        "Pictures to try on are those under val/",
    ]


def test_one_class_is_refused_with_what_to_do(tmp_path, options):
    for path in (options.clean / "dogs", options.clean / "owls"):
        path.rename(tmp_path / path.name)
    with pytest.raises(UsageProblem, match="one folder per class"):
        audit(options, ignore)


def test_a_class_without_pictures_is_refused(options):
    (options.clean / "newts").mkdir()
    (options.clean / "newts" / "broken.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(NothingFound, match="newts"):
        audit(options, ignore)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architectures": ("resnet81",)}, "resnet81"),
        ({"countermeasures": ("gray",)}, "grey"),
        ({"countermeasures": ("diffusion",)}, "--purifier"),
        ({"fractions": (Fraction(3, 2),)}, "3/2"),
        ({"clean": Path("/nowhere")}, "nowhere"),
        ({"architectures": ("finetune:resnet-small@32",)}, "--weights FILE"),
        (
            {"architectures": ("probe:resnet-small",), "weights": Path("/no.pth")},
            "/no.pth: no such file",
        ),
        (
            {"architectures": ("finetune:resnet18",), "weights": Path(__file__)},
            "test_run.py: not weights",
        ),
        ({"architectures": ("probe:resnet18",), "offline": True}, "with --offline"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(
    options, change, words, monkeypatch, tmp_path
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises((UsageProblem, EnvironmentProblem), match=words):
        audit(replace(options, **change), ignore)
    assert not options.out.exists()


def test_a_report_inside_the_pictures_is_refused(options):
    with pytest.raises(UsageProblem, match="outside"):
        audit(replace(options, out=options.clean / "report"), ignore)
    held_out = options.out.with_name("held out")
    held_out.mkdir()
    with pytest.raises(UsageProblem, match=r"is inside .*held out; choose"):
        audit(replace(options, test=held_out, out=held_out / "report"), ignore)


def test_no_room_for_the_sets_is_an_environment_problem(options, monkeypatch):
    monkeypatch.setattr("unlearn.files.places.free_bytes", lambda path: 1000)
    with pytest.raises(EnvironmentProblem, match="Not enough disk"):
        audit(options, ignore)
    assert not (options.out / "journal.jsonl").exists()


def test_sources_and_copies_are_only_read(finished, pictures):
    assert state_of(pictures) == finished.before


def test_a_thorough_audit_tries_every_countermeasure(options):
    plan = study.plan_of(replace(options, countermeasures=None), study.budget_of("thorough"), 32)
    assert plan.countermeasures == tuple(COUNTERMEASURES)


def test_victims_never_share_a_seed_with_a_generator(options):
    options = replace(options, epochs=None, batch_size=None)
    plan = study.plan_of(options, study.budget_of("paper"), 32)
    assert min(plan.seeds) > 100
    assert (plan.training.steps, plan.training.pgd_steps) == (40_000, 10)
    assert plan.training.step_share == Fraction(1, 5)
