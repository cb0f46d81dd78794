"""AR against the numbers of its authors' code, and the mistakes that these numbers catch."""

import pytest
import torch

from tests.support.making import CPU, make_data, make_images, make_labels, make_rng
from tests.support.oracles import EXACT, Oracle, carried, oracle
from unlearn.device import Run
from unlearn.errors import UsageProblem
from unlearn.methods import Spec
from unlearn.methods.ar import Ar, answers, edges, find, rolled, sized, steady, tiled
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.training import SILENT

ORACLE = oracle("ar")
CROP = 4


def one_stream(seed=0):
    return Rng.for_images(seed, torch.zeros(1, dtype=torch.int64))


def patterns(processes=None, start=None):
    processes = ORACLE["coeff"] if processes is None else processes
    start = ORACLE["start"] if start is None else start
    return rolled(start, processes)[..., CROP:, CROP:]


def check_noise(raw):
    norms = raw.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, ORACLE["l2_raw_norm"], **EXACT)
    torch.testing.assert_close(sized(raw, float(ORACLE["l2_eps"]), 2), ORACLE["l2_delta"], **EXACT)


def test_noise_is_that_of_the_reference():
    assert int(ORACLE["crop"]) == CROP
    check_noise(patterns())


def test_noise_in_a_ball_is_that_of_the_reference():
    raw = patterns()
    largest = raw.flatten(1).abs().amax(dim=1)
    torch.testing.assert_close(largest, ORACLE["linf_raw_norm"], **EXACT)
    delta = sized(raw, float(ORACLE["linf_eps"]), float("inf"))
    torch.testing.assert_close(delta[:1], ORACLE["linf_delta"], **EXACT)


def check_rectangle():
    crop = int(ORACLE["rect_crop"])
    raw = rolled(ORACLE["rect_start"][None], ORACLE["coeff"][1:2])[..., crop:, crop:]
    assert float(raw.norm()) == pytest.approx(float(ORACLE["rect_raw_norm"]), abs=1e-9)
    delta = sized(raw, float(ORACLE["rect_eps"]), 2)[0]
    torch.testing.assert_close(delta, ORACLE["rect_delta"], **EXACT)


def test_noise_that_is_not_square_is_that_of_the_reference():
    check_rectangle()


def test_filters_answer_as_those_of_the_reference():
    delta = sized(patterns(), 1.0, 2)
    found = torch.stack([answers(process, delta) for process in ORACLE["coeff"]])
    torch.testing.assert_close(found, ORACLE["response"], **EXACT)
    filters = ORACLE["coeff"].clone()
    filters[:, :, 2, 2] = -1
    assert torch.equal(filters, ORACLE["filter"])
    channels = torch.stack(
        [
            torch.stack(
                [
                    torch.nn.functional.conv2d(pattern[None, c : c + 1], one[None, c : c + 1])
                    .abs()
                    .amax()
                    for c in range(3)
                ]
            )
            for one in filters
            for pattern in delta
        ]
    ).view(3, 3, 3)
    torch.testing.assert_close(channels, ORACLE["per_channel_response_max"], **EXACT)


def test_pictures_are_those_of_the_reference():
    noisy = (ORACLE.images + sized(patterns(), 1.0, 2)).clamp(0, 1)
    torch.testing.assert_close(noisy, ORACLE["poisoned_float"], rtol=0, atol=1e-7)
    assert torch.equal((noisy * 255 + 0.5).floor().to(torch.uint8), ORACLE["poisoned_png"])


# The mistakes

MISTAKES = {
    "weights mirrored": lambda: patterns(ORACLE["coeff"].flip(2, 3).roll((-1, -1), (2, 3))),
    "columns before rows": lambda: patterns(ORACLE["coeff"].transpose(2, 3)),
    "channels exchanged": lambda: patterns(ORACLE["coeff"].flip(1)),
    "a start of zeros in the first rows": lambda: patterns(
        start=ORACLE["start"].index_fill(2, torch.arange(2), 0)
    ),
    "the last rows cropped": lambda: rolled(ORACLE["start"], ORACLE["coeff"])[..., :-4, :-4],
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_numbers_of_the_reference_catch(mistake):
    with pytest.raises(AssertionError, match="not close"):
        check_noise(MISTAKES[mistake]())


def test_the_numbers_of_the_reference_catch_a_filter_without_its_minus_one():
    delta = sized(patterns(), 1.0, 2)
    found = torch.nn.functional.conv2d(delta, ORACLE["coeff"]).relu().sum(dim=(2, 3)).T
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(found, ORACLE["response"], **EXACT)


# The search


def test_only_the_first_two_rows_and_columns_of_a_start_matter():
    start = make_rng(2).normal(3, 9, 11)
    bare = start.clone()
    bare[..., 2:, 2:] = 0
    processes = torch.full((2, 3, 3, 3), 0.125)
    processes[..., 2, 2] = 0
    assert torch.equal(rolled(start, processes), rolled(bare, processes))
    drawn = edges(make_rng(2), 3, 40, 50)
    assert not drawn[..., 2:, 2:].any()
    assert abs(float(drawn[..., :2, :].std()) - 1) < 0.1
    assert (drawn[..., :2] != 0).all()
    assert (drawn[..., :2, :] != 0).all()


def test_steady_processes_sum_to_one_do_not_grow_and_are_silent_to_their_own_filter():
    processes, noise = steady(one_stream())
    assert len(processes) > 4
    assert not processes[..., 2, 2].any()
    torch.testing.assert_close(processes.sum(dim=(2, 3)), torch.ones(len(processes), 3))
    torch.testing.assert_close(noise.flatten(1).norm(dim=1), torch.ones(len(noise)))
    own = torch.cat([answers(p, n[None]) for p, n in zip(processes, noise, strict=True)])
    assert float(own.max()) < 1e-3
    again = rolled(make_rng(len(processes)).normal(3, 36, 36), processes)[..., CROP:, CROP:]
    assert float((again.flatten(1).norm(dim=1) < 150).double().mean()) > 0.9


def test_each_class_is_answered_by_the_filters_before_it_and_depends_on_none_after():
    few, many = (find(count, 4.0, 60, one_stream()) for count in (3, 6))
    assert torch.equal(few, many[:3])
    drawn = [steady(one_stream().fork(number)) for number in range(8)]
    pool, noise = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    for number, process in enumerate(many):
        place = int((pool == process).flatten(1).all(dim=1).nonzero()[0])
        for before in many[:number]:
            assert float(answers(before, noise[place : place + 1])) >= 4


def test_where_no_process_is_apart_enough_each_class_still_gets_one_of_its_own():
    found = find(12, 1e6, 16, one_stream())
    assert len(found.flatten(1).unique(dim=0)) == 12


def test_a_class_that_finds_nothing_apart_gets_the_process_that_is_most():
    processes, noise = (part[:10] for part in steady(one_stream().fork(0)))
    found = find(2, 1e6, 10, one_stream())
    low = torch.cat([answers(found[0], one[None]) for one in noise])
    low[(processes == found[0]).flatten(1).all(dim=1)] = -1
    assert torch.equal(found[1], processes[low.argmax()])


# The method


def made(method, classes=4, run=CPU):
    module = method.build(Spec("none", classes, 8))
    method.fit(module, make_data(4), run, SILENT)
    return module, method.ready(module, run)


@pytest.fixture(scope="module")
def maker():
    return made(Ar(candidates=8))[1]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (32, 32), (33, 70)])
