"""What becomes of a request for a job: new work is written down and handed to the dispatcher, work that is known is told how it stands.

What belongs here: the decision, and its order of doing. What stays out: HTTP (`jobs.py`, `platform.py`), what Dagster's words mean
(`job_state.py`).

    never seen                                  written down, queued
    under way                                   told so, forced or not
    done, and its result is the published one   told so, with the result
    done, and forced                            asked for anew
    done, and replaced or unpublished since     asked for anew
    failed or canceled                          asked for anew

Look up the source of a job in the object store before the job is accepted.

The etag covers the sidecars, as the first stage computes it. No content is read.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from geo_platform.api.auth.authentication import check_container, check_dataset
from geo_platform.api.auth.principal import Principal
from geo_platform.api.dagster.graphql import DagsterGraphql, RunFound
from geo_platform.api.dagster.run_events import error_of, refused_in
from geo_platform.api.jobs.dispatcher import Dispatcher
from geo_platform.api.jobs.files import is_appended
from geo_platform.api.jobs.state import JobState, Standing, newest_of, standing_of
from geo_platform.api.jobs.submissions import Kept, Submissions, waiting_place
from geo_platform.api.jobs.types import JobAsked, etag_of, job_id_of
from geo_platform.arrivals.arrival import Arrival, arrival_of
from geo_platform.arrivals.plan import memory_class
from geo_platform.arrivals.receipts import take_for_client
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
from geo_platform.source.sidecars import seen_by_driver

# Who asks how a job stands is told soon, if only that it is not known now.
STANDING_TIMEOUT_S = 2.0
_RUNS_LOOKED_AT = 5
_TRIES = 5


@dataclass(frozen=True)
class Who:
    """Who asks, by which request."""

    principal: Principal
    request_id: str
    client: ClientIds = field(default_factory=ClientIds)


@dataclass(frozen=True)
class Accepted:
    """`is_new`: a run will be made for this very request. Else `standing` says how the work stands that was asked for before."""

    job: JobSubmitted
    is_new: bool
    standing: Standing | None = None


class Intake:
    """Jobs of one deployment. Errors: those of the stores, of Dagster, and the refusals that each method names."""

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

    def submit(self, asked: JobAsked, parameters: Mapping[str, Any], who: Who) -> Accepted:
        """Raises SourceNotFound, Forbidden, and StoreUnavailable where it is not known how known work stands."""
        sources = self._sources(asked, who)
        new = self._new_job(asked, parameters, who, sources)
        for _ in range(_TRIES):
            kept = self._submissions.job(new.job_id)
            if kept is None:
                if self._submissions.put_job(new, over=""):
                    for source in sources:
                        take_from_watch(
                            self._objects,
                            self._watches,
                            source,
                            new,
                            waits_at=waiting_place(new.job_id, 1),
                        )
                    return self._accepted(new)
                continue
            standing = self.standing(kept.job)
            if standing.state.is_under_way or (self._is_done(standing) and not asked.force):
                return Accepted(kept.job, is_new=False, standing=standing)
            if (again := self._again(kept, standing, new.asked)) is not None:
                return again
        raise Conflict("This work is being asked for by several at once.", remedy="Ask again.")

    def retry(self, job_id: str, who: Who) -> Accepted:
        """Ask for a job anew that failed or was canceled, with its parameters. Raises NotFound, Forbidden, Conflict."""
        kept = self._known(job_id, who.principal)
        demand_dataset_of(kept.job, who.principal)
        standing = self.standing(kept.job)
        if standing.state is not JobState.failed:
            remedy = "Submit it with force to do it again."
            raise Conflict(
                f"The job {job_id} is {standing.state}: there is nothing to do again.",
                remedy=remedy,
            )
        asked = kept.job.asked.model_copy(update={**_asking(who), "force": False})
        again = self._again(kept, standing, asked)
        if again is None:
            raise Conflict(
                f"The job {job_id} was asked for anew a moment ago.", remedy="Ask for its status."
            )
        return again

    def cancel(self, job_id: str, who: Who) -> Standing:
        """Ask its run to end. Raises NotFound, Forbidden, and Conflict where there is no run that could."""
        kept = self._known(job_id, who.principal)
        demand_dataset_of(kept.job, who.principal)
        standing = self.standing(kept.job)
        if not standing.state.is_under_way:
            raise Conflict(
                f"The job {job_id} is {standing.state}: there is nothing to cancel.",
                remedy="Nothing has to be done.",
            )
        if standing.run is None:
            raise Conflict(
                f"The run of the job {job_id} is being launched.",
                remedy="Cancel it again in a moment.",
            )
        self._dagster.terminate(standing.run.run_id)
        return self.standing(kept.job)

    def status(self, job_id: str, principal: Principal) -> Standing:
        """Raises NotFound, also for a job of a container that the principal may not read."""
        return self.standing(self._known(job_id, principal).job)

    def standing(self, job: JobSubmitted) -> Standing:
        """How the job stands, by Dagster; what waits in this process is queued without asking."""
        attempt = job.asked.attempt
        if self._dispatcher.is_waiting(job.job_id, attempt):
            return standing_of(job, None)
        try:
            run = self._run_of(job)
        except StoreUnavailable:
            if self._submissions.is_waiting(job.job_id, attempt):  # another process is to launch it
                return standing_of(job, None)
            raise
        if (
            run is None
        ):  # written down and not handed over before its process died, or another process is at it
            self._dispatcher.hand_over(job.job_id, attempt, is_new=False)
            return standing_of(job, None)
        log = (
            self._dagster.all_events(run.run_id, timeout_s=STANDING_TIMEOUT_S)
            if run.status == "FAILURE"
            else ()
        )
        return standing_of(job, run, error_of(log), refused_in(log))

    def _run_of(self, job: JobSubmitted) -> RunFound | None:
        """The run that counts. What it did is asked of one that has begun alone: that costs the webserver several times as much."""
        runs = self._dagster.runs(
            tags={JOB_TAG: job.job_id}, limit=_RUNS_LOOKED_AT, timeout_s=STANDING_TIMEOUT_S
        )
        run = newest_of(job, runs)
        if run is None or run.started_at_utc is None:
            return run
        return self._dagster.run(run.run_id, timeout_s=STANDING_TIMEOUT_S) or run

    def visible(self, job_id: str, principal: Principal) -> JobSubmitted | None:
        """The job's record, where there is one and the principal may see it."""
        kept = self._submissions.job(job_id)
        may_see = kept is not None and (
            not kept.job.container or principal.may_read_container(kept.job.container)
        )
        return kept.job if kept is not None and may_see else None

    def _known(self, job_id: str, principal: Principal) -> Kept:
        kept = self._submissions.job(job_id)
        if kept is None or (
            kept.job.container and not principal.may_read_container(kept.job.container)
        ):
            raise NotFound(f"There is no job {job_id!r}.")
        return kept

    def _sources(self, asked: JobAsked, who: Who) -> tuple[Arrival, ...]:
        if not asked.sources:
            return ()
        check_container(who.principal, asked.container)
        check_dataset(who.principal, asked.dataset)
        return tuple(source_of(self._objects, asked.container, key) for key in asked.sources)

    def _new_job(
        self, asked: JobAsked, parameters: Mapping[str, Any], who: Who, sources: Sequence[Arrival]
    ) -> JobSubmitted:
        etag, memory = etag_of([source.etag for source in sources]), ""
        if sources:  # one after the other: what the largest one needs
            memory = memory_class(max(source.size_bytes for source in sources)).value
        now = datetime.now(UTC)
        work = WorkAsked(attempt=1, memory=memory, force=asked.force, **_asking(who, now))
        return JobSubmitted(
            job_id=job_id_of(asked, etag),
            job_type=asked.job_type,
            container=asked.container,
            key=asked.key,
            etag=etag,
            dataset=asked.dataset,
            parameters_json=json.dumps(parameters),
            options_json=json.dumps(asked.options),
            first_asked_at_utc=now,
            asked=work,
        )

    def _again(self, kept: Kept, standing: Standing, asked: WorkAsked) -> Accepted | None:
        """The next attempt. None where somebody else was faster."""
        before = standing.run.run_id if standing.run is not None else ""
        root = standing.run.tags.get(ROOT_RUN_TAG, before) if standing.run is not None else ""
        work = asked.model_copy(
            update={"attempt": kept.job.asked.attempt + 1, "retry_of_run": before, "root_run": root}
        )
        job = kept.job.model_copy(update={"asked": work})
        return self._accepted(job) if self._submissions.put_job(job, over=kept.etag) else None

    def _accepted(self, job: JobSubmitted) -> Accepted:
        self._dispatcher.hand_over(job.job_id, job.asked.attempt, is_new=True)
        return Accepted(job, is_new=True)

    def _is_done(self, standing: Standing) -> bool:
        """Whether it has its result, and that is what is published. Rows that were appended are not appended again."""
        if not standing.state.has_result:
            return False
        result = standing.result or {}
        return all(self._is_published(standing.job, made) for made in result.get("files", [result]))

    def _is_published(self, job: JobSubmitted, made: Mapping[str, Any]) -> bool:
        if not made.get("item_id"):
            return not job.container
        item = self._catalog.item(made["collection"], made["item_id"])
        if item is None:
            return False
        return bool(
            is_appended(job, made)
            or item["properties"].get(ITEM_RUN_ID) == made.get("published_by_run")
        )


