"""Prometheus metrics: requests, submissions, launches, waiting submissions.

`health.py` serves them.

Called by `app.py` and `services.py`.
"""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The metrics of one application, in its own registry."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        duration_help = "From the request to the start of its response."
        labels = ("job_type", "outcome")
        self._requests = Counter(
            "geo_platform_http_requests",
            "Requests.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "geo_platform_http_request_seconds",
            duration_help,
            ("route",),
            registry=registry,
            buckets=_SECONDS,
        )
        self._submitted = Counter(
            "geo_platform_submissions", "Submissions by outcome.", labels, registry=registry
        )
        self._launched = Counter("geo_platform_runs_launched", "Launched runs.", registry=registry)
        self._waiting = Gauge(
            "geo_platform_submissions_waiting",
            "Submissions that this process accepted and has not launched yet.",
            registry=registry,
        )

    def submitted(self, job_type: str, outcome: str) -> None:
        """Count a submission."""
        self._submitted.labels(job_type, outcome).inc()

    def launched(self) -> None:
        """Count a launched run."""
        self._launched.inc()

    def count_waiting(self, count: Callable[[], int]) -> None:
        """Set the function that returns the number of waiting submissions."""
        self._waiting.set_function(lambda: float(count()))

    def responded(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request and the seconds until its response started."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Return all metrics in Prometheus text format."""
        return generate_latest(self._registry)


class CountRequests:
    """ASGI middleware that counts each request by its route.

    The route is `none` if no route matched.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "none")
                self._metrics.responded(
                    _method(scope), route, message["status"], time.perf_counter() - began
                )
            await send(message)

        await self._app(scope, receive, counted)


def _method(scope: Scope) -> str:
    methods = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")
    return str(scope["method"]) if scope["method"] in methods else "other"
