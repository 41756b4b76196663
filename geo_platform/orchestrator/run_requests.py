"""Turn arrivals into the runs that a sensor requests: each arrival once, within the queue's limit.

An arrival is a complete source (a file with its sidecars) in a watched container. A watch names the
container, the patterns and the parameters of its runs. `geo_platform/arrivals/plan.py` groups
arrivals into runs; `schedules/sensors.py` has the sensors.

Called by `arrival_events.py`, `arrival_listing.py` and `schedules/sensors.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from assets.partitions import partitions_of
from geo_platform.arrivals.arrival import Arrival, arrival_key
from geo_platform.arrivals.content import chain_of_arrival
from geo_platform.arrivals.plan import PlannedRun, plan_runs
from geo_platform.arrivals.receipts import (
    read_receipt_contents,
    read_receipts,
    still_to_be_launched,
    write_receipts,
)
from geo_platform.arrivals.watch import Watch
from geo_platform.chains.registry import SHARED_JOB, SHARED_OP, chains_by_partitions
from geo_platform.contracts.arrival import RunAsked
from geo_platform.ports import ObjectStore
from geo_platform.runs import ARRIVAL_TAG, ARRIVALS_TAG, MEMORY_TAG, RUN_KEY_TAG, WATCH_TAG

_STATUS = dg.DagsterRunStatus
_WAITING = [_STATUS.QUEUED, _STATUS.NOT_STARTED, _STATUS.STARTING]
_KEYS_PER_QUERY = 200


@dataclass
class LaunchPlan:
    """The runs to request for arrivals, and what is known of the other arrivals.

    Arrivals are named by their arrival key, except in `deferred`.

    `requests`: the runs to request. `partitions`: the partition keys to add, by partitions name.
    `run_keys`: the run key of each arrival whose run is requested now. `with_run`: arrivals that
    have a run or for which a client was promised one. `undecided`: arrivals that another tick
    requested a moment ago; their runs may not exist yet. `deferred`: arrivals that wait for a later
    tick, because the run queue of the watch is full.
    """

    requests: list[dg.RunRequest] = field(default_factory=list)
    partitions: dict[str, list[str]] = field(default_factory=dict)
    run_keys: dict[str, str] = field(default_factory=dict)
    with_run: set[str] = field(default_factory=set)
    undecided: set[str] = field(default_factory=set)
    deferred: list[Arrival] = field(default_factory=list)

    def partition_requests(self) -> list[dg.AddDynamicPartitionsRequest]:
        """Return the requests to Dagster to add the partition keys."""
        chains = chains_by_partitions()
        return [
            partitions_of(chains[name]).build_add_request(keys)
            for name, keys in self.partitions.items()
        ]

    def add(self, other: "LaunchPlan") -> None:
        """Add the contents of another plan to this plan."""
        self.requests += other.requests
        for name, keys in other.partitions.items():
            self.partitions.setdefault(name, []).extend(keys)
        self.run_keys |= other.run_keys
        self.with_run |= other.with_run
        self.undecided |= other.undecided
        self.deferred += other.deferred


def plan_launches(
    instance: dg.DagsterInstance, objects: ObjectStore, watch: Watch, arrivals: Iterable[Arrival]
) -> LaunchPlan:
    """Decide which runs to request for the arrivals, and store a receipt for each arrival of a run.

    A receipt records that a run was requested for an arrival, so that no later tick requests it
    again. A receipt whose run does not exist is replaced after a time.

    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access. Raises
    ContractError: a receipt cannot be read.
    """
    now = datetime.now(UTC)
    by_key = {arrival_key(arrival, watch.parameters): arrival for arrival in arrivals}
    if not by_key:
        return LaunchPlan()
    requests = read_receipt_contents(objects, by_key)
    with_run = _with_runs(instance, objects, requests)
    receipts_without_run = read_receipts(objects, requests.keys() - with_run)
    plan = LaunchPlan(
        with_run=with_run,
        undecided={
            key for key, receipt in receipts_without_run.items() if not receipt.is_void(now)
        },
    )
    new = [arrival for key, arrival in by_key.items() if key not in plan.with_run | plan.undecided]
    if new:
        room = watch.most_waiting_runs - _waiting_runs(instance, watch)
        planned, plan.deferred = plan_runs(new, watch, room=max(room, 0))
        for run in planned:
            of_run = {
                key: by_key[key]
                for key in (arrival_key(arrival, watch.parameters) for arrival in run.arrivals)
            }
            receipted = write_receipts(
                objects,
                of_run,
                receipts_without_run,
                watch=watch.name,
                run_key=run.run_key,
                now_utc=now,
            )
            plan.undecided |= of_run.keys() - receipted
            if receipted:
                _request(
                    plan,
                    replace(run, arrivals=tuple(of_run[key] for key in of_run if key in receipted)),
                    watch,
                    objects,
                )
    return plan


def arrivals_with_runs(
    instance: dg.DagsterInstance, objects: ObjectStore, arrival_keys: Iterable[str]
) -> set[str]:
    """Return the keys of the arrivals that have a run, or whose run was promised to an API client.

    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access. Raises
    ContractError: a receipt cannot be read.
    """
    return _with_runs(instance, objects, read_receipt_contents(objects, arrival_keys))


def _with_runs(
    instance: dg.DagsterInstance, objects: ObjectStore, requests: Mapping[str, RunAsked]
) -> set[str]:
    promised = still_to_be_launched(objects, requests)
    existing = existing_run_keys(instance, {request.run_key for request in requests.values()})
    return promised | {key for key, request in requests.items() if request.run_key in existing}


def existing_run_keys(instance: dg.DagsterInstance, run_keys: Iterable[str]) -> set[str]:
    """Return the run keys for which Dagster has a run."""
    keys, existing = sorted(set(run_keys)), set()
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        records = instance.get_run_records(
            dg.RunsFilter(tags={RUN_KEY_TAG: keys[start : start + _KEYS_PER_QUERY]})
        )
        existing |= {record.dagster_run.tags[RUN_KEY_TAG] for record in records}
    return existing


def _waiting_runs(instance: dg.DagsterInstance, watch: Watch) -> int:
    return len(
        instance.get_run_records(
            dg.RunsFilter(tags={WATCH_TAG: watch.name}, statuses=_WAITING),
            limit=watch.most_waiting_runs,
        )
    )


def _request(plan: LaunchPlan, run: PlannedRun, watch: Watch, objects: ObjectStore) -> None:
    tags = {WATCH_TAG: watch.name, MEMORY_TAG: run.memory.value}
    for arrival in run.arrivals:
        plan.run_keys[arrival_key(arrival, watch.parameters)] = run.run_key
    if run.is_shared:
        plan.requests.append(
            dg.RunRequest(
                run_key=run.run_key,
                job_name=SHARED_JOB,
                run_config=shared_config(watch, run.arrivals),
                tags={**tags, ARRIVALS_TAG: str(len(run.arrivals))},
            )
        )
        return
    (arrival,) = run.arrivals
    chain = chain_of_arrival(objects, arrival, member=watch.parameters.get("archive_member"))
    plan.partitions.setdefault(chain.partitions_name, []).append(arrival.key)
    options = watch.options_for(chain)
    plan.requests.append(
        dg.RunRequest(
            run_key=run.run_key,
            job_name=chain.job,
            run_config={"ops": {stage: {"config": config} for stage, config in options.items()}},
            tags={**tags, ARRIVAL_TAG: arrival_key(arrival, watch.parameters)},
            partition_key=arrival.key,
        )
    )


def shared_config(watch: Watch, arrivals: Sequence[Arrival]) -> dict[str, Any]:
    """Return the run config of the job that ingests several files in one run."""
    files = [{"key": arrival.key, "etag": arrival.etag} for arrival in arrivals]
    config = {
        "container_name": watch.container,
        "watch": watch.name,
        "parameters": watch.parameters,
        "files": files,
    }
    return {"ops": {SHARED_OP: {"config": config}}}
