"""Leaving abandoned threads: only they are left, at their next look, and silently."""

import threading

import pytest

from unlearn.workers.abandoned import leave_if_abandoned, run_until


def test_work_is_left_at_the_first_look_after_the_flag_is_set():
    flag, done = threading.Event(), []

    def work():
        for step in range(9):
            leave_if_abandoned()
            done.append(step)
            if step == 3:
                flag.set()

    run_until(flag, work)
    assert done == [0, 1, 2, 3]


def test_a_thread_without_a_flag_goes_on_also_after_one_was_abandoned():
    flag = threading.Event()
    flag.set()
    run_until(flag, leave_if_abandoned)
    leave_if_abandoned()


def test_the_flag_of_one_thread_is_none_of_anothers():
    flag, seen = threading.Event(), []
    flag.set()

    def work():
        other = threading.Thread(target=lambda: seen.append(leave_if_abandoned()))
        other.start()
        other.join()

    run_until(flag, work)
    assert seen == [None]


def test_errors_of_the_work_are_not_swallowed():
    with pytest.raises(LookupError):
        run_until(threading.Event(), {}.popitem)
