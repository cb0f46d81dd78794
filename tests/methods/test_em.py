"""EM against the numbers of its authors' code, and the mistakes that these numbers catch."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from tests.support.making import (
    CLASSES,
    CPU,
    make_data,
    make_images,
    make_labels,
    make_pgd,
    make_rng,
    make_stripes,
    noise_of,
    seeded,
)
from tests.support.oracles import (
    EXACT,
    FixedBatches,
    Oracle,
    carried,
    clipping_pgd,
    exact_images,
    oracle,
)
from unlearn.attack import pgd
from unlearn.datasets.labelled import LabelledPictures
from unlearn.errors import UsageProblem
from unlearn.methods import Spec, em
from unlearn.methods.em import Em, mean_noise, own_noise, shared_noise
from unlearn.objectives import cross_entropy
from unlearn.radius import Radius
from unlearn.tensors import add_levels, to_images, to_levels
from unlearn.training import SILENT, Schedule

ORACLE = oracle("em")
LABELS = ORACLE["labels"]
EIGHT = Radius.of_levels(8)
STARTS = ("zero", "rand")
starts = pytest.mark.parametrize("start", STARTS)
counts = pytest.mark.parametrize("count", [1, 2, 20])
SHARED = replace(Em.example(), shared=True, part=Fraction(1, 2))


def steps(count):
    return make_pgd(8, 0.8, steps=count, random_start=False)


def inside(noise):
    """What noise leaves of the pictures' range is clipped from the noisy picture."""
    return (ORACLE.images + noise).clamp(0, 1)


def begun(start):
    return ORACLE["start"] if start == "rand" else torch.zeros_like(ORACLE.images)


def made(make, count, start="zero", labels=None):
    labels = LABELS if labels is None else labels
    return make(ORACLE.network, ORACLE.images, labels, steps(count), make_rng(6), begun(start))


def ascended(network, images, labels, attack, rng, start):
    return pgd(lambda x: cross_entropy(network(x), labels), images, attack, "maximise", rng, start)


def check_path(make=own_noise, count=20, start="rand", goal="min_min"):
    noise = made(make, count, start)
    expected = ORACLE[f"{start}_{goal}_{count}_eta"]
    torch.testing.assert_close(ORACLE.images + noise, inside(expected), **EXACT)


def test_the_network_and_its_gradients_are_those_of_the_reference():
    torch.testing.assert_close(ORACLE.network(ORACLE.images), ORACLE["logits_clean"], **EXACT)
    names = [("loss_clean", "grad_at_zero", "zero"), ("loss_at_start", "grad_at_start", "rand")]
    for loss_name, gradient_name, start in names:
        images = inside(begun(start)).requires_grad_()
        loss = cross_entropy(ORACLE.network(images), LABELS).mean()
        (gradient,) = torch.autograd.grad(loss, images)
        torch.testing.assert_close(loss.detach(), ORACLE[loss_name], **EXACT)
        torch.testing.assert_close(gradient, ORACLE[gradient_name], **EXACT)


@starts
@counts
def test_steps_down_and_up_are_those_of_the_reference(start, count):
    check_path(own_noise, count, start)
    check_path(ascended, count, start, "min_max")


@starts
@pytest.mark.parametrize("goal", ["min_min", "min_max"])
def test_pictures_and_losses_after_all_steps_are_those_of_the_reference(start, goal):
    noisy = ORACLE.images + made(own_noise if goal == "min_min" else ascended, 20, start)
    torch.testing.assert_close(noisy, ORACLE[f"{start}_{goal}_20_image"], **EXACT)
    loss = cross_entropy(ORACLE.network(noisy), LABELS).mean()
    torch.testing.assert_close(loss, ORACLE[f"{start}_{goal}_20_loss"], **EXACT)


@starts
@counts
def test_noise_to_be_shared_is_that_of_the_reference_beyond_the_pictures_range_too(start, count):
    expected = ORACLE[f"{start}_min_min_{count}_eta"]
    torch.testing.assert_close(made(shared_noise, count, start), expected, **EXACT)
    assert not torch.equal(inside(expected) - ORACLE.images, expected)


# A round of training and a sweep


class Look:
    """Sees the noise, and the weights after three steps."""

    def started(self, state):
        self.noise, self.model = state.memory["noise"], state.model

    def stepped(self, state, terms):
        if state.finished == 3:
            self.weights = {n: p.detach().clone() for n, p in state.model.named_parameters()}


@pytest.fixture
def in_float64(monkeypatch):
    monkeypatch.setattr("unlearn.methods.em.to_images", exact_images)
    monkeypatch.setattr("unlearn.training.Batches", FixedBatches)
    monkeypatch.setattr(em, "usual_start", lambda like, *_: like.to(torch.float64))


