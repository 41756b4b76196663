"""Spans leave the process: when delivery begins and ends, and that it failed, said once.

What belongs here: what a process keeps of its delivery. What stays out: what is traced (`tracing.py`), and OpenTelemetry's
SDK with its exporters (`tracing_sdk.py`), which are imported where there is somewhere to send spans to.

A run never waits for delivery and never fails by it. Only the end of the process waits, for `tracing_sdk.END_WITHIN_S` at most.
"""

import importlib
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.util import Finalize
from threading import Lock
from typing import Protocol

from opentelemetry.trace import Tracer
from pydantic import SecretStr

from geo_platform.telemetry.checkpoints import Checkpoint, report
from geo_platform.telemetry.tracing import use_tracer

_SDK = "geo_platform.telemetry.tracing_sdk"


@dataclass(frozen=True)
class Destinations:
    """An OTLP collector, which OpenTelemetry's own variables name, and Azure Monitor by its connection string."""

    otlp: bool = False
    azure_monitor: SecretStr | None = None

    def __bool__(self) -> bool:
        return self.otlp or bool(self.azure_monitor)


class Delivery(Protocol):
    """Spans on their way."""

    @property
    def tracer(self) -> Tracer:
        """Makes the spans that are delivered."""

    def end(self) -> None:
        """Deliver what is left, or give it up after a while."""


class Losses:
    """That spans were lost, noted by whichever thread met it and said by one that works for a run: once for a process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._unsaid: tuple[str, str] | None = None
        self._was_said = False

    def note(self, destination: str, why: str) -> None:
        with self._lock:
            if not self._was_said and self._unsaid is None:
                self._unsaid = destination, why

    def say(self) -> None:
        with self._lock:
            unsaid, self._unsaid = self._unsaid, None
            self._was_said = self._was_said or unsaid is not None
        if unsaid is not None:
            destination, why = unsaid
            said = f"Spans cannot be delivered to {destination}: {why}. Runs go on without; it is not said again in this process"
            report(Checkpoint.TELEMETRY_LOST, said, level=logging.WARNING, destination=destination)


_losses = Losses()
_lock = Lock()
_process_id = 0
_destinations = Destinations()
_delivery: Delivery | None = None


def load_exporters(destinations: Destinations) -> None:
    """Import what delivering to these takes, for a process that is loading anyway: runs forked off it find it there.

    Loaded late it takes most of what telemetry costs a small run. That it is not installed is said when there are spans.
    """
    if destinations:
        with suppress(ImportError):
            importlib.import_module(_SDK).load_exporters(destinations)


def start_tracing(destinations: Destinations) -> None:
    """Deliver to these from now on, in this process; what is delivered to them already goes on."""
    global _process_id, _destinations, _delivery
    with _lock:
        if (os.getpid(), destinations) == (_process_id, _destinations):
            return
        if _process_id == 0:
            Finalize(
                None, stop_tracing, exitpriority=0
            )  # as atexit, and in a process that was forked for a run, which ends without that
        _end_delivery()
        _process_id, _destinations = os.getpid(), destinations
        _delivery = _deliver(destinations) if destinations else None
        use_tracer(_delivery.tracer if _delivery else None)


def stop_tracing() -> None:
    """Deliver what is left, within a bound, and say what was lost. Spans made afterwards are nobody's until the next start."""
    global _destinations
    with _lock:
        _end_delivery()
        _destinations = Destinations()
    say_losses()


def say_losses() -> None:
    """Say that spans were lost, unless this process has said it before."""
    _losses.say()


def _end_delivery() -> None:
    global _delivery
    use_tracer(None)
    ending, _delivery = _delivery, None
    if ending is not None and _process_id == os.getpid():
        ending.end()


def _deliver(destinations: Destinations) -> Delivery | None:
    try:
        make: Callable[[Destinations, Losses], Delivery] = importlib.import_module(_SDK).deliver
    except ImportError:
        _losses.note("any destination", "the extra `telemetry` of geo-platform is not installed")
        return None
    return make(destinations, _losses)
