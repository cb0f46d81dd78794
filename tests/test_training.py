import copy
import itertools
import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.support.making import (
    CPU,
    accuracy,
    few_examples,
    flags_of,
    make_data,
    make_labels,
    make_network,
    make_pixels,
    make_small_net,
    make_stripes,
    numbers_of,
    property_test,
    same_numbers,
)
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.errors import NothingFound, UsageProblem
from unlearn.objectives import cross_entropy
from unlearn.rng import Rng, content_ids
from unlearn.tensors import to_images
from unlearn.training import SILENT, Batches, Enough, Schedule, Stage, predict, train

SHORT = Schedule(steps=12, batch_size=8, learning_rate=0.05)


class Recorder:
    """An observer that keeps what it sees."""

    def __init__(self):
        self.rates, self.terms, self.finished, self.starts = [], [], [], 0

    def started(self, state):
        self.starts += 1

    def stepped(self, state, terms):
        self.rates.append(state.optimiser.param_groups[0]["lr"])
        self.terms.append({name: float(term.detach()) for name, term in terms.items()})
        self.finished.append(state.finished)


class Snapshot(Recorder):
    """An observer that keeps the state after some step, as a checkpoint does."""

    def __init__(self, after):
        super().__init__()
        self.after, self.saved = after, None

    def stepped(self, state, terms):
        super().stepped(state, terms)
        if state.finished == self.after:
            states = state.model.state_dict(), state.optimiser.state_dict()
            self.saved = (*copy.deepcopy(states), state.finished)


class Resumed(Recorder):
    """An observer that begins where a snapshot was taken."""

    def __init__(self, snapshot):
        super().__init__()
        self.snapshot = snapshot

    def started(self, state):
        model, optimiser, state.finished = copy.deepcopy(self.snapshot.saved)
        state.model.load_state_dict(model)
        state.optimiser.load_state_dict(optimiser)


def classify(model, batch):
    """The plain loss, with noise from the pictures' streams so that they matter."""
    images = to_images(batch.pixels)
    images = images + batch.rng.uniform(*images.shape[1:], low=-0.01, high=0.01)
    loss = cross_entropy(model(images), batch.labels).mean()
    return {"loss": loss, "first": batch.labels[0].float()}


def trained(data=None, schedule=SHORT, run=CPU, observer=SILENT, losses=classify):
    model = make_small_net()
    train(model, losses, data or make_stripes(40), schedule, run, observer)
    return model


# The direction


def test_training_lowers_the_loss_and_finds_the_classes():
    model, test = make_network(), make_stripes(128, seed=1)
    schedule = Schedule(steps=60, batch_size=32, learning_rate=0.05)
    recorder = Recorder()
    before = accuracy(model, test, CPU)
    train(model, classify, make_stripes(256), schedule, CPU, recorder)
    losses = [terms["loss"] for terms in recorder.terms]
    assert sum(losses[-10:]) / 10 < 0.5 * sum(losses[:3]) / 3
    assert before < 0.6
    assert accuracy(model, test, CPU) > 0.85


# The oracle


class Point(nn.Module):
    """A model that is one number, kept in a layout that training may change."""

    def __init__(self, start):
        super().__init__()
        self.place = nn.Parameter(torch.tensor(start))


