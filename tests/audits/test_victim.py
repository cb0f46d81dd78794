from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from torch import nn

from tests.support.bars import (
    CLASSES,
    NOTHING,
    TRAINING,
    around,
    make_bars,
    make_cell,
)
from tests.support.making import (
    flags_of,
    make_data,
    make_images,
    make_rng,
    make_small_net,
    numbers_of,
    seeded,
    small_net,
)
from tests.support.sweeps import few
from unlearn.attack import Pgd
from unlearn.audits import victim, watch
from unlearn.audits.plan import Training
from unlearn.audits.victim import countered, fit_victim
from unlearn.audits.watch import StoppedError
from unlearn.checkpoint import Checkpoint
from unlearn.config import from_plain, to_plain
from unlearn.countermeasures import COUNTERMEASURES
from unlearn.countermeasures.base import Countermeasure
from unlearn.errors import UsageProblem
from unlearn.models.classifier import Classifier
from unlearn.objectives import cross_entropy
from unlearn.radius import Radius
from unlearn.training import train

BARS, TEST = make_bars(96), make_bars(60, seed=1)
SHORT = replace(TRAINING, epochs=3)
ROBUST = replace(SHORT, pgd_steps=2, step_share=Fraction(1, 2))
AT_FOUR = make_cell(rho_a=Radius.of_levels(4))


@pytest.fixture
def real_network():
    """The victim is the network that its cell names."""


@pytest.fixture(autouse=True)
def two_layers(request, monkeypatch):
    """The victim has two layers, whatever its cell says, unless the test needs the real network."""
    if "real_network" not in request.fixturenames:
        monkeypatch.setattr(victim, "build_classifier", lambda _, classes: small_net(classes))


def fit(cell=None, training=SHORT, data=BARS, test=TEST, surroundings=None):
    return fit_victim(cell or make_cell(), training, data, test, surroundings or around())


def but_for_seconds(result):
    return replace(result, seconds=0.0)


def spied(monkeypatch, module, name):
    """Collect the positional arguments of a module's function and let it run."""
    calls, real = [], getattr(module, name)
    monkeypatch.setattr(
        module, name, lambda *args, **kwargs: calls.append(args) or real(*args, **kwargs)
    )
    return calls


def schedule_of(monkeypatch, cell, training):
    calls = spied(monkeypatch, victim, "train")
    fit(cell, training)
    return calls[-1][3]


def with_dropout(_name, classes):
    """A network that draws torch's global random numbers while it trains."""
    net = make_small_net(classes)
    net.body = nn.Sequential(net.body, nn.Dropout(0.5))
    return net


# What comes out


def test_a_result_counts_its_pictures_and_its_best_epoch():
    seen = []
    result = fit(surroundings=around(progress=seen.append))
    accuracies = [point.accuracy for point in result.curve]
    assert (result.trained, result.tested) == (96, 60)
    assert [point.epoch for point in result.curve] == [1, 2, 3]
    assert result.accuracy_last == accuracies[-1]
    assert result.accuracy_best == max(accuracies)
    assert accuracies[result.best_epoch - 1] == max(accuracies)
    assert result.train_accuracy == result.curve[-1].train_accuracy
    assert result.seconds > 0
    assert not result.diverged
    assert tuple(seen) == result.curve
    assert from_plain(type(result), to_plain(result)) == result


def test_accuracies_are_those_of_the_trained_model(monkeypatch):
    models = spied(monkeypatch, victim, "train")
    result = fit()
    images = TEST.pixels.float() / 255
    with torch.no_grad():
        right = models[0][0](images).argmax(1) == TEST.labels
    assert result.accuracy_last == pytest.approx(float(right.float().mean()))


def test_with_steps_given_a_victim_is_tried_about_twenty_times():
    curves = {steps: fit(training=replace(SHORT, steps=steps)).curve for steps in (5, 20, 45)}
    assert [len(curve) for curve in curves.values()] == [5, 20, 23]
    assert [point.epoch for point in curves[5]] == [1, 2, 3, 4, 5]


