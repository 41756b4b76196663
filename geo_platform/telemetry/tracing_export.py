"""Start and stop the delivery of spans in a process, and report once if it fails.

`tracing.py` records spans. `tracing_sdk.py` delivers them; it is imported only if a destination
is set. A run never waits for delivery and never fails because of it. Only the exit of the process
waits, for `tracing_sdk.END_WITHIN_S` at most.

Used by `assets`, `cli`, `geo_platform` and `telemetry`.
"""

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.util import Finalize
from threading import Lock
from typing import Protocol

from opentelemetry.trace import Tracer
from pydantic import SecretStr

from geo_platform.telemetry.checkpoints import Checkpoint, report
from geo_platform.telemetry.tracing import use_tracer


@dataclass(frozen=True)
class Destinations:
    """Where spans are sent: an OTLP collector, Azure Monitor, both or neither.

    OpenTelemetry's environment variables name the collector, a connection string names Azure
    Monitor.
    """

    otlp: bool = False
    azure_monitor: SecretStr | None = None

    def __bool__(self) -> bool:
        return self.otlp or bool(self.azure_monitor)


class Delivery(Protocol):
    """A running delivery of spans."""

    @property
    def tracer(self) -> Tracer:
        """Return the tracer whose spans are delivered."""

    def end(self) -> None:
        """Deliver the remaining spans, or drop them after a time limit."""


class Losses:
    """The loss of spans: noted from any thread, reported once per process.

    The thread of a run calls `report`, so that the report is logged with the run.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._unreported: tuple[str, str] | None = None
        self._was_reported = False

    def note(self, destination: str, reason: str) -> None:
        """Note a loss. Only the first loss of the process is kept."""
        with self._lock:
            if not self._was_reported and self._unreported is None:
                self._unreported = destination, reason

    def report(self) -> None:
        """Log TELEMETRY_LOST if a loss was noted and not reported."""
        with self._lock:
            unreported, self._unreported = self._unreported, None
            self._was_reported = self._was_reported or unreported is not None
        if unreported is not None:
            destination, reason = unreported
            sentence = (
                f"Spans cannot be delivered to {destination}: {reason}. Runs continue without "
                "them; this process reports it only once"
            )
            report(
                Checkpoint.TELEMETRY_LOST, sentence, level=logging.WARNING, destination=destination
            )


_losses = Losses()
_lock = Lock()
_process_id = 0
_destinations = Destinations()
_delivery: Delivery | None = None


def load_exporters(destinations: Destinations) -> None:
    """Import the exporters of these destinations, once for all runs forked from this process.

    The imports are the largest cost of telemetry in a small run. A failed import is ignored here;
    it is reported when the first spans are delivered.
    """
    if destinations:
        with suppress(ImportError):
            from geo_platform.telemetry import tracing_sdk

            tracing_sdk.load_exporters(destinations)


def start_tracing(destinations: Destinations) -> None:
    """Start delivery to these destinations, unless this process delivers to them already."""
    global _process_id, _destinations, _delivery
    with _lock:
        if (os.getpid(), destinations) == (_process_id, _destinations):
            return
        if _process_id == 0:
            # Unlike atexit, this also runs in a process that was forked for a run.
            Finalize(None, stop_tracing, exitpriority=0)
        _stop_delivery()
        _process_id, _destinations = os.getpid(), destinations
        _delivery = _start_delivery(destinations) if destinations else None
        use_tracer(_delivery.tracer if _delivery else None)


def stop_tracing() -> None:
    """Deliver the remaining spans within a time limit, and report losses.

    Later spans are dropped until tracing is started again.
    """
    global _destinations
    with _lock:
        _stop_delivery()
        _destinations = Destinations()
    report_losses()


def report_losses() -> None:
    """Report that spans were lost, unless this process has reported it before."""
    _losses.report()


def _stop_delivery() -> None:
    global _delivery
    use_tracer(None)
    stopped, _delivery = _delivery, None
    if stopped is not None and _process_id == os.getpid():
        stopped.end()


def _start_delivery(destinations: Destinations) -> Delivery | None:
    try:
        from geo_platform.telemetry import tracing_sdk
    except ImportError:
        _losses.note("any destination", "the extra `telemetry` of geo-platform is not installed")
        return None
    return tracing_sdk.deliver(destinations, _losses)
