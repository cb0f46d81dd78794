import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tests.support.making import make_rng, property_test
from unlearn.objectives import (
    average_prediction_randomness,
    cross_entropy,
    randomness,
)

FORMS = ("mse", "norm", "squared")


def logits_of(probabilities):
    return torch.tensor(probabilities).log()[None]


def peaked(classes, peak):
    """One class takes `peak`, the rest share what is left."""
    return logits_of([peak] + [(1 - peak) / (classes - 1)] * (classes - 1))


@pytest.mark.parametrize(
    ("form", "classes", "peak", "value"),
    [
        ("mse", 10, 1.0, 0.09),
        ("mse", 10, 0.5, 0.0178),
        ("mse", 10, 0.2, 0.0011),
        ("norm", 10, 1.0, 0.949),
        ("norm", 10, 0.5, 0.422),
        ("norm", 10, 0.2, 0.105),
        ("squared", 10, 1.0, 0.9),
        ("mse", 100, 1.0, 0.0099),
        ("mse", 100, 0.5, 0.0024),
        ("mse", 100, 0.2, 0.0004),
        ("squared", 100, 1.0, 0.990),
        ("squared", 100, 0.5, 0.243),
        ("squared", 100, 0.2, 0.037),
    ],
)
def test_randomness_has_its_closed_form(form, classes, peak, value):
    found = float(randomness(peaked(classes, peak), form))
    assert found == pytest.approx(value, abs=6e-4 if value > 0.01 else 6e-5)


@pytest.mark.parametrize("classes", [1, 2, 10, 100, 1000])
@pytest.mark.parametrize("form", FORMS)
def test_randomness_of_guessing_is_zero(form, classes):
    assert float(randomness(torch.full((1, classes), 3.0), form)) == pytest.approx(0, abs=1e-6)


@property_test
@given(st.integers(2, 50), st.integers(0, 2**40), st.floats(0, 200))
def test_randomness_keeps_its_tight_bounds_and_its_forms_agree(classes, seed, scale):
    logits = make_rng(5, seed).uniform(classes, low=-1, high=1) * scale
    mse, norm, squared = (randomness(logits, form) for form in FORMS)
    tight = (classes - 1) / classes**2  # the supremum; the paper's Theorem 1 says 4/K
    assert float(mse.min()) >= 0
    assert float(mse.max()) <= tight * (1 + 1e-5)
    assert tight < 4 / classes
    assert float(norm.max()) <= 1
    assert torch.allclose(squared, classes * mse, rtol=1e-5, atol=1e-7)
    assert torch.allclose(norm.square(), squared, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_the_bound_of_randomness_is_reached_by_certain_predictions(classes):
    certain = F.one_hot(torch.arange(classes), classes) * 1000.0
    expected = torch.full((classes,), (classes - 1) / classes**2)
    assert torch.allclose(randomness(certain, "mse"), expected)


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_of_randomness_is_finite_at_uniform(form, classes):
    for logits in (torch.zeros(2, classes), torch.full((2, classes), 7.25)):
        logits.requires_grad_()
        randomness(logits, form).sum().backward()
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("form", FORMS)
def test_descending_randomness_evens_out_every_prediction(form):
    logits = make_rng(20, 3).uniform(7, low=-3, high=3).requires_grad_()
    before = randomness(logits, form)
    (gradient,) = torch.autograd.grad(before.sum(), logits)
    after = randomness(logits.detach() - 0.01 * gradient, form)
    assert (after < before).all()


@pytest.mark.parametrize("form", FORMS)
def test_randomness_treats_each_image_alone_and_in_float32(form):
    logits = make_rng(6).uniform(10, low=-4, high=4)
    together = randomness(logits, form)
    assert torch.equal(torch.cat([randomness(row[None], form) for row in logits]), together)
    assert randomness(logits.bfloat16(), form).dtype == torch.float32


def test_cross_entropy_is_one_value_for_each_image():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    expected = torch.tensor([math.log(1 + math.exp(2)), math.log(2)])
    assert torch.allclose(cross_entropy(logits, torch.tensor([1, 0])), expected)
    assert cross_entropy(logits.bfloat16(), torch.tensor([1, 0])).dtype == torch.float32


def test_cross_entropy_keeps_the_precision_of_its_logits():
    logits = torch.tensor([[1 / 3, -2 / 7]], dtype=torch.float64)
    expected = torch.logsumexp(logits, dim=1) - logits[:, 1]
    assert torch.allclose(cross_entropy(logits, torch.tensor([1])), expected, rtol=0, atol=1e-15)


def metric(predictions, labels, classes):
    return average_prediction_randomness(torch.tensor(predictions), torch.tensor(labels), classes)


def test_average_prediction_randomness_by_hand():
    # Class 0 (three pictures) is predicted 0, 0, 1: (2/3, 1/3) is 1/6 from even in both places.
    # Class 1 (one picture) is predicted 1: (0, 1) is 1/2 from even in both places.
    expected = (3 * (1 / 6) ** 2 + 1 * (1 / 2) ** 2) / 4
    assert metric([0, 0, 1, 1], [0, 0, 0, 1], 2) == pytest.approx(expected)


def test_average_prediction_randomness_is_zero_for_even_predictions():
    assert metric([0, 1, 0, 1], [0, 0, 1, 1], 2) == 0


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_average_prediction_randomness_is_largest_for_one_prediction_a_class(classes):
    every = list(range(classes))
    largest = (classes - 1) / classes**2
    assert metric(every, every, classes) == pytest.approx(largest)
    assert metric([0] * classes, every, classes) == pytest.approx(largest)


def test_classes_without_pictures_count_nothing():
    # Of three classes only class 1 has pictures: (1/2, 1/2, 0) against (1/3, 1/3, 1/3).
    expected = (2 * (1 / 6) ** 2 + (1 / 3) ** 2) / 3
    assert metric([0, 1], [1, 1], 3) == pytest.approx(expected)
