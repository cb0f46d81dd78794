from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.support.making import (
    CPU,
    counted_calls,
    flags_of,
    make_batch,
    make_images,
    make_labels,
    make_method,
    make_network,
    make_pgd,
    make_pixels,
    make_rng,
    make_small_net,
    make_stripes,
    noise_of,
    numbers_of,
    same_numbers,
)
from unlearn.attack import Pgd, frozen
from unlearn.errors import UsageProblem
from unlearn.methods import MinMaxMin, Spec
from unlearn.objectives import cross_entropy, randomness
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import to_delta, to_images, to_levels
from unlearn.training import Batch, Schedule, train
from unlearn.views import Views

STILL = Views(flip=False, pad=0)


def step(method, module=None, count=6, run=CPU):
    module = make_small_net().train() if module is None else module
    return method.step_losses(module, make_batch(count), run)


@pytest.fixture(scope="module")
def trained_network():
    def losses(model, batch):
        return {"loss": cross_entropy(model(to_images(batch.pixels)), batch.labels).mean()}

    model = make_network()
    train(model, losses, make_stripes(256), Schedule(40, 32, 0.05), CPU)
    return model


# Settings


def test_the_defaults_are_the_published_settings():
    method = MinMaxMin()
    assert method.noise.attack == make_pgd(8, 1.6, steps=10, views=5, random_start=True)
    assert method.adversary == make_pgd(4, 0.8, steps=10, views=1, random_start=True)
    assert (method.randomness, method.randomness_weight) == ("norm", 1.0)
    assert method.noise.views == Views(flip=True, pad=4, smallest_crop=1.0, grey=0.0)
    assert method.schedule == Schedule(5000, 128, 0.1, 0.9, 5e-4)
    assert method.bound == Radius.of_levels(8)
    assert method.passes_per_step == 62


@pytest.mark.parametrize("levels", [8, 8.1, 16])
def test_an_adversary_as_strong_as_the_noise_is_refused_with_both_radii(levels):
    with pytest.raises(UsageProblem) as caught:
        MinMaxMin(adversary=make_pgd(levels, 1))
    assert str(caught.value) == (
        f"rho-a {levels:g}/255 must be below rho 8/255: noise no stronger than the adversary can "
        "suppress nothing that is learnable"
    )


def test_a_final_attack_in_another_ball_is_refused_with_both_radii():
    with pytest.raises(UsageProblem, match="the final noise has radius 4/255, not 8/255"):
        MinMaxMin(final=make_pgd(4, 1))


@pytest.mark.parametrize(("levels", "adversary"), [(16, 4), (8, 4), (5, 4), (4, 2), (1, 0.5)])
def test_another_radius_scales_the_noise_and_halves_an_adversary_that_is_too_strong(
    levels, adversary
):
    method = MinMaxMin(final=make_pgd(8, 0.8, steps=30)).at(Radius.of_levels(levels))
    assert method.noise.attack == make_pgd(levels, levels / 5, views=5)
    assert method.final == make_pgd(levels, levels / 10, steps=30)
    assert method.adversary == make_pgd(adversary, adversary / 5)
    assert method.schedule == Schedule()


def test_the_same_radius_is_the_same_method():
    method = make_method()
    assert method.at(Radius.parse("16/510")) is method


@pytest.mark.parametrize("name", ["resnet-small", "resnet18-thin", "vit"])
def test_a_surrogate_is_a_network_with_the_classes_of_its_data(name):
    module = make_method().build(Spec(name, 3))
    assert module.head.out_features == 3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 3 * 2 + 2 + 2),
        ({"randomness_weight": 0.0}, 3 * 2 + 2 + 1),
        ({"shared": Radius.of_levels(4)}, 3 * 2 + 2 + 3),
    ],
)
def test_a_step_makes_as_many_passes_as_it_says(precision, changes, expected):
    method, module = make_method(**changes), make_small_net().train()
    module.register_buffer("shared", torch.zeros(4, 3, 8, 8))
    passes = []
    with counted_calls(module) as own:
        fast = []
        real = torch.autograd.grad

        def counting(*args, **options):
            fast.append(1)
            return real(*args, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.autograd, "grad", counting)
            step(method, module, count=20, run=replace(CPU, precision=precision))
        passes = len(own) + len(fast)
    assert passes == method.passes_per_step == expected


