"""Ingest one source: put it into the store, run its job, and return the outcome.

An error of a source becomes the outcome of this source and does not stop the other sources.
`sources.py` finds the sources; `outcome.py` prints the outcomes.

Called by `cli/commands/demo.py` and `cli/commands/ingest.py`.
"""

import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from geo_platform.catalog.publish import find_published
from geo_platform.chains.chain import Chain, ChainOptions
from geo_platform.cli.application import Application, Launcher
from geo_platform.cli.outcome import (
    CommandOutcome,
    SourceOutcome,
    error_record,
    named_as_typed,
    outcome_of,
)
from geo_platform.cli.parameters import options_of
from geo_platform.cli.requests import SourceRequest
from geo_platform.cli.sources import Candidate, with_known_key
from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.contracts.publication import ItemPublished
from geo_platform.ports import BRONZE, UPLOAD_ORIGIN, ObjectStore
from geo_platform.runs import RunReport, RunRequest
from geo_platform.source.sidecars import all_sidecars
from geo_platform.storage.local.source_files import upload_file

_NO_TAGS: Mapping[str, str] = {}


def ingest(
    request: SourceRequest,
    application: Application,
    launch: Callable[[], Launcher],
    tags: Mapping[str, str] = _NO_TAGS,
) -> tuple[SourceOutcome, ...]:
    """Run the job of one source and return the outcome, or one outcome for each of its items.

    If the same source with the same options was published before, no run is started, unless the
    request has `force`. `tags` become tags of the run.

    Raises click.ClickException, ModuleNotFoundError: no job can be run in this installation. Any
    other exception becomes the outcome of this source.
    """
    started = time.perf_counter()
    candidate = request.candidate
    try:
        chain = request.known_chain()
        options = options_of(chain, request.parameters)
        candidate = with_known_key(candidate, application.objects)
        arrived = _upload(candidate, chain, options, application)
        published = (
            None if arrived.force else _published_before(arrived, chain, options, application)
        )
        if published is not None:
            return (_unchanged(candidate, chain, published, time.perf_counter() - started),)
        report = launch().run(_run_request(candidate, chain, options, tags))
    except (click.ClickException, ModuleNotFoundError):
        raise  # without Dagster or a missing extra, every source would fail
    except Exception as error:  # noqa: BLE001  # becomes the outcome of this source; it must not stop the others
        return (_without_run(request, error, time.perf_counter() - started),)
    return _from_report(candidate, chain, report, time.perf_counter() - started)


def _without_run(request: SourceRequest, error: Exception, seconds: float) -> SourceOutcome:
    """Return the outcome of a source that had no run."""
    record = error_record(error, request.candidate)
    return SourceOutcome(
        source=request.candidate.shown,
        kind=request.chain.name if isinstance(request.chain, Chain) else None,
        outcome=outcome_of(record),
        run_id=None,
        item=None,
        error=record,
        seconds=round(seconds, 3),
        traceback="".join(traceback.format_exception(error)),
    )


def _upload(
    candidate: Candidate, chain: Chain, options: ChainOptions, application: Application
) -> ObjectArrived:
    """Put the file and its sidecars into the store, and run the first stage of the chain."""
    for key, path in reversed(candidate.files.items()):  # the sidecars first
        upload_file(application.objects, path, BRONZE, key)
    if candidate.path is not None:
        _remove_sidecars_that_are_gone(candidate, candidate.path, application.objects)
    return chain.receive(application.objects, candidate.key, options)


def _remove_sidecars_that_are_gone(candidate: Candidate, path: Path, objects: ObjectStore) -> None:
    """Remove uploaded sidecars whose file no longer exists; they would still count."""
    folder, _, name = candidate.key.rpartition("/")
    if name != path.name:
        return  # the name was changed, so the names of sidecars cannot be compared
    prefix = f"{folder}/{name.partition('.')[0]}"
    listed = [stored.reference.key for stored in objects.list(BRONZE, prefix)]
    for key in all_sidecars(candidate.key, listed):
        is_gone = not path.with_name(key.rpartition("/")[2]).exists()
        if (
            is_gone
            and key not in candidate.sidecars
            and UPLOAD_ORIGIN in objects.stat(BRONZE, key).metadata
        ):
            objects.delete(BRONZE, key)


def _published_before(
    arrived: ObjectArrived, chain: Chain, options: ChainOptions, application: Application
) -> ItemPublished | None:
    """Return the published item of the same source and options.

    Return None if there is none, or if only a run can find out where the item would be published.
    """
    place = chain.place_ahead(arrived, options)
    if place is None:
        return None
    fingerprint = chain.fingerprint(arrived, options)
    return find_published(application.catalog, *place, fingerprint, application.objects)


def _run_request(
    candidate: Candidate, chain: Chain, options: ChainOptions, tags: Mapping[str, str]
) -> RunRequest:
    # A file name need not be text in UTF-8, but a tag is.
    shown = candidate.shown.encode(errors="backslashreplace").decode()
    return RunRequest(
        job=chain.job,
        partition=candidate.key,
        partitions_name=chain.partitions_name,
        stage_options=options.as_config(),
        tags={**tags, "geo_platform/source": shown[:1000]},
    )


def _unchanged(
    candidate: Candidate, chain: Chain, published: ItemPublished, seconds: float
) -> SourceOutcome:
    return SourceOutcome(
        source=candidate.shown,
        kind=chain.name,
        outcome=CommandOutcome.unchanged,
        run_id=published.run_id,
        item=published.item_id,
        outputs=published.outputs,
        seconds=round(seconds, 3),
    )


def _from_report(
    candidate: Candidate, chain: Chain, report: RunReport, seconds: float
) -> tuple[SourceOutcome, ...]:
    result = report.result or {}
    return tuple(
        _of_item(candidate, chain, report, published, seconds)
        for published in result.get("items", [result])
    )


def _of_item(
    candidate: Candidate,
    chain: Chain,
    report: RunReport,
    published: Mapping[str, Any],
    seconds: float,
) -> SourceOutcome:
    success = (
        CommandOutcome.unchanged if published.get("was_unchanged") else CommandOutcome.published
    )
    run_id = published["published_by_run"] if published.get("was_unchanged") else report.run_id
    return SourceOutcome(
        source=candidate.shown,
        kind=chain.name,
        outcome=outcome_of(report.error) if report.error else success,
        run_id=run_id,
        item=published.get("item_id"),
        outputs=tuple(published.get("outputs", ())),
        error=named_as_typed(report.error, candidate) if report.error else None,
        seconds=round(seconds, 3),
        stage_seconds=report.stage_seconds,
        traceback=report.traceback,
    )
