"""The op `ingest_files`, which ingests several files in one run.

Each file goes through its own chain (the stages of one job) and has its own partition, messages,
events, checks and item. `assets/files.py` processes one file. `geo_platform/arrivals/plan.py`
decides which files share a run.

This is an op and not an asset, since its one step materializes the assets of several chains and
partitions. The op logs the events that the steps of these assets would have logged. It processes
the files one after another in one thread: Python's warning filters and GDAL's settings are global
to the process, so two files at once would share them. Runs are parallel: each is a process.

Called by `orchestrator/shared_runs.py` and `schedules/jobs.py`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from assets.files import FileOutcome, FileWork, OptionsOfChains, work_through
from assets.report import Metadata, table_of
from assets.stage import STORE_RETRIES, StageConfig, stage
from geo_platform.chains.chain import ParametersError, StageStores
from geo_platform.chains.registry import CHAINS, SHARED_OP, last_stages
from geo_platform.dagster_internals import DATA_VERSION_TAG, USER_VERSION_TAG, run_events
from geo_platform.errors import FilesFailed, FilesRefused, ParameterInvalid
from geo_platform.ports import Catalog, FeatureStore, ObjectStore, Scratch

# The run ends after this number of files in a row that fail with a transient error despite retries.
# Fewer failures may have another cause than an unavailable store, such as a locked table.
_MAX_TRANSIENT_FAILURES = 3


class FileConfig(dg.Config):
    """A file to ingest, the etag that it had when it was found, and its own parameters."""

    key: str = Field(min_length=1, description="Name of the object in the container.")
    etag: str = Field(
        "",
        description="Etag of the object with its sidecars when it was found. Newer bytes are "
        "ingested, and the run reports them.",
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Parameters of this file. They override those of the run."
    )


class IngestFilesConfig(StageConfig):
    """Which files of a container to ingest, and the parameters for all of them."""

    container_name: str = Field("bronze", description="Container of the files.")
    watch: str = Field("", description="Watch that found the files, if one did.")
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="Parameters of the jobs, by the names of docs/parameters.md.",
    )
    files: list[FileConfig] = Field(min_length=1, description="Files to ingest.")


@dg.op(name=SHARED_OP, retry_policy=STORE_RETRIES)
def ingest_files(
    context: dg.OpExecutionContext,
    config: IngestFilesConfig,
    objects: dg.ResourceParam[ObjectStore],
    features: dg.ResourceParam[FeatureStore],
    catalog: dg.ResourceParam[Catalog],
    scratch: dg.ResourceParam[Scratch],
) -> None:
    """Ingest each file by itself. A refused file does not stop the others; the run lists it."""
    etags = {file.key: file.etag for file in config.files}
    already_published = (
        published_partitions(context.instance, context.run.run_id)
        if context.retry_number
        else set()
    )
    outcomes: list[FileOutcome] = []
    try:
        with stage(context):
            stores = StageStores(objects, scratch, features, catalog)
            options, options_by_key = _options(config, {}), _options_by_key(config)
            work = FileWork(context, objects, catalog, stores, options, options_by_key)
            for outcome in _process(work, [key for key in etags if key not in already_published]):
                _log_events(context, outcome)
                outcomes.append(outcome)
            _raise_for_errors(outcomes, len(etags), context.run.run_id)
    except dg.Failure as failure:
        metadata = {**files_metadata(outcomes, etags, already_published), **failure.metadata}
        raise dg.Failure(
            failure.description, metadata=metadata, allow_retries=failure.allow_retries
        ) from failure
    context.add_output_metadata(files_metadata(outcomes, etags, already_published))


def published_partitions(instance: dg.DagsterInstance, run_id: str) -> set[str]:
    """Return the partitions whose last stage succeeded in the run.

    The item of such a partition was published by this run, or was already published and unchanged.
    """
    records = run_events(instance, run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)
    events = [record.asset_materialization for record in records]
    publishing_stages = last_stages()
    return {
        event.partition
        for event in events
        if event and event.partition and event.asset_key.to_user_string() in publishing_stages
    }


def files_metadata(
    outcomes: Sequence[FileOutcome],
    etags: Mapping[str, str],
    already_published: Collection[str] = (),
) -> Metadata:
    """Return the number of files for each kind of outcome, and the reason of each unpublished file.

    `etags` has the requested etag of every file of the run by key. `already_published` are the keys
    that an earlier attempt of the step published.
    """
    errors = {outcome.key: outcome.error for outcome in outcomes if outcome.error is not None}
    refused = sum(error.user_fixable for error in errors.values())
    newer = [
        outcome.key
        for outcome in outcomes
        if etags.get(outcome.key) and outcome.etag not in (None, etags[outcome.key])
    ]
    published = sum(outcome.error is None and not outcome.was_unchanged for outcome in outcomes)
    fields = ("code", "message", "remedy")
    return {
        "files": len(etags),
        "published": published + len(already_published),
        "unchanged": sum(outcome.was_unchanged for outcome in outcomes),
        "refused": refused,
        "failed": len(errors) - refused,
        "not_reached": len(etags) - len(already_published) - len(outcomes),
        "taken_newer_than_asked": newer,
        "not_published": table_of(
            [
                {"key": key, **{name: error.as_record()[name] for name in fields}}
                for key, error in errors.items()
            ]
        ),
    }


def _options(config: IngestFilesConfig, file_parameters: Mapping[str, Any]) -> OptionsOfChains:
    """Return the options of every chain. The parameters of a file override those of the run.

    Raises ParameterInvalid: a value does not fit.
    """
    parameters = {
        **config.parameters,
        **file_parameters,
        "container_name": config.container_name,
    }
    try:
        return {chain.name: chain.fit(parameters) for chain in CHAINS}
    except ParametersError as error:
        raise ParameterInvalid(f"The parameters of the run do not fit: {error}.") from error


def _options_by_key(config: IngestFilesConfig) -> Mapping[str, OptionsOfChains]:
    """Return the options of the files that have parameters of their own, by key.

    Raises ParameterInvalid: a value does not fit.
    """
    return {file.key: _options(config, file.parameters) for file in config.files if file.parameters}


def _process(work: FileWork, keys: Sequence[str]) -> Iterator[FileOutcome]:
    """Process the files in order. Stop early if the stores remain unavailable.

    Otherwise every remaining file would wait for all its retries.
    """
    failures_in_a_row = 0
    for key in keys:
        outcome = work_through(work, key)
        yield outcome
        is_transient = outcome.error is not None and outcome.error.retryable
        failures_in_a_row = failures_in_a_row + 1 if is_transient else 0
        if failures_in_a_row == _MAX_TRANSIENT_FAILURES:
            return


def _log_events(context: dg.OpExecutionContext, outcome: FileOutcome) -> None:
    """Log the events that the steps of the file's assets and of their checks would have logged."""
    if outcome.chain is not None and outcome.made:
        name = outcome.chain.partitions_name
        if not context.instance.has_dynamic_partition(name, outcome.key):
            context.instance.add_dynamic_partitions(name, [outcome.key])
    for result in outcome.made:
        version = {
            DATA_VERSION_TAG: result.message.fingerprint,
            USER_VERSION_TAG: "true",
        }
        context.log_event(
            dg.AssetMaterialization(
                result.stage, metadata=result.metadata, partition=outcome.key, tags=version
            )
        )
        for name, check in result.checks.items():
            evaluation = dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(result.stage),
                check_name=name,
                passed=check.passed,
                metadata=check.metadata,
                severity=check.severity,
                description=check.description,
                blocking=False,
                partition=outcome.key,
            )
            context.log_event(evaluation)  # type: ignore[arg-type]  # taken, but not in the annotation of 1.13


def _raise_for_errors(outcomes: Sequence[FileOutcome], files: int, run_id: str) -> None:
    """Raise if any file ended with an error.

    Raises the transient error of a file, such as StoreUnavailable, so that Dagster retries the
    step. Raises FilesFailed: a file failed by a fault of the platform. Raises FilesRefused: files
    were refused, and none failed.
    """
    errors = {outcome.key: outcome.error for outcome in outcomes if outcome.error is not None}
    if not errors:
        return
    transient = next((error for error in errors.values() if error.retryable), None)
    if transient is not None:
        raise transient
    failed = [key for key, error in errors.items() if not error.user_fixable]
    first = next(iter(failed or errors))
    message = (
        f"Of {files} files {len(failed)} failed and {len(errors) - len(failed)} were refused; "
        f"{first!r}: {errors[first].message}"
    )
    remedy = (
        "The run's metadata not_published has the reason of each. Correct the files, then: "
        f"geo-platform retry {run_id}"
    )
    raise FilesFailed(message, remedy=remedy) if failed else FilesRefused(message, remedy=remedy)
