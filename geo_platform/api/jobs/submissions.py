"""Store accepted submissions, claim their launches, and repeat responses by Idempotency-Key.

A submission is stored before the response is sent, so that a restart does not lose the submission.
All processes share the records. A record is replaced only if its etag is still the one that was
read.

    messages/submissions/<job id>.json                     a job with its last attempt
    messages/submissions-waiting/<job id>.<attempt>.json   the claim on an attempt without a run
    messages/submissions-answers/<digest>.json             the response to an Idempotency-Key
    messages/submissions-requests/<request id>.json        a request of the platform API

A claim names the process that has to launch an attempt of a job. `intake.py` decides about a
request; `dispatcher.py` launches attempts.

Used by `api/jobs` and `api`.
"""

import hashlib
import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

from fastapi import Header
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from geo_platform.contracts.fault import ContractError
from geo_platform.contracts.message import Message
from geo_platform.contracts.stored import dump_message, load_message
from geo_platform.contracts.submission import (
    AnswerGiven,
    DataRequested,
    JobSubmitted,
    LaunchWaiting,
)
from geo_platform.errors import (
    Conflict,
    MessageUnreadable,
    ParameterInvalid,
    SourceNotFound,
    StoreUnavailable,
)
from geo_platform.ports import MESSAGES, ObjectStore, etag_or_empty, stat_or_none
from geo_platform.storage.local.process import is_alive, this_process

# Longer than a launch and the search for its run can take.
CLAIM_LAPSES_S = 180

_WAITING = "submissions-waiting/"
_CLAIM_KEY = re.compile(rf"{_WAITING}([0-9a-f]{{64}})\.(\d+)\.json")
M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class StoredJob:
    """A job's record, and the etag of the record."""

    job: JobSubmitted
    etag: str


@dataclass(frozen=True)
class PendingLaunch:
    """An attempt that this process has to launch. `etag` is the etag of the claim."""

    job_id: str
    attempt: int
    etag: str


