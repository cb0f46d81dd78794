"""REM and SEM against the numbers of their authors' code, and the mistakes that these catch."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from tests.support.making import (
    CPU,
    make_images,
    make_labels,
    make_network,
    make_pgd,
    make_rng,
    noise_of,
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
from unlearn.methods import METHODS, MinMaxMin, Spec, stage_one
from unlearn.methods.rem import Rem, Sem
from unlearn.methods.stage_one import StageOne
from unlearn.methods.tap import poison_losses
from unlearn.objectives import cross_entropy
from unlearn.radius import Radius
from unlearn.tensors import add_levels, project, to_levels
from unlearn.training import Schedule
from unlearn.views import Views, padded_crop

ORACLES = {"rem": oracle("rem"), "sem": oracle("sem")}
KINDS = {"rem": Rem, "sem": Sem}
EIGHT = Radius.of_levels(8)
STILL = Views(flip=False, pad=0)
both = pytest.mark.parametrize("name", KINDS)


class Draws:
    """An Rng of given numbers: each draw is the next of them."""

    def __init__(self, numbers):
        self.numbers = list(numbers)

    def uniform(self, *shape, low=0.0, high=1.0):
        return low + (high - low) * self.numbers.pop(0)


class FourViews:
    """The views of the runs, one after the other: as it is, mirrored, moved, moved and mirrored."""

    def __init__(self):
        self.calls = 0

    def __call__(self, images, rng):
        moves = [((1, 1), False), ((1, 1), True), ((0, 2), False), ((2, 0), True)]
        shift, flip = moves[self.calls % 4]
        self.calls += 1
        count = len(images)
        return padded_crop(images, 1, torch.tensor([shift] * count), torch.tensor([flip] * count))


def network_of(name):
    network = ORACLES[name].network
    return lambda images: network(images - 0.5)


def as_published(losses, images, config, goal, rng, start=None):
    """The authors clip noisy pictures where they make noise, and attacks where they attack."""
    make = clipping_pgd if goal == "minimise" else pgd
    return make(losses, images, config, goal, rng, start)


@pytest.fixture
def published_clipping(monkeypatch):
    monkeypatch.setattr(stage_one, "pgd", as_published)
    monkeypatch.setattr(stage_one, "project", lambda delta, *_: delta)


def noise(name, count, views="noaug", method=None, **changes):
    """The noise of stage 1 from the start and the draws of a run."""
    found, method = ORACLES[name], method or KINDS[name]()
    stage = getattr(method, "robust", method).stages.noise
    attack = replace(stage.attack, steps=count, views=4 if views == "4aug" else 1)
    seen = FourViews() if views == "4aug" else STILL
    draws = found[f"{views}_{count}_draws01_u16"].to(torch.float64) / 1024
    stage = replace(stage, attack=attack, views=seen, **changes)
    start = (2 * found["start01"] - 1) * float(EIGHT)
    return stage.minimum(network_of(name), found.images, found["labels"], Draws(draws), start)


def check_path(name, count=2, views="noaug", **changes):
    torch.testing.assert_close(
        noise(name, count, views, **changes), ORACLES[name][f"{views}_{count}_delta"], **EXACT
    )


@both
@pytest.mark.usefixtures("published_clipping")
@pytest.mark.parametrize(
    ("views", "count"), [("noaug", 1), ("noaug", 2), ("noaug", 10), ("4aug", 1), ("4aug", 3)]
)
def test_noise_is_that_of_the_reference(name, views, count):
    check_path(name, count, views)


def evaluated(name, network=None, against=None):
    """The views, the attacked views, and the gradient of the start noise."""
    found, method = ORACLES[name], KINDS[name]()
    stage = getattr(method, "robust", method).stages.noise
    stage = replace(stage, views=STILL, against=against or stage.against)
    network = network or network_of(name)
    delta = ((2 * found["start01"] - 1) * float(EIGHT)).requires_grad_()
    images, rng = (found.images + delta).clamp(0, 1), Draws([found["inner_draw01"]])
    seen, labels = stage._views(network, images, found["labels"], rng, 1)
    loss = cross_entropy(network(seen), labels).mean()
    (gradient,) = torch.autograd.grad(loss, delta)
    return images.detach(), seen.detach(), loss.detach(), gradient


def check_evaluation(name, **changes):
    images, seen, loss, gradient = evaluated(name, **changes)
    found = ORACLES[name]
    torch.testing.assert_close(gradient, found["nested_grad"], **EXACT)
    torch.testing.assert_close(images - 0.5, found["inner_input"], **EXACT)
    torch.testing.assert_close(seen - 0.5, found["inner_adv"], **EXACT)
    torch.testing.assert_close(loss, found["inner_loss"], **EXACT)


@both
def test_the_inner_attack_and_the_gradient_past_it_are_those_of_the_reference(name):
    check_evaluation(name)


# Other uses of the same code by its authors


def without(**changes):
    inner = replace(Rem().inner, **changes)
    stage = replace(Rem().stages.noise, against=inner, views=STILL)
    return replace(stage, attack=replace(stage.attack, views=1))


@pytest.mark.usefixtures("published_clipping")
def test_noise_without_random_starts_or_without_attack_is_that_of_the_reference():
    found, network = ORACLES["rem"], network_of("rem")
    still = without(random_start=False)
    nowhere = without(radius=Radius.of_levels(0), step=Radius.of_levels(0), random_start=False)
    for stage, name in ((still, "nostart"), (nowhere, "noattack")):
        zero = torch.zeros_like(found.images)
        delta = stage.minimum(network, found.images, found["labels"], Draws([]), zero)
        torch.testing.assert_close(delta, found[f"{name}_10_delta"], **EXACT)


def test_the_error_minimising_noise_of_the_reference_is_stage_one_against_nobody():
    found = ORACLES["rem"]
    stage = StageOne(make_pgd(8, 1.6, random_start=False), STILL)
    delta = stage.minimum(network_of("rem"), found.images, found["labels"], make_rng(6))
    torch.testing.assert_close(delta, found["em_port_10_delta"], **EXACT)


@pytest.mark.parametrize(("goal", "offset"), [("targeted", 1), ("untargeted", 0)])
def test_the_adversarial_poisons_of_the_reference_are_pgd_on_those_of_tap(goal, offset):
    found, zero = ORACLES["rem"], torch.zeros_like(ORACLES["rem"].images)
    losses = poison_losses(network_of("rem"), found["labels"], offset)
    attack = make_pgd(8, 0.064, steps=250)
    delta = clipping_pgd(losses, found.images, attack, "minimise", make_rng(6), zero)
    torch.testing.assert_close(delta, found[f"tap_port_{goal}_250_delta"], **EXACT)


# Whole runs


class ThreeQuarters:
    """An Rng whose every draw lies at three quarters of its range, as in the runs."""

    keys = torch.zeros(9, dtype=torch.int64)

    @classmethod
    def for_images(cls, *_):
        return cls()

    def __init__(self, keys=keys, seed=0):
        self.keys = keys

    def fork(self, tag):
        return self

    def uniform(self, *shape, low=0.0, high=1.0):
        return torch.full((len(self.keys), *shape), low + 0.75 * (high - low), dtype=torch.float64)


class Losses(list):
    def started(self, state):
        pass

    def stepped(self, state, terms):
        self.append(terms["loss"].detach())


@pytest.fixture
def as_run(monkeypatch):
    """Three quarters of every draw, the run's batches, float64, and pictures that are clipped."""
    monkeypatch.setattr(stage_one, "pgd", as_published)
    monkeypatch.setattr("unlearn.training.Batches", FixedBatches)
    monkeypatch.setattr("unlearn.training.Rng", ThreeQuarters)
    monkeypatch.setattr("unlearn.methods.min_max_min.to_images", exact_images)
    monkeypatch.setattr("unlearn.methods.min_max_min.to_delta", exact_images)


