"""Decide what happens with a request for a job: start an attempt, or return the state of the job.

    new                                         stored, queued
    queued or running                           its state, with or without `force`
    done, and its result is still published     its state, with the result
    done, and `force` is set                    a new attempt
    done, and replaced or unpublished since     a new attempt
    failed or cancelled                         a new attempt

An attempt is one execution of a job. The source is looked up before a job is accepted, because the
source's etag is part of the job's id. `state.py` derives states; `dispatcher.py` launches attempts.

Used by `api/jobs` and `api`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from geo_platform.api.auth.authentication import check_collections, check_container, check_dataset
from geo_platform.api.auth.principal import Principal
from geo_platform.api.dagster.graphql import DagsterGraphql, RunFound
from geo_platform.api.dagster.run_events import error_of, refused_in
from geo_platform.api.jobs.dispatcher import Dispatcher
from geo_platform.api.jobs.state import JobSnapshot, JobState, is_appended, newest_of, snapshot_of
from geo_platform.api.jobs.submissions import StoredJob, Submissions, waiting_key
from geo_platform.api.jobs.types import JobRequest, collections_of, etag_of, job_id_of
from geo_platform.arrivals.arrival import Arrival, arrival_of
from geo_platform.arrivals.plan import memory_class
from geo_platform.arrivals.receipts import write_receipt_for_client
from geo_platform.arrivals.watch import Watch, watch_of
from geo_platform.contracts.submission import JobSubmitted, WorkAsked
from geo_platform.errors import (
    Conflict,
    NotFound,
    ParameterInvalid,
    SourceNotFound,
    StoreUnavailable,
)
from geo_platform.ports import ITEM_RUN_ID, Catalog, ObjectStore
from geo_platform.runs import JOB_TAG, ROOT_RUN_TAG, ClientIds
from geo_platform.source.sidecars import group_prefixes, guess_driver_sidecars

# A status request gets a response within a few seconds, 503 if Dagster is too slow.
STATUS_TIMEOUT_S = 2.0
_MAX_RUNS_READ = 5
_MAX_TRIES = 5


@dataclass(frozen=True)
class Caller:
    """The principal of a request, with the ids of the request."""

    principal: Principal
    request_id: str
    client: ClientIds = field(default_factory=ClientIds)


@dataclass(frozen=True)
class Accepted:
    """The job of a request.

    If `is_new`, a new attempt was started. Otherwise `snapshot` is the state of the last attempt.
    """

    job: JobSubmitted
    is_new: bool
    snapshot: JobSnapshot | None = None


class Intake:
    """The jobs of one deployment.

    All methods also raise StoreUnavailable, StoreDenied: the store, the catalog or Dagster does not
    answer or refuses access. MessageUnreadable: a job's record is damaged.
    """

    def __init__(
        self,
        objects: ObjectStore,
        catalog: Catalog,
        submissions: Submissions,
        dagster: DagsterGraphql,
        dispatcher: Dispatcher,
        *,
        watches: Sequence[Watch] = (),
    ) -> None:
        self._objects = objects
        self._catalog = catalog
        self._submissions = submissions
        self._dagster = dagster
        self._dispatcher = dispatcher
        self._watches = watches

    def submit(
        self, request: JobRequest, parameters: Mapping[str, Any], caller: Caller
    ) -> Accepted:
        """Start the job, or return the state of the same job if it is active or done.

        Raises SourceNotFound: a source does not exist. Forbidden: the caller may not use the
        container, the dataset or the collection. Conflict: other requests submit the same job at
        the same time.
        """
        sources = self._sources(request, caller)
        new = self._new_job(request, parameters, caller, sources)
        for _ in range(_MAX_TRIES):
            stored = self._submissions.job(new.job_id)
            if stored is None:
                if self._submissions.put_job(new, only_if_etag=""):
                    for source in sources:
                        take_from_watch(
                            self._objects,
                            self._watches,
                            source,
                            new,
                            waits_at=waiting_key(new.job_id, 1),
                        )
                    return self._accepted(new)
                continue
            snapshot = self.snapshot(stored.job)
            if snapshot.state.is_active or (self._is_done(snapshot) and not request.force):
                return Accepted(stored.job, is_new=False, snapshot=snapshot)
            if (accepted := self._next_attempt(stored, snapshot, new.asked)) is not None:
                return accepted
        raise Conflict(
            f"Other requests submit the job {new.job_id} at the same time.",
            remedy="Submit it again.",
        )

    def retry(self, job_id: str, caller: Caller) -> Accepted:
        """Run a failed or cancelled job again, with the same parameters.

        Raises NotFound: there is no such job, or the caller may not see it. Forbidden: the caller
        may not write its dataset. Conflict: the job has not failed.
        """
        stored = self._visible_or_raise(job_id, caller.principal)
        check_dataset_of(stored.job, caller.principal)
        snapshot = self.snapshot(stored.job)
        if snapshot.state is not JobState.failed:
            raise Conflict(
                f"The job {job_id} is {snapshot.state}. Only a failed job can be retried.",
                remedy="To run it again, submit it with force=true.",
            )
        work = stored.job.asked.model_copy(update={**_request_fields(caller), "force": False})
        accepted = self._next_attempt(stored, snapshot, work)
        if accepted is None:
            raise Conflict(
                f"Another request retries the job {job_id} already.", remedy="Get its status."
            )
        return accepted

    def cancel(self, job_id: str, caller: Caller) -> JobSnapshot:
        """Ask Dagster to end the run of a job.

        Raises NotFound: there is no such job, or the caller may not see it. Forbidden: the caller
        may not write its dataset. Conflict: the job has no run that could be ended.
        """
        stored = self._visible_or_raise(job_id, caller.principal)
        check_dataset_of(stored.job, caller.principal)
        snapshot = self.snapshot(stored.job)
        if not snapshot.state.is_active:
            raise Conflict(
                f"The job {job_id} is {snapshot.state} and cannot be cancelled.",
                remedy="Nothing has to be done.",
            )
        if snapshot.run is None:
            raise Conflict(
                f"The run of the job {job_id} is being launched.",
                remedy="Cancel it again in a moment.",
            )
        self._dagster.terminate(snapshot.run.run_id)
        return self.snapshot(stored.job)

    def status(self, job_id: str, principal: Principal) -> JobSnapshot:
        """Return the state of a job.

        Raises NotFound, also for a job of a container that the principal may not read.
        """
        return self.snapshot(self._visible_or_raise(job_id, principal).job)

    def snapshot(self, job: JobSubmitted) -> JobSnapshot:
        """Return the state of a job, read from Dagster.

        A job that waits to be launched is queued. For such a job Dagster need not be available.
        A job that no process launches is handed to the dispatcher.
        """
        attempt = job.asked.attempt
        if self._dispatcher.is_waiting(job.job_id, attempt):
            return snapshot_of(job, None)
        try:
            run = self._run_of(job)
        except StoreUnavailable:
            # Another process may still have to launch the attempt.
            if self._submissions.is_waiting(job.job_id, attempt):
                return snapshot_of(job, None)
            raise
        if run is None:
            # The process that stored the attempt ended before launching it, or another process
            # launches it now. The dispatcher finds out which.
            self._dispatcher.hand_over(job.job_id, attempt, is_new=False)
            return snapshot_of(job, None)
        log = (
            self._dagster.all_events(run.run_id, timeout_s=STATUS_TIMEOUT_S)
            if run.status == "FAILURE"
            else ()
        )
        return snapshot_of(job, run, error_of(log), refused_in(log))

    def _run_of(self, job: JobSubmitted) -> RunFound | None:
        runs = self._dagster.runs(
            tags={JOB_TAG: job.job_id}, limit=_MAX_RUNS_READ, timeout_s=STATUS_TIMEOUT_S
        )
        run = newest_of(job, runs)
        # Only a started run has steps, and a query for them costs the webserver several times more.
        if run is None or run.started_at_utc is None:
            return run
        return self._dagster.run(run.run_id, timeout_s=STATUS_TIMEOUT_S) or run

    def visible(self, job_id: str, principal: Principal) -> JobSubmitted | None:
        """Return the record of a job, or None if there is none or the principal may not see it."""
        stored = self._visible(job_id, principal)
        return stored.job if stored is not None else None

    def _visible(self, job_id: str, principal: Principal) -> StoredJob | None:
        stored = self._submissions.job(job_id)
        if stored is None or not _may_see(principal, stored.job):
            return None
        return stored

    def _visible_or_raise(self, job_id: str, principal: Principal) -> StoredJob:
        stored = self._visible(job_id, principal)
        if stored is None:
            raise NotFound(f"There is no job {job_id!r}.")
        return stored

    def _sources(self, request: JobRequest, caller: Caller) -> tuple[Arrival, ...]:
        if not request.sources:
            return ()
        check_container(caller.principal, request.container)
        check_dataset(caller.principal, request.dataset)
        check_collections(caller.principal, collections_of(request.job_type, request.options))
        return tuple(source_of(self._objects, request.container, key) for key in request.sources)

    def _new_job(
        self,
        request: JobRequest,
        parameters: Mapping[str, Any],
        caller: Caller,
        sources: Sequence[Arrival],
    ) -> JobSubmitted:
        etag, memory = etag_of([source.etag for source in sources]), ""
        if sources:  # The run processes one source at a time, so the largest source decides.
            memory = memory_class(max(source.size_bytes for source in sources)).value
        now = datetime.now(UTC)
        work = WorkAsked(
            attempt=1, memory=memory, force=request.force, **_request_fields(caller, now)
        )
        return JobSubmitted(
            job_id=job_id_of(request, etag),
            job_type=request.job_type,
            container=request.container,
            key=request.key,
            etag=etag,
            dataset=request.dataset,
            parameters_json=json.dumps(parameters),
            options_json=json.dumps(request.options),
            first_asked_at_utc=now,
            asked=work,
        )

    def _next_attempt(
        self, stored: StoredJob, snapshot: JobSnapshot, work: WorkAsked
    ) -> Accepted | None:
        """Start the next attempt of a job. Return None if another request was first."""
        before = snapshot.run.run_id if snapshot.run is not None else ""
        root = snapshot.run.tags.get(ROOT_RUN_TAG, before) if snapshot.run is not None else ""
        attempt = work.model_copy(
            update={
                "attempt": stored.job.asked.attempt + 1,
                "retry_of_run": before,
                "root_run": root,
            }
        )
        job = stored.job.model_copy(update={"asked": attempt})
        if not self._submissions.put_job(job, only_if_etag=stored.etag):
            return None
        return self._accepted(job)

    def _accepted(self, job: JobSubmitted) -> Accepted:
        self._dispatcher.hand_over(job.job_id, job.asked.attempt, is_new=True)
        return Accepted(job, is_new=True)

    def _is_done(self, snapshot: JobSnapshot) -> bool:
        """Return whether the job is done and its result is published.

        Appended rows count as published, so that they are not appended again.
        """
        if not snapshot.state.has_result:
            return False
        result = snapshot.result or {}
        return all(
            self._is_published(snapshot.job, outcome) for outcome in result.get("files", [result])
        )

    def _is_published(self, job: JobSubmitted, outcome: Mapping[str, Any]) -> bool:
        if outcome.get("items"):
            return all(self._is_published(job, item) for item in outcome["items"])
        if not outcome.get("item_id"):
            return not job.container
        item = self._catalog.item(outcome["collection"], outcome["item_id"])
        if item is None:
            return False
        return bool(
            is_appended(job, outcome)
            or item["properties"].get(ITEM_RUN_ID) == outcome.get("published_by_run")
        )


def _may_see(principal: Principal, job: JobSubmitted) -> bool:
    if not job.container:
        return True
    if not principal.may_read_container(job.container):
        return False
    return not principal.collections or all(
        map(
            principal.may_use_collection,
            collections_of(job.job_type, json.loads(job.options_json)),
        )
    )


def check_dataset_of(job: JobSubmitted, principal: Principal) -> None:
    """Raise Forbidden if the principal may not write the dataset of the job."""
    if job.dataset:
        check_dataset(principal, job.dataset)


def _request_fields(caller: Caller, now: datetime | None = None) -> dict[str, Any]:
    return {
        "asked_at_utc": now or datetime.now(UTC),
        "asked_by": caller.principal.subject,
        "request_id": caller.request_id,
        "correlation_id": caller.client.correlation_id,
        "traceparent": caller.client.traceparent,
    }


def source_of(objects: ObjectStore, container: str, key: str) -> Arrival:
    """Return the object with its sidecars: the files beside it that its driver reads too.

    Raises SourceNotFound: there is no such object. ParameterInvalid: no object can have this name.
    StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    try:
        main = objects.stat(container, key)
    except ParameterInvalid as error:
        raise ParameterInvalid(
            f"{key!r} cannot be the name of an object: {error.message}"
        ) from error
    neighbours = {
        stored.reference.key: stored
        for prefix in group_prefixes(key)
        for stored in objects.list(container, prefix)
    }
    if key not in neighbours:
        raise SourceNotFound(f"There is no object {key!r} in the container {container!r} any more.")
    return arrival_of(
        main, tuple(neighbours[name] for name in guess_driver_sidecars(key, neighbours))
    )


def take_from_watch(
    objects: ObjectStore,
    watches: Iterable[Watch],
    source: Arrival,
    job: JobSubmitted,
    *,
    waits_at: str,
) -> bool:
    """Record the job's run as the run of this source, so that no watch launches another run.

    A watch launches a run for each new source in a container. `waits_at` is the key of a message
    that exists until the job's run exists. Return False if no watch covers the source, or if the
    watch has launched its run already; the job's run then executes after the run of the watch.

    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    watch = watch_of(watches, source.container, source.key)
    if watch is None:
        return False
    return write_receipt_for_client(
        objects,
        source,
        watch,
        run_key=job.job_id,
        waits_at=waits_at,
        now_utc=job.first_asked_at_utc,
    )
