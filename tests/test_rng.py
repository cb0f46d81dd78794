import hashlib
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.making import few_examples, make_pixels, make_rng
from unlearn.rng import Rng, content_ids, id_of_digest

PINNED = {
    "keys": [-5220904277346556025, 7091162075535606283, -6655549343454290971],
    "first": [
        [0.7057653665542603, 0.43680357933044434],
        [0.3935456871986389, 0.9966961145401001],
        [0.006697952747344971, 0.4523535370826721],
    ],
    "second": [
        [0.44468849897384644, 0.7490463852882385],
        [0.7383451461791992, 0.19762367010116577],
        [0.3147731423377991, 0.08579778671264648],
    ],
    "forked": [
        [0.5409941673278809, 0.809057891368866],
        [0.5017924904823303, 0.0541037917137146],
        [0.4892788529396057, 0.8900948762893677],
    ],
    "integers": [[589, 320], [438, 154], [205, 733]],
    "content": 6765881130712925518,
    "digest": 3956916242195209292,
}


def correlation(one, other):
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


def chi_square(numbers, bins=16):
    counts = torch.histc(numbers, bins=bins, min=0, max=1)
    expected = numbers.numel() / bins
    return float(((counts - expected) ** 2 / expected).sum())


@few_examples
@given(st.integers(0, 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_a_stream_alone_equals_the_stream_in_a_batch(seed, one):
    ids = torch.tensor([one, 3, one ^ 1])
    together, alone = Rng.for_images(seed, ids), Rng.for_images(seed, ids[:1])
    for shape in [(3, 4, 5), (), (7,)]:
        assert torch.equal(together.uniform(*shape)[:1], alone.uniform(*shape))
    assert torch.equal(together.fork(5).uniform(9)[:1], alone.fork(5).uniform(9))
    assert torch.equal(together.integers(10, 4)[:1], alone.integers(10, 4))


def test_the_order_of_the_batch_does_not_matter():
    ids, turned = torch.arange(16), torch.arange(16).flip(0)
    one, other = Rng.for_images(3, ids), Rng.for_images(3, turned)
    assert torch.equal(one.uniform(5).flip(0), other.uniform(5))
    assert torch.equal(one.uniform(5).flip(0), other.uniform(5))


def test_equal_content_draws_equal_numbers():
    pixels = make_pixels(3)
    ids = content_ids(torch.cat([pixels, pixels]))
    draws = Rng.for_images(0, ids).uniform(8)
    assert torch.equal(draws[:3], draws[3:])
    assert len(draws.unique(dim=0)) == 3


def test_one_changed_value_changes_the_whole_stream():
    pixels = make_pixels(1)
    changed = pixels.clone()
    changed[0, 2, 7, 7] ^= 1
    draws = Rng.for_images(0, content_ids(torch.cat([pixels, changed]))).uniform(4096)
    assert abs(correlation(draws[0], draws[1])) < 0.06


def test_content_ids_depend_neither_on_the_memory_layout_nor_on_the_batch():
    pixels = make_pixels(4)
    laid_out = pixels.to(memory_format=torch.channels_last)
    assert torch.equal(content_ids(laid_out), content_ids(pixels))
    assert torch.equal(content_ids(pixels[2:3]), content_ids(pixels)[2:3])
    assert content_ids(pixels).dtype == torch.int64


def test_numbers_are_pinned():
    # A change here changes the noise of every picture ever protected: never by accident.
    rng = Rng.for_images(7, torch.tensor([0, 1, -5]))
    first, second, forked = rng.uniform(2), rng.uniform(2), rng.fork(3).uniform(2)
    assert first.tolist() == PINNED["first"]
    assert second.tolist() == PINNED["second"]
    assert forked.tolist() == PINNED["forked"]
    assert rng.integers(1000, 2).tolist() == PINNED["integers"]
    assert rng.keys.tolist() == PINNED["keys"]


def test_ids_are_pinned():
    ramp = torch.arange(12, dtype=torch.uint8).reshape(1, 3, 2, 2)
    assert content_ids(ramp).tolist() == [PINNED["content"]]
    assert id_of_digest(hashlib.sha256(b"unlearn").hexdigest()) == PINNED["digest"]


def test_id_of_a_digest_is_its_first_eight_bytes():
    assert id_of_digest("01" + "00" * 31) == 1
    assert id_of_digest("ff" * 32) == -1
    assert id_of_digest("00" * 7 + "80" + "ff" * 24) == -(2**63)


def test_drawing_is_repeatable_and_leaves_the_global_stream_alone():
    state = torch.random.get_rng_state()
    one, other = make_rng(4, seed=9), make_rng(4, seed=9)
    assert torch.equal(one.uniform(3, 2), other.uniform(3, 2))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_fork_does_not_disturb_its_parent():
    disturbed, plain = make_rng(4), make_rng(4)
    disturbed.uniform(3), plain.uniform(3)
    disturbed.fork(1).uniform(1000)
    assert torch.equal(disturbed.uniform(3), plain.uniform(3))


def test_a_fork_does_not_depend_on_what_its_parent_drew():
    fresh, used = make_rng(4), make_rng(4)
    used.uniform(10)
    assert torch.equal(fresh.fork(2).uniform(5), used.fork(2).uniform(5))


@pytest.mark.parametrize("seed", [0, 1, 2**62])
def test_numbers_of_one_draw_are_uniform(seed):
    draw = Rng.for_images(seed, torch.arange(64)).uniform(1024)
    assert 0 <= float(draw.min()) < 0.001
    assert 0.999 < float(draw.max()) < 1
    assert abs(float(draw.mean()) - 0.5) < 4 * math.sqrt(1 / 12 / draw.numel())
    assert abs(float(draw.var()) - 1 / 12) < 0.002
    assert chi_square(draw) < 37.7  # 15 degrees of freedom, one in a thousand


@pytest.mark.parametrize("seed", [0, 1])
def test_numbers_across_neighbouring_pictures_are_uniform(seed):
    across = Rng.for_images(seed, torch.arange(65_536)).uniform(1)
    assert abs(float(across.mean()) - 0.5) < 0.005
    assert chi_square(across) < 37.7


def test_neighbouring_streams_are_uncorrelated():
    length, limit = 16_384, 4 / math.sqrt(16_384)
    rng = Rng.for_images(0, torch.tensor([5, 6, -6, 5 + 2**32, 5 ^ -(2**63)]))
    first, second, forked = rng.uniform(length), rng.uniform(length), rng.fork(0).uniform(length)
    other_fork = rng.fork(1).uniform(length)
    other_seed = Rng.for_images(1, torch.tensor([5])).uniform(length)
    for picture in range(1, 5):
        assert abs(correlation(first[0], first[picture])) < limit
    assert abs(correlation(first[0], second[0])) < limit
    assert abs(correlation(first[0], forked[0])) < limit
    assert abs(correlation(forked[0], other_fork[0])) < limit
    assert abs(correlation(first[0], other_seed[0])) < limit
    assert abs(correlation(first[0, 1:], first[0, :-1])) < limit
    assert abs(correlation(forked[0, 1:], first[0, :-1])) < limit


def test_streams_never_share_numbers():
    rng = make_rng(50, seed=1)
    draws = [rng.uniform(40), rng.uniform(40), rng.fork(0).uniform(40), rng.fork(7).uniform(40)]
    numbers = torch.cat([draw.flatten() for draw in draws])
    # 8,000 numbers of 24 bits: about two equal by chance.
    assert len(numbers) - len(numbers.unique()) < 10


def test_uniform_keeps_its_range_and_shape():
    draw = make_rng(6).uniform(3, 5, 7, low=-2.0, high=0.5)
    assert draw.shape == (6, 3, 5, 7)
    assert draw.dtype == torch.float32
    assert -2 <= float(draw.min()) < -1.9
    assert 0.4 < float(draw.max()) <= 0.5
    assert make_rng(6).uniform().shape == (6,)
    assert make_rng(0).uniform(3).shape == (0, 3)


@pytest.mark.parametrize("high", [1, 2, 10, 256])
def test_integers_cover_their_range_evenly(high):
    draw = make_rng(64).integers(high, 640)
    counts = torch.bincount(draw.flatten(), minlength=high).float()
    expected = draw.numel() / high
    assert len(counts) == high
    assert float(((counts - expected) ** 2 / expected).sum()) <= high + 4 * math.sqrt(2 * high)


def test_normal_numbers_have_the_moments_and_tails_of_their_distribution():
    draw = make_rng(40).normal(4000)
    count = draw.numel()
    assert draw.shape == (40, 4000)
    assert draw.dtype == torch.float32
    assert torch.isfinite(draw).all()
    moments = [float((draw.double() ** power).mean()) for power in (1, 2, 3, 4)]
    for found, expected, variance in zip(moments, (0, 1, 0, 3), (1, 2, 15, 96), strict=True):
        assert abs(found - expected) < 4 * math.sqrt(variance / count)
    for bound, share in ((1, 0.31731), (2, 0.04550), (3, 0.00270)):
        limit = 4 * math.sqrt(share / count)
        assert abs(float((draw.abs() > bound).double().mean()) - share) < limit


def test_normal_numbers_are_independent_and_belong_to_their_stream():
    rng = make_rng(2)
    first, second = rng.normal(16_384), rng.normal(16_384)
    limit = 4 / math.sqrt(16_384)
    for one, other in ((first[0], first[1]), (first[0], second[0]), (first[0, 1:], first[0, :-1])):
        assert abs(correlation(one, other)) < limit
    assert torch.equal(make_rng(2).normal(16_384), first)


def test_common_streams_depend_on_the_seed_and_not_on_the_picture():
    rng = Rng.for_images(5, torch.tensor([3, 9]))
    rng.uniform(4)
    common = rng.common().uniform(6)
    assert torch.equal(common[0], common[1])
    assert torch.equal(Rng.for_images(5, torch.tensor([7])).fork(2).common().uniform(6), common[:1])
    assert not torch.equal(Rng.for_images(6, torch.tensor([3])).common().uniform(6), common[:1])
    assert not torch.equal(rng.uniform(6)[:1], common[:1])
