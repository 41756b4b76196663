"""`make bench` part "telemetry": a run whose spans go to a collector beside one without, and what a span costs by itself.

A whole run varies by more than its telemetry costs, so the cost is put together from its parts as well: what loading the SDK
and its exporter takes of a process, and how many spans a run has, times the processor time of making and sending one.
"""

import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.data import ROOT
from benchmarks.jobs import JobMeasured, ingest
from benchmarks.measure import Measured, in_turn, median_ratio, run, spread
from geo_platform.telemetry.context import telemetry_context
from geo_platform.telemetry.tracing import call_started, calling
from geo_platform.telemetry.tracing_export import Destinations, start_tracing, stop_tracing
from tests.support.spans import collector

_SAMPLE = ROOT / "samples" / "natural_earth_countries.shp.zip"
_RUN = "ea2add4b-aee9-45ca-b4b4-26abf84316a1"
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_MANY = 2_000
_ONE_SPAN = """
import sys, time
sys.path.insert(0, sys.argv[1])
import geo_platform.definitions
from geo_platform.telemetry.context import telemetry_context
from geo_platform.telemetry.tracing import stage_span
from geo_platform.telemetry.tracing_export import Destinations, load_exporters, start_tracing, stop_tracing
from tests.support.spans import collector
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
"""In a process that has loaded what a run loads anyway."""


def telemetry(rounds: int) -> list[str]:
    jobs: dict[bool, list[JobMeasured]] = {False: [], True: []}
    with collector() as taken:
        address = taken.address

        def ours(exports: bool) -> Measured:
            with _endpoint(address if exports else None):
                jobs[exports].append(ingest(_SAMPLE))
            return jobs[exports][-1].process

        without, exporting = in_turn(rounds, lambda: ours(False), lambda: ours(True))
        spans = len(taken.spans) // len(jobs[True])
        bytes_of_a_run = sum(map(len, taken.bodies)) / len(jobs[True])
        each_s, start_s, forked_s = (
            _seconds_of_a_span(address),
            _seconds_of_a_start(address, "alone"),
            _seconds_of_a_start(address, "loaded"),
        )
    run_s = statistics.median(measured.cpu_s for measured in without)
    return [
        "## Telemetry: the countries of the world, spans exported by OTLP and not",
        "",
        "| what | wall seconds, median (min to max) | CPU seconds |",
        "|---|---|---|",
        f"| without | {spread([one.wall_s for one in without])} | {spread([one.cpu_s for one in without])} |",
        f"| exporting, {bytes_of_a_run:,.0f} bytes a run | {spread([one.wall_s for one in exporting])} | {spread([one.cpu_s for one in exporting])} |",
        "",
        f"Ratio of CPU: {median_ratio([one.cpu_s for one in exporting], [one.cpu_s for one in without]):.3f}, of wall seconds: "
        f"{median_ratio([one.wall_s for one in exporting], [one.wall_s for one in without]):.3f}; a whole run's noise is as large. By its parts:",
        "",
        f"- {spans} spans at {each_s * 1e6:.0f} us of CPU each, made and sent: **{spans * each_s / run_s:.2%}** of the run's CPU (to hold: under 2 %);",
        f"- once for a process, loading the SDK and the exporter and sending the first span: {start_s * 1000:.0f} ms, {start_s / run_s:.1%} of this "
        f"run of {run_s:.1f} s, under 2 % of any run of more than {start_s / 0.02:.0f} s;",
        f"- the same in a run that a code location forks off a process which has loaded them: {forked_s * 1000:.0f} ms.",
        "",
    ]


def _seconds_of_a_span(address: str) -> float:
    with _endpoint(address):
        start_tracing(Destinations(otlp=True))
        with telemetry_context(run_id=_RUN, stage="raster_cog", attempt=1):
            started = time.process_time()
            for number in range(_MANY):
                span = call_started("objects.stat", _RUN, {"container": "silver", "key": f"{number}.tif"})
                with calling(span):
                    pass
                span.end()
                if number % 200 == 0:
                    time.sleep(0.6)  # as in a run: the queue is emptied between
            stop_tracing()
            return (time.process_time() - started) / _MANY


def _seconds_of_a_start(address: str, how: str) -> float:
    with _endpoint(address):
        return statistics.median(float(run([sys.executable, "-c", _ONE_SPAN, ROOT, _RUN, how]).stdout) for _ in range(5))


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
