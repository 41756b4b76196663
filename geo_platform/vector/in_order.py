"""Work on several items at once, results in the order of the items, few of them in memory.

What belongs here: threads. What stays out: the work, which must let go of Python's lock for this to pay (GEOS and Arrow do).
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_THREADS = 4
"""More would hold more batches in memory than they would save time."""


def usable_threads() -> int:
    """As many as there are cores, at most four."""
    return min(os.cpu_count() or 1, _MOST_THREADS)


def map_in_order(work: Callable[[Item], Result], items: Iterable[Item], *, threads: int) -> Iterator[tuple[Item, Result]]:
    """Each item with what became of it. Items are taken in the caller's thread, at most `threads` ahead of the results.

    Raises what `work` raises, and what `items` raises once the results of the items before are out, as one thread would.
    """
    failed: Exception | None = None
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    source = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="in-order") as pool:
        try:
            while failed is None:
                try:
                    item = next(source)
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001  # raised below, in its turn
                    failed = error
                    break
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) > threads:
                    yield _first(waiting)
            while waiting:
                yield _first(waiting)
        finally:
            for _, future in waiting:
                future.cancel()
    if failed is not None:
        raise failed


def _first(waiting: deque[tuple[Item, Future[Result]]]) -> tuple[Item, Result]:
    item, future = waiting.popleft()
    return item, future.result()
