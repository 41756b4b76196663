"""Turn arrivals into the runs that a sensor requests: each arrival once, within the queue's limit.

The sensors on events and on listings both use it (`schedules/sensors.py`).
`geo_platform/arrivals/plan.py` groups arrivals into runs.
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
    read_asked,
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
class Taken:
    """The decisions about arrivals. Arrivals are named by their arrival key.

    `asked`: the run key of each arrival requested now. `known`: arrivals that have a run or will
    have one. `unsure`: arrivals that another tick requested a moment ago. `without_room`: arrivals
    that have to wait for the next tick. `partitions`: keys to add, by partitions name.
    """

    requests: list[dg.RunRequest] = field(default_factory=list)
    partitions: dict[str, list[str]] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    without_room: list[Arrival] = field(default_factory=list)

    def partition_requests(self) -> list[dg.AddDynamicPartitionsRequest]:
        chains = chains_by_partitions()
        return [
            partitions_of(chains[name]).build_add_request(keys)
            for name, keys in self.partitions.items()
        ]

    def add(self, other: "Taken") -> None:
        self.requests += other.requests
        for name, keys in other.partitions.items():
            self.partitions.setdefault(name, []).extend(keys)
        self.asked |= other.asked
        self.known |= other.known
        self.unsure |= other.unsure
        self.without_room += other.without_room


def take(
    instance: dg.DagsterInstance, objects: ObjectStore, watch: Watch, arrivals: Iterable[Arrival]
) -> Taken:
    """Decide about each arrival, and store receipts for the runs requested now.

    Raises the store's errors.
    """
    now = datetime.now(UTC)
    by_key = {arrival_key(arrival, watch.parameters): arrival for arrival in arrivals}
    if not by_key:
        return Taken()
    asked = read_asked(objects, by_key)
    known = _with_runs(instance, objects, asked)
    without_run = read_receipts(objects, asked.keys() - known)
    taken = Taken(
        known=known, unsure={key for key, one in without_run.items() if not one.is_void(now)}
    )
    new = [arrival for key, arrival in by_key.items() if key not in taken.known | taken.unsure]
    if new:
        room = watch.most_waiting_runs - _waiting_runs(instance, watch)
        planned, taken.without_room = plan_runs(new, watch, room=max(room, 0))
        for run in planned:
            of_run = {
                key: by_key[key]
                for key in (arrival_key(arrival, watch.parameters) for arrival in run.arrivals)
            }
            receipted = write_receipts(
                objects, of_run, without_run, watch=watch.name, run_key=run.run_key, now_utc=now
            )
            taken.unsure |= of_run.keys() - receipted
            if receipted:
                _request(
                    taken,
                    replace(run, arrivals=tuple(of_run[key] for key in of_run if key in receipted)),
                    watch,
                    objects,
                )
    return taken


def arrivals_with_runs(
    instance: dg.DagsterInstance, objects: ObjectStore, arrival_keys: Iterable[str]
) -> set[str]:
    """Return the arrivals that, by their receipts, have a run or were promised one to a client.

    Raises the store's errors.
    """
    return _with_runs(instance, objects, read_asked(objects, arrival_keys))


def _with_runs(
    instance: dg.DagsterInstance, objects: ObjectStore, asked: Mapping[str, RunAsked]
) -> set[str]:
    promised = still_to_be_launched(objects, asked)
    existing = existing_run_keys(instance, {one.run_key for one in asked.values()})
    return promised | {key for key, one in asked.items() if one.run_key in existing}


def existing_run_keys(instance: dg.DagsterInstance, run_keys: Iterable[str]) -> set[str]:
    """Return the run keys for which Dagster has a run."""
    wanted, found = sorted(set(run_keys)), set()
    for start in range(0, len(wanted), _KEYS_PER_QUERY):
        records = instance.get_run_records(
            dg.RunsFilter(tags={RUN_KEY_TAG: wanted[start : start + _KEYS_PER_QUERY]})
        )
        found |= {record.dagster_run.tags[RUN_KEY_TAG] for record in records}
    return found


def _waiting_runs(instance: dg.DagsterInstance, watch: Watch) -> int:
    return len(
        instance.get_run_records(
            dg.RunsFilter(tags={WATCH_TAG: watch.name}, statuses=_WAITING),
            limit=watch.most_waiting_runs,
        )
    )


def _request(taken: Taken, run: PlannedRun, watch: Watch, objects: ObjectStore) -> None:
    tags = {WATCH_TAG: watch.name, MEMORY_TAG: run.memory.value}
    for arrival in run.arrivals:
        taken.asked[arrival_key(arrival, watch.parameters)] = run.run_key
    if run.is_shared:
        taken.requests.append(
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
    taken.partitions.setdefault(chain.partitions_name, []).append(arrival.key)
    options = watch.options_for(chain)
    taken.requests.append(
        dg.RunRequest(
            run_key=run.run_key,
            job_name=chain.job,
            run_config={"ops": {stage: {"config": config} for stage, config in options.items()}},
            tags={**tags, ARRIVAL_TAG: arrival_key(arrival, watch.parameters)},
            partition_key=arrival.key,
        )
    )


def shared_config(watch: Watch, arrivals: Sequence[Arrival]) -> dict[str, Any]:
    """Return the run config of the job for several files."""
    files = [{"key": arrival.key, "etag": arrival.etag} for arrival in arrivals]
    config = {
        "container_name": watch.container,
        "watch": watch.name,
        "parameters": watch.parameters,
        "files": files,
    }
    return {"ops": {SHARED_OP: {"config": config}}}
