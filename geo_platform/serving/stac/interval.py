"""Read the times of a search, as RFC 3339 instants and intervals.

Used by `serving/stac`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import HTTPException
from stac_fastapi.types.rfc3339 import str_to_interval

from geo_platform.errors import QueryInvalid

EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)

Interval = tuple[datetime, datetime]


def interval_of(text: str, parameter: str = "datetime") -> Interval:
    """Return start and end, both included, of an instant or an interval with open ends (`..`).

    Raises QueryInvalid: it is not RFC 3339, or ends before it starts.
    """
    try:
        parsed = str_to_interval(text)
    except HTTPException as error:
        raise _invalid(parameter, text, str(error.detail)) from error
    except (ValueError, OverflowError) as error:
        raise _invalid(parameter, text, str(error)) from error
    start, end = parsed if isinstance(parsed, tuple) else (parsed, parsed)
    try:
        return (
            EARLIEST if start is None else start.astimezone(UTC),
            LATEST if end is None else end.astimezone(UTC),
        )
    except OverflowError as error:
        raise _invalid(parameter, text, "it is out of range") from error


def instant(text: str, parameter: str) -> datetime:
    """Return an instant. Raises QueryInvalid: it is not RFC 3339."""
    if "/" in text:
        raise _invalid(parameter, text, "it is an interval")
    return interval_of(text, parameter)[0]


def item_interval(properties: Mapping[str, Any]) -> Interval:
    """Return the time of an item, as pgSTAC reads it: start and end if it has both, else its time.

    Without a readable time it is all times.
    """
    start, end = properties.get("start_datetime"), properties.get("end_datetime")
    moment = properties.get("datetime")
    first, last = (start, end) if start and end else (moment, moment)
    try:
        return _utc(first), _utc(last)
    except (TypeError, ValueError, OverflowError):
        return EARLIEST, LATEST


def _utc(text: Any) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _invalid(parameter: str, text: str, reason: str) -> QueryInvalid:
    return QueryInvalid(
        f"{parameter}: {text[:60]!r} is not a time: {reason.rstrip('.')}.",
        remedy="Give 2026-01-31T00:00:00Z, or an interval such as 2026-01-01T00:00:00Z/...",
    )
