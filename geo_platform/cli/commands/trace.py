"""`geo-platform trace ID`: show one timeline over all stores. `geo_platform/trace` builds it.

Called by `cli/main.py`.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from functools import cache
from typing import Any

import click

from geo_platform.cli.addresses import StoreAddress, WebAddress, address_of
from geo_platform.cli.application import Application
from geo_platform.cli.outcome import printable
from geo_platform.cli.parameters import record_as_typed
from geo_platform.cli.sources import find_local, with_known_key
from geo_platform.errors import PlatformError
from geo_platform.process_start import frozen_imports
from geo_platform.runs import (
    ASKED_BY_TAG,
    CORRELATION_TAG,
    HTTP_ORIGIN,
    JOB_TAG,
    ORIGIN_TAG,
    PARENT_RUN_TAG,
    PARTITION_TAG,
    REQUEST_TAG,
    TRACEPARENT_TAG,
)
from geo_platform.settings import use_home
from geo_platform.storage.stores import open_objects
from geo_platform.trace.answer import Timeline, TraceResult, trace
from geo_platform.trace.question import Subject
from geo_platform.trace.sources import Reach, RunHistory, TraceStores
from geo_platform.trace.timeline import Event, Kind, Store

# Tags that the header shows under a label. They are not repeated among the other tags.
_LABELLED_TAGS = {
    PARTITION_TAG,
    CORRELATION_TAG,
    TRACEPARENT_TAG,
    PARENT_RUN_TAG,
    JOB_TAG,
    REQUEST_TAG,
    ASKED_BY_TAG,
    ORIGIN_TAG,
}
# Few, because a person waits, and the output names the store that does not answer.
_RETRIES = 1

_NOT_FOUND, _NOT_ALL_REACHED = 1, 3


@click.command("trace")
@click.argument("subject", metavar="ID")
@click.option(
    "--as",
    "kind",
    type=click.Choice([*Subject]),
    help="What the ID names, if it could name several things.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def trace_id(application: Application, subject: str, kind: str | None, as_json: bool) -> None:
    """Show everything that happened to what ID names, in one timeline over all stores.

    ID is any id that you have. By its form it is looked up, in this order, as a run, a job of the
    HTTP API, an address, an object, an item, a table, a client's id.

    \b
      geo-platform trace 2f4c9a1e                a run: id, its first 8 characters, or trace id
      geo-platform trace req-2026-11-24-0017     the id that a client gave to its request
      geo-platform trace 3b1f0c9ad2f7e651…       a job of the HTTP API, or an X-Request-Id
      geo-platform trace vectors/wells           an item, or its id alone
      geo-platform trace silver/vectors/geo/wells/…/wells.parquet
      geo-platform trace ../scene.tif            the object of a local file
      geo-platform trace https://ACCOUNT.blob.core.windows.net/silver/…
      geo-platform trace geo.wells               a table, or a staged or replaced version of it
      geo-platform trace --as item 2f4c9a1e      an item whose id looks like that of a run

    If several runs share an ID, each has a timeline, oldest run first. If a store does not answer,
    its error is printed, and the timeline has what the other stores know.

    \b
    Exit codes: 0 complete, 1 nothing was found for this ID, 3 a store did not answer.
    """
    with ExitStack() as exit_stack:
        stores, only = _stores(application, exit_stack), Subject(kind) if kind else None
        answer = trace(subject, stores, only=only)
        address = _object_address(subject, application)
        if not answer.timelines and address is not None:
            answer = trace(address, stores, only=only)
    if as_json:
        click.echo(json.dumps(answer.document()))
    else:
        for line in _lines(answer):
            click.echo(line)
    if not answer.timelines:
        click.echo(printable(_not_found(answer)), err=True)
    for fault in answer.unreached:
        click.echo(
            printable(
                f"Not reached: {fault['store']}. "
                f"{fault['code']}: {fault['message']} {fault['remedy']}"
            ),
            err=True,
        )
    sys.exit(_NOT_ALL_REACHED if answer.unreached else 0 if answer.timelines else _NOT_FOUND)


def _object_address(subject: str, application: Application) -> str | None:
    """Return the address of the object that a local file or an az:// address names, or None."""
    try:
        named = address_of(subject, application.settings)
    except PlatformError:
        return None
    if isinstance(named, StoreAddress):
        return f"{named.container}/{named.key}"
    if isinstance(named, WebAddress) or not named.is_file():
        return None
    candidate = with_known_key(find_local(named, application), application.objects)
    return f"{candidate.container}/{candidate.key}"


