"""What was accepted, as it lies in the object store: written before anybody is told so, by one only, and read by every process.

    messages/submissions/<job id>.json                       a job, and how often it was asked for
    messages/submissions-waiting/<job id>.<attempt>.json     an attempt whose run is not known to exist
    messages/submissions-answers/<digest>.json               what was answered under an Idempotency-Key
    messages/submissions-requests/<request id>.json          a request of the platform API

What belongs here: where they lie, and taking turns. What stays out: deciding what becomes of a request (`intake.py`), launching
(`dispatcher.py`), and any status.

The header `Idempotency-Key`: the same key with the same request gets the same answer, whatever happened since.

What belongs here: keeping an answer and giving it again. What stays out: the job's own idempotency (`intake.py`), which needs no key.

A key is that of who sends it. With another request under it the answer is 422, as the IETF draft has it. Refusals are not kept: the same
request may be mended by something outside of it.
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

# Longer than a launch takes at most, with the look for its run.
CLAIM_LAPSES_S = 180

_WAITING = "submissions-waiting/"
_NAME = re.compile(rf"{_WAITING}([0-9a-f]{{64}})\.(\d+)\.json")
M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Kept:
    """A job's record, and the etag at which it says so."""

    job: JobSubmitted
    etag: str


@dataclass(frozen=True)
class PendingLaunch:
    """An attempt that has to be launched. `etag` is that of the claim by which this process is to do it."""

    job_id: str
    attempt: int
    etag: str


class Submissions:
    """The records in one object store. Errors: StoreUnavailable, StoreDenied, MessageUnreadable."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._me = f"{socket.gethostname()}/{this_process()}"

    def job(self, job_id: str) -> Kept | None:
        """What is known of a job, or None."""
        place = _job_place(job_id)
        etag = etag_or_empty(self._objects, MESSAGES, place)
        found = self._read(place, JobSubmitted) if etag else None
        return None if found is None else Kept(found, etag)

    def put_job(self, job: JobSubmitted, *, over: str) -> bool:
        """Write it where nothing is (`over` is empty) or over that etag. False where somebody else was faster."""
        return self._put(_job_place(job.job_id), job, over) is not None

    def put_waiting(self, job_id: str, attempt: int) -> PendingLaunch | None:
        """Note that the attempt has to be launched, by this process. None where somebody else is at it."""
        etag = self._put(waiting_place(job_id, attempt), self._claim(job_id, attempt), "")
        return None if etag is None else PendingLaunch(job_id, attempt, etag)

    def renew(self, waiting: PendingLaunch) -> PendingLaunch | None:
        """Claim it anew, as long as nobody else did. None where somebody did, or it was launched."""
        etag = self._put(
            waiting_place(waiting.job_id, waiting.attempt),
            self._claim(waiting.job_id, waiting.attempt),
            waiting.etag,
        )
        return None if etag is None else PendingLaunch(waiting.job_id, waiting.attempt, etag)

    def release(self, waiting: PendingLaunch) -> None:
        """This process will not launch it: another one may at once. A fault of the store is as good as a claim that lapses."""
        claim = self._claim(waiting.job_id, waiting.attempt).model_copy(update={"claimed_by": ""})
        with suppress(StoreUnavailable):
            self._put(waiting_place(waiting.job_id, waiting.attempt), claim, waiting.etag)

    def launched(self, job_id: str, attempt: int) -> None:
        """The run exists: nobody has to launch it any more."""
        self._objects.delete(MESSAGES, waiting_place(job_id, attempt))

    def is_waiting(self, job_id: str, attempt: int) -> bool:
        """Whether somebody has still to launch it, as far as the store knows."""
        return stat_or_none(self._objects, MESSAGES, waiting_place(job_id, attempt)) is not None

    def waiting(self) -> Iterator[tuple[str, int]]:
        """(job id, attempt) of all that have to be launched, whoever is at it."""
        for stored in self._objects.list(MESSAGES, _WAITING):
            if (found := _NAME.fullmatch(stored.reference.key)) is not None:
                yield found[1], int(found[2])

    def take_over(self, job_id: str, attempt: int) -> PendingLaunch | None:
        """Claim what another process was to launch and does no more: it died, or its claim lapsed. None otherwise."""
        place = waiting_place(job_id, attempt)
        etag = etag_or_empty(self._objects, MESSAGES, place)
        said = self._read(place, LaunchWaiting) if etag else None
        if said is None or not self._is_over(said):
            return None
        return self.renew(PendingLaunch(job_id, attempt, etag))

    def answer(self, subject: str, key: str) -> AnswerGiven | None:
        """What was answered under this Idempotency-Key of whoever asks."""
        return self._read(_answer_place(subject, key), AnswerGiven)

    def put_answer(self, key: str, answer: AnswerGiven) -> AnswerGiven:
        """Keep it; returns the answer that counts, which another request under the same key may have been faster with."""
        if self._put(_answer_place(answer.subject, key), answer, "") is not None:
            return answer
        return self.answer(answer.subject, key) or answer

    def request(self, request_id: str) -> DataRequested | None:
        return self._read(_request_place(request_id), DataRequested)

    def put_request(self, request: DataRequested) -> None:
        """The same request again has the same id: the first one's record stays."""
        self._put(_request_place(request.request_id), request, "")

    def _claim(self, job_id: str, attempt: int) -> LaunchWaiting:
        return LaunchWaiting(
            job_id=job_id, attempt=attempt, claimed_by=self._me, claimed_at_utc=datetime.now(UTC)
        )

    def _is_over(self, said: LaunchWaiting) -> bool:
        if not said.claimed_by:
            return True
        host, _, process = said.claimed_by.partition("/")
        is_dead = host == socket.gethostname() and not is_alive(process)
        return is_dead or datetime.now(UTC) - said.claimed_at_utc > timedelta(
            seconds=CLAIM_LAPSES_S
        )

    def _put(self, place: str, message: Message, over: str) -> str | None:
        """The new etag; None where something else lies there."""
        try:  # no metadata, which in a folder would be a second file to be made durable
            return self._objects.put_bytes(
                MESSAGES, place, dump_message(message), metadata={}, only_if_etag=over
            ).reference.etag
        except Conflict:
            return None

    def _read(self, place: str, expected: type[M]) -> M | None:
        try:
            return load_message(self._objects.read_bytes(MESSAGES, place), expected)
        except SourceNotFound:
            return None
        except ContractError as error:
            raise MessageUnreadable(f"{MESSAGES}/{place} cannot be read: {error}") from error


