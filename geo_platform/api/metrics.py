"""What Prometheus reads: requests, submissions, launches, what waits.

What belongs here: the figures, and counting requests. What stays out: who may read them (`health.py`).
"""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The figures of one application, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        took = "From request to the start of its answer."
        by = ("job_type", "outcome")
        self._requests = Counter(
            "geo_platform_http_requests", "Requests.", ("method", "route", "status"), registry=own
        )
        self._seconds = Histogram(
            "geo_platform_http_request_seconds", took, ("route",), registry=own, buckets=_SECONDS
        )
        self._submitted = Counter(
            "geo_platform_submissions", "Submissions by what became of them.", by, registry=own
        )
        self._launched = Counter(
            "geo_platform_runs_launched", "Runs that were launched.", registry=own
        )
        self._waiting = Gauge(
            "geo_platform_submissions_waiting",
            "Accepted, and not launched yet, by this process.",
            registry=own,
        )

    def submitted(self, job_type: str, outcome: str) -> None:
        self._submitted.labels(job_type, outcome).inc()

    def launched(self) -> None:
        self._launched.inc()

    def count_waiting(self, count: Callable[[], int]) -> None:
        """Where the number comes from when it is asked for."""
        self._waiting.set_function(lambda: float(count()))

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class CountRequests:
    """ASGI: counts each request by the route that took it; what none took is `none`, whatever its path."""

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
                self._metrics.answered(
                    _method(scope), route, message["status"], time.perf_counter() - began
                )
            await send(message)

        await self._app(scope, receive, counted)


def _method(scope: Scope) -> str:
    known = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")
    return str(scope["method"]) if scope["method"] in known else "other"
