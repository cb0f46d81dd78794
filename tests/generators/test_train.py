"""Training a generator end to end: the artefact, resume, refusals, and what it costs."""

import threading
from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from tests.support.made_pictures import noise_image
from tests.support.sweeps import few
from unlearn.attack import Pgd
from unlearn.errors import EnvironmentProblem, UnlearnError, UsageProblem
from unlearn.generators.artefact import NoiseGenerator
from unlearn.generators.header import read_header
from unlearn.generators.options import TrainOptions
from unlearn.generators.train import (
    Resumed,
    Started,
    Stepped,
    Stopped,
    checkpoint_path,
    train_generator,
)
from unlearn.methods import MinMaxMin
from unlearn.methods.stage_one import StageOne
from unlearn.radius import Radius
from unlearn.training import Schedule

SMALL = MinMaxMin(
    noise=StageOne(Pgd(Radius.of_levels(8), Radius.of_levels(4), steps=2)),
    adversary=Pgd(Radius.of_levels(4), Radius.of_levels(4), steps=1),
    schedule=Schedule(steps=6, batch_size=4),
)


@pytest.fixture
def options(tmp_path):
    for k, name in enumerate(("cats", "dogs")):
        for n in range(5):
            path = tmp_path / "data" / name / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise_image((16, 16), 40 + 20 * k + n, 5 * k + n).save(path)
    return TrainOptions(
        data=tmp_path / "data",
        out=tmp_path / "gen.safetensors",
        method=SMALL,
        architecture="resnet-small",
        image_size=16,
        precision="fp32",
        device="cpu",
        seed=3,
        licence="CC0-1.0",
        command="unlearn train-generator data --out gen.safetensors",
    )


def ignore(event):
    pass


def test_ranks_of_two_versions_are_told_apart(options, monkeypatch):
    class SeenError(Exception):
        pass

    def seen(fingerprint):
        raise SeenError(fingerprint)

    found = []
    monkeypatch.setattr("unlearn.together.check_alike", seen)
    for version in ("1.0", "1.0", "1.1"):
        monkeypatch.setattr("unlearn.generators.train.__version__", version)
        with pytest.raises(SeenError) as told:
            train_generator(options, ignore)
        found.append(str(told.value))
    assert found[0] == found[1] != found[2]


def test_the_artefact_says_what_it_is_made_of(options):
    trained = train_generator(replace(options, test=options.data, working_size=24), ignore)
    header = read_header(options.out)
    assert header == trained.header
    assert (header.method, header.architecture) == ("min-max-min", "resnet-small")
    assert header.classes == ("cats", "dogs")
    assert (header.image_size, header.working_size) == (16, 24)
    assert (header.rho, header.facts, header.precision) == ("8/255", {"rho-a": "4/255"}, "fp32")
    assert (header.data_count, header.licence, header.seed) == (10, "CC0-1.0", 3)
    assert header.curve["step"] == [1, 2, 3, 4, 5, 6]
    assert len(header.curve["clean_test_accuracy"]) == 6
    generator = NoiseGenerator.load(options.out)
    assert generator.method == SMALL
    assert generator.sha256 == trained.sha256
    card = options.out.with_suffix(".md").read_text()
    for expected in (options.command, header.data_fingerprint, "CC0-1.0", "## Limits", "| 6 |"):
        assert expected in card
    assert sorted(p.name for p in options.out.parent.iterdir()) == [
        "data",
        "gen.md",
        "gen.safetensors",
    ]


def test_the_same_line_gives_the_same_bytes_and_another_seed_others(options):
    first = train_generator(options, ignore).sha256
    assert train_generator(replace(options, force=True), ignore).sha256 == first
    assert train_generator(replace(options, force=True, seed=4), ignore).sha256 != first


@pytest.mark.slow
def test_compiled_passes_are_another_training(options, monkeypatch):
    calls = []

    def compiled(function, **_):
        return lambda images: calls.append(images) or function(images)

    def stop_at_once(event):
        if isinstance(event, Stepped):
            stop.set()

    monkeypatch.setattr(torch, "compile", compiled)
    plain = train_generator(options, ignore).sha256
    assert not calls
    options, stop = replace(options, force=True), threading.Event()
    with pytest.raises(Stopped):
        train_generator(options, stop_at_once, stop)
    with pytest.raises(UsageProblem, match="other settings"):
        train_generator(replace(options, compiled=True), ignore)
    fresh = replace(options, compiled=True, resume=False)
    assert train_generator(fresh, ignore).sha256 == plain  # the stand-in changes no number
    assert calls


@pytest.mark.parametrize("joint", few([False, True], False))
def test_a_stopped_training_goes_on_to_the_same_bytes(options, joint):
    options = replace(options, method=replace(SMALL, joint=joint))
    whole = train_generator(options, ignore).sha256
    for stop_after in (1, 2, 5):
        options.out.unlink()
        check_going_on(options, stop_after, whole)


def check_going_on(options, stop_after, whole):
    stop = threading.Event()

    def stop_in_time(event):
        if isinstance(event, Stepped) and event.step == stop_after:
            stop.set()

    with pytest.raises(Stopped, match=f"stopped after step {stop_after}; run the same line again"):
        train_generator(options, stop_in_time, stop)
    assert checkpoint_path(options.out).exists()
    assert not options.out.exists()
    events = []
    resumed = train_generator(options, events.append)
    assert events[1] == Resumed(stop_after)
    assert resumed.sha256 == whole
    assert not checkpoint_path(options.out).exists()


