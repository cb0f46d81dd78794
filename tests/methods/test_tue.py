"""TUE against the numbers of its authors' code, and the mistakes that these numbers catch."""

from dataclasses import replace

import pytest
import torch

from tests.support.making import (
    CPU,
    make_images,
    make_labels,
    make_network,
    make_rng,
    make_stripes,
    seeded,
)
from tests.support.oracles import EXACT, Oracle, carried, oracle
from unlearn.attack import Pgd, pgd
from unlearn.errors import UsageProblem
from unlearn.methods import Spec
from unlearn.methods.tue import Tue, contrasted, discriminant, nearness, simclr
from unlearn.radius import Radius
from unlearn.tensors import to_levels
from unlearn.training import SILENT, Schedule

ORACLE = oracle("tue")


def views(noise, mirrored):
    """The reference's two views, which the same noise is added to."""
    clean = ORACLE.images
    return [(view + noise).clamp(0, 1) for view in (clean, clean.flip(3) if mirrored else clean)]


def contrast(noise, loss=simclr):
    one, two = (ORACLE.network(view) for view in views(noise, mirrored=True))
    return loss(one, two, float(ORACLE["simclr_temperature"])).mean()


def separable(noise, *, detached=True):
    return discriminant(noise, ORACLE["labels"], detached=detached)


def followed(count, loss, attack=None, *, mirrored=False):
    """The reference's steps: each view's clipped picture moves, and the mean of both is kept."""
    delta, clean = ORACLE["start"], ORACLE.images
    attack = attack or Pgd(Radius.of_levels(8), Radius.of_levels(0.8), steps=1)
    middle = torch.full_like(clean, 0.5)  # so that no picture's range cuts the noise
    for _ in range(count):
        start = delta.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(start), start)
        moved = []
        for view in (clean, clean.flip(3) if mirrored else clean):
            seen = (view + delta).clamp(0, 1) - view
            along = (lambda g: lambda noisy: (noisy * g).flatten(1).sum(dim=1))(gradient)
            moved.append(pgd(along, middle, attack, "minimise", make_rng(10), seen))
        delta = sum(moved) / 2
    return delta


def check_discriminant(name, loss):
    noise = ORACLE["start"].requires_grad_()
    value = loss(noise)
    torch.testing.assert_close(value.detach(), ORACLE["csd_loss"], **EXACT)
    (gradient,) = torch.autograd.grad(value, noise)
    torch.testing.assert_close(gradient, ORACLE[f"csd_grad_{name}"], **EXACT)


def check_contrast(loss=simclr):
    noise = ORACLE["start"].requires_grad_()
    value = contrast(noise, loss)
    torch.testing.assert_close(value.detach(), ORACLE["simclr_loss"], **EXACT)
    (gradient,) = torch.autograd.grad(value, noise)
    torch.testing.assert_close(gradient, ORACLE["simclr_grad"], **EXACT)


def check_path(count, loss=separable, attack=None):
    delta = followed(count, loss, attack)
    torch.testing.assert_close(delta, ORACLE[f"csdonly_{count}_delta"], **EXACT)


def test_the_discriminant_and_its_gradient_are_those_of_the_paper():
    check_discriminant("intended", lambda noise: separable(noise, detached=False))


def test_the_discriminant_of_the_reference_is_an_option():
    check_discriminant("reference", separable)


def test_the_contrastive_loss_and_its_gradient_are_those_of_the_reference():
    check_contrast()


@pytest.mark.parametrize("count", [1, 2, 20])
def test_separable_noise_is_that_of_the_reference(count):
    check_path(count)


@pytest.mark.parametrize("count", [1, 5])
def test_noise_of_both_terms_is_that_of_the_reference(count):
    delta = followed(count, lambda noise: contrast(noise) + separable(noise), mirrored=True)
    torch.testing.assert_close(delta, ORACLE[f"simclr_plus_csd_{count}_delta"], **EXACT)


def test_noise_follows_the_spread_of_classes_further_than_the_reference_does():
    apart = [
        float(separable(followed(20, lambda noise, d=detached: separable(noise, detached=d))))
        for detached in (True, False)
    ]
    assert apart == pytest.approx([0.154, 0.108], abs=5e-4)


# The mistakes


