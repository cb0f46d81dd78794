"""What the noise is for: a victim that learns from protected pictures does badly on clean ones."""

from dataclasses import replace

import pytest
import torch

from tests.support.making import (
    CPU,
    accuracy,
    make_method,
    make_network,
    make_pgd,
    make_stripes,
    noise_of,
)
from unlearn.objectives import average_prediction_randomness, cross_entropy, randomness
from unlearn.rng import Rng
from unlearn.tensors import add_levels, to_images, to_levels
from unlearn.training import SILENT, Schedule, predict, train
from unlearn.views import Views

SCHEDULE = Schedule(steps=60, batch_size=32, learning_rate=0.05)
METHOD = make_method(
    attack=make_pgd(8, 2, steps=6),
    adversary=make_pgd(4, 1, steps=5),
    final=make_pgd(8, 1, steps=15),
    views=Views(flip=False, pad=0),
    schedule=SCHEDULE,
)


def stripes(count, seed):
    """Stripes about as strong as the noise, that a victim learns almost without error."""
    return make_stripes(count, seed, strength=0.03, grain=0.03)


def fit(method, data):
    surrogate = make_network(seed=3)
    method.fit(surrogate, data, CPU, SILENT)
    return surrogate


def train_victim(data, seed=7):
    def losses(model, batch):
        return {"loss": cross_entropy(model(to_images(batch.pixels)), batch.labels).mean()}

    victim, run = make_network(seed=seed), replace(CPU, seed=seed)
    train(victim, losses, data, replace(SCHEDULE, steps=80), run)
    return victim


@pytest.mark.slow
def test_noise_makes_a_victim_fail_where_uniform_noise_does_not_and_randomness_spreads_guesses():
    data, test = stripes(512, seed=0), stripes(256, seed=1)
    surrogate, plain = fit(METHOD, data), fit(replace(METHOD, randomness_weight=0.0), data)

    streams = Rng.for_images(9, data.ids)
    delta = noise_of(METHOD, surrogate, to_images(data.pixels), data.labels, streams)
    levels = to_levels(delta, METHOD.bound)
    assert int(levels.abs().max()) <= 8
    with torch.no_grad():
        loss, lowered = (
            cross_entropy(surrogate(to_images(pixels)), data.labels)
            for pixels in (data.pixels, add_levels(data.pixels, levels))
        )
    assert (lowered < loss).all()

    uniform = streams.fork(1).uniform(3, 8, 8, low=-1, high=1).sign().to(torch.int16) * 8
    assert uniform.abs().float().mean() >= levels.abs().float().mean()
    clean, placebo, protected = (
        accuracy(train_victim(replace(data, pixels=pixels)), test, CPU)
        for pixels in (
            data.pixels,
            add_levels(data.pixels, uniform),
            add_levels(data.pixels, levels),
        )
    )
    assert clean > 0.95
    assert placebo > 0.9
    assert protected < 0.5

    # Eqs. 4-5 and Eq. 7 on clean pictures: Figure 1 of the paper, on one page of arithmetic.
    spreads, distances = [], []
    for network in (surrogate, plain):
        guesses = predict(network, test, CPU)
        spreads.append(average_prediction_randomness(guesses, test.labels, 4))
        with torch.no_grad():
            distances.append(float(randomness(network(to_images(test.pixels))).mean()))
    assert spreads[0] < 0.5 * spreads[1]
    assert distances[0] < 0.75 * distances[1]
