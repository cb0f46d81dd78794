"""NTGA against the numbers of its authors' code, and the mistakes that these numbers catch."""

import math
from dataclasses import replace

import pytest
import torch

from tests.support.making import CPU, make_images, make_labels, make_rng, make_stripes, seeded
from tests.support.oracles import EXACT, Oracle, carried, oracle
from unlearn.attack import Pgd, pgd
from unlearn.datasets.labelled import LabelledPictures
from unlearn.errors import UsageProblem
from unlearn.methods import Spec, kernels, ntga
from unlearn.methods.kernels import last_layer, tangent_kernel
from unlearn.methods.ntga import Ntga, Surroundings, flowed, held_out_error
from unlearn.radius import Radius
from unlearn.tensors import to_levels
from unlearn.training import SILENT

ORACLE = oracle("ntga")
TIMES = {"t1": 1.0, "t64": 64.0, "tinf": math.inf}
ERRORS = {"ce": "cross-entropy", "mse": "squared"}
# The reference has the angle of a picture to itself from rounding errors, 1e-8 in place of 0.
ROUGH = {"fnn": EXACT, "cnn": {"rtol": 0, "atol": 3e-9}}
REFERENCE = Pgd(Radius.of_levels(8), Radius.of_levels(8), steps=1, random_start=False)
networks = pytest.mark.parametrize("network", ["fnn", "cnn"])


def pictures(name):
    """The set's pictures, colours first."""
    return ORACLE[name].permute(0, 3, 1, 2)


def block(network):
    """What is moved, and what it is tried on: images, labels of both."""
    prefix = "cnn_" if network == "cnn" else ""
    images, others = pictures(f"{prefix}x_train"), pictures(f"{prefix}x_val")
    return images, ORACLE["y_train"][: len(images)], others, ORACLE["y_val"]


def as_stored(images, network):
    moved = images.permute(0, 2, 3, 1)
    return moved.flatten(1) if network == "fnn" else moved


def predicted(images, network, time):
    """The predictions for the moved pictures and for the held-out ones."""
    _, labels, others, _ = block(network)
    kernel = tangent_kernel(images, images, network)
    targets = torch.nn.functional.one_hot(labels, 3).to(kernel.dtype)
    weights = flowed(kernel, targets, time)
    ridge = 1e-4 * kernel.diagonal().mean()
    return kernel @ weights + ridge * weights, tangent_kernel(others, images, network) @ weights


def joint(network, time=64.0, error="cross-entropy", count=None):
    """The authors' objective: the whole block is moved together."""

    def losses(images):
        guesses, labels = predicted(images, network, time)[1], block(network)[3]
        return held_out_error(guesses[:count], labels[:count], error)

    return losses


def check_kernel(network):
    images, _, others, _ = block(network)
    across, within = (tangent_kernel(part, images, network) for part in (others, images))
    torch.testing.assert_close(across, ORACLE[f"{network}_ntk_val_train"], **EXACT)
    expected = ORACLE[f"{network}_ntk_train_train"]
    apart = ~torch.eye(len(images), dtype=torch.bool)
    torch.testing.assert_close(within[apart], expected[apart], **EXACT)
    torch.testing.assert_close(within, expected, rtol=0, atol=1e-8)  # see ROUGH


def check_gradient(network, losses=None):
    images = block(network)[0].requires_grad_()
    (gradient,) = torch.autograd.grad((losses or joint(network))(images).sum(), images)
    torch.testing.assert_close(
        as_stored(gradient, network), ORACLE[f"{network}_ce_grad_t64"], **EXACT
    )


def check_attack(network, name, attack, losses=None):
    images = block(network)[0]
    delta = pgd(losses or joint(network), images, attack, "maximise", make_rng(len(images)))
    torch.testing.assert_close(
        as_stored(images + delta, network), ORACLE[f"{network}_{name}"], **EXACT
    )
    return images + delta


def test_the_kernel_of_the_dense_network_is_that_of_the_reference():
    check_kernel("fnn")


def test_the_kernel_of_the_convolutional_network_is_that_of_the_reference():
    check_kernel("cnn")


@networks
def test_the_covariances_are_those_of_the_reference(network):
    images = block(network)[0]
    outputs = last_layer(images, images, network).both
    torch.testing.assert_close(outputs, ORACLE[f"{network}_nngp_train_train"], **EXACT)


@pytest.mark.parametrize(("network", "time"), [("cnn", "t64"), *(("fnn", time) for time in TIMES)])
def test_predictions_errors_and_their_gradients_are_those_of_the_reference(network, time):
    images = block(network)[0].requires_grad_()
    learned, others = predicted(images, network, TIMES[time])
    torch.testing.assert_close(
        learned.detach(), ORACLE[f"{network}_pred_train_{time}"], **ROUGH[network]
    )
    torch.testing.assert_close(
        others.detach(), ORACLE[f"{network}_pred_val_{time}"], **ROUGH[network]
    )
    for short, error in ERRORS.items():
        loss = joint(network, TIMES[time], error)(images)
        (gradient,) = torch.autograd.grad(loss, images)
        expected = (ORACLE[f"{network}_{short}_{kind}_{time}"] for kind in ("loss", "grad"))
        torch.testing.assert_close(loss.detach(), next(expected), **EXACT)
        torch.testing.assert_close(as_stored(gradient, network), next(expected), **EXACT)


