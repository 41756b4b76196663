"""Determine when the data was acquired, and record the source of this time.

The source is the option of the user, a tag of the file, a date in a file name, or the modification
time of the object. `raster/` reads the tags.

Used by `catalog`.
"""

import calendar
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_EARLIEST_YEAR, _LATEST_YEAR = 1900, 2100


@dataclass(frozen=True)
class AcquisitionTime:
    """A point in time, or with `end_utc` a period. The second `end_utc` belongs to the period.

    `source` is `user`, `tag:<name>`, `file_name:<pattern>` or `last_modified`.
    """

    start_utc: datetime
    end_utc: datetime | None
    source: str

    def properties(self) -> dict[str, str]:
        """Return the STAC property `datetime`; for a period also its start and end."""
        # The start of a period is also the `datetime`, for clients that ignore periods.
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


_YEAR = r"(?P<year>(?:19|20)\d\d)"
_PATTERNS = (
    # Landsat collection product identifier: LC08_L1TP_044034_20200110_20200113_01_T1
    # (date of acquisition, then of processing)
    _Pattern(
        "landsat",
        re.compile(
            rf"L[COTEM]\d\d_L\w{{3}}_\d{{6}}_{_YEAR}(?P<month>\d\d)(?P<day>\d\d)_\d{{8}}",
            re.IGNORECASE,
        ),
    ),
    # Landsat scene identifier before collections: LC80440342020010LGN00 (day of the year)
    _Pattern(
        "landsat_scene",
        re.compile(rf"L[COTEM]\d\d{{6}}{_YEAR}(?P<ordinal>\d{{3}})[A-Z]{{3}}\d\d", re.IGNORECASE),
    ),
    # Sentinel product names, start of sensing: S2A_MSIL2A_20200101T101411_…,
    # S1A_IW_GRDH_1SDV_20200101T050000_…
    _Pattern(
        "sentinel",
        re.compile(
            rf"(?<!\d){_YEAR}(?P<month>\d\d)(?P<day>\d\d)"
            r"T(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)(?!\d)",
            re.IGNORECASE,
        ),
    ),
    _Pattern(
        "year_month_day",
        re.compile(rf"(?<!\d){_YEAR}(?P<mark>[-_.])(?P<month>\d\d)(?P=mark)(?P<day>\d\d)(?!\d)"),
    ),
    _Pattern("yyyymmdd", re.compile(rf"(?<!\d){_YEAR}(?P<month>\d\d)(?P<day>\d\d)(?!\d)")),
    _Pattern("year_month", re.compile(rf"(?<!\d){_YEAR}-(?P<month>\d\d)(?!-?\d)")),
)


def acquisition_time(
    user: datetime | None,
    tag: tuple[str | None, str | None],
    names: Iterable[str],
    *,
    last_modified_utc: datetime,
) -> AcquisitionTime:
    """Return the time of the user, else the tag, else a file name, else the modification time.

    `tag` is (RFC 3339 time, name of the tag); both are None if the file has no such tag. `names`
    are file names, which are searched in order. An item must have a time. Therefore the last choice
    is the modification time of the object, and `source` shows that it is no time of acquisition.
    """
    if user is not None:
        return AcquisitionTime(user.astimezone(UTC), None, "user")
    from_tag = _parsed(tag[0])
    if from_tag is not None:
        return AcquisitionTime(from_tag, None, f"tag:{tag[1] or 'unnamed'}")
    for name in names:
        acquired = from_file_name(name)
        if acquired is not None:
            return acquired
    return AcquisitionTime(last_modified_utc.astimezone(UTC), None, "last_modified")


def from_file_name(name: str) -> AcquisitionTime | None:
    """Return the first valid date that a pattern finds in a file name, or None if there is none.

    A date without a time of day becomes the period of that day, and a month becomes the period of
    that month.
    """
    for pattern in _PATTERNS:
        for match in pattern.expression.finditer(name):
            acquired = _from_parts(match.groupdict(), f"file_name:{pattern.name}")
            if acquired is not None:
                return acquired
    return None


def rfc3339(moment: datetime) -> str:
    """Format a time in UTC with `Z`, with microseconds only if they are not zero.

    Times in different seconds sort as text in the order of time.
    """
    text = moment.astimezone(UTC).isoformat(
        timespec="microseconds" if moment.microsecond else "seconds"
    )
    return text.replace("+00:00", "Z")


def _from_parts(parts: dict[str, str | None], source: str) -> AcquisitionTime | None:
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
            return AcquisitionTime(moment, None, source)
    except ValueError:  # not a date, for example 2020-02-30
        return None
    return _span(
        start, days=1 if parts.get("day") else calendar.monthrange(year, month)[1], source=source
    )


def _span(start: datetime, *, days: int, source: str) -> AcquisitionTime:
    return AcquisitionTime(start, start + timedelta(days=days, seconds=-1), source)


def _parsed(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
