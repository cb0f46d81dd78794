"""What a forecast says: machines for a deadline, and operations counted independently."""

from dataclasses import replace

import pytest
import torch

from tests.benchmarks.speed.floors import counted
from tests.support.making import make_network
from unlearn.errors import UsageProblem
from unlearn.forecast import H100_FLOPS, H100_SHARE, Forecast, longest_first
from unlearn.models.flops import pass_flops
from unlearn.options import read_duration


def make(**changes):
    usual = Forecast(work="", passes=0, flops=0.0, seconds=100.0, known_by="", most=50)
    return replace(usual, **changes)


@pytest.mark.parametrize(
    ("deadline", "machines"), [(1000, 1), (100, 1), (99, 2), (10, 10), (2, 50), (1.9, None)]
)
def test_work_that_can_be_parted_is_shared_evenly_by_as_many_as_it_has_pieces(deadline, machines):
    assert make().machines(deadline) == machines


def test_what_is_not_known_needs_no_known_number_of_machines():
    assert make(seconds=None).machines(1e9) is None
    assert make(seconds=0.0, most=0).machines(1) == 1


@pytest.mark.parametrize(
    ("deadline", "machines"), [(30, 1), (18, 1), (17, 2), (12, 2), (11, 3), (6, 3), (5, None)]
)
def test_victims_are_dealt_whole_and_so_many_at_a_time(deadline, machines):
    parts = (6.0,) * 6
    found = make(seconds=18.0, parts=parts, at_a_time=2, most=3)
    assert found.machines(deadline) == machines
    assert longest_first(parts, 2) == 18


def test_the_longest_part_comes_first():
    assert longest_first((1, 1, 1, 3), 2) == 3
    assert longest_first((), 2) == 0


def test_the_time_of_an_h100_is_arithmetic_on_the_operations():
    found = make(flops=7200 * H100_FLOPS * H100_SHARE)
    assert found.h100_seconds == pytest.approx(7200)
    assert (found.h100s(7300), found.h100s(3700), found.h100s(1)) == (1, 2, None)


@pytest.mark.parametrize(("name", "side"), [("resnet-small", 32), ("resnet18-thin", 64)])
def test_a_pass_is_three_times_the_multiply_adds_of_a_picture_twice(name, side):
    network = make_network(name, classes=1).eval()
    with counted(network) as operations, torch.no_grad():
        network(torch.zeros(1, 3, side, side))
    assert pass_flops(name, side) == 3 * 2 * operations.forward


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("8h", 28800), ("1h30min", 5400), ("2d", 172800), ("90 s", 90), ("1D 1H", 90000)],
)
def test_durations_are_read_as_people_write_them(text, seconds):
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "8", "h", "0h", "-1h", "8 hours", "1h1h", "1.5h"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(UsageProblem, match="write 8h, 1h30min or 2d"):
        read_duration(text)
