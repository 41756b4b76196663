"""`geo-platform trace ID`: show one timeline over all stores. `geo_platform/trace` builds it."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from functools import cache
from typing import Any

import click

from geo_platform.cli.application import Application
from geo_platform.cli.outcome import printable
from geo_platform.process_start import frozen_imports
from geo_platform.runs import (
    ASKED_BY_TAG,
    CORRELATION_TAG,
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

_TOLD_TAGS = {
    PARTITION_TAG,
    CORRELATION_TAG,
    TRACEPARENT_TAG,
    PARENT_RUN_TAG,
    JOB_TAG,
    REQUEST_TAG,
    ASKED_BY_TAG,
    ORIGIN_TAG,
}
# Of a request to a store: a person waits, and learns which store does not answer.
_RETRIES = 1

_NOTHING_KNOWN, _NOT_ALL_REACHED = 1, 3


@click.command("trace")
@click.argument("subject", metavar="ID")
@click.option(
    "--as",
    "kind",
    type=click.Choice([*Subject]),
    help="What the ID is of, where it could be several things.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.pass_obj
def trace_id(application: Application, subject: str, kind: str | None, as_json: bool) -> None:
    """Tell everything that happened around an ID, in one timeline over all stores.

    ID is whatever you have. What it is of is decided by its form, and tried in this order: a run, a
    job of the HTTP face, an address, an object, an item, a table, a client's id.

    \b
      geo-platform trace 2f4c9a1e                          a run: its id, the first 8 characters of it, or a trace id
      geo-platform trace req-2026-11-24-0017               the id that a client gave to its request
      geo-platform trace 3b1f0c9ad2f7e651…                 a job of the HTTP face, with all its attempts; or X-Request-Id
      geo-platform trace vectors/wells                     an item, or its id alone
      geo-platform trace silver/vectors/geo/wells/…/wells.parquet
      geo-platform trace https://ACCOUNT.blob.core.windows.net/silver/…
      geo-platform trace geo.wells                         a table; or the name of a staged or replaced version
      geo-platform trace --as item 2f4c9a1e                an item that looks like a run

    Where several runs share an ID, each has its timeline, the first one first. A store that does
    not answer is named with its code, and what the others know is told.

    \b
    Exit codes: 0 all told, 1 nothing is known under this ID, 3 some store did not answer.
    """
    with ExitStack() as opened:
        answer = trace(subject, _stores(application, opened), only=Subject(kind) if kind else None)
    if as_json:
        click.echo(json.dumps(answer.document()))
    else:
        for line in _page(answer):
            click.echo(line)
    if not answer.timelines:
        click.echo(printable(_nothing_known(answer)), err=True)
    for fault in answer.unreached:
        click.echo(
            printable(
                f"Not reached: {fault['store']}. {fault['code']}: {fault['message']} {fault['remedy']}"
            ),
            err=True,
        )
    sys.exit(_NOT_ALL_REACHED if answer.unreached else 0 if answer.timelines else _NOTHING_KNOWN)


def _stores(application: Application, opened: ExitStack) -> TraceStores:
    """Open each store once, when it is first used."""
    settings = application.settings

    @cache
    def history() -> RunHistory:
        template = application.instance_template
        with frozen_imports():
            from geo_platform.orchestrator.run_history import opened as open_history
        use_home(settings.home_dir)
        return opened.enter_context(open_history(settings, template))

    provenance = application.provenance
    objects = cache(lambda: open_objects(settings, retries=_RETRIES))
    return TraceStores(
        objects,
        lambda: application.catalog,
        history,
        cache(provenance) if provenance is not None else None,
        Reach(),
    )


def _nothing_known(answer: TraceResult) -> str:
    if answer.found is not None:
        return f"{answer.found.reading.description} is there, and no run of the platform is named by it."
    looked_for = ", ".join(answer.looked_for) or "nothing: it cannot be the id of that"
    known = "as far as could be looked" if answer.unreached else "in any store of this home"
    return f"Nothing is known of {answer.question!r} {known}. Looked for: {looked_for}."


def _page(answer: TraceResult) -> Iterator[str]:
    if answer.found is not None:
        yield printable(
            f"{answer.found.reading.description}: {len(answer.timelines)} run{'s' if len(answer.timelines) != 1 else ''}"
        )
    for timeline in answer.timelines:
        yield ""
        yield from map(printable, _head(timeline))
        yield from map(printable, _body(timeline))


def _head(timeline: Timeline) -> Iterator[str]:
    document = timeline.document()
    yield f"run {timeline.run_id}  {document['job'] or 'of a job that Dagster does not tell'}  {document['status'] or ''}".rstrip()
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
        f"{name}={value}" for name, value in document["tags"].items() if name not in _TOLD_TAGS
    ]
    if others:
        yield f"  tags         {', '.join(others)}"
    for run_id in timeline.retried_by:
        yield f"  retried by   {run_id}"
    for stage in timeline.stages:
        took = f"{stage.duration_ms / 1000:.3f} s" if stage.duration_ms is not None else "-"
        attempts = f", {stage.attempts} attempts" if stage.attempts > 1 else ""
        yield f"  stage        {stage.stage:<20} {stage.status:<10} {took}{attempts}{f', {stage.error_code}' if stage.error_code else ''}"
    if timeline.error:
        yield from _error(timeline.error)
    for event in timeline.replaced:
        yield f"  replaced     {event.said}"
    for event in timeline.since:
        yield f"  since        {event.said}"


def _error(error: Mapping[str, Any]) -> Iterator[str]:
    yield f"  {error.get('code')}: {error.get('message')}"
    if error.get("remedy"):
        yield f"  What to do: {error['remedy']}"


def _body(timeline: Timeline) -> Iterator[str]:
    """A line for each event; a date where it changes, the seconds since the run was asked for
    beside each.
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
        yield f"  {clock} {after_s:+10.3f}  {event.store:<8} {event.kind:<19} {_said(event)}"


def _said(event: Event) -> str:
    stage = f"{event.stage}: " if event.stage and event.stage not in event.said else ""
    attempt = f" (attempt {event.attempt})" if event.attempt and event.attempt > 1 else ""
    is_object = event.store is not Store.dagster and event.details.get("etag")
    etag = f", etag {event.details['etag']}" if is_object else ""
    uri = f", {event.details['uri']}" if event.kind == Kind.MESSAGE_STORED else ""
    return f"{stage}{event.said}{etag}{uri}{attempt}"