@pytest.mark.parametrize(
    ("momentum", "weight_decay"), [(0.0, 0.0), (0.9, 0.0), (0.0, 0.1), (0.9, 0.1)]
)
def test_training_follows_the_recurrence_of_momentum_descent(momentum, weight_decay):
    schedule = Schedule(10, 2, 0.05, momentum, weight_decay, Fraction(2, 5), 0.1)

    def losses(model, batch):
        return {"loss": 0.5 * (model.place - 3).square()}

    model = Point(1.0)
    train(model, losses, make_data(4), schedule, CPU)
    place, speed = 1.0, 0.0
    for step in range(10):
        rate = 0.05 * 0.1 ** (step // 4)
        speed = momentum * speed + (place - 3) + weight_decay * place
        place -= rate * speed
    assert float(model.place.detach()) == pytest.approx(place, abs=1e-6)


@pytest.mark.parametrize("clip_norm", [0.0, 0.5, 1.0, 100.0])
def test_a_step_is_no_longer_than_its_gradient_may_be(clip_norm):
    model, schedule = Point(2.0), Schedule(1, 2, 0.25, 0.0, 0.0, clip_norm=clip_norm)
    train(model, lambda m, _: {"loss": 8 * m.place}, make_data(2), schedule, CPU)
    length = 0.25 * min(8.0, clip_norm or 8.0)
    assert float(model.place.detach()) == pytest.approx(2.0 - length, abs=1e-5)


def test_losses_end_a_training_that_has_reached_its_goal():
    def losses(model, batch):
        if batch.step == 2:
            raise Enough
        return {"loss": model.place}

    recorder, model = Recorder(), Point(1.0)
    train(model, losses, make_data(4), Schedule(5, 4), CPU, recorder)
    assert recorder.finished == [1, 2]
    assert not model.training


def test_a_linear_loss_moves_by_the_sum_of_the_rates():
    schedule = Schedule(10, 2, 0.5, 0.0, 0.0)
    model = Point(0.0)
    train(model, lambda m, _: {"loss": 2 * m.place}, make_data(4), schedule, CPU)
    assert float(model.place.detach()) == pytest.approx(-2 * 0.5 * (4 + 0.4 + 0.02))


def test_training_follows_the_recurrence_of_adam():
    schedule = Schedule(10, 2, 0.05, weight_decay=0.1, shape="cosine", optimiser="adam")

    def losses(model, batch):
        return {"loss": 0.5 * (model.place - 3).square()}

    model = Point(1.0)
    train(model, losses, make_data(4), schedule, CPU)
    place, mean, square = 1.0, 0.0, 0.0
    for step in range(10):
        slope = (place - 3) + 0.1 * place
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        speed = mean / (1 - 0.9 ** (step + 1))
        size = math.sqrt(square / (1 - 0.999 ** (step + 1))) + 1e-8
        place -= 0.05 * (1 + math.cos(math.pi * step / 10)) / 2 * speed / size
    assert float(model.place.detach()) == pytest.approx(place, abs=1e-5)


def test_what_a_stage_remembers_is_part_of_the_state():
    seen, kept = [], torch.zeros(1)

    class Look:
        def started(self, state):
            seen.append(state.memory)

        def stepped(self, state, terms):
            seen.append(state.memory["visits"].clone())

    def losses(model, batch):
        kept.add_(1)
        return {"loss": model.place.square()}

    stage = Stage(Look(), memory={"visits": kept})
    train(Point(1.0), losses, make_data(4), Schedule(3, 2), CPU, stage)
    assert seen[0]["visits"] is kept
    assert seen[1:] == [1, 2, 3]


def test_a_later_stage_is_watched_under_its_number():
    class Look(Recorder):
        def started(self, state):
            self.stage = state.stage

    looks = [Look(), Look()]
    schedule = Schedule(3, 2, 0.5)
    for watch, observer in ((looks[0], looks[0]), (looks[1], Stage(looks[1], 2))):
        train(Point(0.0), lambda m, _: {"loss": m.place}, make_data(4), schedule, CPU, observer)
        assert len(watch.terms) == 3
    assert [look.stage for look in looks] == [0, 2]


# The schedule


def test_drops_are_shares_of_the_steps_at_which_the_rate_falls():
    schedule = Schedule(steps=1000, drops=(Fraction(3, 4), Fraction(9, 10)))
    rates = [schedule.rate(step) for step in (0, 749, 750, 899, 900, 999)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_the_published_rate_falls_by_ten_every_forty_percent():
    schedule = Schedule()
    assert (schedule.steps, schedule.batch_size) == (5000, 128)
    assert (schedule.learning_rate, schedule.momentum, schedule.weight_decay) == (0.1, 0.9, 5e-4)
    for first, rate in [(0, 0.1), (2000, 0.01), (4000, 0.001)]:
        assert schedule.rate(first) == pytest.approx(rate)
        if first:
            assert schedule.rate(first - 1) == pytest.approx(10 * rate)
    assert schedule.rate(4999) == pytest.approx(0.001)


def test_training_uses_the_rate_of_its_step():
    recorder = Recorder()
    trained(observer=recorder)
    assert recorder.rates == [SHORT.rate(step) for step in range(12)]
    assert recorder.rates == pytest.approx([0.05] * 4 + [0.005] * 4 + [0.0005] * 4)


@property_test
@given(st.integers(1, 5000), st.fractions(Fraction(1, 100), 1, max_denominator=100))
def test_the_rate_never_rises_and_is_defined_for_every_step(steps, share):
    schedule = Schedule(steps=steps, decay_every=share)
    rates = [schedule.rate(step) for step in {0, 1, steps // 3, steps // 2, steps - 1}]
    assert all(0 <= rate <= 0.1 for rate in rates)
    assert schedule.rate(0) == 0.1
    assert schedule.rate(steps - 1) <= schedule.rate(steps // 2) <= schedule.rate(0)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": -1}, {"batch_size": 0}])
def test_a_schedule_that_takes_no_step_is_refused(wrong):
    with pytest.raises(UsageProblem, match="train nothing"):
        Schedule(**wrong)


@pytest.mark.parametrize("share", [Fraction(0), Fraction(-1, 2), Fraction(3, 2)])
def test_a_decay_that_is_no_share_of_the_steps_is_refused(share):
    with pytest.raises(UsageProblem, match=f"not {share}"):
        Schedule(decay_every=share)


# Batches


@property_test
@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 2**62))
def test_every_epoch_covers_every_picture_exactly_once(count, batch_size, seed):
    batches = Batches(count, batch_size, seed)
    steps = math.ceil(3 * count / batches.batch_size)
    numbers = torch.cat([batches.at(step) for step in range(steps)]).tolist()
    for first in range(0, 3 * count, count):
        assert sorted(numbers[first : first + count]) == list(range(count))
    assert all(len(batches.at(step)) == min(batch_size, count) for step in range(steps))


@property_test
@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 2**62), st.data())
def test_a_batch_is_a_function_of_its_step(count, batch_size, seed, data):
    batches = Batches(count, batch_size, seed)
    for step in data.draw(st.lists(st.integers(0, 200), max_size=12)):
        assert torch.equal(batches.at(step), Batches(count, batch_size, seed).at(step))


def test_epochs_and_seeds_have_orders_of_their_own():
    batches = Batches(50, 50, 0)
    assert not torch.equal(batches.at(0), batches.at(1))
    assert not torch.equal(batches.at(0), Batches(50, 50, 1).at(0))
    assert not torch.equal(batches.at(1), Batches(50, 50, 1).at(0))


def test_only_the_epochs_at_hand_are_kept_in_memory():
    batches = Batches(10, 4, 0)
    for step in range(100):
        batches.at(step)
    assert len(batches._orders) <= 2


@few_examples
@given(st.integers(1, 9), st.integers(1, 12))
def test_training_sees_every_picture_the_same_number_of_times(count, batch_size):
    data, seen = make_data(count), Counter()

    def losses(model, batch):
        seen.update(content_ids(batch.pixels).tolist())
        return {"loss": model.place.square()}

    train(Point(1.0), losses, data, Schedule(steps=count, batch_size=batch_size), CPU)
    assert set(seen) == set(data.ids.tolist())
    assert set(seen.values()) == {min(batch_size, count)}


def test_pictures_keep_their_labels_and_draw_from_their_own_streams():
    data = make_data(10)
    streams = Rng.for_images(CPU.seed, data.ids)
    step = itertools.count()

    def losses(model, batch):
        assert batch.step == next(step)
        keys = streams.fork(batch.step).keys.tolist()
        index = torch.tensor([keys.index(key) for key in batch.rng.keys.tolist()])
        assert torch.equal(batch.index, index)
        assert torch.equal(batch.pixels, data.pixels[index])
        assert torch.equal(batch.labels, data.labels[index])
        return {"loss": model.place.square()}

    train(Point(1.0), losses, data, Schedule(steps=7, batch_size=4), CPU)
    assert next(step) == 7


# Repeatability


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_is_repeatable_bit_by_bit(precision):
    def losses(model, batch):
        with run.autocast():
            return classify(model, batch)

    run = Run(torch.device("cpu"), precision)
    assert same_numbers(
        numbers_of(trained(run=run, losses=losses)), numbers_of(trained(run=run, losses=losses))
    )


@pytest.mark.parametrize("after", [1, 4, 5, 11, 12])
def test_a_resumed_training_equals_an_uninterrupted_one_bit_by_bit(after):
    snapshot = Snapshot(after)
    whole = trained(observer=snapshot)
    rest = Resumed(snapshot)
    assert same_numbers(numbers_of(trained(observer=rest)), numbers_of(whole))
    assert rest.terms == snapshot.terms[after:]
    assert rest.finished == list(range(after + 1, 13))


def test_the_seed_changes_the_order_of_the_pictures():
    orders = []
    for seed in (0, 1):
        recorder = Recorder()
        data = make_stripes(40)
        trained(data, Schedule(steps=10, batch_size=4), replace(CPU, seed=seed), recorder)
        orders.append([terms["first"] for terms in recorder.terms])
    assert orders[0] != orders[1]


def test_training_neither_reads_nor_moves_the_global_stream():
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    one = trained()
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    assert same_numbers(numbers_of(trained()), numbers_of(one))


# State


def test_the_model_is_in_train_mode_in_the_step_and_in_eval_mode_after_it():
    def losses(model, batch):
        assert model.training
        return classify(model, batch)

    model = trained(losses=losses)
    assert not any(module.training for module in model.modules())


def test_an_observer_sees_every_step_once():
    recorder = Recorder()
    trained(observer=recorder)
    assert recorder.starts == 1
    assert recorder.finished == list(range(1, 13))
    assert {frozenset(terms) for terms in recorder.terms} == {frozenset({"loss", "first"})}


def test_training_leaves_its_data_alone():
    data = make_stripes(20)
    before = data.pixels.clone(), data.labels.clone(), data.ids.clone()
    trained(data)
    assert all(map(torch.equal, before, (data.pixels, data.labels, data.ids)))


# Predictions


def test_predictions_are_those_of_the_model_in_eval_mode_in_any_batch_size():
    model, data = trained(), make_stripes(30, seed=2)
    with torch.no_grad():
        expected = model(to_images(data.pixels)).argmax(1)
    for batch_size in (1, 7, 30, 512):
        assert torch.equal(predict(model, data, CPU, batch_size), expected)
    assert accuracy(model, data, CPU) == pytest.approx(
        float((expected == data.labels).float().mean())
    )


def test_predicting_leaves_modes_flags_and_statistics_alone():
    model = make_small_net().train()
    model.head.bias.requires_grad_(False)
    flags, numbers = flags_of(model), numbers_of(model)
    accuracy(model, make_stripes(20), CPU)
    assert flags_of(model) == flags
    assert same_numbers(numbers_of(model), numbers)


def test_accuracy_is_the_share_of_the_right_classes():
    class First(nn.Module):
        def forward(self, images):
            return torch.nn.functional.one_hot(torch.zeros(len(images), dtype=torch.int64), 4)

    data = LabelledPictures(make_pixels(8), make_labels(8), ("a", "b", "c", "d"))
    assert accuracy(First(), data, CPU) == 0.25


def test_training_on_nothing_is_refused():
    nothing = make_data(4).subset(torch.tensor([], dtype=torch.int64))
    with pytest.raises(NothingFound, match="no pictures to train on"):
        train(make_small_net(), lambda *_: {}, nothing, Schedule(steps=1), CPU)


def test_a_cosine_rate_falls_from_the_whole_to_nothing():
    schedule = Schedule(steps=100, learning_rate=0.2, shape="cosine")
    assert schedule.rate(0) == pytest.approx(0.2)
    assert schedule.rate(50) == pytest.approx(0.1)
    assert schedule.rate(99) < 0.001
    assert all(schedule.rate(n) > schedule.rate(n + 1) for n in range(99))