def test_noise_of_any_picture_has_the_published_strength_and_fills_it(maker, shape, channels):
    images = torch.full((3, channels, *shape), 0.5)
    delta = maker(images, make_labels(3), make_rng(3))
    assert delta.shape == images.shape
    strength = delta.square().mean(dim=(1, 2, 3)).sqrt()
    torch.testing.assert_close(strength, torch.full((3,), 3072**-0.5))
    assert (delta != 0).double().mean() > 0.99


def test_noise_of_a_large_picture_is_as_strong_at_its_end_as_at_its_start(maker):
    delta = maker(torch.full((4, 3, 230, 200), 0.5), make_labels(4), make_rng(4))
    first, last = (
        part.square().mean().sqrt() for part in (delta[..., :64, :64], delta[..., -64:, -64:])
    )
    assert 0.5 < float(last / first) < 2


def test_a_small_picture_is_one_process_without_the_first_rows_and_columns_of_its_start():
    processes = find(2, 5.0, 8, one_stream())
    noise = tiled(processes, torch.zeros(2, 3, 20, 30), make_rng(2))
    start = edges(make_rng(2), 1, 1, 3, 24, 34)[:, 0, 0]
    assert torch.equal(noise, rolled(start, processes)[..., CROP:, CROP:])


def test_inside_a_tile_the_filter_of_the_class_is_silent_and_others_are_not():
    processes = find(2, 5.0, 60, one_stream())
    noise = sized(tiled(processes[:1], torch.zeros(1, 3, 64, 64), make_rng(1)), 2.0, 2)
    own, other = (
        float(answers(process, noise[..., top : top + 32, left : left + 32]).abs())
        for process in processes
        for top, left in [(32, 32)]
    )
    assert own < 1e-3 < 1 < other


def test_the_published_settings_are_the_defaults_and_keep_no_ball():
    assert (Ar().norm, Ar().response, Ar().bound) == (1.0, 10.0, None)


def test_in_a_ball_the_noise_reaches_it(maker):
    module, _ = made(Ar(candidates=8))
    kept = Ar().at(Radius.of_levels(8)).ready(module, CPU)
    images, labels = make_images(6, 20), make_labels(6)
    delta = kept(images, labels, make_rng(6))
    torch.testing.assert_close(delta.abs().amax(dim=(1, 2, 3)), torch.full((6,), 8 / 255))
    free = maker(images, labels, make_rng(6))
    torch.testing.assert_close(sized(free, 8 / 255, float("inf")), delta)


def test_each_picture_draws_its_own_noise_and_keeps_it_in_any_company(maker):
    images, labels = make_images(6, 40), torch.zeros(6, dtype=torch.int64)
    together = maker(images, labels, make_rng(6))
    assert len(together.flatten(1).unique(dim=0)) == 6
    alone = maker(images[3:4], labels[3:4], Rng.for_images(0, torch.tensor([3])))
    assert torch.equal(alone, together[3:4])


def test_the_seed_of_the_run_decides_the_processes():
    one, same, other = (
        made(Ar.example(), run=Run(CPU.device, seed=seed))[0].processes for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("changes", [{"norm": 0.0}, {"candidates": 0}])
def test_what_makes_no_noise_is_refused(changes):
    with pytest.raises(UsageProblem, match="is none"):
        Ar(**changes)


def test_what_the_checkout_carries_is_enough_for_the_noise(monkeypatch):
    monkeypatch.setattr(f"{__name__}.ORACLE", Oracle(carried("ar")))
    check_rectangle()
