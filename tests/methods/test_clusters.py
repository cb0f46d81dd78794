"""Clusters against the numbers of Unlearnable Clusters' code, and the mistakes that they catch."""

import itertools
from dataclasses import replace

import pytest
import torch

from tests.support.making import (
    CLASSES,
    CPU,
    make_images,
    make_labels,
    make_pixels,
    make_rng,
    make_stripes,
    numbers_of,
    same_numbers,
)
from tests.support.oracles import EXACT, Oracle, carried, oracle
from unlearn.datasets.labelled import LabelledPictures
from unlearn.errors import UsageProblem
from unlearn.methods import Spec
from unlearn.methods.clusters import (
    Clusters,
    _means,
    bounded,
    kmeans,
    looks,
    nearest,
    pattern_losses,
)
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import add_levels, stretched, to_images, to_levels
from unlearn.training import SILENT, Schedule

ORACLE = oracle("uc")
PUBLISHED = Radius.of_levels(16)


def cut(raw):
    """The reference's bound: tanh cut at the radius, without gradient beyond it."""
    return raw.tanh().clamp(-float(PUBLISHED), float(PUBLISHED))


def learned(offset=1, bound=cut, losses=pattern_losses, coupled=True):
    """The reference's training of a pattern for each of 3 centres: losses (3, 4) and patterns."""
    centres, found, patterns = ORACLE["centers"], [], []
    for group, start in enumerate(ORACLE["gen_init_raw"]):
        raw = start.clone().requires_grad_()
        optimiser = torch.optim.Adam([raw], lr=1e-2, weight_decay=5e-4 * coupled)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 4, eta_min=1e-6)
        goals = centres[(group + offset) % 3].expand(6, -1)
        for _ in range(4):
            loss = losses(ORACLE.network.features, ORACLE.images, bound(raw), goals).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            cosine.step()
            found.append(loss.detach())
        patterns.append(raw.detach().tanh())
    return torch.stack(found).view(3, 4), torch.stack(patterns)


def check_training(**changes):
    found, patterns = learned(**changes)
    torch.testing.assert_close(found, ORACLE["losses"], **EXACT)
    torch.testing.assert_close(patterns, ORACLE["final_perturbation_unclamped"], **EXACT)


def check_divergence(change=lambda found: found):
    """Features inside [0, 1] pass the clip as they are."""
    raw, low, span = ORACLE["kl_features"], -8.0, 16.0
    goal = ORACLE["centers"][int(ORACLE["kl_target_cluster"])].expand(len(raw), -1)
    inside = ((raw - low) / span).requires_grad_()
    found = pattern_losses(lambda x: x * span + low, inside, torch.zeros(()), goal).mean()
    found = change(found)
    torch.testing.assert_close(found, ORACLE["kl_loss"], **EXACT)
    (gradient,) = torch.autograd.grad(found, inside)
    torch.testing.assert_close(gradient / span, ORACLE["kl_grad"], **EXACT)


def test_the_divergence_and_its_gradient_are_those_of_the_reference():
    check_divergence()


def test_the_training_of_patterns_is_that_of_the_reference():
    check_training()


def test_the_pattern_before_training_is_that_of_the_reference():
    torch.testing.assert_close(ORACLE["gen_init_raw"].tanh(), ORACLE["gen_init_output"], **EXACT)


def test_noise_is_stretched_over_a_picture_as_the_reference_does():
    pixels, noise = ORACLE["apply_image_uint8"], ORACLE["apply_noise"]
    large = stretched(noise, *pixels.shape[-2:])
    noisy = (pixels / 255 + large).clamp(0, 1)
    torch.testing.assert_close(noisy, ORACLE["apply_result"], rtol=0, atol=1e-6)


def test_a_picture_with_noise_is_the_file_of_the_reference():
    pixels, noise = ORACLE["apply_image_uint8"], ORACLE["apply_noise"]
    levels = to_levels(stretched(noise, *pixels.shape[-2:]), PUBLISHED)
    assert torch.equal(add_levels(pixels, levels), ORACLE["apply_png_uint8"])


# The mistakes


def reversed_divergence(features, images, patterns, goals):
    seen = features((images + patterns).clamp(0, 1))
    return (seen.softmax(1) * (seen.log_softmax(1) - goals.log_softmax(1))).sum(dim=1)