def check_run(name, found, **changes):
    """The losses and weights of a training and the published noise of its pictures."""
    data = LabelledPictures(found["e2e_images_uint8"], found["e2e_labels"], (*"0123456789",))
    schedule = Schedule(steps=3, batch_size=4, decay_every=Fraction(2, 3))
    attack = replace(KINDS[name]().attack, views=1)
    method = replace(KINDS[name](), attack=attack, views=STILL, schedule=schedule)
    method = replace(method, **changes)
    module, losses, hits = found.run_network, Losses(), []

    def look(module, _, logits):
        if module.training:
            hits.append(logits.argmax(dim=1) == data.labels[FixedBatches(9, 4).at(len(hits))])

    module.register_forward_hook(look)
    method.fit(module, data, CPU, losses)
    torch.testing.assert_close(torch.stack(losses), found["e2e_log_def_loss"], **EXACT)
    accuracy = torch.stack(hits).double().mean(dim=1)
    torch.testing.assert_close(accuracy, found["e2e_log_def_acc"], **EXACT)
    numbers = module.state_dict()
    for weight, value in found.run_weights("final").items():
        torch.testing.assert_close(numbers[weight], value, **EXACT)
    stage = getattr(method, "robust", method).stages.noise
    images = exact_images(data.pixels)
    delta = stage.minimum(module.eval(), images, data.labels, ThreeQuarters())
    expected, steps = found["e2e_noise_int8"], to_levels(delta, EIGHT)
    whole = (expected / (0.2 / 255)).round().to(torch.int16)
    ours, theirs = add_levels(data.pixels, steps), add_levels(data.pixels, whole)
    assert torch.equal(ours[:8], theirs[:8])
    # The ninth picture is in no whole batch, and the reference leaves it without noise.
    assert not whole[8].any()
    assert int((ours[8].int() - data.pixels[8].int()).abs().max()) == 8