@networks
def test_iterations_from_the_current_point_are_those_the_paper_intends(network):
    once = replace(Ntga().attack, steps=1)
    check_attack(network, "intended_pgd_1", once)
    final = check_attack(network, "intended_pgd_10", Ntga().attack)
    errors = [joint(network)(images) for images in (block(network)[0], final)]
    torch.testing.assert_close(
        torch.stack(errors), ORACLE[f"{network}_ce_after"][::2], **ROUGH[network]
    )


@networks
def test_the_single_step_is_that_of_the_reference(network):
    final = check_attack(network, "reference_attack_nb1", REFERENCE)
    check_attack(network, "reference_attack_nb10", REFERENCE)
    error = joint(network)(final)
    torch.testing.assert_close(error, ORACLE[f"{network}_ce_after"][1], **ROUGH[network])


@networks
def test_batches_of_three_of_seven_held_out_pictures_are_six_in_the_reference(network):
    check_attack(network, "reference_attack_batch3", REFERENCE, joint(network, count=6))
    with pytest.raises(AssertionError, match="not close"):
        check_attack(network, "reference_attack_batch3", REFERENCE)


# Pictures that are moved alone


def surroundings(network, **changes):
    images, labels, others, truth = block(network)
    pixels = ((part * 255).round().to(torch.uint8) for part in (images, others))
    method = Ntga(network=network, **changes)
    return Surroundings(method, next(pixels), labels, next(pixels), truth)


@networks
def test_a_picture_of_the_block_meets_alone_the_gradient_of_the_whole_block(network):
    images, labels, *_ = block(network)
    check_gradient(network)
    check_gradient(network, surroundings(network).losses(images, labels))


@networks
def test_the_reference_option_makes_the_noise_of_the_reference(network):
    images, labels, *_ = block(network)
    losses = surroundings(network, reference=True).losses(images, labels)
    check_attack(network, "reference_attack_nb1", REFERENCE, losses)


# The mistakes


def without_bias(monkeypatch):
    monkeypatch.setattr(kernels, "_BIAS", 0.0)


def another_weight(monkeypatch):
    monkeypatch.setattr(kernels, "_WEIGHT", 1.0)


def without_slope(monkeypatch):
    real = kernels.Layer.erf
    monkeypatch.setattr(
        kernels.Layer, "erf", lambda layer: replace(real(layer), tangent=layer.tangent)
    )


def without_ridge(monkeypatch):
    monkeypatch.setattr(ntga, "_RIDGE", 0.0)


@pytest.mark.parametrize("mistake", [without_bias, another_weight, without_slope])
def test_the_kernel_of_the_reference_catches(mistake, monkeypatch):
    mistake(monkeypatch)
    with pytest.raises(AssertionError, match="not close"):
        check_kernel("fnn")


@pytest.mark.parametrize(
    "losses",
    [
        lambda: joint("fnn", time=64.0 * 27),  # not divided by pictures and classes
        lambda: joint("fnn", time=1.0),
        lambda: joint("fnn", error="squared"),
        lambda: lambda images: -joint("fnn")(images),
    ],
    ids=["time not divided", "another time", "another error", "the wrong sign"],
)
def test_the_gradient_of_the_reference_catches(losses):
    with pytest.raises(AssertionError, match="not close"):
        check_gradient("fnn", losses())


def test_the_gradient_of_the_reference_catches_a_missing_ridge(monkeypatch):
    without_ridge(monkeypatch)
    with pytest.raises(AssertionError, match="not close"):
        check_gradient("fnn")


def test_the_intended_iterations_are_not_those_of_the_reference():
    with pytest.raises(AssertionError, match="not close"):
        check_attack("fnn", "intended_pgd_10", REFERENCE)


# Kernels and flow


def test_equal_pictures_leave_every_gradient_finite():
    images = make_images(2, 6).to(torch.float64).repeat(3, 1, 1, 1).requires_grad_()
    targets = torch.nn.functional.one_hot(make_labels(6, 2), 2).to(torch.float64)
    for network in ("fnn", "cnn"):
        loss = flowed(tangent_kernel(images, images, network), targets, 64.0).square().sum()
        (gradient,) = torch.autograd.grad(loss, images)
        assert torch.isfinite(gradient).all()
        assert float(gradient.abs().max()) > 0


@pytest.mark.parametrize("time", [1e-3, 64.0, 1e6, math.inf])
def test_the_gradient_of_the_flow_is_that_of_finite_differences(time):
    factor = make_rng(1).normal(5, 7)[0].to(torch.float64)
    kernel, targets = factor @ factor.T, make_rng(1, 1).normal(5, 2)[0].to(torch.float64)

    def flow(half):
        return flowed(half + half.T, targets, time)

    assert torch.autograd.gradcheck(flow, (kernel / 2).requires_grad_(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (9, 5), (32, 32)])