def _job_place(job_id: str) -> str:
    return f"submissions/{job_id}.json"


def waiting_place(job_id: str, attempt: int) -> str:
    """Where it lies among the messages that the attempt is to be launched, until its run exists."""
    return f"{_WAITING}{job_id}.{attempt}.json"


def _answer_place(subject: str, key: str) -> str:
    """A digest, since a key may be anything."""
    return f"submissions-answers/{hashlib.sha256(f'{len(subject)}/{subject}/{key}'.encode()).hexdigest()}.json"


def _request_place(request_id: str) -> str:
    return f"submissions-requests/{request_id}.json"


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key with the same body gets the same answer; with another body it is refused.",
        examples=["7f3f1b52-5f0e-4d58-9a0a-0a8f0f7d9c11"],
    ),
]


def answered_once(
    submissions: Submissions,
    subject: str,
    key: str | None,
    asked: tuple[str, Any],
    answer: Callable[[], tuple[int, BaseModel]],
) -> JSONResponse:
    """The answer to what is asked (route, body), made now or before. Raises ParameterInvalid for a key of another request."""
    if key is None:
        status, body = answer()
        return JSONResponse(body.model_dump(mode="json"), status)
    digest = hashlib.sha256(
        json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()
    before = submissions.answer(subject, key)
    if before is None:
        status, body = answer()
        given = AnswerGiven(
            subject=subject,
            request_sha256=digest,
            status=status,
            body_json=json.dumps(body.model_dump(mode="json")),
            answered_at_utc=datetime.now(UTC),
        )
        before = submissions.put_answer(key, given)
    if before.request_sha256 != digest:
        raise ParameterInvalid(
            "This Idempotency-Key was sent with another request before.",
            remedy="Send a new key with a new request.",
        )
    return JSONResponse(json.loads(before.body_json), before.status)
