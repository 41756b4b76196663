"""Taking turns at what is written down before it is answered: so many at once, and of the others no more than will have their turn soon.

What belongs here: how many, and the refusal of those beyond. What stays out: what is written (`intake.py`), and how often one client may
ask (`limits.py`).

Who asks how a job stands does not wait for these: it has threads of its own.
"""

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from geo_platform.errors import StoreUnavailable

OF_A_DISK, OF_AN_ACCOUNT = 8, 24
"""At once: a storage account answers each request after some milliseconds, a disk sooner. Not tuned: `docs/decisions/0019`."""

MOST = 400
"""At once and waiting: some seconds' work."""

T = TypeVar("T")


class Turns:
    """Of one process. Safe among the tasks of one event loop."""

    def __init__(self, at_once: int, *, most: int = MOST) -> None:
        self._limiter = CapacityLimiter(at_once)
        self._most = most
        self._present = 0

    @property
    def are_taken(self) -> bool:
        """Whether the next one has to wait."""
        return self._present >= self._limiter.total_tokens

    async def take(self, work: Callable[[], T]) -> T:
        """Do it in a thread, once it is its turn. Raises StoreUnavailable where too many are before it: nothing was done then."""
        if self._present >= self._most:
            remedy = "Nothing of this request was kept. Send it again after the seconds that Retry-After names."
            raise StoreUnavailable("More is being submitted than can be written down.", remedy=remedy, retry_after_s=1)
        self._present += 1
        try:
            return await run_sync(work, limiter=self._limiter)
        finally:
            self._present -= 1
