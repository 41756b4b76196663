"""Compare a command that exports its spans with one that does not, and measure the cost of a span.

Part "telemetry" of `make bench`. The noise of a command is larger than the cost of telemetry, so
the comparison needs many pairs (`BENCH_TELEMETRY_PAIRS`). The cost is therefore also computed from
its parts: loading the SDK and its exporter, and the number of spans of a run times the CPU time of
one.
"""

import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.data import ROOT
from benchmarks.homes import home_of
from benchmarks.jobs import COMMAND
from benchmarks.measure import Measured, run, spread
from geo_platform.settings import Profile
from geo_platform.telemetry.logs import telemetry_context
from geo_platform.telemetry.tracing import call_started, calling
from geo_platform.telemetry.tracing_export import Destinations, start_tracing, stop_tracing
from tests.support.spans import Collector, collector

PAIRS = int(os.environ.get("BENCH_TELEMETRY_PAIRS", "30"))
PROFILES = os.environ.get("BENCH_PROFILES", "embedded,production").split(",")

_SAMPLE = ROOT / "samples" / "natural_earth_countries.shp.zip"
_RUN = "ea2add4b-aee9-45ca-b4b4-26abf84316a1"
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_MANY = 2_000
# Runs in a process that has loaded what a run loads anyway.
_ONE_SPAN = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
import geo_platform.definitions
from geo_platform.telemetry.logs import telemetry_context
from geo_platform.telemetry.tracing import stage_span
from geo_platform.telemetry.tracing_export import (
    Destinations, load_exporters, start_tracing, stop_tracing
)
os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = sys.argv[4]
destinations = Destinations(otlp=True)
if sys.argv[3] == "loaded":
    load_exporters(destinations)
started = time.process_time()
start_tracing(destinations)
with telemetry_context(run_id=sys.argv[2]), stage_span("raster_cog"):
    pass
stop_tracing()
print(time.process_time() - started)
"""


def telemetry() -> list[str]:
    lines = [
        "## Telemetry: the countries of the world, with and without spans exported by OTLP, "
        f"{PAIRS} pairs of commands",
        "",
        "| profile | what | wall seconds, median (min to max) | CPU seconds |",
        "|---|---|---|---|",
    ]
    with collector() as taken:
        compared = [_compared(Profile(profile), taken) for profile in PROFILES]
        each_s, start_s, forked_s = (
            _seconds_of_a_span(taken.address),
            _seconds_of_a_start(taken.address, "alone"),
            _seconds_of_a_start(taken.address, "loaded"),
        )
    for one in compared:
        lines += [
            _row(one.profile, "without", one.without),
            _row(one.profile, "exporting", one.exporting),
        ]
    return [
        *lines,
        "",
        "Ratio of CPU seconds, exporting / without, by pair: "
        f"{', '.join(one.ratio for one in compared)} (target: under 1.02). By its parts:",
        "",
        *(
            f"- {one.profile}: {one.spans} spans in {one.body_bytes:,.0f} bytes a run, "
            f"{one.spans * each_s * 1000:.1f} ms;"
            for one in compared
        ),
        f"- a span takes {each_s * 1e6:.0f} us of CPU to create and send;",
        "- once per process, loading the SDK and the exporter and sending the first span: "
        f"{start_s * 1000:.0f} ms;",
        "- the same where the definitions have loaded them, as in all processes that execute runs: "
        f"{forked_s * 1000:.0f} ms.",
        "",
    ]


@dataclass(frozen=True)
class _Compared:
    profile: Profile
    without: list[Measured]
    exporting: list[Measured]
    spans: int
    body_bytes: float

    @property
    def ratio(self) -> str:
        """The median of the pairs' ratios, and the standard error of their mean."""
        ratios = [
            one.cpu_s / other.cpu_s for one, other in zip(self.exporting, self.without, strict=True)
        ]
        error = statistics.stdev(ratios) / len(ratios) ** 0.5
        return (
            f"{self.profile} **{statistics.median(ratios):.3f}** "
            f"(mean {statistics.mean(ratios):.3f} ± {error:.3f})"
        )


def _compared(profile: Profile, taken: Collector) -> _Compared:
    """Measure the pairs in one home, each of the two first in turn."""
    spans, body_bytes, commands = len(taken.spans), sum(map(len, taken.bodies)), PAIRS + 1
    measured: dict[bool, list[Measured]] = {False: [], True: []}
    with home_of(profile) as environment:
        for pair in range(commands):
            for exports in (pair % 2 == 0, pair % 2 == 1):
                with _endpoint(taken.address if exports else None):
                    measured[exports].append(
                        run(
                            [COMMAND, "ingest", "--force", _SAMPLE],
                            env={**os.environ, **environment},
                        )
                    )
    spans, body_bytes = (
        (len(taken.spans) - spans) // commands,
        (sum(map(len, taken.bodies)) - body_bytes) / commands,
    )
    return _Compared(profile, measured[False][1:], measured[True][1:], spans, body_bytes)


def _row(profile: Profile, what: str, measured: list[Measured]) -> str:
    wall, cpu = spread([one.wall_s for one in measured]), spread([one.cpu_s for one in measured])
    return f"| {profile} | {what} | {wall} | {cpu} |"


def _seconds_of_a_span(address: str) -> float:
    with _endpoint(address):
        start_tracing(Destinations(otlp=True))
        with telemetry_context(run_id=_RUN, stage="raster_cog", attempt=1):
            started = time.process_time()
            for number in range(_MANY):
                span = call_started(
                    "objects.stat", _RUN, {"container": "silver", "key": f"{number}.tif"}
                )
                with calling(span):
                    pass
                span.end()
                if number % 200 == 0:
                    # As in a run, the export queue empties in between.
                    time.sleep(0.6)
            stop_tracing()
            return (time.process_time() - started) / _MANY


def _seconds_of_a_start(address: str, how: str) -> float:
    with _endpoint(None):
        return statistics.median(
            float(run([sys.executable, "-c", _ONE_SPAN, ROOT, _RUN, how, address]).stdout)
            for _ in range(5)
        )


@contextmanager
def _endpoint(address: str | None) -> Iterator[None]:
    before = os.environ.pop(_ENDPOINT, None)
    if address is not None:
        os.environ[_ENDPOINT] = address
    try:
        yield
    finally:
        os.environ.pop(_ENDPOINT, None)
        if before is not None:
            os.environ[_ENDPOINT] = before