# Stage 1


def test_noise_lowers_the_loss_of_every_picture_on_a_trained_network(trained_network):
    data = make_stripes(32, seed=3)
    images, method = to_images(data.pixels), make_method(attack=make_pgd(8, 1.6, views=3))
    delta = noise_of(method, trained_network, images, data.labels, make_rng(32))
    noisy = images + to_delta(to_levels(delta, method.bound))
    with torch.no_grad():
        before, after = (
            cross_entropy(trained_network(pictures), data.labels) for pictures in (images, noisy)
        )
    assert (after < before).all()


def test_grey_pictures_get_the_grey_noise_that_colour_noise_would_sum_to(trained_network):
    images, labels = make_images(4, channels=1), make_labels(4)
    method = make_method(attack=make_pgd(8, 8, steps=1, random_start=False), views=STILL)
    grey = noise_of(method, trained_network, images, labels, make_rng(4))
    assert grey.shape == images.shape
    colour = images.expand(-1, 3, -1, -1).clone().requires_grad_()
    loss = cross_entropy(trained_network(colour), labels).sum()
    summed = torch.autograd.grad(loss, colour)[0].sum(1, keepdim=True)
    agreed = grey.sign() == -summed.sign()
    assert float(agreed[(images > 0.04) & (images < 0.96)].float().mean()) > 0.99


def test_the_final_attack_makes_the_noise_but_not_the_training(attacks):
    final = make_pgd(8, 1, steps=4)
    method = make_method(final=final)
    noise_of(method, make_small_net(), make_images(2), make_labels(2), make_rng(2))
    step(method)
    assert [call["config"] for call in attacks] == [final, method.noise.attack, method.adversary]


def test_the_noise_of_a_step_and_the_published_noise_are_one_computation(attacks):
    method, module = make_method(), make_small_net().eval()
    step(method, module)
    pixels, labels = make_pixels(6), make_labels(6)
    published = noise_of(method, module, to_images(pixels), labels, make_rng(6))
    assert torch.equal(attacks[0]["delta"], published)


# Stage 2


@pytest.mark.parametrize("form", ["norm", "squared", "mse"])
@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_the_loss_of_a_step_is_the_sum_of_its_terms(form, weight):
    terms = step(make_method(randomness=form, randomness_weight=weight))
    assert set(terms) == {"loss", "cross_entropy", "randomness"}
    assert torch.allclose(terms["loss"], terms["cross_entropy"] + weight * terms["randomness"])


def test_without_weight_no_clean_picture_meets_the_network():
    module = make_small_net().train()
    with counted_calls(module) as calls:
        terms = step(make_method(randomness_weight=0.0, views=STILL), module)
    assert len(calls) == 1
    assert torch.equal(terms["loss"], terms["cross_entropy"])


@pytest.mark.parametrize("joint", [False, True])
def test_the_terms_of_a_step_are_those_of_equation_8(joint, attacks):
    method = make_method(joint=joint, views=STILL)
    module = make_small_net().train()
    with counted_calls(module) as calls:
        terms = step(method, module)
    attacked, clean = calls[0].chunk(2) if joint else calls
    assert torch.equal(clean, make_images(6))
    assert torch.equal(attacked, attacks[1]["images"] + attacks[1]["delta"])
    twin = make_small_net().train()
    if joint:
        logits, guesses = twin(torch.cat([attacked, clean])).chunk(2)
    else:
        logits, guesses = twin(attacked), twin(clean)
    assert torch.equal(terms["cross_entropy"], cross_entropy(logits, make_labels(6)).mean())
    assert torch.equal(terms["randomness"], randomness(guesses, "norm").mean())


def test_joint_and_separate_batches_differ_in_their_batch_statistics_only():
    separate, joint = step(make_method()), step(make_method(joint=True))
    assert not torch.equal(separate["loss"], joint["loss"])
    for run in ({}, {"joint": True}):
        module = make_small_net().train()
        step(make_method(**run), module)
        assert int(module.body[1].num_batches_tracked) == (1 if run else 2)