def test_the_arguments_are_left_alone():
    before = BARS.pixels.clone(), TEST.pixels.clone()
    fit(AT_FOUR, ROBUST)
    assert torch.equal(before[0], BARS.pixels)
    assert torch.equal(before[1], TEST.pixels)


# Repeatability


@pytest.mark.usefixtures("real_network")
@pytest.mark.parametrize("cell", few([make_cell(), AT_FOUR], AT_FOUR))
def test_equal_victims_are_equal_to_the_last_bit(monkeypatch, cell):
    models = spied(monkeypatch, victim, "train")
    first, second = fit(cell, ROBUST), fit(cell, ROBUST)
    assert but_for_seconds(first) == but_for_seconds(second)
    one, other = (numbers_of(call[0]) for call in models)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_another_seed_is_another_victim_from_its_first_weights_on(monkeypatch):
    starts = []
    monkeypatch.setattr(
        victim,
        "train",
        lambda model, *rest: starts.append(numbers_of(model)) or train(model, *rest),
    )
    for seed in (101, 102):
        fit(make_cell(seed=seed))
    fit(make_cell("protected", seed=101))
    assert not torch.equal(starts[0]["head.weight"], starts[1]["head.weight"])
    assert torch.equal(starts[0]["head.weight"], starts[2]["head.weight"])


def test_the_runs_own_seed_and_the_global_random_numbers_do_not_matter():
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = fit()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    surroundings = around()
    other = fit(surroundings=replace(surroundings, run=replace(surroundings.run, seed=5)))
    assert but_for_seconds(first) == but_for_seconds(other)


class KilledError(Exception):
    pass


def killed_at(epoch):
    def progress(point):
        if point.epoch == epoch:
            raise KilledError

    return progress


@pytest.mark.usefixtures("real_network")
@pytest.mark.parametrize(
    "name", few(["resnet-small", "with dropout", "early stopping"], "with dropout")
)
def test_a_resumed_victim_equals_one_that_was_never_stopped(tmp_path, monkeypatch, name):
    cell, countermeasure = AT_FOUR, NOTHING
    if name == "with dropout":
        monkeypatch.setattr(victim, "build_classifier", with_dropout)
    if name == "early stopping":
        cell = make_cell()
        countermeasure = Countermeasure("early-stopping", "", clean=Fraction(1, 10))
    whole = fit(cell, ROBUST, surroundings=around(countermeasure))
    checkpoint = Checkpoint(tmp_path / "state", "plan")
    surroundings = around(countermeasure, checkpoint=checkpoint, save_every_seconds=0)
    with pytest.raises(KilledError):
        fit(cell, ROBUST, surroundings=replace(surroundings, progress=killed_at(2)))
    assert checkpoint.path.exists()
    seen = []
    again = fit(cell, ROBUST, surroundings=replace(surroundings, progress=seen.append))
    assert but_for_seconds(again) == but_for_seconds(whole)
    assert tuple(seen) == whole.curve[1:]


def test_a_victim_told_to_stop_saves_its_state_and_goes_on_exactly(tmp_path):
    whole = fit(AT_FOUR, ROBUST)
    checkpoint = Checkpoint(tmp_path / "state", "plan")
    answers = iter([False, False, False, True, False, True])
    surroundings = around(checkpoint=checkpoint, stop=lambda: next(answers, False))
    for _ in range(2):
        with pytest.raises(StoppedError):
            fit(AT_FOUR, ROBUST, surroundings=surroundings)
        assert checkpoint.path.exists()
    assert but_for_seconds(fit(AT_FOUR, ROBUST, surroundings=surroundings)) == but_for_seconds(
        whole
    )


