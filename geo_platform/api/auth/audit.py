"""One line for each decision of the lock: who asked for what, and what the answer was.

What belongs here: the line and what it knows of the request. What stays out: deciding (`lock.py`). A credential never gets here:
the functions take a subject and a reason, no header and no body.
"""

import json
import logging
from contextvars import ContextVar
from dataclasses import dataclass

LOGGER = logging.getLogger("geo_platform.audit")


@dataclass(frozen=True)
class Asked:
    """`route` is method and path, without the query: it may hold what is not for a log."""

    route: str = ""
    address: str = ""
    request_id: str = ""


# Set for each request by the guard; tasks and threads of the request inherit it.
ASKED: ContextVar[Asked] = ContextVar("geo_platform_asked", default=Asked())  # noqa: B039  # frozen


def audit(subject: str, *, allowed: bool, reason: str, scope: str = "") -> None:
    """As one JSON object, so that nothing in a path or a subject can begin a line of its own."""
    asked = ASKED.get()
    line = {
        "subject": subject,
        "route": asked.route,
        "scope": scope,
        "decision": "allowed" if allowed else "refused",
        "reason": reason,
        "address": asked.address,
        "request_id": asked.request_id,
    }
    LOGGER.log(logging.INFO if allowed else logging.WARNING, json.dumps(line))
