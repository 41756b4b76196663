"""How often one may ask, and how much one may send.

What belongs here: counting, and bodies that are cut off. What stays out: who asks (`lock.py`), where it stands (`guard.py`).

Counts are of this process: several processes count each for itself. An IPv6 network of 64 bits is one address.
"""

from ipaddress import IPv6Address, ip_address
from time import time

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.types import Message, Receive

from geo_platform.errors import BodyTooLarge, RateExceeded
from geo_platform.settings import Settings

# Credentials that did not hold, of one address: beyond it none of them is looked at.
FAILURES_PER_MINUTE = 30


class RateLimits:
    """Of one process. Safe among the tasks of one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._counts = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._of_principal = RateLimitItemPerMinute(
            settings.api_requests_per_minute, namespace="principal"
        )
        self._of_address = RateLimitItemPerMinute(
            settings.api_address_requests_per_minute, namespace="address"
        )
        self._of_failures = RateLimitItemPerMinute(FAILURES_PER_MINUTE, namespace="failure")

    async def count_address(self, address: str) -> None:
        """Raises RateExceeded."""
        await self._count(self._of_address, network_of(address), "This address asks too often.")

    async def count_principal(self, subject: str) -> None:
        """Raises RateExceeded."""
        await self._count(self._of_principal, subject, f"{subject} asks too often.")

    async def count_failure(self, address: str) -> None:
        """A credential that did not hold."""
        await self._counts.hit(self._of_failures, network_of(address))

    async def check_failures(self, address: str) -> None:
        """Raises RateExceeded where too many credentials of this address did not hold."""
        if not await self._counts.test(self._of_failures, network_of(address)):
            raise await self._exceeded(
                self._of_failures,
                network_of(address),
                "Too many credentials of this address did not hold.",
            )

    async def _count(self, limit: RateLimitItem, who: str, message: str) -> None:
        if not await self._counts.hit(limit, who):
            raise await self._exceeded(limit, who, message)

    async def _exceeded(self, limit: RateLimitItem, who: str, message: str) -> RateExceeded:
        window = await self._counts.get_window_stats(limit, who)
        return RateExceeded(message, retry_after_s=max(1, round(window.reset_time - time() + 0.5)))


def network_of(address: str) -> str:
    """What is counted as one: an IPv4 address, or the 64 bits that one customer of IPv6 has all addresses of."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
    return str(parsed)


class BodyLimit:
    """A request's body, cut off where it is longer than it may be, whatever its Content-Length says or leaves out."""

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive = receive
        self.max_bytes = max_bytes
        self._received_bytes = 0
        self.exceeded: BodyTooLarge | None = None

    async def receive(self) -> Message:
        """Raises BodyTooLarge, and every time after it."""
        if self.exceeded is not None:
            raise self.exceeded
        message = await self._receive()
        self._received_bytes += len(message.get("body", b""))
        if self._received_bytes > self.max_bytes:
            self.exceeded = too_large(self.max_bytes)
            raise self.exceeded
        return message


def too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The request's body is longer than {max_bytes} bytes.", max_bytes=max_bytes
    )
