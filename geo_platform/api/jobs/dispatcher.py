"""Launch accepted jobs: at once if Dagster responds, else retry until the run exists.

No job is lost and no job runs twice. An attempt is one execution of a job; the process that holds
the claim on an attempt launches it. On a second try, and after taking over the claim of another
process, the dispatcher first looks for the run, by the tags that name job and attempt. If the
webserver died while it launched a run, the run may exist without being queued. Such a run is ended
and another run is launched.

`intake.py` accepts jobs; `submissions.py` stores the claims.

Called by `api/services.py` and `intake.py`.
"""

import heapq
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Condition, Event, Thread

from geo_platform.api.dagster.graphql import (
    DagsterGraphql,
    DagsterUnavailable,
    LaunchRefused,
    RunFound,
)
from geo_platform.api.jobs.submissions import CLAIM_LAPSES_S, PendingLaunch, Submissions
from geo_platform.api.jobs.types import FILES, STAGES
from geo_platform.chains.registry import chain_of_job
from geo_platform.contracts.submission import JobSubmitted
from geo_platform.errors import Conflict, NotFound, PlatformError
from geo_platform.runs import (
    ASKED_BY_TAG,
    ATTEMPT_TAG,
    CORRELATION_TAG,
    HTTP_ORIGIN,
    JOB_TAG,
    MEMORY_TAG,
    ORIGIN_TAG,
    PARENT_RUN_TAG,
    REQUEST_TAG,
    ROOT_RUN_TAG,
    RUN_KEY_TAG,
    TRACEPARENT_TAG,
    RunRequest,
)

WORKERS = 4
SWEEP_EVERY_S = 5.0
# A sweep over ten thousand waiting jobs takes a second of processor time, which requests need too.
# The pause after a sweep is this many times its duration, so sweeps take a twentieth of the time.
_SWEEP_SHARE = 20
_STOP_TIMEOUT_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 5.0
_REFUSED_PAUSE_S = 60.0
_YIELD_S = 1.0
_UNQUEUED_LIMIT_S = 20.0
_log = logging.getLogger("geo_platform.api")


@dataclass(order=True)
class _Task:
    """An attempt to launch, not before `due` on the monotonic clock."""

    due: float
    waiting: PendingLaunch = field(compare=False)
    claimed: float = field(compare=False)
    tries: int = field(default=0, compare=False)
    may_exist: bool = field(default=False, compare=False)


def tags_of(job: JobSubmitted) -> dict[str, str]:
    """Return the tags of the run of a job's last attempt."""
    attempt = job.asked
    tags = {
        ORIGIN_TAG: HTTP_ORIGIN,
        ASKED_BY_TAG: attempt.asked_by,
        JOB_TAG: job.job_id,
        ATTEMPT_TAG: str(attempt.attempt),
        REQUEST_TAG: attempt.request_id,
        CORRELATION_TAG: attempt.correlation_id,
        TRACEPARENT_TAG: attempt.traceparent,
        MEMORY_TAG: attempt.memory,
        # By this tag a watch finds out that the source has a run.
        RUN_KEY_TAG: job.job_id if job.container else "",
        PARENT_RUN_TAG: attempt.retry_of_run,
        ROOT_RUN_TAG: attempt.root_run,
    }
    return {name: value for name, value in tags.items() if value}


def launch_of(job: JobSubmitted) -> RunRequest:
    """Return the request to Dagster that launches a job's last attempt."""
    chain = chain_of_job(job.job_type)
    options = json.loads(job.options_json)
    if chain is not None:
        options[chain.first.name]["force"] = job.asked.force
    elif job.job_type == FILES:
        options[STAGES[FILES][0]]["parameters"] = {"force": job.asked.force}
    return RunRequest(
        job=job.job_type,
        stage_options=options,
        tags=tags_of(job),
        partition=job.key or None,
        partitions_name=chain.partitions_name if chain is not None else None,
    )


