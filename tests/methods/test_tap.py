"""TAP against the numbers of its authors' code, and the mistakes that these numbers catch."""

from dataclasses import replace

import pytest
import torch

from tests.support.making import (
    CPU,
    make_images,
    make_labels,
    make_network,
    make_pgd,
    make_rng,
    make_stripes,
)
from tests.support.oracles import EXACT, Oracle, carried, oracle
from unlearn.attack import Pgd, pgd
from unlearn.errors import UsageProblem
from unlearn.methods import Spec
from unlearn.methods.tap import Tap, least, poison_losses
from unlearn.radius import Radius
from unlearn.tensors import to_images, to_levels
from unlearn.training import SILENT
from unlearn.views import SmoothViews, smooth_shift

ORACLE = oracle("tap")
LABELS = ORACLE["labels"]
MEAN, DEVIATION = (ORACLE[name][:, None, None] for name in ("mean", "std"))
OFFSETS = {"targeted": 1, "untargeted": 0}
both = pytest.mark.parametrize("goal", OFFSETS)


def network(images):
    return ORACLE.network((images - MEAN) / DEVIATION)


def steps(count, step=0.4):
    return Pgd(Radius.of_levels(8), Radius.of_levels(step), steps=count)


def zeros():
    return torch.zeros_like(ORACLE.images)


def descended(losses, attack, start=None):
    start = zeros() if start is None else start
    return pgd(losses, ORACLE.images, attack, "minimise", make_rng(6), start)


def check_path(goal, count, losses=None, attack=None):
    losses = losses or poison_losses(network, LABELS, OFFSETS[goal])
    delta = descended(losses, attack or steps(count))
    torch.testing.assert_close(delta, ORACLE[f"{goal}_zero_{count}_delta"], **EXACT)


@both
def test_the_objective_without_noise_is_that_of_the_reference(goal):
    losses = poison_losses(network, LABELS, OFFSETS[goal])(ORACLE.images)
    torch.testing.assert_close(losses.mean(), ORACLE[f"{goal}_loss_zero"], **EXACT)


@both
def test_the_gradient_without_noise_is_that_of_the_reference(goal):
    images = ORACLE.images.requires_grad_()
    loss = poison_losses(network, LABELS, OFFSETS[goal])(images).mean()
    (gradient,) = torch.autograd.grad(loss, images)
    torch.testing.assert_close(gradient, ORACLE[f"{goal}_grad_zero_pixel"], **EXACT)


@both
@pytest.mark.parametrize("count", [1, 2, 250])
def test_noise_from_zero_is_that_of_the_reference(goal, count):
    check_path(goal, count)


@both
@pytest.mark.parametrize("count", [2, 250])
def test_the_objective_before_the_last_step_is_that_of_the_reference(goal, count):
    losses = poison_losses(network, LABELS, OFFSETS[goal])
    before = losses(ORACLE.images + descended(losses, steps(count - 1))).mean()
    torch.testing.assert_close(
        before, ORACLE[f"{goal}_zero_{count}_loss_before_last_step"], **EXACT
    )


@both
@pytest.mark.parametrize("count", [1, 2, 250])
def test_a_start_outside_the_pictures_changes_few_values_and_not_the_objective(goal, count):
    # The reference takes its first gradient before it moves the start into [0, 1], we after it.
    losses = poison_losses(network, LABELS, OFFSETS[goal])
    expected = ORACLE[f"{goal}_rand_{count}_delta"]
    delta = descended(losses, steps(count), ORACLE["rand_start"])
    outside = ORACLE.images + ORACLE["rand_start"]
    assert 0.05 < float(((outside < 0) | (outside > 1)).double().mean()) < 0.06
    assert float(((delta - expected).abs() > 1e-9).double().mean()) < 0.05
    ours, theirs = (losses(ORACLE.images + noise).mean() for noise in (delta, expected))
    assert float((ours - theirs).abs()) < 0.01