@pytest.mark.parametrize("joint", [False, True])
def test_the_gradient_of_a_step_reaches_every_parameter(joint):
    module = make_network().train()
    step(make_method(joint=joint), module)["loss"].backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def test_without_its_weight_the_randomness_has_no_gradient():
    gradients = []
    for method in (make_method(randomness_weight=0.0), make_method()):
        module = make_small_net().train()
        step(method, module)["loss"].backward()
        gradients.append(module.head.bias.grad.clone())
    assert not torch.allclose(*gradients)
    module = make_small_net().train()
    with counted_calls(module) as calls:
        step(make_method(randomness_weight=0.0), module)
    twin = make_small_net().train()
    cross_entropy(twin(calls[0]), make_labels(6)).mean().backward()
    assert torch.allclose(gradients[0], twin.head.bias.grad, atol=1e-7)


def test_metrics_carry_no_graph():
    terms = step(make_method())
    assert terms["loss"].requires_grad
    assert not terms["cross_entropy"].requires_grad
    assert not terms["randomness"].requires_grad


def test_clean_and_noisy_pictures_are_seen_in_views_of_their_own():
    module = make_small_net().train()
    views = Views(flip=False, pad=3)
    zero = make_pgd(0.5, 0.5, steps=0, random_start=False)  # no whole level: pictures stay clean
    method = make_method(attack=zero, adversary=make_pgd(0, 0, steps=0), views=views)
    with counted_calls(module) as (calls):
        step(method, module)
    assert not torch.equal(calls[0], calls[1])


def test_no_adversarial_steps_mean_no_adversary(attacks):
    method = make_method(adversary=make_pgd(4, 1, steps=0), views=STILL)
    module = make_small_net().train()
    with counted_calls(module) as calls:
        step(method, module)
    assert [call["goal"] for call in attacks] == ["minimise"]
    levels = to_levels(attacks[0]["delta"], method.bound)
    assert torch.equal(calls[0], make_images(6) + to_delta(levels))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_is_repeatable_and_restores_modes_and_flags(precision):
    run = replace(CPU, precision=precision)
    module = make_small_net().train()
    module.head.bias.requires_grad_(False)
    flags = flags_of(module)
    one = step(make_method(), module, run=run)
    assert flags_of(module) == flags
    module.load_state_dict(make_small_net().state_dict())
    other = step(make_method(), module, run=run)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_a_step_changes_running_statistics_and_nothing_else():
    module, pixels = make_small_net().train(), make_pixels(6)
    before, numbers = pixels.clone(), numbers_of(module)
    make_method().step_losses(module, replace(make_batch(6), pixels=pixels), CPU)
    after = numbers_of(module)
    differing = {name for name in after if not torch.equal(after[name], numbers[name])}
    assert differing == {"body.1.running_mean", "body.1.running_var", "body.1.num_batches_tracked"}
    assert torch.equal(pixels, before)


def test_a_picture_draws_the_same_noise_in_every_batch_of_a_step(attacks):
    module = make_small_net().eval()
    pixels, labels, ids = make_pixels(6), make_labels(6), torch.arange(6)
    for index in (ids, ids.flip(0), ids[2:3]):
        rng = Rng.for_images(0, index)
        make_method().step_losses(module, Batch(pixels[index], labels[index], index, 0, rng), CPU)
    noise, _, turned, _, alone, _ = (call["delta"] for call in attacks)
    assert float((noise - turned.flip(0)).abs().gt(1e-6).float().mean()) < 0.01
    assert float((noise[2:3] - alone).abs().gt(1e-6).float().mean()) < 0.01


@pytest.mark.slow
def test_training_with_the_whole_method_is_repeatable_and_lowers_its_loss():
    class Losses(list):
        def started(self, state):
            self.clear()

        def stepped(self, state, terms):
            self.append(float(terms["loss"].detach()))

    method = make_method(schedule=Schedule(20, 16, 0.05))
    seen, modules = (Losses(), Losses()), (make_network(), make_network())
    for losses, module in zip(seen, modules, strict=True):
        method.fit(module, make_stripes(16), CPU, losses)
    assert seen[0] == seen[1]
    assert same_numbers(*map(numbers_of, modules))
    assert len(seen[0]) == 20
    assert sum(seen[0][-5:]) < 0.9 * sum(seen[0][:5])