def of_mates(one, two, temperature):
    """Both views of all pictures count, the picture's own view too."""
    both = torch.nn.functional.normalize(torch.cat([one, two]))
    likeness = both @ both.T / temperature
    goals = torch.arange(len(both)).roll(len(one))
    return torch.nn.functional.cross_entropy(likeness, goals, reduction="none")


TERMS = {
    "the spread without gradient": lambda noise: separable(noise, detached=True),
    "the wrong sign": lambda noise: -separable(noise, detached=False),
    "other classes": lambda noise: discriminant(noise, ORACLE["labels"].roll(1)),
    "squared distances": lambda noise: separable(noise, detached=False).square(),
}


@pytest.mark.parametrize("mistake", TERMS)
def test_the_discriminant_of_the_paper_catches(mistake):
    with pytest.raises(AssertionError, match="not close"):
        check_discriminant("intended", TERMS[mistake])


@pytest.mark.parametrize(
    "loss",
    [
        lambda one, two, t: simclr(one, two, 2 * t),
        lambda one, two, t: -simclr(one, two, t),
        lambda one, two, t: simclr(one, two.roll(1, 0), t),
        of_mates,
    ],
    ids=["another temperature", "the wrong sign", "another picture", "a view of its own"],
)
def test_the_contrastive_loss_of_the_reference_catches(loss):
    with pytest.raises(AssertionError, match="not close"):
        check_contrast(loss)


@pytest.mark.parametrize("count", [1, 2])
def test_the_noise_of_the_reference_catches_the_gradient_of_the_paper_and_another_step(count):
    with pytest.raises(AssertionError, match="not close"):
        check_path(count, lambda noise: separable(noise, detached=False))
    with pytest.raises(AssertionError, match="not close"):
        check_path(count, attack=Pgd(Radius.of_levels(8), Radius.of_levels(0.4), steps=1))


# The terms


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 2, 2]], ids=["one class", "an empty class"])
def test_the_discriminant_is_finite_for_any_classes(labels):
    noise = make_images(3).requires_grad_()
    value = discriminant(noise, torch.tensor(labels))
    (gradient,) = torch.autograd.grad(value, noise)
    assert torch.isfinite(gradient).all()
    assert bool(gradient.any()) == (len(set(labels)) > 1)