def test_the_best_restart_of_the_reference_is_found_for_the_whole_set_and_each_picture():
    losses = poison_losses(network, LABELS, 1)
    inits = ORACLE["restart_inits"].clamp(-ORACLE.images, 1 - ORACLE.images)
    deltas = [descended(losses, steps(20), start) for start in inits]
    scores = torch.stack([losses(ORACLE.images + delta) for delta in deltas])
    assert int(scores.mean(dim=1).argmin()) == int(ORACLE["restart_best"])
    assert float((scores.mean(dim=1) - ORACLE["restart_scores"]).abs().max()) < 0.05
    chosen = losses(ORACLE.images + least(losses, ORACLE.images, deltas))
    assert torch.equal(chosen, scores.min(dim=0).values)


# The view


def seen_shifts(draws, shift):
    """The reference's numbers as shifts in pixels and flips."""
    return (2 * draws[:, :2] - 1) * shift, draws[:, 2] > 0.5


def test_the_view_is_that_of_the_reference():
    images = ORACLE["aug_images_uint8"].to(torch.float64) / 255
    view = smooth_shift(images, *seen_shifts(ORACLE["aug_random"], 4))
    torch.testing.assert_close(view, ORACLE["aug_out"], rtol=0, atol=5e-6)  # stored in float32


def seen(images, shift=1.0, mirror=True):
    """The reference's view of 8x8 pictures; outside them is the mean colour."""
    shifts, flips = seen_shifts(ORACLE["aug8_random"], shift)
    return network(smooth_shift(images - MEAN, shifts, flips & mirror) + MEAN)


def check_view(view):
    losses = poison_losses(view, LABELS, 1)
    torch.testing.assert_close(losses(ORACLE.images).mean(), ORACLE["aug8_targeted_loss"], **EXACT)
    torch.testing.assert_close(
        descended(losses, steps(1)), ORACLE["aug8_targeted_1_delta"], **EXACT
    )


def test_a_step_through_the_view_is_that_of_the_reference():
    check_view(seen)


def test_a_view_draws_its_shift_and_flip_and_fills_with_its_colour():
    images = torch.rand(40, 3, 9, 7, dtype=torch.float64)
    draw = make_rng(40).uniform(3).to(torch.float64)
    views = SmoothViews(shift=2.0, fill=0.25)(images, make_rng(40))
    expected = smooth_shift(images - 0.25, *seen_shifts(draw, 2)) + 0.25
    torch.testing.assert_close(views, expected, **EXACT)
    away = smooth_shift(images, torch.full((40, 2), 20.0, dtype=torch.float64), draw[:, 2] > 0.5)
    assert torch.equal(away, torch.zeros_like(images))


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 1)])
def test_a_view_that_does_not_move_is_the_picture_itself(shape):
    images = torch.rand(2, 3, *shape, dtype=torch.float64)
    still = torch.zeros(2, 2, dtype=torch.float64)
    view = smooth_shift(images, still, torch.tensor([False, False]))
    torch.testing.assert_close(view, images, **EXACT)


# The mistakes


def not_projected(images, radius):
    ball = torch.full_like(images, float(radius))
    return -ball, ball


