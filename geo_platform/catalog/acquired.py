"""When the data was acquired, and how that is known.

What belongs here: choosing among what the user, the file's tags, its name and the store say; pure. What stays out:
reading tags, which the raster stages do.

An item must have a time. Where nothing else is known it gets the time at which the object was last modified, and says
so: a search by time then finds it, and nobody mistakes it for an observation.
"""

import calendar
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_EARLIEST_YEAR, _LATEST_YEAR = 1900, 2100


@dataclass(frozen=True)
class Acquired:
    """A moment or, with `end_utc`, a span from `start_utc` to the end of its last second."""

    start_utc: datetime
    end_utc: datetime | None
    source: str

    def properties(self) -> dict[str, str]:
        """STAC common metadata. A span has its start as nominal datetime too, so that clients that know no spans find it."""
        moment = {"datetime": rfc3339(self.start_utc)}
        if self.end_utc is None:
            return moment
        return moment | {
            "start_datetime": rfc3339(self.start_utc),
            "end_datetime": rfc3339(self.end_utc),
        }


@dataclass(frozen=True)
class _Pattern:
    name: str
    expression: re.Pattern[str]


_DATE = r"(?P<year>(?:19|20)\d\d)"
_PATTERNS = (
    # Landsat collection product identifier: LC08_L1TP_044034_20200110_20200113_01_T1 (acquired, then processed)
    _Pattern(
        "landsat",
        re.compile(
            rf"L[COTEM]\d\d_L\w{{3}}_\d{{6}}_{_DATE}(?P<month>\d\d)(?P<day>\d\d)_\d{{8}}",
            re.IGNORECASE,
        ),
    ),
    # Landsat scene identifier before collections: LC80440342020010LGN00 (day of the year)
    _Pattern(
        "landsat_scene",
        re.compile(rf"L[COTEM]\d\d{{6}}{_DATE}(?P<ordinal>\d{{3}})[A-Z]{{3}}\d\d", re.IGNORECASE),
    ),
    # Sentinel product names: S2A_MSIL2A_20200101T101411_…, S1A_IW_GRDH_1SDV_20200101T050000_… (start of sensing)
    _Pattern(
        "sentinel",
        re.compile(
            rf"(?<!\d){_DATE}(?P<month>\d\d)(?P<day>\d\d)T(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)(?!\d)",
            re.IGNORECASE,
        ),
    ),
    _Pattern(
        "year_month_day",
        re.compile(rf"(?<!\d){_DATE}(?P<mark>[-_.])(?P<month>\d\d)(?P=mark)(?P<day>\d\d)(?!\d)"),
    ),
    _Pattern("yyyymmdd", re.compile(rf"(?<!\d){_DATE}(?P<month>\d\d)(?P<day>\d\d)(?!\d)")),
    _Pattern("year_month", re.compile(rf"(?<!\d){_DATE}-(?P<month>\d\d)(?!-?\d)")),
)


def acquired(
    user: datetime | None,
    tag: tuple[str | None, str | None],
    names: Iterable[str],
    *,
    last_modified_utc: datetime,
) -> Acquired:
    """The user's word, then the tag (RFC 3339 time, its name), then the first file name with a date in it."""
    if user is not None:
        return Acquired(user.astimezone(UTC), None, "user")
    from_tag = _parsed(tag[0])
    if from_tag is not None:
        return Acquired(from_tag, None, f"tag:{tag[1] or 'unnamed'}")
    for name in names:
        found = from_file_name(name)
        if found is not None:
            return found
    return Acquired(last_modified_utc.astimezone(UTC), None, "last_modified")


def from_file_name(name: str) -> Acquired | None:
    """The first date of the first pattern that fits and is a real date; None where there is none.

    A date without a time is that whole day, a month that whole month.
    """
    for pattern in _PATTERNS:
        for match in pattern.expression.finditer(name):
            found = _from_parts(match.groupdict(), f"file_name:{pattern.name}")
            if found is not None:
                return found
    return None


def rfc3339(moment: datetime) -> str:
    """In UTC with Z, microseconds only where there are any: such texts sort by time within a second's precision."""
    text = moment.astimezone(UTC).isoformat(
        timespec="microseconds" if moment.microsecond else "seconds"
    )
    return text.replace("+00:00", "Z")


def _from_parts(parts: dict[str, str | None], source: str) -> Acquired | None:
    year = int(parts["year"] or 0)
    if not _EARLIEST_YEAR <= year <= _LATEST_YEAR:
        return None
    try:
        if parts.get("ordinal"):
            start = datetime.strptime(f"{year}{parts['ordinal']}", "%Y%j").replace(tzinfo=UTC)
            return _span(start, days=1, source=source)
        month = int(parts["month"] or 0)
        start = datetime(year, month, int(parts.get("day") or 1), tzinfo=UTC)
        if parts.get("hour"):
            moment = start.replace(
                hour=int(parts["hour"] or 0),
                minute=int(parts["minute"] or 0),
                second=int(parts["second"] or 0),
            )
            return Acquired(moment, None, source)
    except ValueError:  # digits that are no date
        return None
    return _span(
        start, days=1 if parts.get("day") else calendar.monthrange(year, month)[1], source=source
    )


def _span(start: datetime, *, days: int, source: str) -> Acquired:
    return Acquired(start, start + timedelta(days=days, seconds=-1), source)


def _parsed(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
