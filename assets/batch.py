"""Several files in one run: each goes through its chain by itself, and has its own partition, messages, events, checks and item.

What belongs here: the op, which files are left to do, and how the run ends. What stays out: one file's stages
and its tries (`assets/files.py`), sharing files out among runs (`geo_platform/arrivals/plan.py`).

An op and no asset, since one step makes what eight assets make, of partitions of two kinds. Of each file it tells Dagster what
the assets' own steps would have told. One file after the other, in the op's own thread: Python's record of warnings and GDAL's
settings are the process's, so that two files at once could be told each other's. Runs go in parallel, in processes of their own.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from assets.files import FileWork, Outcome, Stores, work_through
from assets.report import report_files
from assets.stage import STORE_RETRIES, StageConfig, stage
from geo_platform.chains import CHAINS, ChainOptions, ParametersError, fit
from geo_platform.contracts.arrival import SourceKind
from geo_platform.dagster_internals import DATA_VERSION_TAG, USER_VERSION_TAG, run_events
from geo_platform.errors import FilesFailed, FilesRefused, ParameterInvalid
from geo_platform.ports import Catalog, FeatureStore, ObjectStore, Scratch

# Files in a row that come to nothing by a fault that passes, each after its own tries. One or two
# may be a matter of their own, such as a table that somebody reads all the time.
_STAYS_AWAY = 3

LAST_STAGES = {kind: list(chain.stages)[-1] for kind, chain in CHAINS.items()}


class FileAsked(dg.Config):
    """A file, and the state of its bytes for which it was asked."""

    key: str = Field(min_length=1, description="Its name in the container.")
    etag: str = Field(
        "",
        description="Of the object and its sidecars when it was found; what lies there by now is taken, and said.",
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Its own parameters, before those of all."
    )


class IngestFilesConfig(StageConfig):
    """Which files of a container, with the same parameters for all of them."""

    container_name: str = Field("bronze", description="Container that the files lie in.")
    watch: str = Field("", description="Watch that found them, where one did.")
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="Parameters of the jobs, by the names of docs/parameters.md.",
    )
    files: list[FileAsked] = Field(min_length=1, description="The files.")


@dg.op(name="files", retry_policy=STORE_RETRIES)
def ingest_files(
    context: dg.OpExecutionContext,
    config: IngestFilesConfig,
    objects: dg.ResourceParam[ObjectStore],
    features: dg.ResourceParam[FeatureStore],
    catalog: dg.ResourceParam[Catalog],
    scratch: dg.ResourceParam[Scratch],
) -> None:
    """Each file is ingested by itself: one that is refused fails nobody else's, and the run says which were."""
    asked = {file.key: file.etag for file in config.files}
    done = (
        published_partitions(context.instance, context.run.run_id)
        if context.retry_number
        else set()
    )
    outcomes: list[Outcome] = []
    try:
        with stage(context):
            work = FileWork(
                context,
                Stores(objects, features, catalog, scratch),
                _options(config, {}),
                _own_options(config),
            )
            for outcome in _each(work, [key for key in asked if key not in done]):
                _tell(context, outcome)
                outcomes.append(outcome)
            _check(outcomes, len(asked), context.run.run_id)
    except dg.Failure as failure:
        shown = {**report_files(outcomes, asked, done), **failure.metadata}
        raise dg.Failure(
            failure.description, metadata=shown, allow_retries=failure.allow_retries
        ) from failure
    context.add_output_metadata(report_files(outcomes, asked, done))


def published_partitions(instance: dg.DagsterInstance, run_id: str) -> set[str]:
    """Those of which the run has published the item, or found it published."""
    records = run_events(instance, run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)
    made = [record.asset_materialization for record in records]
    return {
        one.partition
        for one in made
        if one and one.partition and one.asset_key.to_user_string() in LAST_STAGES.values()
    }


def _options(
    config: IngestFilesConfig, own: Mapping[str, Any]
) -> Mapping[SourceKind, ChainOptions]:
    """Of both kinds, before any file is opened. Raises ParameterInvalid."""
    given = {**config.parameters, **own, "container_name": config.container_name}
    try:
        return {kind: fit(chain, given) for kind, chain in CHAINS.items()}
    except ParametersError as error:
        raise ParameterInvalid(f"The parameters of the run do not fit: {error}.") from error


def _own_options(config: IngestFilesConfig) -> Mapping[str, Mapping[SourceKind, ChainOptions]]:
    """By key, of those that have parameters of their own."""
    return {file.key: _options(config, file.parameters) for file in config.files if file.parameters}


def _each(work: FileWork, keys: Sequence[str]) -> Iterator[Outcome]:
    """What became of each, one after the other. None is begun once the stores stay away: it would wait as long for nothing."""
    in_a_row = 0
    for key in keys:
        outcome = work_through(work, key)
        yield outcome
        in_a_row = in_a_row + 1 if outcome.error is not None and outcome.error.retryable else 0
        if in_a_row == _STAYS_AWAY:
            return


def _tell(context: dg.OpExecutionContext, outcome: Outcome) -> None:
    """The events that the steps of its assets and of their checks would have left in Dagster."""
    if outcome.kind is not None and outcome.made:
        name = CHAINS[outcome.kind].partitions_name
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


def _check(outcomes: Sequence[Outcome], files: int, run_id: str) -> None:
    """Raises the store's fault where one ended a file, else FilesFailed or FilesRefused where not every file was published."""
    errors = {outcome.key: outcome.error for outcome in outcomes if outcome.error is not None}
    if not errors:
        return
    passing = next((error for error in errors.values() if error.retryable), None)
    if passing is not None:
        raise passing
    failed = [key for key, error in errors.items() if not error.user_fixable]
    first = next(iter(failed or errors))
    said = f"Of {files} files {len(failed)} failed and {len(errors) - len(failed)} were refused; {first!r}: {errors[first].message}"
    remedy = f"Each has its reason in the run's metadata, not_published. Mend them, then: geo-platform retry {run_id}"
    raise FilesFailed(said, remedy=remedy) if failed else FilesRefused(said, remedy=remedy)