@pytest.mark.slow
def test_a_killed_training_goes_on_from_its_last_save(options):
    whole = train_generator(options, ignore).sha256
    options.out.unlink()

    def die(event):
        if isinstance(event, Stepped) and event.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_generator(replace(options, save_every_minutes=0), die)
    events = []
    assert train_generator(options, events.append).sha256 == whole
    assert events[1] == Resumed(3)


def test_a_state_of_another_plan_is_refused_and_can_be_thrown_away(options):
    def die(event):
        if isinstance(event, Stepped) and event.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_generator(replace(options, save_every_minutes=0), die)
    with pytest.raises(UsageProblem, match=r"gen\.ckpt belongs to a training with other settings"):
        train_generator(replace(options, seed=9), ignore)
    assert train_generator(replace(options, seed=9, resume=False), ignore).path.exists()


def test_a_damaged_state_is_named(options):
    checkpoint_path(options.out).write_bytes(b"half a file")
    with pytest.raises(EnvironmentProblem, match=r"gen\.ckpt: not a checkpoint; delete it"):
        train_generator(options, ignore)


def test_the_cost_is_told_before_the_first_step_and_metrics_are_read(options):
    events = []
    train_generator(options, events.append)
    started, *stepped = events
    assert isinstance(started, Started)
    assert started.cost == SMALL.cost(10)
    assert started.cost.training == 6 * 4 * (2 + 1 + 2)
    assert [event.step for event in stepped] == [1, 2, 3, 4, 5, 6]
    assert set(stepped[-1].metrics) == {
        "loss",
        "cross_entropy",
        "randomness",
        "clean_train_accuracy",
        "average_prediction_randomness",
    }


def test_epochs_become_steps_that_cover_the_data(options):
    trained = train_generator(replace(options, epochs=1.0), ignore)
    assert trained.header.config["schedule"]["steps"] == 3


def test_another_final_noise_goes_on_from_the_same_state(options):
    def die(event):
        if isinstance(event, Stepped) and event.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_generator(replace(options, save_every_minutes=0), die)
    final = replace(SMALL, final=Pgd(Radius.of_levels(8), Radius.of_levels(1), steps=9))
    assert train_generator(replace(options, method=final), ignore).path.exists()


def test_a_share_of_the_pictures_is_drawn_evenly(options):
    events = []
    train_generator(replace(options, pictures=4), events.append)
    assert events[0].data.labels.tolist() == [0, 0, 1, 1]


def test_fewer_pictures_than_a_batch_train_all_the_same(options):
    method = replace(SMALL, schedule=Schedule(steps=2, batch_size=64))
    assert train_generator(replace(options, method=method), ignore).path.exists()


def test_an_existing_artefact_is_kept_without_force(options):
    options.out.write_bytes(b"precious")
    with pytest.raises(UsageProblem, match="exists; choose another --out, or --force"):
        train_generator(options, ignore)
    assert options.out.read_bytes() == b"precious"


def test_targets_that_cannot_be_are_refused_before_any_work(options, tmp_path):
    with pytest.raises(UsageProblem, match=r"a generator is a \.safetensors file"):
        train_generator(replace(options, out=tmp_path / "gen.pt"), ignore)
    (tmp_path / "file").write_text("x")
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        train_generator(replace(options, out=tmp_path / "file" / "gen.safetensors"), ignore)


def test_unreadable_pictures_are_reported_and_left_out(options):
    (options.data / "cats" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (options.data / "dogs" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    events = []
    train_generator(replace(options, test=options.data), events.append)
    assert [name for name, _ in events[0].unreadable] == [
        "cats/broken.png",
        "dogs/broken.png",
    ] * 2


def test_the_rate_falls_as_published():
    schedule = Schedule(steps=5000)
    assert schedule.decay_every == Fraction(2, 5)
    rates = [schedule.rate(step) for step in (0, 1999, 2000, 3999, 4000, 4999)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_training_leaves_no_global_seed_dependence(options):
    first = train_generator(options, ignore).sha256
    torch.rand(7)
    assert train_generator(replace(options, force=True), ignore).sha256 == first


def test_a_diverged_training_stops_and_writes_nothing(options, monkeypatch):
    terms = MinMaxMin.step_losses

    def diverged(*args):
        return {name: term * float("nan") for name, term in terms(*args).items()}

    monkeypatch.setattr(MinMaxMin, "step_losses", diverged)
    with pytest.raises(UnlearnError, match="the training diverged at step 1"):
        train_generator(options, ignore)
    assert not options.out.exists()


@pytest.mark.slow
def test_the_curve_has_every_term_at_every_point_however_many_steps(options):
    method = replace(
        SMALL,
        noise=StageOne(replace(SMALL.noise.attack, steps=1)),
        schedule=Schedule(steps=103, batch_size=2),
    )
    curve = train_generator(replace(options, method=method, image_size=8), ignore).header.curve
    assert {len(values) for values in curve.values()} == {len(curve["step"])}
    assert curve["step"][-1] == 103
    assert len(curve["step"]) == 21


def test_ranks_that_are_started_again_once_all_is_written_are_done(options, monkeypatch):
    written = train_generator(options, ignore)
    checkpoint_path(options.out).touch()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    heard = []
    again = train_generator(options, heard.append)
    assert (heard, again.sha256, again.header) == ([], written.sha256, written.header)
    assert not checkpoint_path(options.out).exists()
    with pytest.raises(UsageProblem, match="exists; choose another --out"):
        train_generator(replace(options, command="another line"), ignore)
