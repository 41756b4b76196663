"""Times of requests: the parameter `datetime`, and the temporal operators of CQL2.

Called by `conditions.py` and `query.py`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from geo_platform.errors import QueryInvalid
from geo_platform.serving.features.fragments import Fragment, bound
from geo_platform.serving.features.opened import ColumnKind, FeatureColumn

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_SQL_TYPES = {
    ColumnKind.date: "date",
    ColumnKind.timestamp: "timestamp",
    ColumnKind.instant: "timestamp with time zone",
}
_LAST_OF_DAY = timedelta(days=1) - timedelta(microseconds=1)


@dataclass(frozen=True)
class Moment:
    """A point in time in UTC. `is_day`: it stands for the whole day, if dates are compared."""

    utc: datetime
    is_day: bool

    def at(self, *, is_last: bool) -> "Moment":
        """Return the first or the last microsecond of a day; a point in time is unchanged."""
        return Moment(self.utc + _LAST_OF_DAY, self.is_day) if self.is_day and is_last else self


def parse_moment(text: Any) -> Moment:
    """Parse a date or a time (RFC 3339). A time without a zone is in UTC.

    Raises QueryInvalid: it is neither.
    """
    try:
        if not isinstance(text, str):
            raise ValueError
        if _DAY.fullmatch(text):
            day = datetime.combine(date.fromisoformat(text), time(), UTC)
            return Moment(day, is_day=True)
        if not _DAY.match(text):
            raise ValueError
        parsed = datetime.fromisoformat(text)
        return Moment(
            parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC), is_day=False
        )
    except (ValueError, OverflowError) as error:
        raise QueryInvalid(
            f"{str(text)[:100]!r} is not a time.",
            remedy="Write it as 2026-11-24 or 2026-11-24T10:15:00Z.",
        ) from error


def as_kind(moment: Moment, kind: ColumnKind) -> Fragment:
    """Return a moment as a bound value of this kind."""
    if kind is ColumnKind.date:
        return bound(moment.utc.date().isoformat(), _SQL_TYPES[kind])
    naive = moment.utc.replace(tzinfo=None)
    zone = "+00:00" if kind is ColumnKind.instant else ""
    return bound(naive.isoformat(sep=" ") + zone, _SQL_TYPES[kind])


def kind_beside(moment: Moment, kind: ColumnKind) -> ColumnKind:
    """Return the kind as which a moment is compared with a column of this kind.

    A day is compared with a date; any other moment needs the time of the day too.
    """
    return ColumnKind.timestamp if kind is ColumnKind.date and not moment.is_day else kind


def clock(text: str) -> Fragment:
    """Return a time of the day as a bound value. Raises QueryInvalid: it is none."""
    try:
        return bound(time.fromisoformat(text).isoformat(), "time")
    except ValueError as error:
        raise QueryInvalid(f"{text[:100]!r} is not a time of the day.") from error


def within(column: FeatureColumn, text: str) -> Fragment:
    """Return the condition of the parameter `datetime`: an instant, or an interval `start/end`.

    A date of a column lasts the whole day.
    Raises QueryInvalid: the text is neither, or the interval ends before it begins.
    """
    first, separator, last = text.partition("/")
    start = None if first in ("", "..") and separator else parse_moment(first)
    end_text = last if separator else first
    end = None if end_text in ("", "..") and separator else parse_moment(end_text)
    if start is None and end is None:
        raise QueryInvalid("datetime: an interval needs a start or an end.")
    if start and end and end.at(is_last=True).utc < start.utc:
        raise QueryInvalid("datetime: the interval ends before it begins.")
    parts = []
    if start is not None:
        parts.append(column.comparable + " >= " + as_kind(start.at(is_last=False), column.kind))
    if end is not None:
        parts.append(column.comparable + " <= " + as_kind(end.at(is_last=True), column.kind))
    return parts[0] if len(parts) == 1 else parts[0] + " AND " + parts[1]


def temporal_condition(operator: str, first: tuple[Any, Any], second: tuple[Any, Any]) -> Fragment:
    """Return the condition of a temporal operator of CQL2 on two times, each (start, end).

    Raises QueryInvalid: there is no such operator.
    """
    rule = _RULES.get(operator.lower())
    if rule is None:
        raise QueryInvalid(f"The filter has an operator that is not supported: {operator!r}.")
    return rule(first, second)


def _is(operator: str, left: Any, right: Any, *, at_start: tuple[bool, bool]) -> Fragment:
    """Compare two ends. `at_start` says for each whether an open one is the infinite past."""
    if left is None or right is None:
        infinite = [
            (-1 if is_start else 1) if end is None else 0
            for end, is_start in zip((left, right), at_start, strict=True)
        ]
        difference = infinite[0] - infinite[1]
        holds = {"<": difference < 0, ">": difference > 0, "=": difference == 0}
        return Fragment("TRUE" if any(holds[sign] for sign in operator) else "FALSE")
    kinds = [end[1] for end in (left, right) if not isinstance(end, Moment)]
    if len(set(kinds)) > 1 and ColumnKind.instant in kinds:
        raise QueryInvalid("The filter compares a time with a zone and one without.")
    kind = kinds[0] if kinds else ColumnKind.instant
    shown = [
        as_kind(end, kind_beside(end, kind)) if isinstance(end, Moment) else end[0]
        for end in (left, right)
    ]
    return "(" + shown[0] + f" {operator} " + shown[1] + ")"


Rule = Callable[[tuple[Any, Any], tuple[Any, Any]], Fragment]


def _rule(*comparisons: str) -> Rule:
    """Return a rule from comparisons such as `s<S`: s, e of the first time, S, E of the second."""

    def apply(first: tuple[Any, Any], second: tuple[Any, Any]) -> Fragment:
        ends = {"s": first[0], "e": first[1], "S": second[0], "E": second[1]}
        parts = [
            _is(each[1:-1], ends[each[0]], ends[each[-1]],
                at_start=(each[0] in "sS", each[-1] in "sS"))
            for each in comparisons
        ]  # fmt: skip
        result = parts[0]
        for part in parts[1:]:
            result = result + " AND " + part
        return "(" + result + ")"

    return apply


def _disjoint(first: tuple[Any, Any], second: tuple[Any, Any]) -> Fragment:
    return "NOT " + _rule("s<=E", "e>=S")(first, second)


# Table 7 of the standard.
_RULES: dict[str, Rule] = {
    "t_after": _rule("s>E"),
    "t_before": _rule("e<S"),
    "t_contains": _rule("s<S", "e>E"),
    "t_disjoint": _disjoint,
    "t_during": _rule("s>S", "e<E"),
    "t_equals": _rule("s=S", "e=E"),
    "t_finishedby": _rule("s<S", "e=E"),
    "t_finishes": _rule("s>S", "e=E"),
    "t_intersects": _rule("s<=E", "e>=S"),
    "t_meets": _rule("e=S"),
    "t_metby": _rule("s=E"),
    "t_overlappedby": _rule("s>S", "s<E", "e>E"),
    "t_overlaps": _rule("s<S", "e>S", "e<E"),
    "t_startedby": _rule("s=S", "e>E"),
    "t_starts": _rule("s=S", "e<E"),
}
