"""MI-UE against the numbers of its authors' code, and the mistakes that these numbers catch."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

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
from unlearn.methods import Cost, Spec
from unlearn.methods.mi_ue import MiUe, distances, nt_xent
from unlearn.radius import Radius
from unlearn.tensors import to_images, to_levels
from unlearn.training import SILENT, Schedule

ORACLE = oracle("miue")


def steps(count, step=0.2, views=1):
    return Pgd(Radius.of_levels(8), Radius.of_levels(step), count, views, random_start=False)


def same_class(labels):
    return labels[:, None] == labels


def cosine_term(temperature, **how):
    return lambda features, others, same: nt_xent(features, others, same, temperature, **how)


def check_term(expected, loss, labels=None):
    """The loss of the set's features and its gradient."""
    features = ORACLE["feat"].requires_grad_()
    same = same_class(ORACLE["feat_labels"] if labels is None else labels)
    value = loss(features, features, same).mean()
    torch.testing.assert_close(value.detach(), ORACLE[f"{expected}_loss"], **EXACT)
    (gradient,) = torch.autograd.grad(value, features)
    torch.testing.assert_close(gradient, ORACLE[f"{expected}_grad"], **EXACT)


def gathering(network=None, labels=None, **settings):
    """The method's losses of images that meet one another."""
    network, method = network or ORACLE.network, MiUe(**settings)
    same = same_class(ORACLE["labels"] if labels is None else labels)

    def losses(images):
        features = network.features(images)
        return method.losses(features, features, same)

    return losses


def check_path(expected, attack, start=None, losses=None):
    images = ORACLE.images
    start = torch.zeros_like(images) if start is None else start
    delta = pgd(losses or gathering(), images, attack, "minimise", make_rng(8), start)
    torch.testing.assert_close(delta, ORACLE[expected], **EXACT)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_cosine_term_and_its_gradient_are_those_of_the_reference(temperature):
    check_term(f"ntxent_t{temperature}", cosine_term(temperature))


def test_a_single_class_gathers_nothing():
    labels = torch.zeros(len(ORACLE["feat"]), dtype=torch.int64)
    check_term("ntxent_allsame", cosine_term(0.1), labels)


def test_the_distance_term_and_its_gradient_are_those_of_the_reference():
    check_term("l2sim", distances)


@pytest.mark.parametrize(
    ("name", "start", "settings"),
    [
        ("loss_zero", None, {}),
        ("loss_start", "start", {}),
        ("ntxent_only_loss_start", "start", {}),
        ("zeta0.1_loss_start", "start", {"distance": 0.1}),
    ],
)
def test_the_loss_of_noisy_pictures_and_its_gradient_are_those_of_the_reference(
    name, start, settings
):
    noisy = ORACLE.images + (ORACLE[start] if start else 0)
    value = gathering(**settings)(noisy.requires_grad_()).mean()
    torch.testing.assert_close(value.detach(), ORACLE[name], **EXACT)
    if name != "ntxent_only_loss_start":
        (gradient,) = torch.autograd.grad(value, noisy)
        torch.testing.assert_close(gradient, ORACLE[name.replace("loss", "grad")], **EXACT)


@pytest.mark.parametrize("count", [1, 2, 10])
def test_noise_is_that_of_the_reference(count):
    check_path(f"zero_{count}_alpha0.2_delta", steps(count))
    check_path(f"rand_{count}_alpha0.2_delta", steps(count), ORACLE["start"])


def test_noise_of_long_steps_and_of_both_terms_is_that_of_the_reference():
    check_path("rand_20_alpha1.6_delta", steps(20, 1.6), ORACLE["start"])
    both = gathering(distance=0.1)
    check_path("rand_2_zeta0.1_delta", steps(2), ORACLE["start"], both)


def test_noise_seen_as_it_is_and_mirrored_is_that_of_the_reference():
    seen, losses = [], gathering()

    def views(images):
        seen.append(images)
        return losses(images if len(seen) % 2 else images.flip(3))

    check_path("eot_identity_flip_3_delta", steps(3, views=2), ORACLE["start"], views)