class Dispatcher:
    """The threads of this process that launch runs.

    `launched` is called when a run exists. While `is_pressed()`, runs are launched slowly.
    """

    def __init__(
        self,
        submissions: Submissions,
        dagster: DagsterGraphql,
        *,
        launched: Callable[[], None] = lambda: None,
        is_pressed: Callable[[], bool] = lambda: False,
    ) -> None:
        self._submissions = submissions
        self._dagster = dagster
        self._launched = launched
        self._is_pressed = is_pressed
        self._tasks: list[_Task] = []
        self._pending: set[tuple[str, int]] = set()
        self._changed = Condition()
        self._stopping = Event()
        self._paused_until, self._failures = 0.0, 0
        self._threads: list[Thread] = []

    def start(self) -> None:
        """Start the threads. They take over attempts that an ended process has not launched."""
        self._threads = [
            Thread(target=self._work, name=f"launch-{number}", daemon=True)
            for number in range(WORKERS)
        ]
        self._threads.append(Thread(target=self._sweep, name="launch-sweep", daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop the threads, and release the claims on attempts that are not launched yet."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=_STOP_TIMEOUT_S)
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        for task in self._tasks:
            if time.monotonic() > deadline:
                break  # The other claims lapse when this process has ended.
            self._submissions.release(task.waiting)

    @property
    def waiting(self) -> int:
        """The number of attempts that this process still has to launch."""
        with self._changed:
            return len(self._pending)

    def is_waiting(self, job_id: str, attempt: int) -> bool:
        """Return whether this process still has to launch the attempt."""
        with self._changed:
            return (job_id, attempt) in self._pending

    def hand_over(self, job_id: str, attempt: int, *, is_new: bool) -> None:
        """Claim the attempt and launch it soon, unless a process has claimed it already.

        `is_new`: the attempt was accepted just now, so it cannot have a run yet.

        Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
        """
        if self.is_waiting(job_id, attempt):
            return
        waiting = self._submissions.put_waiting(job_id, attempt)
        if waiting is not None:
            self._add(waiting, may_exist=not is_new)

    def _add(self, waiting: PendingLaunch, *, may_exist: bool) -> None:
        now = time.monotonic()
        with self._changed:
            self._pending.add((waiting.job_id, waiting.attempt))
            heapq.heappush(self._tasks, _Task(now, waiting, now, may_exist=may_exist))
            self._changed.notify()

    def _next(self) -> _Task | None:
        with self._changed:
            while not self._stopping.is_set():
                pause = (
                    max(self._tasks[0].due, self._paused_until) - time.monotonic()
                    if self._tasks
                    else None
                )
                if pause is not None and pause <= 0:
                    return heapq.heappop(self._tasks)
                self._changed.wait(pause)
        return None

    def _work(self) -> None:
        while (task := self._next()) is not None:
            self._yield_to_requests()
            try:
                is_done = self._try(task)
            except DagsterUnavailable as error:
                self._pause(error)
                self._retry(task, error)
            except PlatformError as error:
                self._retry(task, error)
            except Exception as fault:  # noqa: BLE001  # one job's fault must not end the thread that launches the others
                _log.exception("Launching the job %s failed.", task.waiting.job_id)
                self._retry(task, fault)
            else:
                if is_done:
                    self._forget(task)

    def _yield_to_requests(self) -> None:
        """Wait while the process is busy with requests, but at most _YIELD_S."""
        until = time.monotonic() + _YIELD_S
        while (
            self._is_pressed()
            and time.monotonic() < until
            and not self._stopping.wait(_YIELD_S / 20)
        ):
            pass

    def _try(self, task: _Task) -> bool:
        """Launch the attempt, unless its run exists or another process has claimed the attempt.

        Return False if the attempt has to be tried again.
        """
        waiting = task.waiting
        if time.monotonic() - task.claimed > CLAIM_LAPSES_S / 3:
            renewed = self._submissions.renew(waiting)
            if renewed is None:
                return True
            task.waiting, task.claimed = renewed, time.monotonic()
        stored = self._submissions.job(waiting.job_id)
        # The job has a newer attempt, which has its own claim.
        if stored is None or stored.job.asked.attempt != waiting.attempt:
            self._submissions.launched(waiting.job_id, waiting.attempt)
            return True
        if task.may_exist:
            run = self._existing_run(stored.job)
            if run is not None and not self._is_unqueued(run):
                self._submissions.launched(waiting.job_id, waiting.attempt)
                return True
            if run is not None:
                self._retry(task, None)
                return False
        may_exist, task.may_exist = task.may_exist, True
        try:
            self._dagster.launch(launch_of(stored.job))
        except DagsterUnavailable as error:
            task.may_exist = may_exist or error.was_reached
            raise
        self._failures = 0
        self._submissions.launched(waiting.job_id, waiting.attempt)
        self._launched()
        return True

    def _existing_run(self, job: JobSubmitted) -> RunFound | None:
        """Return the run of the attempt, or None.

        End a run that should have been queued long ago, and do not return it.
        """
        tags = {JOB_TAG: job.job_id, ATTEMPT_TAG: str(job.asked.attempt)}
        for run in self._dagster.runs(tags=tags, limit=10):
            if not self._is_unqueued(run):
                return run
            if datetime.now(UTC) - run.created_at_utc < timedelta(seconds=_UNQUEUED_LIMIT_S):
                return run
            try:
                self._dagster.terminate(run.run_id, at_once=True)
            except (Conflict, NotFound):
                return run
        return None

    @staticmethod
    def _is_unqueued(run: RunFound) -> bool:
        return run.status == "NOT_STARTED"

    def _pause(self, error: DagsterUnavailable) -> None:
        """Pause all launches: if the webserver fails for one job, it fails for the next too."""
        with self._changed:
            now = time.monotonic()
            if now < self._paused_until:
                return  # Another thread has paused the launches already.
            if self._failures == 0:
                _log.warning("Launching is paused, %d jobs wait: %s", len(self._pending), error)
            self._paused_until = now + min(_FIRST_PAUSE_S * 2**self._failures, _LONGEST_PAUSE_S)
            self._failures = min(self._failures + 1, 10)

    def _retry(self, task: _Task, error: Exception | None) -> None:
        pause = min(_FIRST_PAUSE_S * 2**task.tries, _LONGEST_PAUSE_S)
        if isinstance(error, LaunchRefused):
            _log.error("%s (job %s)", error, task.waiting.job_id)
            pause = _REFUSED_PAUSE_S
        elif error is not None and task.tries == 0 and not isinstance(error, DagsterUnavailable):
            _log.warning("The job %s is not launched yet: %s", task.waiting.job_id, error)
        task.tries = min(task.tries + 1, 10)
        task.due = time.monotonic() + pause
        with self._changed:
            heapq.heappush(self._tasks, task)
            self._changed.notify()

    def _forget(self, task: _Task) -> None:
        with self._changed:
            self._pending.discard((task.waiting.job_id, task.waiting.attempt))

    def _sweep(self) -> None:
        """Take over, at intervals, attempts of processes that have ended."""
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                for job_id, attempt in self._submissions.waiting():
                    claimed = (
                        None
                        if self.is_waiting(job_id, attempt)
                        else self._submissions.take_over(job_id, attempt)
                    )
                    if claimed is not None:
                        self._add(claimed, may_exist=True)
            except PlatformError as error:
                _log.warning("Jobs left by earlier processes could not be read: %s", error)
            self._stopping.wait(max(SWEEP_EVERY_S, _SWEEP_SHARE * (time.monotonic() - began)))
