"""Limit requests per minute and the size of request bodies.

Reads of what is published have limits of their own, which are larger: a map fetches about a hundred
tiles each time that it is moved. So a map does not use up what its user may send otherwise.

Each process has its own counts. An IPv6 /64 network counts as one address.

Called by `api/jobs/uploads.py`, `guard.py` and `login.py`.
"""

from ipaddress import IPv6Address, ip_address
from time import time

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.types import Message, Receive

from geo_platform.errors import BodyTooLarge, RateExceeded
from geo_platform.settings import Settings

# Failed credentials of one address. Beyond this number, credentials from it are not checked.
FAILURES_PER_MINUTE = 30


class RateLimits:
    """Request counts of this process. Safe among the tasks of one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._counts = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._of_principal = _of_kind(
            settings.api_requests_per_minute, settings.api_reads_per_minute, "principal"
        )
        self._of_address = _of_kind(
            settings.api_address_requests_per_minute,
            settings.api_address_reads_per_minute,
            "address",
        )
        self._of_failures = RateLimitItemPerMinute(FAILURES_PER_MINUTE, namespace="failure")

    async def count_address(self, address: str, *, is_read: bool) -> None:
        """Count a request of this address. Raises RateExceeded: the address has sent too many."""
        await self._count(
            self._of_address[is_read], network_of(address), "Too many requests from this address."
        )

    async def count_principal(self, subject: str, *, is_read: bool) -> None:
        """Count a request of this principal. Raises RateExceeded: it has sent too many."""
        await self._count(
            self._of_principal[is_read], subject, f"Too many requests from {subject}."
        )

    async def count_failure(self, address: str) -> None:
        """Count a failed credential of this address."""
        await self._counts.hit(self._of_failures, network_of(address))

    async def check_failures(self, address: str) -> None:
        """Raise RateExceeded if this address sent too many failed credentials."""
        if not await self._counts.test(self._of_failures, network_of(address)):
            raise await self._exceeded(
                self._of_failures,
                network_of(address),
                "Too many failed credentials from this address.",
            )

    async def _count(self, limit: RateLimitItem, counted: str, message: str) -> None:
        if not await self._counts.hit(limit, counted):
            raise await self._exceeded(limit, counted, message)

    async def _exceeded(self, limit: RateLimitItem, counted: str, message: str) -> RateExceeded:
        window = await self._counts.get_window_stats(limit, counted)
        return RateExceeded(message, retry_after_s=max(1, round(window.reset_time - time() + 0.5)))


def _of_kind(requests: int, reads: int, namespace: str) -> dict[bool, RateLimitItem]:
    """Return the limits by whether a request reads what is published."""
    return {
        False: RateLimitItemPerMinute(requests, namespace=namespace),
        True: RateLimitItemPerMinute(reads, namespace=f"{namespace} reads"),
    }


def network_of(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 network of an IPv6 address."""
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
    """Cuts off a request body that is too long, whatever its Content-Length declares."""

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive = receive
        self.max_bytes = max_bytes
        self._received_bytes = 0
        self.exceeded: BodyTooLarge | None = None

    async def receive(self) -> Message:
        """Return the next message of the request.

        Raises BodyTooLarge: the body is over `max_bytes`. Every later call raises it too.
        """
        if self.exceeded is not None:
            raise self.exceeded
        message = await self._receive()
        self._received_bytes += len(message.get("body", b""))
        if self._received_bytes > self.max_bytes:
            self.exceeded = too_large(self.max_bytes)
            raise self.exceeded
        return message


def too_large(max_bytes: int) -> BodyTooLarge:
    """Return the error for a body over `max_bytes`."""
    return BodyTooLarge(
        f"The request's body is longer than {max_bytes} bytes.", max_bytes=max_bytes
    )
