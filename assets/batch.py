"""The op that takes several files in one run: `ingest_files`.

Each file goes through its chain by itself and has its own partition, messages, events, checks and
item. One file: `assets/files.py`. Which files share a run: `geo_platform/arrivals/plan.py`.

It is an op and no asset, since one step makes what several assets make, of partitions of several
chains. It logs the events that the assets' own steps would have logged. The files are done one
after the other in the op's own thread: Python's warning filters and GDAL's settings are global to
the process, so two files at once could get each other's. Runs are parallel, in processes of their
own.
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

# So many files in a row that end with a transient error, each after its retries, end the run. One
# or two may have a reason of their own, such as a table that a reader holds locked.
_UNAVAILABLE_AFTER = 3


class FileAsked(dg.Config):
    """A file to ingest, and the etag at which it was found."""

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
    files: list[FileAsked] = Field(min_length=1, description="Files to ingest.")


@dg.op(name=SHARED_OP, retry_policy=STORE_RETRIES)
def ingest_files(
    context: dg.OpExecutionContext,
    config: IngestFilesConfig,
    objects: dg.ResourceParam[ObjectStore],
    features: dg.ResourceParam[FeatureStore],
    catalog: dg.ResourceParam[Catalog],
    scratch: dg.ResourceParam[Scratch],
) -> None:
    """Ingest each file by itself: a refused file does not stop the others, and the run lists it."""
    asked = {file.key: file.etag for file in config.files}
    done = (
        published_partitions(context.instance, context.run.run_id)
        if context.retry_number
        else set()
    )
    outcomes: list[FileOutcome] = []
    try:
        with stage(context):
            stores = StageStores(objects, scratch, features, catalog)
            options, own = _options(config, {}), _own_options(config)
            work = FileWork(context, objects, catalog, stores, options, own)
            for outcome in _each(work, [key for key in asked if key not in done]):
                _log_events(context, outcome)
                outcomes.append(outcome)
            _check(outcomes, len(asked), context.run.run_id)
    except dg.Failure as failure:
        shown = {**files_metadata(outcomes, asked, done), **failure.metadata}
        raise dg.Failure(
            failure.description, metadata=shown, allow_retries=failure.allow_retries
        ) from failure
    context.add_output_metadata(files_metadata(outcomes, asked, done))


def published_partitions(instance: dg.DagsterInstance, run_id: str) -> set[str]:
    """Return the partitions whose item the run published, or found published already."""
    records = run_events(instance, run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)
    made = [record.asset_materialization for record in records]
    published_by = last_stages()
    return {
        one.partition
        for one in made
        if one and one.partition and one.asset_key.to_user_string() in published_by
    }


def files_metadata(
    outcomes: Sequence[FileOutcome], asked: Mapping[str, str], done: Collection[str] = ()
) -> Metadata:
    """Return how many files ended how, and which were not published, with the reasons.

    `asked`: key -> etag. `done`: keys that an earlier attempt of the step published.
    """
    errors = {outcome.key: outcome.error for outcome in outcomes if outcome.error is not None}
    refused = sum(error.user_fixable for error in errors.values())
    newer = [
        outcome.key
        for outcome in outcomes
        if asked.get(outcome.key) and outcome.etag not in (None, asked[outcome.key])
    ]
    published = sum(outcome.error is None and not outcome.was_unchanged for outcome in outcomes)
    shown = ("code", "message", "remedy")
    return {
        "files": len(asked),
        "published": published + len(done),
        "unchanged": sum(outcome.was_unchanged for outcome in outcomes),
        "refused": refused,
        "failed": len(errors) - refused,
        "not_reached": len(asked) - len(done) - len(outcomes),
        "taken_newer_than_asked": newer,
        "not_published": table_of(
            [
                {"key": key, **{name: error.as_record()[name] for name in shown}}
                for key, error in errors.items()
            ]
        ),
    }


def _options(config: IngestFilesConfig, own: Mapping[str, Any]) -> OptionsOfChains:
    """Return the options of every chain, before any file is opened. Raises ParameterInvalid."""
    given = {**config.parameters, **own, "container_name": config.container_name}
    try:
        return {chain.name: chain.fit(given) for chain in CHAINS}
    except ParametersError as error:
        raise ParameterInvalid(f"The parameters of the run do not fit: {error}.") from error


def _own_options(config: IngestFilesConfig) -> Mapping[str, OptionsOfChains]:
    """Return by key the options of those files that have parameters of their own."""
    return {file.key: _options(config, file.parameters) for file in config.files if file.parameters}


def _each(work: FileWork, keys: Sequence[str]) -> Iterator[FileOutcome]:
    """Process the files in order. Stop if the stores stay unavailable: every file would wait."""
    in_a_row = 0
    for key in keys:
        outcome = work_through(work, key)
        yield outcome
        in_a_row = in_a_row + 1 if outcome.error is not None and outcome.error.retryable else 0
        if in_a_row == _UNAVAILABLE_AFTER:
            return


def _log_events(context: dg.OpExecutionContext, outcome: FileOutcome) -> None:
    """Log the events that the steps of the file's assets and of their checks would have logged."""
    if outcome.chain is not None and outcome.made:
        name = outcome.chain.partitions_name
        if not context.instance.has_dynamic_partition(name, outcome.key):
            context.instance.add_dynamic_partitions(name, [outcome.key])
    for made in outcome.made:
        version = {
            DATA_VERSION_TAG: made.message.fingerprint,
            USER_VERSION_TAG: "true",
        }
        context.log_event(
            dg.AssetMaterialization(
                made.stage, metadata=made.metadata, partition=outcome.key, tags=version
            )
        )
        for name, found in made.checks.items():
            evaluation = dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(made.stage),
                check_name=name,
                passed=found.passed,
                metadata=found.metadata,
                severity=found.severity,
                description=found.description,
                blocking=False,
                partition=outcome.key,
            )
            context.log_event(evaluation)  # type: ignore[arg-type]  # taken, but not in the annotation of 1.13


def _check(outcomes: Sequence[FileOutcome], files: int, run_id: str) -> None:
    """Raise unless every file was published.

    Raises a store's error: one ended a file; FilesFailed: a file failed by a fault of the platform;
    FilesRefused: files were refused.
    """
    errors = {outcome.key: outcome.error for outcome in outcomes if outcome.error is not None}
    if not errors:
        return
    passing = next((error for error in errors.values() if error.retryable), None)
    if passing is not None:
        raise passing
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
