"""Work in threads: results and errors in the items' order, items not taken far ahead."""

import threading
from collections.abc import Iterator

import pytest

from geo_platform.vector.clean_stream import map_in_order


def test_results_keep_the_order_of_their_items() -> None:
    gate = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            gate.wait(10)
        else:
            gate.set()
        return number * 2

    assert list(map_in_order(work, range(20), threads=3)) == [(n, n * 2) for n in range(20)]


def test_items_are_taken_in_the_callers_thread_and_not_far_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(30):
            assert threading.current_thread() is threading.main_thread()
            taken.append(number)
            yield number

    for done, _ in enumerate(map_in_order(lambda number: number, items(), threads=2), start=1):
        assert len(taken) - done <= 2


def test_an_error_of_an_item_comes_after_the_results_before_it() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2, 3)
        raise ValueError("no more")

    seen: list[int] = []
    with pytest.raises(ValueError, match="no more"):
        seen.extend(item for item, _ in map_in_order(lambda number: number, items(), threads=2))
    assert seen == [1, 2, 3]


def test_an_error_of_work_comes_after_the_results_before_it_and_ends_the_iteration() -> None:
    seen: list[int] = []
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        seen.extend(
            item for item, _ in map_in_order(lambda number: 1 // (2 - number), range(10), threads=3)
        )
    assert seen == [0, 1]
    assert threading.active_count() == before


def test_closing_early_leaves_no_thread() -> None:
    before = threading.active_count()
    results = map_in_order(lambda number: number, range(1000), threads=3)
    next(results)
    results.close()
    assert threading.active_count() == before