def without_clip(features, images, patterns, goals):
    wanted = goals.log_softmax(dim=1)
    found = features(images + patterns).log_softmax(dim=1)
    return (wanted.exp() * (wanted - found)).sum(dim=1)


MISTAKES = {
    "the own centre": {"offset": 0},
    "the centre before": {"offset": 2},
    "the wrong sign": {"losses": lambda *parts: -pattern_losses(*parts)},
    "the divergence turned round": {"losses": reversed_divergence},
    "noise that leaves the range of colours": {"losses": without_clip},
    "no bound": {"bound": torch.tanh},
    "a gradient everywhere": {"bound": lambda raw: bounded(raw, PUBLISHED)},
    "no decay": {"coupled": False},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_numbers_of_the_reference_catch(mistake):
    with pytest.raises(AssertionError, match="not close"):
        check_training(**MISTAKES[mistake])


@pytest.mark.parametrize("change", [lambda x: -x, lambda x: x / 6])
def test_the_numbers_of_the_divergence_catch_another_sign_or_mean(change):
    with pytest.raises(AssertionError, match="not close"):
        check_divergence(change)


# The groups


def one_stream(seed=0):
    return Rng.for_images(seed, torch.zeros(1, dtype=torch.int64))


def spread_of(points, centres):
    return float((points - centres[nearest(points, centres)]).square().sum())


def test_well_parted_points_form_the_groups_that_they_are():
    middles = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    points = middles.repeat(30, 1) + 0.5 * make_rng(120).normal(2)
    for seed in range(10):
        centres = kmeans(points, 4, one_stream(seed))
        places = nearest(middles, centres)
        assert sorted(places.tolist()) == [0, 1, 2, 3]
        expected = points.view(30, 4, 2).mean(dim=0)
        torch.testing.assert_close(centres[places], expected)


def test_groups_are_a_local_minimum_near_the_best_of_all_partitions():
    points = make_rng(8).uniform(2)
    least = min(
        sum(
            float((part - part.mean(dim=0)).square().sum())
            for k in range(2)
            if len(part := points[torch.tensor(choice) == k])
        )
        for choice in itertools.product(range(2), repeat=8)
    )
    found = min(spread_of(points, kmeans(points, 2, one_stream(seed))) for seed in range(8))
    assert found == pytest.approx(least, rel=1e-5)


def test_groups_are_repeatable_and_their_seed_matters():
    points = make_rng(60).uniform(5)
    one, same, other = (kmeans(points, 6, one_stream(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_equal_points_form_groups_without_numbers_that_are_none():
    centres = kmeans(torch.ones(5, 3), 3, one_stream())
    assert torch.equal(centres, torch.ones(3, 3))


def test_an_empty_group_takes_the_point_that_lies_farthest():
    points = torch.tensor([[0.0], [1.0], [9.0]])
    groups, centres = torch.tensor([0, 0, 0]), torch.tensor([[0.0], [5.0]])
    assert _means(points, groups, centres).flatten().tolist() == pytest.approx([10 / 3, 9.0])


def test_fewer_pictures_than_groups_are_refused():
    with pytest.raises(UsageProblem, match="2 pictures cannot form 3 groups"):
        kmeans(torch.ones(2, 3), 3, one_stream())


def test_looks_are_the_colours_of_64_places():
    images = make_images(2, 16)
    expected = images.view(2, 3, 8, 2, 8, 2).mean(dim=(3, 5)).flatten(1)
    torch.testing.assert_close(looks(images), expected)


# The method


def unlabelled(count):
    """Stripes as a flat folder gives them: one class."""
    data = make_stripes(count)
    return LabelledPictures(data.pixels, torch.zeros_like(data.labels), ("all",))


def fitted(method, data):
    torch.manual_seed(0)
    module = method.build(Spec("resnet-small", len(data.classes), 8))
    method.fit(module, data, CPU, SILENT)
    return module


def test_labels_do_not_matter():
    data = make_stripes(12)
    assert data.classes == CLASSES
    one, other = (numbers_of(fitted(Clusters.example(), part)) for part in (data, unlabelled(12)))
    assert same_numbers(one, other)


def test_a_picture_belongs_to_the_nearest_centre_whatever_its_label_and_company():
    method, data = Clusters.example(), unlabelled(12)
    module = fitted(method, data)
    maker, images = method.ready(module, CPU), to_images(data.pixels)
    groups = maker.targets(images, None, make_rng(12))
    with torch.no_grad():
        features = module.eval().features(images)
    assert torch.equal(groups, torch.cdist(features, module.centres).argmin(dim=1))
    assert torch.equal(groups, maker.targets(images, make_labels(12), make_rng(12, 1)))
    alone = torch.cat([maker.targets(image[None], None, make_rng(1)) for image in images])
    assert torch.equal(groups, alone)
    assert len(groups.unique()) == 3


def test_pictures_of_a_group_share_their_noise_inside_the_ball():
    method = Clusters.example()
    maker = method.ready(fitted(method, unlabelled(12)), CPU)
    images, groups = make_images(4), torch.tensor([0, 1, 0, 2])
    delta = maker(images, groups, make_rng(4))
    assert torch.equal(delta[0], delta[2])
    assert not torch.equal(delta[0], delta[1])
    assert int(to_levels(delta, method.bound).abs().max()) <= 16
    grey = maker(make_images(1, 12, channels=1)[:, :, :7], groups[:1], make_rng(1))
    whole = maker(make_images(1, 12)[:, :, :7], groups[:1], make_rng(1))
    torch.testing.assert_close(grey, whole.mean(dim=1, keepdim=True))


def test_patterns_move_the_features_of_their_group_to_the_next_centre():
    schedule = Schedule(steps=60, batch_size=16, learning_rate=0.05)
    faster = replace(schedule, learning_rate=0.1, optimiser="adam", weight_decay=0.0)
    method = replace(Clusters.example(), schedule=schedule, pattern_schedule=faster)
    data = unlabelled(48)
    module, images = fitted(method, data), to_images(data.pixels)
    maker = method.ready(module, CPU)
    groups = maker.targets(images, None, make_rng(48))
    goals = module.centres[(groups + 1) % 3]
    features, none = module.eval().features, torch.zeros(())
    delta = maker(images, groups, make_rng(48))
    with torch.no_grad():
        before = pattern_losses(features, images, none, goals).mean()
        after = pattern_losses(features, images, delta, goals).mean()
        grain = float(PUBLISHED) * (2 * make_rng(48).integers(2, 3, 8, 8) - 1)
        other = pattern_losses(features, images, grain, goals).mean()
    assert float(after) < 0.7 * float(before)
    assert float(other) > 0.9 * float(before)


def test_learning_patterns_leaves_the_surrogate_as_it_was_trained():
    data = unlabelled(12)
    steps = [replace(Clusters.example().pattern_schedule, steps=count) for count in (1, 5)]
    one, other = (
        numbers_of(fitted(replace(Clusters.example(), pattern_schedule=part), data))
        for part in steps
    )
    changed = {name for name in one if not torch.equal(one[name], other[name])}
    assert changed == {"patterns"}


def test_the_published_radius_groups_and_offset_are_the_defaults():
    method = Clusters()
    assert (method.bound, method.groups, method.offset) == (PUBLISHED, 10, 1)
    assert method.at(Radius.of_levels(8)) == replace(method, radius=Radius.of_levels(8))
    assert method.facts() == {"groups": "10"}


def test_bounded_noise_has_a_gradient_where_the_reference_has_none():
    raw = torch.linspace(-3, 3, 100, dtype=torch.float64).requires_grad_()
    (ours,) = torch.autograd.grad(bounded(raw, PUBLISHED).sum(), raw)
    (theirs,) = torch.autograd.grad(cut(raw).sum(), raw)
    assert (ours > 0).all()
    assert float((theirs == 0).double().mean()) > 0.9
    assert (bounded(raw, PUBLISHED).abs() < 16 / 255).all()


@pytest.mark.parametrize(("groups", "offset"), [(1, 1), (3, 3), (4, 0)])
def test_an_offset_that_leads_groups_to_themselves_is_refused(groups, offset):
    with pytest.raises(UsageProblem, match=f"offset of {offset} leads each of {groups}"):
        Clusters(groups=groups, offset=offset)


def test_a_set_that_is_smaller_than_the_groups_is_refused():
    data = LabelledPictures(make_pixels(2), torch.zeros(2, dtype=torch.int64), ("all",))
    with pytest.raises(UsageProblem, match="cannot form 3 groups"):
        fitted(Clusters.example(), data)


def test_what_the_checkout_carries_is_enough_for_the_training(monkeypatch):
    monkeypatch.setattr(f"{__name__}.ORACLE", Oracle(carried("uc")))
    check_training()
    check_divergence()