@pytest.mark.usefixtures("as_run")
@pytest.mark.parametrize("name", [pytest.param("rem", marks=pytest.mark.slow), "sem"])
def test_a_whole_run_is_that_of_the_reference(name):
    check_run(name, ORACLES[name])


# The mistakes


def descending(losses, images, config, goal, rng, start=None):
    return as_published(lambda x: -losses(x), images, config, "minimise", rng, start)


def of_inner(**changes):
    return replace(Rem().inner, **changes)


INNER_MISTAKES = {
    "rem": {
        "random noise alone": of_inner(steps=0),
        "another radius": of_inner(radius=Radius.of_levels(3)),
        "one step less": of_inner(steps=9),
        "no random start": of_inner(random_start=False),
    },
    "sem": {
        "an attack": Rem().inner,
        "no random noise": of_inner(steps=0, random_start=False),
        "another radius": of_inner(radius=Radius.of_levels(5), steps=0),
    },
}


@pytest.mark.parametrize(
    ("name", "mistake"), [(name, mistake) for name in KINDS for mistake in INNER_MISTAKES[name]]
)
def test_the_evaluation_of_the_reference_catches(name, mistake):
    with pytest.raises(AssertionError, match="not close"):
        check_evaluation(name, against=INNER_MISTAKES[name][mistake])


def test_the_evaluation_of_the_reference_catches_an_attack_that_helps(monkeypatch):
    monkeypatch.setattr(stage_one, "pgd", descending)
    with pytest.raises(AssertionError, match="not close"):
        check_evaluation("rem")


def test_the_evaluation_of_the_reference_catches_a_picture_that_is_not_attacked(monkeypatch):
    monkeypatch.setattr(stage_one, "pgd", lambda losses, images, *_: torch.zeros_like(images))
    with pytest.raises(AssertionError, match="not close"):
        check_evaluation("rem")


@both
@pytest.mark.usefixtures("published_clipping")
def test_the_paths_of_the_reference_catch_nobody_to_be_made_against(name):
    with pytest.raises(AssertionError, match="not close"):
        check_path(name, 10, against=None)


@both
def test_the_paths_of_the_reference_catch_noise_clipped_in_place_of_pictures(name, monkeypatch):
    monkeypatch.setattr(stage_one, "pgd", pgd)
    with pytest.raises(AssertionError, match="not close"):
        check_path(name, 10)


@pytest.mark.slow
@pytest.mark.usefixtures("as_run")
def test_the_runs_of_the_reference_tell_the_methods_apart():
    for name, other in (("rem", "sem"), ("sem", "rem")):
        with pytest.raises(AssertionError, match="not close"):
            check_run(name, ORACLES[other])


@pytest.mark.slow
@both
@pytest.mark.usefixtures("as_run")
def test_the_runs_of_the_reference_catch_a_surrogate_that_nobody_attacks(name):
    with pytest.raises(AssertionError, match="not close"):
        check_run(name, ORACLES[name], adversary=make_pgd(4, 0.8, steps=0))


# The methods


def test_the_published_settings_are_the_defaults():
    for method in (Rem(), Sem()):
        assert method.attack == make_pgd(8, 1.6, steps=10, views=5)
        assert method.adversary == make_pgd(4, 0.8, steps=10)
        assert method.views == Views(flip=True, pad=4)
        assert method.schedule == Schedule()
    assert Rem().inner == Rem().adversary
    assert Sem().draw == Radius.of_levels(4)