def check_round(shared, **changes):
    """One round: three steps of training, then the noise; pictures' own is stored in float32."""
    schedule = Schedule(steps=3 if shared else 4, batch_size=4, decay=1.0, clip_norm=5.0)
    method = Em(steps(1 if shared else 20), shared, 3, schedule=schedule, enough=Fraction(0))
    module, look = ORACLE.network.requires_grad_(), Look()
    module.register_buffer("patterns", torch.zeros(4, 3, 8, 8))
    data = LabelledPictures(ORACLE["images_uint8"], LABELS, CLASSES)
    replace(method, **changes).fit(module, data, CPU, look)
    name = f"round1_{'class' if shared else 'sample'}wise"
    for weight, found in look.weights.items():
        torch.testing.assert_close(found, ORACLE[f"after_{name}_w_{weight}"], **EXACT)
    if shared:
        torch.testing.assert_close(look.noise, ORACLE[f"{name}_noise"], **EXACT)
        assert torch.equal(module.patterns, look.noise.float())
    else:
        expected = inside(ORACLE[f"{name}_noise"])
        torch.testing.assert_close(ORACLE.images + look.noise, expected, rtol=0, atol=1e-8)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("shared", [False, True])
def test_a_round_of_training_and_noise_is_that_of_the_reference(shared):
    check_round(shared)


# The mistakes


def through_the_clipping(network, images, labels, attack, rng, start):
    """No gradient is left where noise leaves the pictures' range."""

    def losses(x):
        return cross_entropy(network(x), labels)

    return inside(clipping_pgd(losses, images, attack, "minimise", rng, start)) - images


def other_class(network, images, labels, *rest):
    return own_noise(network, images, (labels + 1) % 4, *rest)


@pytest.mark.parametrize("mistake", [ascended, through_the_clipping, other_class])
def test_the_numbers_of_the_reference_catch(mistake):
    with pytest.raises(AssertionError, match="not close"):
        check_path(mistake)


def summed(delta, labels, before):
    return mean_noise(delta, labels, before) * labels.bincount(minlength=4)[:, None, None, None]


ROUND_MISTAKES = {
    "noise of a class inside its pictures' ranges": {"shared_noise": own_noise},
    "sums in place of means": {"mean_noise": summed},
    "other steps": {"changes": {"attack": steps(2)}},
    "a sweep too early": {"changes": {"every": 2}},
    "gradients of any length": {
        "changes": {"schedule": Schedule(steps=3, batch_size=4, decay=1.0)}
    },
}


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("mistake", ROUND_MISTAKES)
def test_the_rounds_of_the_reference_catch(mistake, monkeypatch):
    wrong = dict(ROUND_MISTAKES[mistake])
    changes = wrong.pop("changes", {})
    for name, function in wrong.items():
        monkeypatch.setattr(em, name, function)
    with pytest.raises(AssertionError, match="not close"):
        check_round(shared=True, **changes)


# What is published


def published(noise):
    """Pictures 0 ... 255 with noise, as the tool writes them."""
    pixels = ORACLE["loader_images_uint8"].permute(0, 3, 1, 2)
    return add_levels(pixels, to_levels(noise, EIGHT)).permute(0, 2, 3, 1)


def test_published_pictures_have_the_noise_of_both_signs_that_the_loader_of_the_reference_loses():
    expected, noise = ORACLE["loader_correct_uint8"], 255 * ORACLE["loader_noise"]
    apart = (published(noise / 255).int() - expected.int()).abs().permute(0, 3, 1, 2)
    halves = (noise - noise.floor() - 0.5).abs() < 1e-6  # these may be rounded either way
    assert int(apart.max()) <= 1
    assert not apart[~halves].any()
    lost = (255 * ORACLE["loader_noise"]).clamp(0, 255).floor() / 255
    assert torch.equal(published(lost), ORACLE["loader_reference_uint8"])
    assert float((published(lost) == expected).double().mean()) < 0.35


def test_the_loader_of_the_reference_adds_nothing_where_noise_is_negative():
    noise, added = ORACLE["loader_noise_in_255"], ORACLE["loader_added_in_255"]
    ours = to_levels(noise / 255, EIGHT).to(torch.float64)
    assert float((ours - noise).abs().max()) <= 0.5
    assert torch.equal(added, noise.clamp(min=0).floor())


# The method


def test_the_published_settings_are_the_defaults():
    method, by_class = Em(), Em.recipes()["by-class"]
    assert method.attack == steps(20)
    assert (method.every, method.part, method.enough) == (10, 1, Fraction(1, 100))
    assert [method.schedule.rate(step) for step in (0, 499)] == [0.1, 0.1]
    assert (method.schedule.batch_size, method.schedule.clip_norm) == (512, 5.0)
    assert (by_class.attack, by_class.shared) == (steps(1), True)
    assert (by_class.part, by_class.enough) == (Fraction(1, 5), Fraction(1, 10))
    assert by_class.schedule == method.schedule


def fitted(method, data=None, observer=SILENT):
    module = seeded(lambda: method.build(Spec("resnet-small", 4, 8)))
    method.fit(module, make_stripes(24) if data is None else data, CPU, observer)
    return module


