"""What a query needs to know of an opened table or file, and the kinds of its columns.

`tables.py` opens PostGIS tables, `files.py` GeoParquet files. Both read every value as a plain
Python value, so that all formats of a response are made of the same values:

| kind               | value                                          |
|--------------------|------------------------------------------------|
| boolean, integer   | bool, int                                      |
| single, double     | float                                          |
| text, json, other  | str                                            |
| date               | int: days since 1970-01-01                     |
| time               | int: microseconds since midnight               |
| timestamp, instant | int: microseconds since 1970-01-01, in UTC     |
| binary             | bytes                                          |

Used throughout the application.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from shapely.geometry.base import BaseGeometry

from geo_platform.errors import TimeExceeded
from geo_platform.serving.features.collections import FeatureCollection
from geo_platform.serving.features.fragments import Fragment, bound, identifier


class ColumnKind(StrEnum):
    """How the values of a column are compared and written.

    A `timestamp` has no zone, an `instant` is in UTC. `other` is any type that the platform itself
    does not create; its values are text as PostgreSQL writes it.
    """

    boolean = "boolean"
    integer = "integer"
    single = "single"
    double = "double"
    text = "text"
    date = "date"
    time = "time"
    timestamp = "timestamp"
    instant = "instant"
    binary = "binary"
    json = "json"
    other = "other"


@dataclass(frozen=True)
class FeatureColumn:
    """A column that is not the geometry. `comparable` is what a condition compares."""

    name: str
    kind: ColumnKind
    comparable: Fragment


@dataclass(frozen=True)
class FeatureLayout:
    """The columns of a collection.

    `key` is the column that identifies a row: unique, never NULL, the same in all reads of a
    version. It is not among `columns`. It is the sum of `stored_key`, by which the store finds rows
    fast, and `key_offset`. `geometry` is the expression of the stored geometry.
    """

    key: FeatureColumn
    stored_key: Fragment
    key_offset: int
    columns: tuple[FeatureColumn, ...]
    geometry: Fragment

    def after(self, key: int) -> Fragment:
        """Return the condition that a row comes after the row with this key."""
        return self.stored_key + " > " + bound(key - self.key_offset)

    def is_row(self, key: int) -> Fragment:
        """Return the condition that a row has this key."""
        return self.stored_key + " = " + bound(key - self.key_offset)

    def column(self, name: str) -> FeatureColumn | None:
        """Return the column or the key of this name, or None."""
        return next((found for found in (*self.columns, self.key) if found.name == name), None)


class OpenFeatures(Protocol):
    """A table or file that is open for one request.

    Every method raises TimeExceeded: the request took longer than allowed. QueryInvalid: a
    condition cannot be evaluated for some row, for example because a number becomes too large.
    """

    @property
    def layout(self) -> FeatureLayout:
        """The columns."""

    @property
    def relation(self) -> Fragment:
        """What follows FROM."""

    @property
    def without_accents(self) -> str:
        """The name of the SQL function that removes accents."""

    def plain(self, column: FeatureColumn) -> Fragment:
        """Return the expression of a column's plain value."""

    def wkb(self) -> Fragment:
        """Return the expression of the geometry as ISO WKB."""

    def shape(self, shape: BaseGeometry) -> Fragment:
        """Return a geometry in the stored CRS as a bound value."""

    def near(self, shape: BaseGeometry) -> Fragment:
        """Return a condition, fast to check, that holds for every row whose box meets the shape's.

        It may hold for other rows too.
        """

    def size(self) -> Fragment:
        """Return the expression of the larger side of a row's box."""

    def centre(self) -> tuple[Fragment, Fragment]:
        """Return the expressions of x and y of the centre of a row's box."""

    def largest_first(self) -> Fragment:
        """Return what follows ORDER BY: by the size of a row's box, points in a fixed disorder."""

    def reduced(self, area: BaseGeometry, step: float) -> Fragment:
        """Return the expression of the geometry as WKB, not much of it outside the area.

        A large geometry may be without details smaller than `step`, in units of the stored CRS.
        """

    def rows(self, query: Fragment) -> Iterator[Sequence[tuple[Any, ...]]]:
        """Run a statement, and yield its rows in chunks."""


class FeatureReader(Protocol):
    """Opens the tables or the files of a profile. Safe among threads."""

    def open(self, collection: FeatureCollection) -> AbstractContextManager[OpenFeatures]:
        """Open a collection for one request.

        Raises VersionGone: the table or file of this version is not there any more.
        DatabaseUnavailable, StoreUnavailable, StoreDenied: the store does not answer.
        """

    def close(self) -> None:
        """Close what is kept open between requests."""


def column(name: str, kind: ColumnKind) -> FeatureColumn:
    """Return a column that is compared as it is."""
    return FeatureColumn(name, kind, identifier(name))


def too_slow() -> TimeExceeded:
    """Return the error of a request that took longer than allowed."""
    return TimeExceeded(
        "The request needs more time than it is allowed.",
        remedy="Ask for a smaller bbox or fewer rows, or add a condition on an indexed column. "
        "GEO_PLATFORM_FEATURES_SECONDS sets the limit.",
    )