def test_the_schedules_are_those_of_the_reference():
    expected, method = ORACLE["schedule_alpha_in_255_epochs1to100"], MiUe()
    found = [float(method.step_of(sweep).step) * 255 for sweep in range(100)]
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), expected, **EXACT)
    rates = Schedule(steps=100, shape=method.schedule.shape)
    found = torch.tensor([rates.rate(epoch) for epoch in range(100)], dtype=torch.float64)
    # Their rate ends at 1e-6, ours at 0.
    torch.testing.assert_close(found, ORACLE["schedule_lr_epochs1to100"], rtol=0, atol=1.01e-6)


def test_three_epochs_of_training_and_noise_are_those_of_the_reference():
    images, labels, method = ORACLE.images, ORACLE["labels"], MiUe()
    network = ORACLE.network.requires_grad_()
    optimiser = torch.optim.SGD(
        network.parameters(), lr=1, momentum=0.9, weight_decay=method.schedule.weight_decay
    )
    noise = torch.zeros_like(images)
    for epoch in range(3):
        optimiser.param_groups[0]["lr"] = float(ORACLE["schedule_lr_epochs1to100"][epoch])
        for part in (slice(0, 4), slice(4, 8)):
            optimiser.zero_grad()
            F.cross_entropy(network(images[part] + noise[part]), labels[part]).backward()
            optimiser.step()
        noise = pgd(
            gathering(network), images, method.step_of(epoch), "minimise", make_rng(8), noise
        )
        torch.testing.assert_close(noise, ORACLE["epochs3_poison"][epoch], **EXACT)
    for name, weight in network.named_parameters():
        torch.testing.assert_close(weight.detach(), ORACLE[f"epochs3_final_w_{name}"], **EXACT)


# The mistakes


def without_itself(features, others, same):
    """A picture does not count among those of its class."""
    alike = (F.normalize(features) @ F.normalize(others).T / 0.1).exp() + 1e-8
    alike = alike.masked_fill(torch.eye(len(same), dtype=torch.bool), 0)
    return -((alike * same).sum(dim=1) / alike.sum(dim=1)).log()


def without_norm(features, others, same):
    alike = (features @ others.T / 0.1).exp() + 1e-8
    return -((alike * same).sum(dim=1) / alike.sum(dim=1)).log()


TERMS = {
    "another temperature": cosine_term(0.2),
    "the wrong sign": lambda *parts: -cosine_term(0.1)(*parts),
    "no picture itself": without_itself,
    "no cosines": without_norm,
    "a picture that counts twice": cosine_term(0.1, alone=True),
}


@pytest.mark.parametrize("mistake", TERMS)
def test_the_cosine_term_of_the_reference_catches(mistake):
    with pytest.raises(AssertionError, match="not close"):
        check_term("ntxent_t0.1", TERMS[mistake])


@pytest.mark.parametrize(
    "changes",
    [
        {"losses": lambda: lambda images: -gathering()(images)},
        {"losses": lambda: gathering(labels=ORACLE["labels"].sort().values)},
        {"losses": lambda: lambda x: F.cross_entropy(ORACLE.network(x), ORACLE["labels"])},
        {"attack": lambda: steps(10, 0.4)},
    ],
    ids=["the wrong sign", "other classes", "the error of guesses", "another step"],
)
def test_the_noise_of_the_reference_catches(changes):
    made = {"attack": steps(10)} | {name: make() for name, make in changes.items()}
    with pytest.raises(AssertionError, match="not close"):
        check_path("zero_10_alpha0.2_delta", **made)


# A picture alone


def test_a_picture_alone_has_the_term_that_it_has_among_the_others():
    features, labels = ORACLE["feat"], ORACLE["feat_labels"]
    same = same_class(labels)
    terms = ((cosine_term(0.1), cosine_term(0.1, alone=True)), (distances, distances))
    for among, by_itself in terms:
        together = among(features, features, same)
        for place in range(len(features)):
            rest = torch.arange(len(features)) != place
            parts = features[place : place + 1], features[rest], same[place : place + 1, rest]
            torch.testing.assert_close(by_itself(*parts)[0], together[place], **EXACT)


