"""EntF against the numbers of its authors' code, and the mistakes that these numbers catch."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from tests.support.making import (
    CPU,
    make_data,
    make_images,
    make_labels,
    make_network,
    make_pgd,
    make_rng,
    make_stripes,
    numbers_of,
    same_numbers,
)
from tests.support.oracles import EXACT, Oracle, carried, oracle
from unlearn.attack import Pgd, pgd
from unlearn.datasets.labelled import LabelledPictures
from unlearn.errors import UsageProblem
from unlearn.methods import Spec
from unlearn.methods.entf import EntF, class_means, entangling_losses, feature_distances
from unlearn.radius import Radius
from unlearn.tensors import to_images, to_levels
from unlearn.training import SILENT
from unlearn.views import SmoothViews

ORACLE = oracle("entf")
LABELS = ORACLE["labels"]
DIRECTIONS = ("push", "pull")
both = pytest.mark.parametrize("direction", DIRECTIONS)
SPEC = Spec("resnet-small", 4, 8)


def losses_for(direction, centroids=None):
    centroids = ORACLE["centroids"] if centroids is None else centroids
    return entangling_losses(ORACLE.network.features, centroids, LABELS, direction)


def steps(count, step=0.4):
    return Pgd(Radius.of_levels(8), Radius.of_levels(step), steps=count)


def descended(losses, attack, start=None):
    start = torch.zeros_like(ORACLE.images) if start is None else start
    return pgd(losses, ORACLE.images, attack, "minimise", make_rng(8), start)


def check_path(direction, count, losses=None, attack=None):
    delta = descended(losses or losses_for(direction), attack or steps(count))
    torch.testing.assert_close(delta, ORACLE[f"{direction}_zero_{count}_delta"], **EXACT)


def test_features_and_centroids_are_those_of_the_reference():
    features = ORACLE.network.features(ORACLE.images)
    torch.testing.assert_close(features, ORACLE["features"], **EXACT)
    torch.testing.assert_close(class_means(features, LABELS, 4), ORACLE["centroids"], **EXACT)


def test_distances_are_those_of_the_reference():
    distances = feature_distances(ORACLE["features"], ORACLE["centroids"])
    torch.testing.assert_close(distances, ORACLE["mse_to_centroids"], **EXACT)
    far = feature_distances(ORACLE["features"], ORACLE["far_centroids"])
    torch.testing.assert_close(far, ORACLE["far_mse"], **EXACT)


@both
def test_the_objective_without_noise_is_that_of_the_reference(direction):
    losses = losses_for(direction)(ORACLE.images)
    torch.testing.assert_close(losses.mean(), ORACLE[f"{direction}_loss_zero"], **EXACT)


@both
def test_the_gradient_without_noise_is_that_of_the_reference(direction):
    images = ORACLE.images.requires_grad_()
    (gradient,) = torch.autograd.grad(losses_for(direction)(images).mean(), images)
    torch.testing.assert_close(gradient, ORACLE[f"{direction}_grad_zero"], **EXACT)


@both
@pytest.mark.parametrize("count", [1, 2, 300])
def test_noise_from_zero_is_that_of_the_reference(direction, count):
    check_path(direction, count)


@both
@pytest.mark.parametrize("count", [2, 300])
def test_the_objective_before_the_last_step_is_that_of_the_reference(direction, count):
    losses = losses_for(direction)
    before = losses(ORACLE.images + descended(losses, steps(count - 1))).mean()
    expected = ORACLE[f"{direction}_zero_{count}_loss_before_last_step"]
    torch.testing.assert_close(before, expected, **EXACT)


@both
@pytest.mark.parametrize("count", [1, 2, 300])
def test_a_start_outside_the_pictures_changes_few_values_and_not_the_objective(direction, count):
    # The reference takes its first gradient before it moves the start into [0, 1], we after it.
    losses = losses_for(direction)
    expected = ORACLE[f"{direction}_rand_{count}_delta"]
    delta = descended(losses, steps(count), ORACLE["start"])
    assert float(((delta - expected).abs() > 1e-9).double().mean()) < 0.06
    ours, theirs = (losses(ORACLE.images + noise).mean() for noise in (delta, expected))
    assert float((ours - theirs).abs()) < 0.02 * float(theirs.abs())


def choices(losses_of_one):
    """The centroid whose distance the loss is, picture by picture."""
    distances = feature_distances(ORACLE["features"], ORACLE["far_centroids"])
    return (distances - losses_of_one[:, None]).abs().argmin(dim=1)


def test_no_picture_is_pulled_to_its_own_class_however_far_the_others_are():
    chosen = choices(losses_for("pull", ORACLE["far_centroids"])(ORACLE.images))
    assert torch.equal(chosen, ORACLE["far_correct_choice"])
    assert not (chosen == ORACLE["far_reference_choice"]).any()
    near = losses_for("pull")(ORACLE.images)
    distances = feature_distances(ORACLE["features"], ORACLE["centroids"])
    nearest = distances.gather(1, ORACLE["pull_target_nearest_other"][:, None])[:, 0]
    torch.testing.assert_close(near, nearest, **EXACT)


# The mistakes


def one_goal_for_all_steps():
    goals = ORACLE["centroids"][(LABELS + 2) % 4]
    return lambda x: (ORACLE.network.features(x) - goals).square().mean(dim=1)


def the_own_class_too():
    return lambda x: (
        feature_distances(ORACLE.network.features(x), ORACLE["centroids"]).min(dim=1).values
    )


MISTAKES = {
    "the wrong sign": {"losses": lambda: lambda x: -losses_for("pull")(x)},
    "the other direction": {"losses": lambda: losses_for("push")},
    "the own class among the goals": {"losses": the_own_class_too},
    "a class that is not the nearest": {"losses": one_goal_for_all_steps},
    "another step": {"attack": lambda: steps(2, 0.8)},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_numbers_of_the_reference_catch(mistake):
    with pytest.raises(AssertionError, match="not close"):
        check_path("pull", 2, **{name: make() for name, make in MISTAKES[mistake].items()})


@both
def test_the_numbers_of_the_reference_catch_a_missing_projection(direction, monkeypatch):
    def ball_only(images, radius):
        ball = torch.full_like(images, float(radius))
        return -ball, ball

    monkeypatch.setattr("unlearn.attack.bounds", ball_only)
    with pytest.raises(AssertionError, match="not close"):
        check_path(direction, 300)


# The method


def test_the_published_settings_are_the_defaults():
    method = EntF()
    assert method.attack == make_pgd(8, 0.4, steps=300)
    assert method.adversary == make_pgd(4, 2, steps=10)
    assert method.seen == SmoothViews(shift=4.0, flip=True, fill=0.0)
    assert method.cost(50_000).final == 300
    assert method.cost(50_000).training == 39_063 * 128 * 11
    steps_taken, size = method.cost(50_000).steps, method.schedule.batch_size
    assert 0 <= steps_taken * size - 100 * 50_000 < size
    rates = [method.schedule.rate(int(steps_taken * share)) for share in (0, 0.74, 0.76, 0.91)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.001])


def fitted(method, data):
    torch.manual_seed(0)
    module = method.build(SPEC)
    method.fit(module, data, CPU, SILENT)
    return module


def test_fitting_takes_the_centre_of_each_class_from_the_trained_network():
    data = make_stripes(12)
    module = fitted(EntF.example(), data)
    with torch.no_grad():
        features = module.eval().features(to_images(data.pixels))
    expected = torch.stack([features[data.labels == k].mean(dim=0) for k in range(4)])
    torch.testing.assert_close(module.centroids, expected, rtol=1e-4, atol=1e-5)


def test_the_surrogate_is_trained_against_its_adversary():
    data, method = make_stripes(12), EntF.example()
    none = replace(method, adversary=make_pgd(0, 0, steps=0))
    modules = [numbers_of(fitted(one, data)) for one in (method, none, method)]
    assert same_numbers(modules[0], modules[2])
    assert not same_numbers(modules[0], modules[1])


@both
def test_noise_moves_every_picture_s_features_inside_the_ball(direction):
    seen = SmoothViews(shift=0.0, flip=False, fill=0.0)
    method = replace(EntF.example(), direction=direction, attack=steps(10, 2), seen=seen)
    module = fitted(method, make_stripes(12))
    images, labels = make_images(6), make_labels(6)
    maker = method.ready(module, CPU)
    delta = maker(images, maker.targets(images, labels, make_rng(6)), make_rng(6))
    assert int(to_levels(delta, method.bound).abs().max()) <= 8
    losses = entangling_losses(module.eval().features, module.centroids, labels, direction)
    with torch.no_grad():
        assert (losses(images + delta) < losses(images)).all()


def test_without_a_random_start_only_the_views_are_drawn():
    method = EntF.example()
    method = replace(
        method,
        attack=replace(method.attack, random_start=False),
        seen=SmoothViews(shift=0.0, flip=False),
    )
    maker = method.ready(fitted(method, make_stripes(12)), CPU)
    images, labels = make_images(2), make_labels(2)
    assert torch.equal(maker(images, labels, make_rng(2)), maker(images, labels, make_rng(2, 1)))


def test_grey_pictures_get_grey_noise():
    method = EntF.example()
    maker = method.ready(fitted(method, make_stripes(12)), CPU)
    grey = make_images(2, 12, channels=1)[:, :, :7]
    assert maker(grey, make_labels(2), make_rng(2)).shape == grey.shape


def test_a_class_without_pictures_is_named():
    data = make_data(4)
    some = LabelledPictures(data.pixels[:3], data.labels[:3], data.classes)
    with pytest.raises(UsageProblem, match="class 3 of 4 has no pictures"):
        fitted(EntF.example(), some)


def test_a_single_class_is_refused():
    with pytest.raises(UsageProblem, match="at least 2"):
        EntF().build(Spec("resnet-small", 1))


def test_another_radius_scales_the_step_and_keeps_the_adversary():
    method = EntF().at(Radius.of_levels(4))
    assert method == replace(EntF(), attack=make_pgd(4, 0.2, steps=300))
    assert method.bound == Radius.of_levels(4)
    assert method.facts() == {"rho-a": "4/255", "direction": "pull"}


def test_what_the_checkout_carries_is_enough_for_the_paths(monkeypatch):
    monkeypatch.setattr(f"{__name__}.ORACLE", Oracle(carried("entf")))
    for direction in DIRECTIONS:
        check_path(direction, 300)
    test_no_picture_is_pulled_to_its_own_class_however_far_the_others_are()


def test_a_network_of_its_own_stands_in_for_the_reference_s():
    assert make_network().head.in_features == EntF().build(SPEC).centroids.shape[1]
    assert EntF().schedule.drops == (Fraction(3, 4), Fraction(9, 10))