def test_noise_lowers_the_loss_of_every_picture_inside_the_ball():
    module, data = fitted(Em.example()), make_stripes(24)
    images = to_images(data.pixels)
    delta = noise_of(Em.example(), module, images, data.labels, make_rng(24))
    assert int(to_levels(delta, EIGHT).abs().max()) <= 8
    with torch.no_grad():
        before, after = (
            cross_entropy(module(pictures), data.labels) for pictures in (images, images + delta)
        )
    assert (after < before).all()


def test_pictures_of_a_class_share_its_noise_whatever_their_size_and_colour():
    module = fitted(SHARED)
    labels = make_labels(8)
    noise = noise_of(SHARED, module, make_images(8), labels, make_rng(8))
    assert torch.equal(noise, module.patterns[labels])
    assert len(noise.flatten(1).unique(dim=0)) == 4
    grey = noise_of(SHARED, module, make_images(8, channels=1), labels, make_rng(8))
    assert torch.equal(grey, noise.mean(dim=1, keepdim=True))
    large = noise_of(SHARED, module, make_images(8, 19), labels, make_rng(8))
    assert float(large.abs().max()) <= float(module.patterns.abs().max())


@pytest.mark.slow
def test_noise_that_is_learned_along_lowers_the_mistakes_of_the_surrogate():
    method = replace(Em.example(), schedule=replace(Em.example().schedule, steps=30, batch_size=8))
    look = Look()
    fitted(method, make_data(24), look)
    data = make_data(24)
    images = to_images(data.pixels)
    with torch.no_grad():
        clean, noisy = (
            cross_entropy(look.model(pictures), data.labels).mean()
            for pictures in (images, images + look.noise)
        )
    assert noisy < clean / 2
    assert float((images + look.noise).min()) >= -1e-6
    assert float((images + look.noise).max()) <= 1 + 1e-6


class Steps(Look):
    def __init__(self):
        self.finished = []

    def stepped(self, state, terms):
        self.finished.append(state.finished)


@pytest.mark.parametrize("shared", [False, True])
def test_few_enough_mistakes_end_the_training_after_a_sweep(shared, monkeypatch):
    sweeps, renew = [], em.Sweeps.renew
    monkeypatch.setattr(em.Sweeps, "renew", lambda *own: (sweeps.append(1), renew(*own)))
    method, seen = replace(Em.example(), shared=shared, every=3), []
    method = replace(method, schedule=replace(method.schedule, steps=60))
    for enough in (Fraction(1, 100), Fraction(1)):
        watch = Steps()
        module = fitted(replace(method, enough=enough), observer=watch)
        assert not any(part.training for part in module.modules())
        seen.append(watch.finished[-1])
    assert seen[0] % 3 == 0
    assert 3 < seen[0] < 60
    assert seen[1] == 3
    assert len(sweeps) == seen[0] // 3 + 1  # none follows the one that found few mistakes


def test_a_sweep_takes_its_part_of_the_pictures_and_of_every_class():
    data = make_stripes(40)
    for part, taken in ((Fraction(1), 40), (Fraction(1, 5), 8), (Fraction(1, 100), 4)):
        sweeps = em.Sweeps.of(replace(SHARED, part=part), data, CPU)
        assert len(sweeps.taken) == taken
        assert torch.equal(data.labels[sweeps.taken].bincount(), torch.full((4,), taken // 4))


def test_a_random_start_of_the_noise_is_taken_where_it_is_asked_for():
    data, attack = make_stripes(8), replace(Em.example().attack, random_start=True)
    for shared, count in ((False, 8), (True, 4)):
        method = replace(Em.example(), shared=shared)
        assert not em.Sweeps.of(method, data, CPU).noise.any()
        noise = em.Sweeps.of(replace(method, attack=attack), data, CPU).noise
        assert len(noise) == count
        assert 7 / 255 < float(noise.abs().max()) <= 8 / 255


def test_classes_without_pictures_have_no_noise_to_share():
    data = make_stripes(8)
    some = data.subset((data.labels != 2).nonzero()[:, 0])
    with pytest.raises(UsageProblem, match="class 2 of 4 has no pictures"):
        fitted(SHARED, some)
    fitted(Em.example(), some)


@pytest.mark.parametrize("changes", [{"every": 0}, {"part": Fraction(0)}, {"part": Fraction(2)}])
def test_sweeps_of_nothing_are_refused(changes):
    with pytest.raises(UsageProblem, match="makes no noise"):
        replace(Em.example(), **changes)


def test_what_the_checkout_carries_is_enough_for_the_paths(monkeypatch):
    monkeypatch.setattr(f"{__name__}.ORACLE", Oracle(carried("em")))
    check_path(start="zero")
    with pytest.raises(AssertionError, match="not close"):
        check_path(ascended, start="zero")


@pytest.mark.usefixtures("in_float64")
def test_what_the_checkout_carries_is_enough_for_a_round(monkeypatch):
    monkeypatch.setattr(f"{__name__}.ORACLE", Oracle(carried("em")))
    check_round(shared=True)