@pytest.mark.parametrize("temperature", [0.001, 0.01, 100.0])
def test_no_temperature_overflows(temperature):
    features = make_rng(4).normal(5).requires_grad_()
    losses = nt_xent(features, features, same_class(make_labels(4, 2)), temperature)
    (gradient,) = torch.autograd.grad(losses.sum(), features)
    assert torch.isfinite(losses).all()
    assert torch.isfinite(gradient).all()


# The method


def fitted(method, data, seed=0):
    module = seeded(lambda: method.build(Spec("resnet-small", len(data.classes), data.size)), seed)
    method.fit(module, data, CPU, SILENT)
    return module


def test_the_published_settings_are_the_defaults():
    method = MiUe()
    assert method.attack == steps(10)
    assert (method.sweeps, method.together) == (100, 512)
    assert (method.temperature, method.distance) == (0.1, 0.0)
    assert (method.schedule.rate(0), method.schedule.weight_decay) == (0.1, 1e-4)
    assert method.schedule.batch_size == 128
    assert method.schedule.steps == -(-100 * 50_000 // 128)
    assert method.cost(50_000) == Cost(39_063, 39_063 * 128 + 100 * 10 * 50_000, 100, 1201)


def test_noise_lowers_the_term_of_every_picture_inside_the_ball():
    method = replace(MiUe.example(), final=steps(10, 1.0), together=64)
    module, images, labels = fitted(method, make_stripes(40)), make_images(6), make_labels(6)
    delta = method.ready(module, CPU).make(images, labels, make_rng(6))
    assert int(to_levels(delta, method.bound).abs().max()) == 8
    assert float(delta.abs().max()) <= 8 / 255 + 1e-7
    bank, same = module.get_buffer("bank"), labels[:, None] == module.get_buffer("bank_labels")
    with torch.no_grad():
        before, after = (
            method.losses(module.features(seen), bank, same, alone=True)
            for seen in (images, images + delta)
        )
    assert (after < before).all()


def test_training_gathers_the_noisy_pictures_of_a_class():
    data = make_stripes(24)
    method = replace(
        MiUe.example(), attack=steps(5, 1.0), sweeps=8, together=64, schedule=Schedule(24, 8)
    )
    module = fitted(method, data)
    labels, same = module.get_buffer("bank_labels"), same_class(data.labels)
    assert torch.equal(labels, data.labels)
    bank = module.get_buffer("bank")
    with torch.no_grad():
        clean = module.features(to_images(data.pixels))
        held, bare = (method.losses(seen, seen, same).mean() for seen in (bank, clean))
    assert held < bare - 0.05


def test_the_features_that_an_artefact_holds_are_bounded_and_of_all_classes():
    module = fitted(MiUe.example(), make_stripes(40))
    assert module.get_buffer("bank").shape == (6, module.head.in_features)
    assert set(module.get_buffer("bank_labels").tolist()) == {0, 1, 2, 3}


def test_another_radius_scales_every_step_and_keeps_the_rest():
    method = MiUe().at(Radius.of_levels(4))
    half = Pgd(Radius.of_levels(4), Radius.of_levels(0.2), 100, random_start=False)
    assert method.final == half
    assert method.attack == replace(half, step=Radius.of_levels(0.1), steps=10)
    assert replace(method, attack=MiUe().attack, final=MiUe().final) == MiUe()


def test_pictures_of_one_class_are_refused():
    with pytest.raises(UsageProblem, match="pictures of at least 2"):
        fitted(MiUe(), make_stripes(1))


@pytest.mark.parametrize("change", [{"sweeps": 0}, {"together": 0}, {"temperature": 0.0}])
def test_settings_that_gather_nothing_are_refused(change):
    with pytest.raises(UsageProblem, match="must be above 0"):
        MiUe(**change)


def test_a_surrogate_has_a_network_and_its_bank_and_nothing_else():
    module = fitted(MiUe.example(), make_stripes(12))
    own = set(module.state_dict()) - set(make_network().state_dict())
    assert own == {"bank", "bank_labels"}


def test_what_the_checkout_carries_is_enough_for_terms_and_noise(monkeypatch):
    monkeypatch.setattr(f"{__name__}.ORACLE", Oracle(carried("miue")))
    check_term("ntxent_t0.1", cosine_term(0.1))
    check_term("l2sim", distances)
    check_path("zero_10_alpha0.2_delta", steps(10))