def test_a_victim_is_not_stopped_after_its_last_step():
    asked = []
    whole = fit(surroundings=around(stop=lambda: bool(asked.append(1))))
    assert len(asked) == 3 * (96 // 32) - 1
    assert whole.curve


def test_a_state_is_saved_only_when_it_is_time(tmp_path):
    checkpoint = Checkpoint(tmp_path / "state", "plan")
    fit(surroundings=around(checkpoint=checkpoint))
    assert not checkpoint.path.exists()


def test_seconds_count_those_before_the_victim_was_stopped(tmp_path, monkeypatch):
    clock = iter(range(0, 100_000, 10))
    monkeypatch.setattr(watch.time, "monotonic", lambda: float(next(clock)))
    surroundings = around(checkpoint=Checkpoint(tmp_path / "state", "plan"), save_every_seconds=0)
    with pytest.raises(KilledError):
        fit(surroundings=replace(surroundings, progress=killed_at(3)))
    first_part = next(clock)
    result = fit(surroundings=surroundings)
    assert result.seconds > 0.5 * first_part


# How it is trained


def test_the_rates_are_cosine_decayed_or_constant(monkeypatch):
    training = replace(SHORT, steps=40_000, learning_rate=0.1, batch_size=128)
    made = {}
    monkeypatch.setattr(victim, "train", lambda *args: made.update({"schedule": args[3]}))
    monkeypatch.setattr(victim.Watch, "result", lambda self, trained: None)

    def rates(decay, architecture="resnet-small"):
        fit(make_cell(decay=decay, architecture=architecture), training)
        return [made["schedule"].rate(step) for step in (0, 15_999, 16_000, 32_000, 39_999)]

    assert rates("decayed") == pytest.approx([0.1, 0.1, 0.01, 0.001, 0.001])
    assert rates("constant") == pytest.approx([0.1] * 5)
    assert rates("cosine")[0] == pytest.approx(0.1)
    assert rates("cosine")[4] < 1e-6
    schedule = made["schedule"]
    assert (schedule.steps, schedule.batch_size, schedule.weight_decay) == (40_000, 128, 5e-4)
    assert schedule.momentum == 0.9
    monkeypatch.setattr(victim, "build_pretrained", lambda *args, **kwargs: make_small_net())
    assert rates("constant", "finetune:resnet18") == pytest.approx([0.001] * 5)
    assert rates("constant", "probe:resnet18") == pytest.approx([0.1] * 5)


def test_the_adversary_has_the_plans_radius_steps_and_goal(monkeypatch):
    calls = spied(monkeypatch, victim, "pgd")
    fit(AT_FOUR, replace(SHORT, epochs=1, pgd_steps=4, step_share=Fraction(1, 5)))
    assert len(calls) == 3
    for _, images, config, goal, _ in calls:
        assert config == Pgd(Radius.of_levels(4), Radius.of_levels(0.8), 4)
        assert config.random_start
        assert goal == "maximise"
        assert 0 <= float(images.min()) <= float(images.max()) <= 1


def test_without_a_radius_there_is_no_adversary(monkeypatch):
    calls = spied(monkeypatch, victim, "pgd"), spied(monkeypatch, victim, "n_fgsm")
    fit()
    fit(training=replace(SHORT, adversary="n-fgsm"))
    assert calls == ([], [])


def test_an_adversary_of_one_step_takes_the_place_of_pgd(monkeypatch):
    many, one = spied(monkeypatch, victim, "pgd"), spied(monkeypatch, victim, "n_fgsm")
    fit(AT_FOUR, replace(SHORT, epochs=1, adversary="n-fgsm"))
    assert many == []
    assert [radius for _, _, radius, _ in one] == [Radius.of_levels(4)] * 3


def test_a_robust_victim_learns_from_attacked_views_inside_the_radius(monkeypatch):
    trained_on, views = [], spied(monkeypatch, victim, "pgd")

    def build(_name, classes):
        net = make_small_net(classes)
        net.register_forward_pre_hook(
            lambda module, inputs: (
                trained_on.append(inputs[0].detach()) if module.training else None
            )
        )
        return net

    monkeypatch.setattr(victim, "build_classifier", build)
    fit(AT_FOUR, replace(ROBUST, epochs=1))
    assert len(trained_on) == len(views) == 3
    for attacked, call in zip(trained_on, views, strict=True):
        moved = (attacked - call[1]).abs()
        assert float(moved.max()) <= 4 / 255 + 1e-6
        assert float(moved.mean()) > 2 / 255
        assert 0 <= float(attacked.min()) <= float(attacked.max()) <= 1


def test_a_victim_sees_what_its_plan_says_for_it():
    seen = []

    def each(images, targets, rng):
        seen.append(images.shape)
        return images, targets

    cell = make_cell(architecture="resnet-small-imagenet@24")
    training = Training(16, 24, epochs=1, batch_size=16).of(cell)
    fit(
        cell,
        training,
        make_data(16, size=24),
        make_data(8, size=24),
        around(replace(NOTHING, each=each)),
    )
    assert set(seen) == {(16, 3, 24, 24)}


def test_large_pictures_are_cropped_to_the_size_that_is_tested():
    large, test = make_data(32, size=24), make_data(16, size=24, seed=1)
    seen = []

    def each(images, targets, rng):
        seen.append(images.shape)
        return images, targets

    training = Training(16, 24, epochs=1, batch_size=16)
    result = fit(None, training, large, test, around(replace(NOTHING, each=each)))
    assert set(seen) == {(16, 3, 16, 16)}
    assert result.tested == 16


def test_pictures_of_another_size_are_refused():
    with pytest.raises(UsageProblem, match="16 pixels do not fit"):
        fit(training=Training(16, 32))


@pytest.mark.parametrize("name", ["finetune:resnet18", "probe:resnet18"])
def test_pretrained_networks_are_built_from_the_weights_at_hand(monkeypatch, tmp_path, name):
    asked = []

    def build(name, classes, weights, *, offline):
        asked.append((name, classes, weights, offline))
        return make_small_net(classes)

    monkeypatch.setattr(victim, "build_pretrained", build)
    fit(make_cell(architecture=name), surroundings=around(weights=tmp_path, offline=True))
    assert asked == [(name, 4, tmp_path, True)]


@pytest.mark.usefixtures("real_network")
def test_a_diverged_victim_stops_and_says_so():
    result = fit(training=replace(SHORT, epochs=8, learning_rate=1e8))
    assert result.diverged
    assert 1 <= len(result.curve) < 8
    assert 0 <= result.accuracy_last <= 1
    assert 0 <= result.train_accuracy <= 1
    assert from_plain(type(result), to_plain(result)) == result


# Countermeasures


def test_the_set_as_a_whole_is_changed_once_with_the_victims_seed():
    asked = []

    def once(data, seed):
        asked.append((data, seed))
        return data.subset(torch.arange(64))

    result = fit(make_cell(seed=103), surroundings=around(replace(NOTHING, once=once)))
    assert asked == [(BARS, 103)]
    assert result.trained == 64


def test_batches_are_changed_after_the_crop_and_before_the_adversary(monkeypatch):
    changed, attacked = [], spied(monkeypatch, victim, "pgd")

    def each(images, targets, rng):
        changed.append((images.clone(), targets.clone()))
        return images / 2, targets.flip(1)

    countermeasure = replace(NOTHING, each=each)
    fit(AT_FOUR, replace(ROBUST, epochs=1), surroundings=around(countermeasure))
    assert len(changed) == len(attacked) == 3
    for (images, targets), call in zip(changed, attacked, strict=True):
        assert torch.equal(call[1], images / 2)
        assert torch.equal(targets.sum(1), torch.ones(len(targets)))
        assert targets.shape == (32, len(CLASSES))


@pytest.mark.slow
@pytest.mark.usefixtures("real_network")
def test_soft_targets_are_learned():
    def each(images, targets, rng):
        return images, torch.full_like(targets, 0.25)

    def wrong(images, targets, rng):
        return images, targets.roll(1, dims=1)

    training = replace(TRAINING, epochs=4)
    soft = fit(training=training, surroundings=around(replace(NOTHING, each=each)))
    assert soft.accuracy_last < 0.6  # nothing to learn but the uniform guess
    data = make_bars(256)
    result = fit(None, training, data, surroundings=around(replace(NOTHING, each=wrong)))
    assert result.train_accuracy > 0.8
    assert result.accuracy_last < 0.2


def test_of_several_draws_each_picture_keeps_its_hardest():
    drawn = []

    def each(images, targets, rng):
        drawn.append((images + rng.uniform(*images.shape[1:], low=-0.5, high=0.5), targets))
        return drawn[-1]

    model = make_small_net().train()
    flags = flags_of(model)
    images, targets = make_images(12), torch.eye(4).repeat(3, 1)
    found, kept = countered(
        Countermeasure("x", "", each=each, draws=5),
        model,
        around().run,
        images,
        targets,
        make_rng(12),
    )
    assert flags_of(model) == flags
    model.eval()
    with torch.no_grad():
        losses = torch.stack([cross_entropy(model(x), y) for x, y in drawn])
    assert len(drawn) == 5
    assert not any(torch.equal(drawn[0][0], other) for other, _ in drawn[1:])
    assert len(set(losses.argmax(0).tolist())) > 1
    for n, hardest in enumerate(losses.argmax(0).tolist()):
        assert torch.equal(found[n], drawn[hardest][0][n])
    assert torch.equal(kept, targets)


@pytest.mark.parametrize("name", COUNTERMEASURES)
def test_a_victim_is_trained_under_every_countermeasure(name):
    cell = make_cell("protected", countermeasure=name)
    result = fit(cell, replace(SHORT, steps=2), surroundings=around(COUNTERMEASURES[name]))
    assert len(result.curve) == 2
    assert not result.diverged


def test_early_stopping_chooses_by_pictures_that_are_not_tested(monkeypatch):
    """Epoch 2 is best on the copier's own pictures, and epoch 3 on all others."""
    own = watch.split(TEST, Fraction(1, 10))[1]
    assert len(own) == 8
    mine = torch.zeros(len(TEST), dtype=torch.bool)
    mine[own] = True
    wrong = (TEST.labels + 1) % 4
    guesses = iter(
        [
            wrong,
            torch.where(mine, TEST.labels, wrong),
            torch.where(mine, wrong, TEST.labels),
        ]
    )
    monkeypatch.setattr(watch, "predict", lambda *_: next(guesses))
    countermeasure = Countermeasure("early-stopping", "", clean=Fraction(1, 10))
    result = fit(surroundings=around(countermeasure))
    assert result.tested == 52
    assert [point.accuracy for point in result.curve] == [0.0, 0.0, 1.0]
    assert result.accuracy_last == 0.0
    assert (result.accuracy_best, result.best_epoch) == (1.0, 3)


def test_a_network_whose_body_stays_frozen_is_trained_at_its_head(monkeypatch):
    def build(name, classes, weights, *, offline):
        net = seeded(lambda: make_small_net(classes))
        net.body.requires_grad_(False)
        return net

    models = spied(monkeypatch, victim, "train")
    monkeypatch.setattr(victim, "build_pretrained", build)
    fit(make_cell(architecture="probe:resnet18", rho_a=Radius.of_levels(4)), ROBUST)
    trained: Classifier = models[0][0]
    fresh = make_small_net()
    assert torch.equal(trained.body[0].weight, fresh.body[0].weight)
    assert not torch.equal(trained.head.weight, fresh.head.weight)
