"""A submission beyond the limit is refused at once with a time to retry, and not executed."""

import threading
from collections.abc import Callable

import anyio
import pytest

from geo_platform.api.problems import status_of
from geo_platform.api.services import SubmissionLimiter
from geo_platform.errors import StoreUnavailable


def test_submissions_within_the_limit_are_done_and_others_refused() -> None:
    done: list[int] = []
    refused: list[StoreUnavailable] = []
    is_over, has_begun = threading.Event(), threading.Semaphore(0)

    def work(number: int) -> Callable[[], None]:
        def execute() -> None:
            has_begun.release()
            is_over.wait(20)
            done.append(number)

        return execute

    async def submit(limiter: SubmissionLimiter, number: int) -> None:
        try:
            await limiter.run(work(number))
        except StoreUnavailable as error:
            refused.append(error)

    async def all_at_once() -> None:
        limiter = SubmissionLimiter(2, max_pending=3)
        assert not limiter.is_busy
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(submit, limiter, number)
            await anyio.to_thread.run_sync(has_begun.acquire)
            await anyio.to_thread.run_sync(has_begun.acquire)
            assert limiter.is_busy
            is_over.set()
        assert not limiter.is_busy
        assert await limiter.run(lambda: "and again") == "and again"

    anyio.run(all_at_once)
    assert len(done) == 3
    assert len(refused) == 2
    assert {
        (status_of(error).value, error.details["retry_after_s"], error.retryable)
        for error in refused
    } == {(503, 1, True)}


def test_a_failed_submission_frees_its_slot() -> None:
    async def fail_twice() -> None:
        limiter = SubmissionLimiter(1, max_pending=1)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await limiter.run(lambda: 1 // 0)

    anyio.run(fail_twice)