def test_pictures_cost_what_the_published_tables_say():
    assert (Rem().cost(50_000).a_picture, Rem().cost(50_000).final) == (7731, 550)
    assert (Sem().cost(50_000).a_picture, Sem().cost(50_000).final) == (831, 50)
    assert MinMaxMin().cost(50_000).a_picture == 844


@both
def test_a_step_and_its_noise_make_as_many_passes_as_they_cost(name):
    method, module, passes = KINDS[name].example(), make_network().eval(), 0
    real = torch.autograd.grad

    def counting(*args, **options):
        nonlocal passes
        passes += 1
        return real(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage_one, "_VIEWS_TOGETHER", 0)
        patch.setattr(torch.autograd, "grad", counting)
        noise_of(method, module, make_images(2), make_labels(2), make_rng(2))
    assert passes == method.cost(1).final == {"rem": 3 * 2 * (1 + 2), "sem": 3 * 2}[name]
    assert method.cost(1).training == method.schedule.steps * (passes + 1 + 1)


@both
def test_views_taken_together_are_the_views_taken_one_by_one(name, monkeypatch):
    method, module = KINDS[name].example(), make_network()
    images, labels = make_images(2, 16), make_labels(2)
    together = noise_of(method, module, images, labels, make_rng(2))
    monkeypatch.setattr(stage_one, "_VIEWS_TOGETHER", 0)
    apart = noise_of(method, module, images, labels, make_rng(2))
    assert torch.isclose(together, apart, atol=1e-6).float().mean() > 0.99


@both
def test_noise_lowers_the_loss_of_every_picture_also_when_it_is_attacked(name):
    attack = make_pgd(8, 1.6, steps=10)
    method = replace(KINDS[name].example(), attack=attack, views=STILL)
    module, images, labels = make_network().eval(), make_images(6), make_labels(6)
    delta = noise_of(method, module, images, labels, make_rng(6))
    noisy = project(delta, images, EIGHT)
    assert torch.equal(noisy, delta)

    def losses(x):
        return cross_entropy(module(x), labels)

    adversary = make_pgd(4, 1, steps=8)
    with torch.no_grad():
        assert (losses(images + delta) < losses(images)).all()
    before, after = (
        losses(x + pgd(losses, x, adversary, "maximise", make_rng(6))).detach()
        for x in (images, images + delta)
    )
    assert (after < before).all()


@pytest.mark.parametrize(("levels", "inner"), [(16, 4), (8, 4), (4, 2), (1, 0.5)])
def test_another_radius_scales_the_noise_and_halves_an_attack_that_is_too_strong(levels, inner):
    radius = Radius.of_levels(levels)
    rem, sem = Rem().at(radius), Sem().at(radius)
    assert rem.attack == sem.attack == make_pgd(levels, levels / 5, steps=10, views=5)
    assert rem.inner == rem.adversary == sem.adversary == make_pgd(inner, inner / 5)
    assert sem.draw == Radius.of_levels(inner)


@pytest.mark.parametrize(
    "changes", [{"inner": make_pgd(8, 1)}, {"adversary": make_pgd(9, 1)}], ids=str
)
def test_attacks_as_strong_as_the_noise_are_refused(changes):
    with pytest.raises(UsageProblem, match="must be below rho 8/255"):
        replace(Rem(), **changes)


def test_random_noise_as_large_as_the_noise_is_refused():
    with pytest.raises(UsageProblem, match="rho-a 8/255 must be below rho 8/255"):
        Sem(draw=EIGHT)


@pytest.mark.parametrize("name", ["em", "rem", "sem"])
def test_one_class_is_refused(name):
    with pytest.raises(UsageProblem, match=f"{name} makes classes easy .* at least 2"):
        METHODS[name].example().build(Spec("resnet-small", 1))


# Facts of the checkout


@both
def test_what_the_checkout_carries_is_enough_for_an_evaluation(name, monkeypatch):
    monkeypatch.setitem(ORACLES, name, Oracle(carried(name)))
    gradient = evaluated(name)[3]
    torch.testing.assert_close(gradient, ORACLES[name]["nested_grad"], **EXACT)
    for mistake in INNER_MISTAKES[name].values():
        wrong = evaluated(name, against=mistake)[3]
        assert not torch.allclose(wrong, gradient, **EXACT)