def test_kernels_take_pictures_of_any_size(shape):
    images = make_images(3, 32).to(torch.float64)[:, :, : shape[0], : shape[1]]
    for network in ("fnn", "cnn"):
        kernel = tangent_kernel(images, images, network)
        assert torch.equal(kernel, kernel.T)
        assert float(torch.linalg.eigvalsh(kernel).min()) > -1e-9
        own = tangent_kernel(images[:1], images[:1], network)
        torch.testing.assert_close(own[0], kernel[0, :1], **EXACT)


# The method


def fitted(method, data):
    module = method.build(Spec("none", len(data.classes), data.size))
    method.fit(module, data, CPU, SILENT)
    return module


def test_the_published_settings_are_the_defaults():
    method = Ntga()
    assert (method.attack.radius, method.attack.step) == (
        Radius.of_levels(8),
        Radius.of_levels(0.88),
    )
    assert (method.attack.steps, method.attack.random_start) == (10, False)
    assert (method.network, method.time, method.error) == ("fnn", 64.0, "cross-entropy")
    assert (method.block, method.others) == (512, 10_000)


def test_an_artefact_holds_no_more_pictures_and_pixels_than_it_says():
    data = make_stripes(40)
    module = fitted(replace(Ntga.example(), side=5), data)
    sizes = {name: tuple(held.shape) for name, held in module.named_buffers()}
    assert sizes == {
        "block": (6, 3, 5, 5),
        "block_labels": (6,),
        "others": (4, 3, 5, 5),
        "others_labels": (4,),
    }


def test_no_picture_is_both_learned_from_and_held_out_where_there_are_two():
    for count, held in ((2, (1, 1)), (9, (8, 1)), (40, (32, 8))):
        module = fitted(Ntga(), make_stripes(count))
        block, others = (module.get_buffer(name).flatten(1) for name in ("block", "others"))
        assert (len(block), len(others)) == held
        assert not any(torch.equal(one, other) for one in block for other in others)
    one = fitted(Ntga(), make_stripes(1))
    assert torch.equal(one.get_buffer("block"), one.get_buffer("others"))


def test_noise_raises_the_held_out_error_of_every_picture():
    for network in ("fnn", "cnn"):
        method = replace(Ntga.example(), network=network)
        module, data = fitted(method, make_stripes(40)), make_stripes(5, seed=1)
        images = data.pixels / 255
        delta = method.ready(module, CPU).make(images, data.labels, make_rng(5))
        held = (module.get_buffer(name) for name in ntga._HELD)
        losses = Surroundings(method, *held).losses(images, data.labels)
        assert (losses(images + delta) > losses(images)).all()


def test_the_reference_option_takes_the_whole_radius_at_once():
    method = replace(Ntga.example(), reference=True)
    module, images = fitted(method, make_stripes(40)), 0.25 + make_images(2) / 2
    delta = method.ready(module, CPU).make(images, make_labels(2), make_rng(2))
    assert (to_levels(delta, method.bound).abs() == 8).all()
    assert method.facts()["network"].endswith(" 1 solutions a picture")


def test_a_class_that_the_block_lacks_gets_noise():
    module = fitted(Ntga.example(), make_stripes(40))
    images = make_images(1)
    known, new = (
        Ntga.example().ready(module, CPU).make(images, torch.tensor([label]), make_rng(1))
        for label in (0, 9)
    )
    assert float(new.abs().mean()) > 4 / 255
    assert not torch.equal(known, new)


def test_one_class_is_refused():
    data = LabelledPictures(make_stripes(4).pixels, torch.zeros(4, dtype=torch.int64), ("only",))
    with pytest.raises(UsageProblem, match="with 1 class none can be"):
        fitted(Ntga(), data)


@pytest.mark.parametrize("change", [{"block": 0}, {"others": 0}, {"side": 0}, {"time": 0.0}])
def test_settings_that_make_no_kernel_are_refused(change):
    with pytest.raises(UsageProblem, match="must be above 0"):
        Ntga(**change)


def test_a_module_loads_as_many_pictures_as_were_saved():
    module = fitted(Ntga.example(), make_stripes(12))
    empty = seeded(lambda: Ntga.example().build(Spec("none", 0, 8)))
    empty.load_state_dict(module.state_dict())
    for name, held in module.named_buffers():
        assert torch.equal(empty.get_buffer(name), held)
    with pytest.raises(RuntimeError, match="size mismatch for block"):
        Ntga.example().build(Spec("none", 0, 9)).load_state_dict(module.state_dict())


def test_what_the_checkout_carries_is_enough_for_gradients_and_attacks(monkeypatch):
    monkeypatch.setattr(f"{__name__}.ORACLE", Oracle(carried("ntga")))
    check_gradient("fnn")
    check_kernel("cnn")
    check_attack("fnn", "reference_attack_nb1", REFERENCE)
    check_attack("fnn", "intended_pgd_10", Ntga().attack)