def test_noise_without_any_difference_has_no_gradient_but_no_nan_either():
    noise = torch.zeros(6, 3, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(discriminant(noise, make_labels(6)), noise)
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_a_picture_alone_has_the_contrast_that_it_has_among_the_others():
    one, two, others = (make_rng(3, seed).normal(7).to(torch.float64) for seed in range(3))
    for place in range(3):
        pair = (part[place : place + 1] for part in (one, two))
        logits = torch.cat([next(pair), next(pair)]), others
        found = contrasted(logits[0][:1], logits[0][1:], others, 0.5)
        views = torch.nn.functional.normalize(logits[0])
        held = torch.nn.functional.normalize(others)
        own = (views[0] @ views[1] / 0.5).exp()
        expected = [-(own / (own + (view @ held.T / 0.5).exp().sum())).log() for view in views]
        torch.testing.assert_close(found[0], sum(expected) / 2, **EXACT)
        torch.testing.assert_close(contrasted(one, two, others, 0.5)[place], found[0], **EXACT)


def test_a_centre_near_to_others_pulls_more():
    centres = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    expected = torch.tensor([(1 / 5 + 1) / 2, (1 / 5 + 1 / 18**0.5) / 2, (1 + 1 / 18**0.5) / 2])
    torch.testing.assert_close(nearness(centres), expected, rtol=0, atol=2e-5)
    assert torch.equal(nearness(centres[:1]), torch.zeros(1))


# The method


def fitted(method, data):
    module = seeded(lambda: method.build(Spec("resnet-small", len(data.classes), data.size)))
    method.fit(module, data, CPU, SILENT)
    return module


def test_the_published_settings_are_the_defaults():
    method = Tue()
    assert method.attack == Pgd(Radius.of_levels(8), Radius.of_levels(0.8), steps=20)
    assert (method.contrast, method.separability) == (1.0, 1.0)
    assert (method.temperature, method.together) == (0.5, 512)
    assert {method.schedule.rate(step) for step in (0, 2000, 3919)} == {1e-3}
    assert (method.schedule.optimiser, method.schedule.weight_decay) == ("adam", 1e-6)
    assert method.schedule.steps == 40 * -(-50_000 // 512)
    cost = method.cost(50_000)
    assert cost.final == 2 * 20
    assert cost.training == 3920 * 512 * 2 + 50_000 * 200 * 40


def test_without_contrast_no_network_has_a_say():
    method = replace(Tue.example(), contrast=0.0)
    assert method.cost(12).final == 0
    module, images, labels = fitted(method, make_stripes(24)), make_images(4), make_labels(4)
    before = method.ready(module, CPU).make(images, labels, make_rng(4))
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(1)
    after = method.ready(module, CPU).make(images, labels, make_rng(4))
    assert torch.equal(before, after)


@pytest.mark.parametrize("contrast", [0.0, 1.0])
def test_noise_is_alike_within_a_class_and_apart_between_them(contrast):
    longer = Pgd(Radius.of_levels(8), Radius.of_levels(2), steps=10)
    method = replace(Tue.example(), attack=longer, contrast=contrast, together=64, sweeps=3)
    module = fitted(method, make_stripes(40))
    images, labels = 0.25 + make_images(12) / 2, make_labels(12)
    delta = method.ready(module, CPU).make(images, labels, make_rng(12))
    assert int(to_levels(delta, method.bound).abs().max()) <= 8
    assert float(delta.abs().max()) <= 8 / 255 + 1e-7
    start = make_rng(12).uniform(3, 8, 8, low=-8 / 255, high=8 / 255)
    assert discriminant(delta, labels) < 0.5 * discriminant(start, labels)
    goals = module.get_buffer("centres")[labels] * 8 / 255
    assert ((delta - goals).flatten(1).norm(dim=1) < (start - goals).flatten(1).norm(dim=1)).all()


def test_the_contrast_has_a_say_where_it_counts():
    method = replace(Tue.example(), separability=0.0)
    module, images, labels = fitted(method, make_stripes(24)), make_images(6), make_labels(6)
    one, other = (
        replace(method, separability=weight).ready(module, CPU).make(images, labels, make_rng(6))
        for weight in (0.0, 100.0)
    )
    assert float((one - other).abs().gt(1 / 255).float().mean()) > 0.1


def test_centres_are_shares_of_the_radius_and_the_bank_is_bounded():
    module = fitted(Tue.example(), make_stripes(40))
    assert module.get_buffer("centres").shape == (4, 3, 8, 8)
    assert 0.1 < float(module.get_buffer("centres").abs().max()) <= 1
    assert module.get_buffer("bank").shape == (6, 128)


def test_a_projection_is_as_wide_as_no_number_of_classes():
    for classes in (2, 127, 128, 129):
        head = Tue().build(Spec("resnet-small", classes, 8)).head
        assert head.out_features == (129 if classes == 128 else 128)


def test_a_surrogate_has_a_network_a_bank_and_centres_and_nothing_else():
    module = fitted(replace(Tue.example(), schedule=Schedule(1, 4)), make_stripes(12))
    own = set(module.state_dict()) - set(make_network().state_dict())
    assert own == {"bank", "centres"}


def test_one_class_is_refused():
    with pytest.raises(UsageProblem, match="at least 2"):
        Tue().build(Spec("resnet-small", 1))
    with pytest.raises(UsageProblem, match="class 1 of 4 has no pictures"):
        fitted(Tue(), make_stripes(1))


@pytest.mark.parametrize("change", [{"sweeps": 0}, {"together": 0}, {"temperature": 0.0}])
def test_settings_that_separate_nothing_are_refused(change):
    with pytest.raises(UsageProblem, match="must be above 0"):
        Tue(**change)


@pytest.mark.parametrize("weights", [(0.0, 0.0), (-1.0, 1.0)])
def test_weights_that_leave_nothing_to_lower_are_refused(weights):
    with pytest.raises(UsageProblem, match="nothing to lower"):
        Tue(contrast=weights[0], separability=weights[1])


def test_what_the_checkout_carries_is_enough_for_the_discriminant(monkeypatch):
    monkeypatch.setattr(f"{__name__}.ORACLE", Oracle(carried("tue")))
    check_discriminant("intended", lambda noise: separable(noise, detached=False))