class Submissions:
    """The records in one object store.

    Methods raise StoreUnavailable and StoreDenied, and MessageUnreadable if a record is invalid.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._process_name = f"{socket.gethostname()}/{this_process()}"

    def job(self, job_id: str) -> StoredJob | None:
        """Return the record of a job, or None if there is none."""
        key = _job_key(job_id)
        etag = etag_or_empty(self._objects, MESSAGES, key)
        job = self._read(key, JobSubmitted) if etag else None
        return None if job is None else StoredJob(job, etag)

    def put_job(self, job: JobSubmitted, *, only_if_etag: str) -> bool:
        """Write the record if the stored record has this etag. Return whether it was written.

        An empty etag means that no record must exist yet. If the etag differs, another process has
        written the record.
        """
        return self._put(_job_key(job.job_id), job, only_if_etag) is not None

    def put_waiting(self, job_id: str, attempt: int) -> PendingLaunch | None:
        """Claim the launch of an attempt for this process. Return None if it is claimed already."""
        etag = self._put(waiting_key(job_id, attempt), self._claim(job_id, attempt), "")
        return None if etag is None else PendingLaunch(job_id, attempt, etag)

    def renew(self, waiting: PendingLaunch) -> PendingLaunch | None:
        """Renew the claim. Return None if another process has taken it over or deleted it."""
        etag = self._put(
            waiting_key(waiting.job_id, waiting.attempt),
            self._claim(waiting.job_id, waiting.attempt),
            waiting.etag,
        )
        return None if etag is None else PendingLaunch(waiting.job_id, waiting.attempt, etag)

    def release(self, waiting: PendingLaunch) -> None:
        """Release the claim, so that another process can launch the attempt at once."""
        claim = self._claim(waiting.job_id, waiting.attempt).model_copy(update={"claimed_by": ""})
        with suppress(StoreUnavailable):  # the claim lapses anyway
            self._put(waiting_key(waiting.job_id, waiting.attempt), claim, waiting.etag)

    def launched(self, job_id: str, attempt: int) -> None:
        """Delete the claim, since the run exists."""
        self._objects.delete(MESSAGES, waiting_key(job_id, attempt))

    def is_waiting(self, job_id: str, attempt: int) -> bool:
        """Return whether the attempt has still to be launched, by any process."""
        return stat_or_none(self._objects, MESSAGES, waiting_key(job_id, attempt)) is not None

    def waiting(self) -> Iterator[tuple[str, int]]:
        """Return (job id, attempt) of all attempts that have to be launched, by any process."""
        for stored in self._objects.list(MESSAGES, _WAITING):
            if (match := _CLAIM_KEY.fullmatch(stored.reference.key)) is not None:
                yield match[1], int(match[2])

    def take_over(self, job_id: str, attempt: int) -> PendingLaunch | None:
        """Claim an attempt if its claim has lapsed or the claiming process has died.

        Return None if the claim is still valid, or if there is none.
        """
        key = waiting_key(job_id, attempt)
        etag = etag_or_empty(self._objects, MESSAGES, key)
        claim = self._read(key, LaunchWaiting) if etag else None
        if claim is None or not self._has_lapsed(claim):
            return None
        return self.renew(PendingLaunch(job_id, attempt, etag))

    def answer(self, subject: str, key: str) -> AnswerGiven | None:
        """Return the response to this Idempotency-Key of a principal, or None."""
        return self._read(_answer_key(subject, key), AnswerGiven)

    def put_answer(self, key: str, answer: AnswerGiven) -> AnswerGiven:
        """Store the response, unless a concurrent request was first. Return the stored response."""
        if self._put(_answer_key(answer.subject, key), answer, "") is not None:
            return answer
        return self.answer(answer.subject, key) or answer

    def request(self, request_id: str) -> DataRequested | None:
        """Return a request of the platform API, or None."""
        return self._read(_request_key(request_id), DataRequested)

    def put_request(self, request: DataRequested) -> None:
        """Store a request. If it is stored already, the stored record is kept."""
        self._put(_request_key(request.request_id), request, "")

    def _claim(self, job_id: str, attempt: int) -> LaunchWaiting:
        return LaunchWaiting(
            job_id=job_id,
            attempt=attempt,
            claimed_by=self._process_name,
            claimed_at_utc=datetime.now(UTC),
        )

    def _has_lapsed(self, claim: LaunchWaiting) -> bool:
        if not claim.claimed_by:
            return True
        host, _, process = claim.claimed_by.partition("/")
        is_dead = host == socket.gethostname() and not is_alive(process)
        return is_dead or datetime.now(UTC) - claim.claimed_at_utc > timedelta(
            seconds=CLAIM_LAPSES_S
        )

    def _put(self, key: str, message: Message, only_if_etag: str) -> str | None:
        """Return the new etag, or None if the stored record has another etag than expected."""
        try:
            # No metadata: a folder stores it in a second file, which must be made durable too.
            return self._objects.put_bytes(
                MESSAGES, key, dump_message(message), metadata={}, only_if_etag=only_if_etag
            ).reference.etag
        except Conflict:
            return None

    def _read(self, key: str, expected: type[M]) -> M | None:
        try:
            return load_message(self._objects.read_bytes(MESSAGES, key), expected)
        except SourceNotFound:
            return None
        except ContractError as error:
            raise MessageUnreadable(f"{MESSAGES}/{key} cannot be read: {error}") from error


def _job_key(job_id: str) -> str:
    return f"submissions/{job_id}.json"


def waiting_key(job_id: str, attempt: int) -> str:
    """Return the key of the claim on an attempt. The claim is deleted when the run exists."""
    return f"{_WAITING}{job_id}.{attempt}.json"


def _answer_key(subject: str, key: str) -> str:
    # A digest, because a client's key may have characters that an object's name may not.
    digest = hashlib.sha256(f"{len(subject)}/{subject}/{key}".encode()).hexdigest()
    return f"submissions-answers/{digest}.json"


def _request_key(request_id: str) -> str:
    return f"submissions-requests/{request_id}.json"


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key with the same body gets the same response. With another body, "
        "it is refused with 422.",
        examples=["7f3f1b52-5f0e-4d58-9a0a-0a8f0f7d9c11"],
    ),
]


def idempotent_response(
    submissions: Submissions,
    subject: str,
    key: str | None,
    request: tuple[str, Any],
    respond: Callable[[], tuple[int, BaseModel]],
) -> JSONResponse:
    """Return the stored response to a principal's Idempotency-Key, or call `respond` and store it.

    `request` is path and body of the request. Without a key nothing is stored. An error is not
    stored either: the same request may succeed once its cause is mended. Source of the rules: the
    IETF draft for the header Idempotency-Key.

    Raises ParameterInvalid: the principal used the key with another request before.
    """
    if key is None:
        status, body = respond()
        return JSONResponse(body.model_dump(mode="json"), status)
    digest = hashlib.sha256(
        json.dumps(request, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()
    stored = submissions.answer(subject, key)
    if stored is None:
        status, body = respond()
        response = AnswerGiven(
            subject=subject,
            request_sha256=digest,
            status=status,
            body_json=json.dumps(body.model_dump(mode="json")),
            answered_at_utc=datetime.now(UTC),
        )
        stored = submissions.put_answer(key, response)
    if stored.request_sha256 != digest:
        raise ParameterInvalid(
            "This Idempotency-Key was used with another request before.",
            remedy="Send a new key with a new request.",
        )
    return JSONResponse(json.loads(stored.body_json), stored.status)
