"""The header `Idempotency-Key`: the same key with the same request gets the same answer, whatever happened since.

What belongs here: keeping an answer and giving it again. What stays out: the job's own idempotency (`intake.py`), which needs no key.

A key is that of who sends it. With another request under it the answer is 422, as the IETF draft has it. Refusals are not kept: the same
request may be mended by something outside of it.
"""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Header
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from geo_platform.api.jobs.submissions import Submissions
from geo_platform.contracts.submission import AnswerGiven
from geo_platform.errors import ParameterInvalid

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
