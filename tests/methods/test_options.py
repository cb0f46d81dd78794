"""Options beyond the published recipe: jitter, drawn radii, cosines, several networks, recipes."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from tests.support.making import (
    CPU,
    counted_calls,
    make_images,
    make_labels,
    make_method,
    make_network,
    make_pgd,
    make_pixels,
    make_rng,
    make_small_net,
    make_stripes,
    numbers_of,
    same_numbers,
    seeded,
)
from unlearn.attack import frozen
from unlearn.errors import UsageProblem
from unlearn.generators.artefact import NoiseGenerator, header_of
from unlearn.methods import RECIPES, MinMaxMin, Spec
from unlearn.methods.surrogates import Surrogates, on_turn
from unlearn.methods.visits import Visit
from unlearn.objectives import cosine_cross_entropy, cross_entropy
from unlearn.radius import Radius
from unlearn.tensors import to_delta, to_images, to_levels
from unlearn.training import SILENT, Schedule, train
from unlearn.views import Views

STILL = Views(flip=False, pad=0)
SPEC = Spec("resnet-small", 4, 8)
LEVELS = Radius.of_levels


def step(method, module, number=0, run=CPU):
    visit = Visit(number)
    return method.step_losses(module, make_pixels(6), make_labels(6), run, make_rng(6), visit)


def build(method, seed=0):
    return seeded(lambda: method.build(SPEC), seed)


@pytest.fixture(scope="module")
def trained_network():
    def losses(model, pixels, labels, rng):
        return {"loss": cross_entropy(model(to_images(pixels)), labels).mean()}

    model = make_network()
    train(model, losses, make_stripes(256), Schedule(40, 32, 0.05), CPU)
    return model


def helped(method, module, count=32):
    """Tell for each picture whether its noise lowers its loss on a network."""
    data = make_stripes(count, seed=3)
    images = to_images(data.pixels)
    delta = method.noise(module, images, data.labels, CPU, make_rng(count))
    noisy = images + to_delta(to_levels(delta, method.radius))
    with torch.no_grad():
        before, after = (cross_entropy(module(seen), data.labels) for seen in (images, noisy))
    return after < before


@pytest.mark.parametrize(
    "options", [{"jitter": LEVELS(4)}, {"cosine_weight": 1.0}, {"jitter": LEVELS(4), "window": 3}]
)
def test_noise_of_each_option_lowers_the_loss_of_every_picture(trained_network, options):
    assert helped(make_method(unlearn=make_pgd(8, 1.6, views=3), **options), trained_network).all()


# Jitter


def views_of_stage_one(method, images, count):
    """What a network sees while noise is made for pictures: its inputs, one after the other."""
    module = make_small_net().eval()
    with frozen(module) as network, counted_calls(network) as calls:
        method.learned.minimum([network], images, make_labels(count), make_rng(count))
    return calls


def test_every_view_has_jitter_of_its_own_within_its_radius_and_the_range():
    still = make_pgd(8, 2, steps=2, views=20, random_start=False)
    method = make_method(unlearn=replace(still, step=LEVELS(0)), views=STILL, jitter=LEVELS(4))
    images = make_images(6)
    calls = views_of_stage_one(method, images, 6)
    assert len(calls) == 2 * 20
    moved = torch.stack(calls) - images
    assert float(moved.abs().max()) <= 4 / 255 + 1e-7
    assert float(torch.stack(calls).min()) >= 0
    assert float(torch.stack(calls).max()) <= 1
    inner = ((images > 0.02) & (images < 0.98)).expand_as(moved)
    drawn = moved[inner] * 255
    assert float(drawn.mean()) == pytest.approx(0, abs=0.05)
    assert float(drawn.std()) == pytest.approx(4 / 3**0.5, rel=0.02)  # uniform
    assert not torch.equal(calls[0], calls[1])


def test_jitter_keeps_the_gradient_of_saturated_pixels():
    images = torch.ones(2, 3, 8, 8)
    method = make_method(jitter=LEVELS(4), views=STILL)
    seen = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(method.learned._view(seen, make_rng(2)).sum(), seen)
    assert torch.equal(gradient, torch.ones_like(images))


def test_jitter_stays_out_of_stage_two(attacks):
    plain, jittered = make_method(views=STILL), make_method(views=STILL, jitter=LEVELS(4))
    for method in (plain, jittered):
        step(method, make_small_net().eval())
    for stage_one, stage_two in zip(attacks[::2], attacks[1::2], strict=True):
        levels = to_delta(to_levels(stage_one["delta"], plain.radius))
        assert torch.equal(stage_two["images"], make_images(6) + levels)
    assert not torch.equal(attacks[0]["delta"], attacks[2]["delta"])


# The adversary's radius, drawn for each step


def test_radii_of_the_adversary_fill_their_range_and_scale_the_step_alike():
    method = MinMaxMin(adversary_range=(LEVELS(1), LEVELS(7)))
    attacks = [method.adversary_at(5, number) for number in range(400)]
    radii = torch.tensor([float(attack.radius) * 255 for attack in attacks])
    assert 1 <= float(radii.min()) < 1.2
    assert 6.8 < float(radii.max()) < 7
    assert float(radii.mean()) == pytest.approx(4, abs=0.3)
    for attack in attacks:
        assert attack.step.value == attack.radius.value / 5
        assert (attack.steps, attack.views) == (10, 1)
    assert attacks == [method.adversary_at(5, number) for number in range(400)]
    assert attacks[:9] != [method.adversary_at(6, number) for number in range(9)]


def test_all_pictures_of_a_step_meet_the_drawn_radius_and_other_steps_another(attacks):
    method = make_method(adversary_range=(LEVELS(1), LEVELS(7)), views=STILL)
    for number in range(3):
        step(method, make_small_net().train(), number)
    drawn = [call["config"] for call in attacks if call["goal"] == "maximise"]
    assert drawn == [method.adversary_at(CPU.seed, number) for number in range(3)]
    assert len({attack.radius for attack in drawn}) == 3
    for call in attacks[1::2]:
        assert float(call["delta"].abs().max()) <= float(call["config"].radius) + 1e-7


def test_a_range_of_one_radius_is_that_radius():
    method = MinMaxMin(adversary_range=(LEVELS(4), LEVELS(4)))
    assert method.adversary_at(0, 3) == method.adversary


@pytest.mark.parametrize("levels", [16, 8, 6, 2])
def test_a_range_is_scaled_into_a_smaller_ball(levels):
    method = MinMaxMin(adversary_range=(LEVELS(1), LEVELS(7))).within(LEVELS(levels))
    low, high = method.adversary_range
    assert high < method.radius
    assert (low, high) == ((LEVELS(1), LEVELS(7)) if levels > 7 else (low, LEVELS(levels / 2)))
    assert low.value * 7 == high.value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adversary_range": (LEVELS(1), LEVELS(8))}, "rho-a 8/255 must be below rho 8/255"),
        ({"adversary_range": (LEVELS(5), LEVELS(3))}, "begins at 5/255 and ends below, at 3/255"),
        (
            {"adversary": make_pgd(4, 1, steps=0), "adversary_range": (LEVELS(1), LEVELS(2))},
            "adversary_range needs an adversary that takes steps",
        ),
        (
            {"adversary": make_pgd(0, 0), "adversary_range": (LEVELS(1), LEVELS(2))},
            "adversary_range needs an adversary that takes steps",
        ),
        ({"cosine_weight": -1.0}, "a cosine weight of -1.0"),
        ({"cosine_weight": float("nan")}, "a cosine weight of nan"),
        ({"averaged": 0}, "0 late states"),
        ({"averaged": 3, "schedule": Schedule(steps=9)}, "9 steps have 1 … 2 in their last fifth"),
    ],
)
def test_options_that_contradict_themselves_are_refused(options, message):
    with pytest.raises(UsageProblem) as caught:
        MinMaxMin(**options)
    assert message in str(caught.value)


# The cosine term


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_cosine_term_is_added_to_the_loss_of_each_view(precision):
    method = make_method(cosine_weight=0.5, views=STILL)
    module, images, labels = make_small_net().eval(), make_images(6), make_labels(6)
    with frozen(module, precision) as network:
        losses = method.learned._errors(network, images, labels)
        features = network.features(images)
        cosines = cosine_cross_entropy(features, module.head.weight, labels)
        expected = cross_entropy(network(images), labels) + 0.5 * cosines
        without = make_method(views=STILL).learned._errors(network, images, labels)
        assert torch.equal(without, cross_entropy(network(images), labels))
    assert torch.allclose(losses, expected, atol=1e-5)
    assert not torch.allclose(losses, without)


def test_the_cosine_term_turns_features_towards_their_own_class(trained_network):
    data = make_stripes(32, seed=3)
    images, proxies = to_images(data.pixels), trained_network.head.weight
    cosines = []
    for weight in (0.0, 5.0):
        method = make_method(unlearn=make_pgd(8, 1.6, views=1), views=STILL, cosine_weight=weight)
        delta = method.noise(trained_network, images, data.labels, CPU, make_rng(32))
        with torch.no_grad():
            features = trained_network.features(images + delta)
            cosines.append(cosine_cross_entropy(features, proxies, data.labels).mean())
    assert cosines[1] < cosines[0]


# Several networks


def test_networks_are_trained_in_turn_and_late_copies_never():
    method = make_method(
        architectures=("vgg16",), averaged=2, schedule=Schedule(5, 4, 0.05), joint=True
    )
    module = build(method)
    seen = []

    class Look:
        def started(self, state):
            seen.append(numbers_of(state.model))

        stepped = lambda self, state, terms: seen.append(numbers_of(state.model))  # noqa: E731

    method.fit(module, make_stripes(8), CPU, Look())
    for number, (before, after) in enumerate(pairwise(seen)):
        changed = {name for name in after if not torch.equal(before[name], after[name])}
        places = {".".join(name.split(".")[:2]) for name in changed}
        copied = {"late.0", "late.1"} if number + 1 == 4 else set()  # before the last fifth
        assert places - copied == {f"networks.{number % 2}"}
    for place in range(2):
        late, there = numbers_of(module.late[place]), seen[4]
        assert same_numbers(late, {name: there[f"networks.{place}.{name}"] for name in late})
    assert all(p.grad is None and not p.requires_grad for p in module.late.parameters())


@pytest.mark.parametrize(
    ("averaged", "steps", "expected"),
    [(1, 100, []), (2, 100, [80]), (3, 100, [80, 90]), (5, 100, [80, 85, 90, 95]), (2, 5, [4])],
)
def test_late_states_are_spread_over_the_last_fifth(averaged, steps, expected):
    method = make_method(
        averaged=averaged, architectures=("resnet-small",), schedule=Schedule(steps)
    )
    assert sorted(build(method).keepings(steps)) == expected


def test_late_copies_keep_weights_and_batch_statistics_of_their_moment():
    module = build(make_method(averaged=3, schedule=Schedule(10)))
    network, states = module.networks[0], []
    for number, (_, keep) in enumerate(sorted(module.keepings(10).items())):
        for tensor in network.state_dict().values():
            tensor.add_(number + 1)
        states.append(numbers_of(network))
        keep()
    assert len(states) == 2
    for late, state in zip(module.late, states, strict=True):
        assert same_numbers(numbers_of(late), state)


def test_published_noise_sums_the_gradients_of_all_networks(attacks):
    method = make_method(averaged=2, schedule=Schedule(5), views=STILL)
    module = build(method).eval()
    with torch.no_grad():
        module.late[0].head.weight.add_(
            torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
        )
    images, labels = make_images(6), make_labels(6)
    one_step = replace(method, unlearn=make_pgd(8, 8, steps=1, random_start=False))
    delta = one_step.noise(module, images, labels, CPU, make_rng(6))
    assert attacks[0]["config"].views == 2
    inputs = images.clone().requires_grad_()
    losses = [cross_entropy(net(inputs), labels).sum() for net in (*module.networks, *module.late)]
    (gradient,) = torch.autograd.grad(sum(losses), inputs)
    (alone,) = torch.autograd.grad(cross_entropy(module.networks[0](inputs), labels).sum(), inputs)
    inside = (images > 0.04) & (images < 0.96)
    agreed = (delta.sign() == -gradient.sign())[inside].float().mean()
    assert float(agreed) > 0.99
    assert float((alone.sign() != gradient.sign()).float().mean()) > 0.02


@pytest.mark.parametrize("count", [2, 20])
@pytest.mark.parametrize("averaged", [1, 3])
def test_published_noise_makes_as_many_passes_as_it_says(count, averaged):
    method = make_method(
        averaged=averaged,
        architectures=("resnet-small",),
        final=make_pgd(8, 2, steps=2, views=3),
        schedule=Schedule(10, 1),
    )
    module, passes = build(method).eval(), 0
    real = torch.autograd.grad

    def counting(outputs, *args, **options):
        nonlocal passes
        passes += 1
        return real(outputs, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unlearn.methods.stage_one._VIEWS_TOGETHER", 0)
        patch.setattr(torch.autograd, "grad", counting)
        method.noise(module, make_images(count), make_labels(count), CPU, make_rng(count))
    assert passes == 2 * 3 * 2 * averaged
    training = 10 * method.passes_per_step
    assert method.passes_per_image(1) == training + passes
    assert method.passes_per_image(10) == method.passes_per_step + passes


def test_several_networks_answer_with_the_mean_of_those_in_training():
    module = build(make_method(architectures=("resnet-small",), averaged=2, schedule=Schedule(5)))
    module.eval()
    images = make_images(3)
    with torch.no_grad():
        first, second = (network(images) for network in module.networks)
        assert torch.allclose(module(images), (first + second) / 2)
    assert not torch.equal(first, second)


def test_one_network_without_copies_is_the_plain_classifier():
    module = build(make_method())
    assert not isinstance(module, Surrogates)
    assert on_turn(module, 7) is module


def test_an_artefact_of_several_networks_loads_equal_with_a_shared_part(tmp_path):
    method = make_method(
        architectures=("vgg16",), averaged=2, shared=LEVELS(3), schedule=Schedule(5, 4, 0.01)
    )
    module, data = build(method), make_stripes(8)
    method.fit(module, data, CPU, SILENT)
    header = header_of(
        method, architecture="resnet-small", classes=data.classes, image_size=8, working_size=8
    )
    NoiseGenerator(method, module, header, run=CPU).save(tmp_path / "noise.safetensors")
    loaded = NoiseGenerator.load(tmp_path / "noise.safetensors", CPU)
    assert loaded.method == method
    assert same_numbers(numbers_of(loaded.module), numbers_of(module))
    assert float(module.shared.abs().max()) <= 3 / 255 + 1e-7


# Recipes


def test_the_fast_recipe_costs_less_than_an_eighth_of_the_published_one():
    paper, fast = RECIPES["min-max-min"], RECIPES["fast"]
    assert paper == MinMaxMin()
    assert paper.passes_per_image(50_000) == 844
    assert fast.passes_per_step == 3 + 3
    assert fast.passes_per_image(50_000) == 62 + 4
    assert fast.passes_per_image(50_000) * 8 <= paper.passes_per_image(50_000)


def test_the_fast_recipe_is_shared_joint_and_of_the_same_radii():
    paper, fast = RECIPES["min-max-min"], RECIPES["fast"]
    assert (fast.radius, fast.adversary.radius) == (paper.radius, paper.adversary.radius)
    assert (fast.unlearn.passes, fast.joint) == (0, True)
    assert fast.schedule.shape == "cosine"
    assert fast.adversary.steps < paper.adversary.steps
    assert fast.adversary.step > paper.adversary.step
    assert fast.shared == fast.radius
    assert fast.final.steps * fast.final.step.value == fast.radius.value / 2  # most is shared


@pytest.mark.parametrize("count", [1, 100, 128, 50_000])
def test_passes_of_a_picture_are_its_share_of_all_steps_and_its_final_noise(count):
    method = make_method(final=make_pgd(8, 2, steps=4, views=5), schedule=Schedule(300, 128))
    visits = 300 * min(128, count) / count
    exact = visits * method.passes_per_step + 20
    assert exact <= method.passes_per_image(count) < exact + 1
