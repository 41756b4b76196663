"""Ingesting one local file: into the store, through its job, to an answer. No refusal of one stops the others.

What belongs here: the order of things and what each error becomes. What stays out: options, printing, walking.
"""

import time
import traceback
from collections.abc import Callable, Mapping

import click

from geo_platform.catalog.naming import item_place
from geo_platform.catalog.publish import find_published
from geo_platform.chains import CHAINS, Chain, ChainOptions
from geo_platform.cli.application import Application, Launcher
from geo_platform.cli.outcome import CommandOutcome, SourceOutcome, as_platform_error, outcome_of
from geo_platform.cli.parameters import options_of
from geo_platform.cli.requests import SourceRequest
from geo_platform.cli.sources import Candidate
from geo_platform.contracts.arrival import ObjectArrived, SourceKind
from geo_platform.contracts.publication import ItemPublished
from geo_platform.fingerprint import extend
from geo_platform.options import ArrivalOptions, ItemOptions
from geo_platform.ports import BRONZE
from geo_platform.runs import RunReport, RunRequest
from geo_platform.source.arrival import receive
from geo_platform.storage.local.source_files import upload_file
from geo_platform.vector.options import LoadMode, VectorFeaturesOptions

_NO_TAGS: Mapping[str, str] = {}


def ingest(
    request: SourceRequest,
    application: Application,
    launch: Callable[[], Launcher],
    tags: Mapping[str, str] = _NO_TAGS,
) -> SourceOutcome:
    """Take one source through its job, or answer with what was published of the same source and recipe before.

    `tags` are put on the run, beside its source.

    Raises click.ClickException where there are no jobs here at all; anything else becomes this source's answer.
    """
    started = time.perf_counter()
    candidate = request.candidate
    try:
        kind = request.known_kind()
        chain = CHAINS[kind]
        options = options_of(chain, request.parameters)
        arrived = _arrive(candidate, chain, options, application)
        before = None if arrived.force else _published_before(arrived, chain, options, application)
        if before is not None:
            return _unchanged(candidate, kind, before, time.perf_counter() - started)
        report = launch().run(_run_request(candidate, chain, options, tags))
    except (click.ClickException, ModuleNotFoundError):
        raise  # a missing extra concerns every source
    except Exception as error:  # noqa: BLE001  # one source's fault must not stop the others; it is reported as that source's answer
        return _without_run(request, error, time.perf_counter() - started)
    return _from_report(candidate, kind, report, time.perf_counter() - started)


def _without_run(request: SourceRequest, error: Exception, seconds: float) -> SourceOutcome:
    """The answer for a source that never got as far as a run."""
    record = as_platform_error(error).as_record()
    return SourceOutcome(
        source=request.candidate.shown,
        kind=request.kind.value if isinstance(request.kind, SourceKind) else None,
        outcome=outcome_of(record),
        run_id=None,
        item=None,
        error=record,
        seconds=round(seconds, 3),
        traceback="".join(traceback.format_exception(error)),
    )


def _arrive(
    candidate: Candidate, chain: Chain, options: ChainOptions, application: Application
) -> ObjectArrived:
    for sidecar in candidate.sidecars:
        upload_file(
            application.objects,
            sidecar,
            BRONZE,
            f"{candidate.key.rpartition('/')[0]}/{sidecar.name}".lstrip("/"),
        )
    upload_file(application.objects, candidate.path, BRONZE, candidate.key)
    return receive(
        application.objects, BRONZE, candidate.key, options.of(ArrivalOptions), expected=chain.kind
    )


def fingerprint_of(arrived: ObjectArrived, chain: Chain, options: ChainOptions) -> str:
    """What the last stage's fingerprint will be: each stage extends its predecessor's."""
    fingerprint = arrived.fingerprint
    for stage in list(chain.stages)[1:]:
        fingerprint = extend(fingerprint, stage, options.by_stage[stage].model_dump(mode="json"))
    return fingerprint


def _published_before(
    arrived: ObjectArrived, chain: Chain, options: ChainOptions, application: Application
) -> ItemPublished | None:
    """What was published of the same source and recipe, where that can be known without a run.

    Rows are appended to what others appended, and their item is called after the dataset, whose name the run finds out.
    """
    if (
        chain.kind is SourceKind.vector
        and options.of(VectorFeaturesOptions).mode is LoadMode.append
    ):
        return None
    collection, item_id = item_place(arrived, options.of(ItemOptions))
    return find_published(
        application.catalog,
        collection,
        item_id,
        fingerprint_of(arrived, chain, options),
        application.objects,
    )


def _run_request(
    candidate: Candidate, chain: Chain, options: ChainOptions, tags: Mapping[str, str]
) -> RunRequest:
    return RunRequest(
        job=chain.job,
        partition=candidate.key,
        partitions_name=chain.partitions_name,
        stage_options=options.as_config(),
        tags={**tags, "geo_platform/source": candidate.shown[:1000]},
    )


def _unchanged(
    candidate: Candidate, kind: SourceKind, before: ItemPublished, seconds: float
) -> SourceOutcome:
    return SourceOutcome(
        source=candidate.shown,
        kind=kind.value,
        outcome=CommandOutcome.unchanged,
        run_id=before.run_id,
        item=before.item_id,
        outputs=before.outputs,
        seconds=round(seconds, 3),
    )


def _from_report(
    candidate: Candidate, kind: SourceKind, report: RunReport, seconds: float
) -> SourceOutcome:
    published = report.result or {}
    ended_well = (
        CommandOutcome.unchanged if published.get("was_unchanged") else CommandOutcome.published
    )
    run_id = published["published_by_run"] if published.get("was_unchanged") else report.run_id
    return SourceOutcome(
        source=candidate.shown,
        kind=kind.value,
        outcome=outcome_of(report.error) if report.error else ended_well,
        run_id=run_id,
        item=published.get("item_id"),
        outputs=tuple(published.get("outputs", ())),
        error=report.error,
        seconds=round(seconds, 3),
        stage_seconds=report.stage_seconds,
        traceback=report.traceback,
    )
