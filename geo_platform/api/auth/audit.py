"""Write one audit line for each access decision: subject, route and outcome.

The functions take a subject and a reason, never a header or a body, so that no credential can
reach the log. Decisions are made in `authentication.py` and `guard.py`.

Used by `api/auth` and `api/dagster`.
"""

import json
import logging
from contextvars import ContextVar
from dataclasses import dataclass

LOGGER = logging.getLogger("geo_platform.audit")


@dataclass(frozen=True)
class RequestInfo:
    """The fields of a request that the audit line has.

    `route` is method and path without the query, which may hold secrets.
    """

    route: str = ""
    address: str = ""
    request_id: str = ""


# The guard sets it for each request; the tasks and threads of that request inherit it.
REQUEST_INFO: ContextVar[RequestInfo] = ContextVar("geo_platform_asked", default=RequestInfo())  # noqa: B039  # frozen


def audit(subject: str, *, allowed: bool, reason: str, scope: str = "") -> None:
    """Log the decision as one JSON object, so that no path or subject can start a new line."""
    request = REQUEST_INFO.get()
    line = {
        "subject": subject,
        "route": request.route,
        "scope": scope,
        "decision": "allowed" if allowed else "refused",
        "reason": reason,
        "address": request.address,
        "request_id": request.request_id,
    }
    LOGGER.log(logging.INFO if allowed else logging.WARNING, json.dumps(line))
