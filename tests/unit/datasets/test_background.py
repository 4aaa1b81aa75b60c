import threading
import traceback

import pytest
import torch

from avdfd.datasets.background import in_background


def test_results_come_in_order_and_calls_are_drawn_in_the_callers_thread():
    drawn, made = set(), set()

    def call(number):
        made.add(threading.get_ident())
        return number

    def calls():
        for number in range(5):
            drawn.add(threading.get_ident())
            yield lambda number=number: call(number)

    for ahead in (1, 3, 10):
        assert list(in_background(calls(), ahead)) == [0, 1, 2, 3, 4]
    assert drawn == {threading.get_ident()}
    assert threading.get_ident() not in made
    assert list(in_background([], 1)) == []


def test_calls_are_made_ahead_of_their_results_and_no_further():
    made = [threading.Event() for _ in range(4)]
    results = in_background((event.set for event in made), 2)
    next(results)
    assert all(event.wait(30) for event in made[:3])
    assert not made[3].is_set()
    results.close()


def test_error_is_raised_in_its_place_with_the_frame_it_comes_from():
    def fails():
        raise ValueError("third")

    results = in_background([lambda: 1, lambda: 2, fails, lambda: 4], 3)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ValueError, match="third") as error:
        next(results)
    assert "fails" in [frame.name for frame in traceback.extract_tb(error.value.__traceback__)]


@pytest.mark.parametrize("end", ["closed", "an error of a call", "an error of the calls"])
def test_thread_ends_and_makes_no_further_call(end):
    before, held, made = threading.active_count(), threading.Event(), []

    def waits():
        held.wait(30)

    def calls():
        yield lambda: 1
        yield int("x") if end == "an error of the calls" else (lambda: 1 // 0) if end == "an error of a call" else waits
        yield lambda: made.append(3)
        yield lambda: made.append(4)

    results = in_background(calls(), 2)
    if end == "closed":
        next(results)
        threading.Timer(0.01, held.set).start()
        results.close()
        assert made in ([], [3]), "what had not begun is dropped"
    else:
        with pytest.raises(ValueError if "the calls" in end else ZeroDivisionError):
            list(results)
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join()
    assert threading.active_count() == before


def test_torch_threads_are_those_of_the_calls_alone():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert list(in_background([torch.get_num_threads] * 2, 1, torch_threads=1)) == [1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