def _stores(application: Application, exit_stack: ExitStack) -> TraceStores:
    """Return the stores. Each store is opened once, at its first use."""
    settings = application.settings

    @cache
    def history() -> RunHistory:
        template = application.instance_template
        with frozen_imports():
            from geo_platform.orchestrator.run_history import opened as open_history
        use_home(settings.home_dir)
        return exit_stack.enter_context(open_history(settings, template))

    provenance = application.provenance
    objects = cache(lambda: open_objects(settings, retries=_RETRIES))
    return TraceStores(
        objects,
        lambda: application.catalog,
        history,
        cache(provenance) if provenance is not None else None,
        Reach(),
    )


def _not_found(answer: TraceResult) -> str:
    if answer.found is not None:
        return f"{answer.found.reading.description} exists, but no run of the platform is known."
    looked_for = ", ".join(answer.looked_for) or "nothing, because the ID does not have its form"
    where = "the stores that answered" if answer.unreached else "any store of this home"
    return f"Nothing was found for {answer.question!r} in {where}. Looked for: {looked_for}."


def _lines(answer: TraceResult) -> Iterator[str]:
    if answer.found is not None:
        count = len(answer.timelines)
        runs = f"{count} run" if count == 1 else f"{count} runs"
        yield printable(f"{answer.found.reading.description}: {runs}")
    for timeline in answer.timelines:
        yield ""
        yield from map(printable, _header_lines(timeline))
        yield from map(printable, _event_lines(timeline))


def _header_lines(timeline: Timeline) -> Iterator[str]:
    document = timeline.document()
    job, status = document["job"] or "of an unknown job", document["status"] or ""
    yield f"run {timeline.run_id}  {job}  {status}".rstrip()
    for label, name in (
        ("launched by", "launched_by"),
        ("job id", "job_id"),
        ("object", "partition"),
        ("client's id", "correlation_id"),
        ("traceparent", "traceparent"),
        ("retry of", "retry_of"),
    ):
        if document[name]:
            yield f"  {label:<12} {document[name]}"
    others = [
        f"{name}={value}" for name, value in document["tags"].items() if name not in _LABELLED_TAGS
    ]
    if others:
        yield f"  tags         {', '.join(others)}"
    for run_id in timeline.retried_by:
        yield f"  retried by   {run_id}"
    for stage in timeline.stages:
        took = f"{stage.duration_ms / 1000:.3f} s" if stage.duration_ms is not None else "-"
        attempts = f", {stage.attempts} attempts" if stage.attempts > 1 else ""
        code = f", {stage.error_code}" if stage.error_code else ""
        yield f"  stage        {stage.stage:<20} {stage.status:<10} {took}{attempts}{code}"
    if timeline.error:
        is_http = timeline.tags.get(ORIGIN_TAG) == HTTP_ORIGIN
        yield from _error_lines(timeline.error if is_http else record_as_typed(timeline.error))
    for event in timeline.replaced:
        yield f"  replaced     {event.text}"
    for event in timeline.since:
        yield f"  since        {event.text}"


def _error_lines(error: Mapping[str, Any]) -> Iterator[str]:
    yield f"  {error.get('code')}: {error.get('message')}"
    if error.get("remedy"):
        yield f"  What to do: {error['remedy']}"


def _event_lines(timeline: Timeline) -> Iterator[str]:
    """Yield a line for each event, with the seconds since the run was requested.

    A line with the date precedes the first event of each day.
    """
    day = None
    zero = (
        timeline.facts.requested_at_utc
        if timeline.facts
        else timeline.events[0].at_utc
        if timeline.events
        else None
    )
    for event in timeline.events:
        if event.at_utc.date() != day:
            day = event.at_utc.date()
            yield f"  {day.isoformat()} UTC"
        after_s = (event.at_utc - zero) / timedelta(seconds=1) if zero is not None else 0.0
        clock = event.at_utc.strftime("%H:%M:%S.%f")[:-3]
        yield f"  {clock} {after_s:+10.3f}  {event.store:<8} {event.kind:<19} {_event_text(event)}"


def _event_text(event: Event) -> str:
    stage = f"{event.stage}: " if event.stage and event.stage not in event.text else ""
    attempt = f" (attempt {event.attempt})" if event.attempt and event.attempt > 1 else ""
    is_object = event.store is not Store.dagster and event.details.get("etag")
    etag = f", etag {event.details['etag']}" if is_object else ""
    uri = f", {event.details['uri']}" if event.kind == Kind.MESSAGE_STORED else ""
    return f"{stage}{event.text}{etag}{uri}{attempt}"