def demand_dataset_of(job: JobSubmitted, principal: Principal) -> None:
    """Raises Forbidden where the principal may not write what the job writes."""
    if job.dataset:
        check_dataset(principal, job.dataset)


def _asking(who: Who, now: datetime | None = None) -> dict[str, Any]:
    return {
        "asked_at_utc": now or datetime.now(UTC),
        "asked_by": who.principal.subject,
        "request_id": who.request_id,
        "correlation_id": who.client.correlation_id,
        "traceparent": who.client.traceparent,
    }


def source_of(objects: ObjectStore, container: str, key: str) -> Arrival:
    """Return the object with its sidecars. Raises SourceNotFound and the store's errors."""
    try:
        main = objects.stat(container, key)
    except ParameterInvalid as error:
        raise ParameterInvalid(
            f"{key!r} cannot be the name of an object: {error.message}"
        ) from error
    folder, slash, base = key.rpartition("/")
    stem = base.rpartition(".")[0] or base
    beside = {
        stored.reference.key: stored for stored in objects.list(container, folder + slash + stem)
    }
    if key not in beside:
        raise SourceNotFound(f"There is no object {key!r} in the container {container!r} any more.")
    return arrival_of(main, tuple(beside[name] for name in seen_by_driver(key, beside)))


def take_from_watch(
    objects: ObjectStore,
    watches: Iterable[Watch],
    source: Arrival,
    job: JobSubmitted,
    *,
    waits_at: str,
) -> bool:
    """Record that these bytes have their run, the job's, so that a watch launches no other one.

    `waits_at` is the message that exists until that run does. Return False if no watch covers the
    source, or the watch was first; the job's run then follows the watch's. Raises the store's
    errors.
    """
    watch = watch_of(watches, source.container, source.key)
    if watch is None:
        return False
    return take_for_client(
        objects,
        source,
        watch,
        run_key=job.job_id,
        waits_at=waits_at,
        now_utc=job.first_asked_at_utc,
    )