MISTAKES = {
    "the wrong sign": {"losses": lambda: lambda x: -poison_losses(network, LABELS, 1)(x)},
    "the next class but one": {"losses": lambda: poison_losses(network, LABELS, 2)},
    "the own class": {"losses": lambda: poison_losses(network, LABELS, 4)},
    "no normalisation": {"losses": lambda: poison_losses(ORACLE.network, LABELS, 1)},
    "another step": {"attack": lambda: steps(2, 0.064)},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_numbers_of_the_reference_catch(mistake):
    with pytest.raises(AssertionError, match="not close"):
        check_path("targeted", 2, **{name: make() for name, make in MISTAKES[mistake].items()})


def test_the_numbers_of_the_reference_catch_a_missing_projection(monkeypatch):
    monkeypatch.setattr("unlearn.attack.bounds", not_projected)
    with pytest.raises(AssertionError, match="not close"):
        check_path("targeted", 250)


@pytest.mark.parametrize("view", [lambda x: seen(x, shift=2.0), lambda x: seen(x, mirror=False)])
def test_the_numbers_of_the_reference_catch_another_view(view):
    with pytest.raises(AssertionError, match="not close"):
        check_view(view)


# The method


def test_the_published_settings_are_the_defaults():
    method = Tap()
    assert (method.attack.radius, method.attack.step) == (
        Radius.of_levels(8),
        Radius.of_levels(0.4),
    )
    assert (method.attack.steps, method.attack.views, method.restarts, method.offset) == (
        250,
        1,
        8,
        1,
    )
    assert method.seen == SmoothViews(shift=4.0, flip=True, fill=0.5)
    assert method.schedule.rate(0) == 0.1
    assert method.cost(50_000).final == 2000
    assert method.cost(50_000).steps * method.schedule.batch_size == 40 * 50_000


def ready(method, module=None):
    module = module or make_network()
    return module, method.ready(module, CPU)


@both
def test_noise_moves_every_picture_towards_its_goal_inside_the_ball(goal):
    method = replace(Tap.example(), offset=OFFSETS[goal], attack=steps(8, 2))
    module, maker = ready(method)
    images, labels = make_images(6), make_labels(6)
    delta = maker(images, maker.targets(images, labels, make_rng(6)), make_rng(6))
    assert int(to_levels(delta, method.bound).abs().max()) <= 8
    assert float(delta.abs().max()) <= 8 / 255 + 1e-7
    losses = poison_losses(module.eval(), labels, method.offset)
    with torch.no_grad():
        assert (losses(images + delta) < losses(images)).all()


def test_more_restarts_are_never_worse_for_a_picture():
    images, labels = make_images(6), make_labels(6)
    found = []
    for restarts in (1, 4):
        module, maker = ready(replace(Tap.example(), restarts=restarts))
        delta = maker(images, labels, make_rng(6))
        with torch.no_grad():
            found.append(poison_losses(module.eval(), labels, 1)(images + delta))
    assert (found[1] <= found[0] + 1e-6).all()
    assert (found[1] < found[0] - 1e-6).any()


def test_without_a_random_start_only_the_views_are_drawn():
    method = replace(Tap.example(), restarts=1, seen=SmoothViews(shift=0.0, flip=False))
    method = replace(method, attack=replace(method.attack, random_start=False))
    _, maker = ready(method)
    images, labels = make_images(2), make_labels(2)
    assert torch.equal(maker(images, labels, make_rng(2)), maker(images, labels, make_rng(2, 1)))


def test_training_lowers_the_loss_of_the_surrogate_and_nothing_else_is_learned():
    method = replace(Tap.example(), schedule=replace(Tap.example().schedule, steps=30))
    module, data = make_network(), make_stripes(24)
    before = losses_of(module, data)
    method.fit(module, data, CPU, SILENT)
    assert not module.training
    assert losses_of(module, data) < before - 0.1
    assert set(module.state_dict()) == set(make_network().state_dict())


def losses_of(module, data):
    with torch.no_grad():
        logits = module.eval()(to_images(data.pixels))
    return float(torch.nn.functional.cross_entropy(logits, data.labels))


def test_another_radius_scales_the_step_and_keeps_the_rest():
    method = Tap().at(Radius.of_levels(4))
    assert method == replace(Tap(), attack=make_pgd(4, 0.2, steps=250))
    assert method.bound == Radius.of_levels(4)


@pytest.mark.parametrize(("offset", "classes"), [(4, 4), (1, 1), (-8, 4)])
def test_an_offset_that_leads_classes_to_themselves_is_refused(offset, classes):
    with pytest.raises(UsageProblem, match=f"offset of {offset} leads each of {classes}"):
        replace(Tap.example(), offset=offset).build(Spec("resnet-small", classes))


def test_no_restarts_are_refused():
    with pytest.raises(UsageProblem, match="0 restarts"):
        Tap(restarts=0)


def test_pictures_without_labels_are_refused():
    _, maker = ready(Tap.example())
    with pytest.raises(UsageProblem, match="needs a class"):
        maker.targets(make_images(1), None, make_rng(1))


def test_what_the_checkout_carries_is_enough_for_the_paths(monkeypatch):
    monkeypatch.setattr(f"{__name__}.ORACLE", Oracle(carried("tap")))
    for goal in OFFSETS:
        check_path(goal, 250)
    check_view(seen)