def test_a_window_keeps_areas_from_changing_colour_within_the_bound():
    network = make_network("resnet-small", 4)
    images, labels = make_images(2, 32), make_labels(2)
    plain, fine = (make_method(window=window) for window in (0, 5))
    shifts = []
    for method in (plain, fine):
        with torch.no_grad():
            delta = noise_of(method, network, images, labels, make_rng(2))
        assert delta.abs().max() <= float(method.bound) + 1e-6
        assert ((images + delta) >= -1e-6).all()
        assert ((images + delta) <= 1 + 1e-6).all()
        shifts.append(float(F.avg_pool2d(delta, 9, stride=1).abs().mean()))
    assert shifts[1] < shifts[0] / 2


@pytest.mark.parametrize("window", [-1, 2, 8])
def test_a_window_without_a_centre_is_refused(window):
    with pytest.raises(UsageProblem, match=f"a window of {window} has no centre"):
        make_method(window=window)


def test_final_noise_of_another_radius_is_refused():
    with pytest.raises(UsageProblem, match=r"the final noise has radius 4/255, not 8/255"):
        MinMaxMin(final=make_pgd(4))


def test_views_taken_together_are_the_views_taken_one_by_one(monkeypatch):
    network, method = make_network("resnet-small", 4), make_method()
    images, labels = make_images(2, 16), make_labels(2)
    together = noise_of(method, network, images, labels, make_rng(2))
    monkeypatch.setattr("unlearn.methods.stage_one._VIEWS_TOGETHER", 0)
    apart = noise_of(method, network, images, labels, make_rng(2))
    assert torch.isclose(together, apart, atol=1e-6).float().mean() > 0.99


# The shared part


def test_the_shared_part_lowers_the_loss_of_its_class_within_its_radius(trained_network):
    method = make_method(shared=Radius.of_levels(5), views=Views(flip=False, pad=0))
    data = make_stripes(64, seed=4)
    images = to_images(data.pixels)
    trained_network.register_buffer("shared", torch.zeros(4, 3, 8, 8))
    rng = make_rng(64)
    with frozen(trained_network) as network:
        for _ in range(12):
            method.noise.move_shared(network, trained_network.shared, images, data.labels, rng)
        moved = (images + trained_network.shared[data.labels]).clamp(0, 1)
        before = cross_entropy(network(images), data.labels)
        after = cross_entropy(network(moved), data.labels)
    assert (trained_network.shared * 255).abs().max().round() == 5
    for label in range(4):
        assert after[data.labels == label].mean() < before[data.labels == label].mean()


def test_noise_starts_from_the_shared_part_and_keeps_the_bound():
    method = make_method(
        attack=Pgd(Radius.of_levels(8), Radius.of_levels(1), steps=0),
        shared=Radius.of_levels(6),
    )
    module = make_small_net()
    module.register_buffer("shared", Rng.for_images(0, torch.arange(4)).uniform(3, 8, 8) * 6 / 255)
    images, labels = make_images(6, 8) * 0.5 + 0.2, make_labels(6)
    noise = noise_of(method, module, images, labels, make_rng(6))
    assert torch.allclose(noise, module.shared[labels], atol=1e-6)
    wide = noise_of(method, module, make_images(2, 12) * 0.5 + 0.2, labels[:2], make_rng(2))
    assert wide.shape[-1] == 12
    grey = noise_of(method, module, images[:, :1], labels, make_rng(6))
    assert torch.allclose(grey, module.shared[labels].mean(dim=1, keepdim=True), atol=1e-6)
    small = noise_of(method.at(Radius.of_levels(2)), module, images, labels, make_rng(6))
    assert (small * 255).abs().max().round() == 2


def test_a_shared_part_larger_than_the_ball_is_refused():
    with pytest.raises(UsageProblem, match="9/255"):
        make_method(shared=Radius.of_levels(9))
