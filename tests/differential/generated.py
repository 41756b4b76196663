"""Generate small vector tables whose values are near the limits of file formats and of readers."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import shapely
from hypothesis import strategies as st
from shapely.geometry.base import BaseGeometry

INT32, INT64 = 2**31, 2**63

# Integers that a double cannot hold, and the ends of the integer types.
_INT32S = st.one_of(st.integers(-INT32, INT32 - 1), st.sampled_from([0, -1, INT32 - 1, -INT32]))
_INT64S = st.one_of(
    _INT32S, st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, INT64 - 1, -INT64, 10**17 + 1])
)
_HUGE = st.one_of(_INT64S, st.sampled_from([INT64, 2**64 - 1, 2**64 + 1, 10**20 + 1, -(10**19)]))
_FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, width=64),
    st.sampled_from([0.0, -0.0, 0.1, 1e300, 5e-324, 12.75, 1e15 + 0.5]),
)
# Text that looks like another type, and text that formats and readers have to escape.
_TRICKY = [
    "007", "1E5", "2e10", "1.0", "12,75", "-0", "+4", "0x1F", "true", "NULL", "NaN", "n/a", "-",
    "2016-11-18", "18.11.2016", "0000-00-00", "12:30", "a,b", 'say "yes"', "a;b\tc", "<b>&amp;</b>",
    "é ü ß 東京", "'; DROP TABLE x; --", "9007199254740993", "12345678901234567890",
]  # fmt: skip
_TEXTS = st.one_of(
    st.sampled_from(_TRICKY),
    st.text(
        st.characters(min_codepoint=0x20, max_codepoint=0x24F, exclude_characters="\x7f"),
        min_size=1,
        max_size=12,
    ).map(str.strip),
)
_DATES = st.dates(date(1900, 1, 1), date(2100, 12, 31))
_LOCAL_TIMES = st.datetimes(datetime(1901, 1, 1), datetime(2100, 1, 1)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
_INSTANTS = _LOCAL_TIMES.map(lambda moment: moment.replace(tzinfo=UTC))
_ZONES = st.sampled_from([timezone(timedelta(minutes=m)) for m in (0, 60, 120, -300, 330, 765)])
_ZONED_TIMES = st.builds(lambda moment, zone: moment.replace(tzinfo=zone), _LOCAL_TIMES, _ZONES)

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int32": _INT32S,
    "int64": _INT64S,
    "huge": _HUGE,
    "float": _FLOATS,
    "text": _TEXTS,
    "bool": st.booleans(),
    "date": _DATES,
    "local_time": _LOCAL_TIMES,
    "instant": _INSTANTS,
    "zoned_time": _ZONED_TIMES,
}

_LON = st.integers(-170_000, 169_000).map(lambda milli: milli / 1000)
_LAT = st.integers(-80_000, 79_000).map(lambda milli: milli / 1000)
_POINTS = st.builds(shapely.Point, _LON, _LAT)
_LINES = st.builds(lambda x, y: shapely.LineString([(x, y), (x + 0.5, y + 0.25)]), _LON, _LAT)
_BOXES = st.builds(lambda x, y: shapely.box(x, y, x + 0.5, y + 0.25), _LON, _LAT)
_FAMILIES: list[st.SearchStrategy[BaseGeometry]] = [_POINTS, _LINES, _BOXES]


@dataclass(frozen=True)
class Table:
    """Columns by name, each a kind of VALUES and a value or None for each row."""

    kinds: dict[str, str]
    columns: dict[str, list[Any]]
    geometries: list[BaseGeometry]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Return the attributes of each row, with its unique `key`."""
        names = list(self.columns)
        return [
            {"key": number, **dict(zip(names, values, strict=True))}
            for number, values in enumerate(
                zip(*self.columns.values(), strict=True) if names else [()] * len(self.geometries),
                start=1,
            )
        ]


@st.composite
def tables(draw: st.DrawFn, kinds: tuple[str, ...]) -> Table:
    """Draw a table of one to five rows in degrees, whose columns are of the kinds."""
    rows = draw(st.integers(1, 5))
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4))
    family = draw(st.sampled_from(_FAMILIES))
    named = {f"c{number}_{kind}"[:10]: kind for number, kind in enumerate(chosen)}
    columns = {
        name: draw(st.lists(st.one_of(VALUES[kind], st.none()), min_size=rows, max_size=rows))
        for name, kind in named.items()
    }
    geometries = draw(st.lists(family, min_size=rows, max_size=rows))
    return Table(named, columns, geometries)
