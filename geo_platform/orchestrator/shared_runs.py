"""Read shared runs from Dagster's storage, and build the request that retries a run of any job.

A shared run ingests several files, each separately; `assets/batch.py` executes it.

Called by `instance_state.py`, `launch.py` and `run_history.py`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from assets.batch import published_partitions
from geo_platform.chains.registry import (
    CHAINS,
    SHARED_JOB,
    SHARED_OP,
    chain_of_job,
    last_stages,
)
from geo_platform.runs import (
    CORRELATION_TAG,
    PARENT_RUN_TAG,
    PARTITION_TAG,
    ROOT_RUN_TAG,
    WATCH_TAG,
    RetryRequest,
    RunRequest,
)

# Limit of materializations read per stage.
_MAX_MATERIALIZATIONS = 50
_PAGE = 500


def requested_files(run: dg.DagsterRun) -> dict[str, str]:
    """Return key -> etag of the files that the run was launched for.

    Return an empty dict for a run that is not shared.
    """
    return (
        {str(file["key"]): str(file.get("etag", "")) for file in _config_of(run).get("files", ())}
        if run.job_name == SHARED_JOB
        else {}
    )


def unpublished_files(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    """Return the keys of the files that the run did not publish."""
    done = published_partitions(instance, run.run_id)
    return [key for key in requested_files(run) if key not in done]


def retry_request(instance: dg.DagsterInstance, run_id: str) -> RetryRequest | None:
    """Return the request that processes again what a run did not publish.

    Return None if Dagster has no such run. A run of any job can be retried. While the run has not
    ended, the result has no request and is marked as under way.
    """
    run = instance.get_run_by_id(run_id)
    if run is None:
        return None
    tags = {PARENT_RUN_TAG: run_id, ROOT_RUN_TAG: run.tags.get(ROOT_RUN_TAG, run_id)}
    tags |= {name: run.tags[name] for name in (WATCH_TAG, CORRELATION_TAG) if name in run.tags}
    if not run.is_finished:
        return RetryRequest((), None, is_under_way=True)
    if run.job_name == SHARED_JOB:
        files = tuple(unpublished_files(instance, run))
        configs = [file for file in _config_of(run)["files"] if file["key"] in set(files)]
        request = RunRequest(
            SHARED_JOB, None, None, {SHARED_OP: {**_config_of(run), "files": configs}}, tags
        )
        return RetryRequest(files, request if files else None)
    if run.status is dg.DagsterRunStatus.SUCCESS:
        return RetryRequest((), None)
    partition = run.tags.get(PARTITION_TAG)
    chain = chain_of_job(run.job_name)
    partitions = chain.partitions_name if chain is not None else None
    return RetryRequest(
        (partition,) if partition else (),
        RunRequest(run.job_name, partition, partitions, _options_of(run), tags),
    )


def shared_runs_of(instance: dg.DagsterInstance, partition: str) -> list[dg.RunRecord]:
    """Return the records of the shared runs that processed this file, newest first.

    The result has no run that refused the file before its first stage: such a run stored no event
    for the file.
    """
    run_ids: dict[str, None] = {}
    for chain in CHAINS:
        first = dg.AssetKey(chain.first.name)
        records_filter = dg.AssetRecordsFilter(asset_key=first, asset_partitions=[partition])
        run_ids |= dict.fromkeys(
            materialization.run_id
            for materialization in instance.fetch_materializations(
                records_filter, limit=_MAX_MATERIALIZATIONS
            ).records
        )
    return (
        [*instance.get_run_records(dg.RunsFilter(run_ids=list(run_ids), job_name=SHARED_JOB))]
        if run_ids
        else []
    )


def newest_shared_runs(instance: dg.DagsterInstance) -> Mapping[str, dg.RunRecord]:
    """Return key -> the newest shared run that was launched for this file."""
    newest: dict[str, dg.RunRecord] = {}
    for record in _shared_run_records(instance):
        for key in requested_files(record.dagster_run):
            newest.setdefault(key, record)
    return newest


def published_item(
    instance: dg.DagsterInstance, run_id: str, partition: str
) -> tuple[str, str] | None:
    """Return (collection, item id) of the item that the run published from this file, or None."""
    for stage in last_stages():
        records_filter = dg.AssetRecordsFilter(
            asset_key=dg.AssetKey(stage), asset_partitions=[partition]
        )
        for record in instance.fetch_materializations(
            records_filter, limit=_MAX_MATERIALIZATIONS
        ).records:
            materialization = record.asset_materialization
            if record.run_id == run_id and materialization is not None:
                metadata = materialization.metadata
                return str(metadata["collection"].value), str(metadata["item_id"].value)
    return None


def _shared_run_records(instance: dg.DagsterInstance) -> Iterator[dg.RunRecord]:
    cursor: str | None = None
    while page := instance.get_run_records(
        dg.RunsFilter(job_name=SHARED_JOB), limit=_PAGE, cursor=cursor
    ):
        yield from page
        cursor = page[-1].dagster_run.run_id


def _options_of(run: dg.DagsterRun) -> dict[str, Mapping[str, Any]]:
    run_config: Mapping[str, Any] = run.run_config
    return {stage: op.get("config", {}) for stage, op in run_config.get("ops", {}).items()}


def _config_of(run: dg.DagsterRun) -> Mapping[str, Any]:
    return _options_of(run).get(SHARED_OP, {})
