"""Read shared runs, which take several files, from Dagster's storage, and build a run's retry.

`assets/batch.py` executes shared runs.
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

# Materializations read per stage.
_MAX_MATERIALIZATIONS = 50
_PAGE = 500


def files_of(run: dg.DagsterRun) -> dict[str, str]:
    """Return key -> etag of the files that the run was launched for; empty for any other job."""
    return (
        {str(file["key"]): str(file.get("etag", "")) for file in _config_of(run).get("files", ())}
        if run.job_name == SHARED_JOB
        else {}
    )


def left_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    """Return the keys of the files that the run did not publish."""
    done = published_partitions(instance, run.run_id)
    return [key for key in files_of(run) if key not in done]


def retry_of(instance: dg.DagsterInstance, run_id: str) -> RetryRequest | None:
    """Return what a run of any job has left undone, or None if Dagster has no such run."""
    run = instance.get_run_by_id(run_id)
    if run is None:
        return None
    tags = {PARENT_RUN_TAG: run_id, ROOT_RUN_TAG: run.tags.get(ROOT_RUN_TAG, run_id)}
    tags |= {name: run.tags[name] for name in (WATCH_TAG, CORRELATION_TAG) if name in run.tags}
    if not run.is_finished:
        return RetryRequest((), None, is_under_way=True)
    if run.job_name == SHARED_JOB:
        files = tuple(left_of(instance, run))
        left = [file for file in _config_of(run)["files"] if file["key"] in set(files)]
        request = RunRequest(
            SHARED_JOB, None, None, {SHARED_OP: {**_config_of(run), "files": left}}, tags
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

    A run that refused the file before its first stage is missing: it stored no event for the file.
    """
    run_ids: dict[str, None] = {}
    for chain in CHAINS:
        first = dg.AssetKey(chain.first.name)
        wanted = dg.AssetRecordsFilter(asset_key=first, asset_partitions=[partition])
        run_ids |= dict.fromkeys(
            found.run_id
            for found in instance.fetch_materializations(
                wanted, limit=_MAX_MATERIALIZATIONS
            ).records
        )
    return (
        [*instance.get_run_records(dg.RunsFilter(run_ids=list(run_ids), job_name=SHARED_JOB))]
        if run_ids
        else []
    )


def newest_shared(instance: dg.DagsterInstance) -> Mapping[str, dg.RunRecord]:
    """Return key -> the newest shared run that was launched for this file."""
    found: dict[str, dg.RunRecord] = {}
    for record in _records(instance):
        for key in files_of(record.dagster_run):
            found.setdefault(key, record)
    return found


def published_item(
    instance: dg.DagsterInstance, run_id: str, partition: str
) -> tuple[str, str] | None:
    """Return (collection, item id) of what the run published from this file, or None."""
    for stage in last_stages():
        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(stage), asset_partitions=[partition])
        for record in instance.fetch_materializations(wanted, limit=_MAX_MATERIALIZATIONS).records:
            made = record.asset_materialization
            if record.run_id == run_id and made is not None:
                return str(made.metadata["collection"].value), str(made.metadata["item_id"].value)
    return None


def _records(instance: dg.DagsterInstance) -> Iterator[dg.RunRecord]:
    cursor: str | None = None
    while page := instance.get_run_records(
        dg.RunsFilter(job_name=SHARED_JOB), limit=_PAGE, cursor=cursor
    ):
        yield from page
        cursor = page[-1].dagster_run.run_id


def _options_of(run: dg.DagsterRun) -> dict[str, Mapping[str, Any]]:
    run_config: Mapping[str, Any] = run.run_config
    return {stage: given.get("config", {}) for stage, given in run_config.get("ops", {}).items()}


def _config_of(run: dg.DagsterRun) -> Mapping[str, Any]:
    return _options_of(run).get(SHARED_OP, {})
