"""Read the parameters of a request for features, and read the page of rows that they select.

A page begins after a row's key and names the version of the item, so that no row is skipped or
repeated, whatever happens between two requests.

Used by `api/serving` and `serving/features`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely

from geo_platform.errors import QueryInvalid
from geo_platform.serving.features.collections import FeatureCollection
from geo_platform.serving.features.conditions import ConditionWriter
from geo_platform.serving.features.cql2_text import parse_json, parse_text
from geo_platform.serving.features.fragments import Fragment, select
from geo_platform.serving.features.opened import ColumnKind, FeatureColumn, OpenFeatures
from geo_platform.serving.features.positions import (
    CRS84,
    CRS84H,
    NamedCrs,
    default_crs,
    named_crs,
    numbers_of,
    window,
)
from geo_platform.serving.features.times import within

DEFAULT_LIMIT = 10
# Rows are counted up to this number; a page of more rows states no number of matching rows.
COUNTED_UP_TO = 10_000

TEXT, JSON = "cql2-text", "cql2-json"
SELECTING = ("bbox", "bbox-crs", "datetime", "filter", "filter-lang", "filter-crs", "properties")
PAGING = ("limit", "after", "crs", "f", "v")
_LARGEST_KEY = 2**63 - 1
_TIMES = (ColumnKind.date, ColumnKind.timestamp, ColumnKind.instant)


@dataclass(frozen=True)
class FeatureQuery:
    """The parameters of a request for features, parsed as far as possible without the columns.

    `equalities` are pairs of a property and the text of its value.
    """

    limit: int
    after: int | None
    crs: NamedCrs
    bbox: tuple[float, float, float, float] | None = None
    bbox_crs: NamedCrs | None = None
    datetime: str | None = None
    filter: Any = None
    filter_crs: NamedCrs | None = None
    properties: tuple[str, ...] | None = None
    equalities: tuple[tuple[str, str], ...] = ()

    @property
    def is_limited(self) -> bool:
        """Return whether the query selects only some rows."""
        return bool(self.equalities) or any(
            part is not None for part in (self.bbox, self.datetime, self.filter)
        )


@dataclass
class FeaturePage:
    """Rows of a collection, column by column, in order of the key; values as in `opened.py`."""

    key: FeatureColumn
    columns: Sequence[FeatureColumn]
    keys: list[int] = field(default_factory=list)
    values: list[list[Any]] = field(default_factory=list)
    shapes: "np.ndarray[Any, np.dtype[np.object_]]" = field(
        default_factory=lambda: np.empty(0, dtype=object)
    )
    matched: int | None = None
    has_more: bool = False


def read_parameters(
    parameters: Iterable[tuple[str, str]],
    collection: FeatureCollection,
    *,
    max_limit: int,
    known: Sequence[str] = (*SELECTING, *PAGING),
) -> FeatureQuery:
    """Parse the parameters of a request. What is not in `known` is taken for a property's name.

    Raises QueryInvalid: a parameter has no valid value, or occurs twice.
    """
    given: dict[str, str] = {}
    equalities: list[tuple[str, str]] = []
    for name, value in parameters:
        if name not in known:
            equalities.append((name, value))
        elif name in given:
            raise QueryInvalid(f"{name} is given twice.")
        else:
            given[name] = value
    return FeatureQuery(
        limit=min(_integer(given, "limit", DEFAULT_LIMIT, least=1), max_limit),
        after=_integer(given, "after", 0, least=0) if "after" in given else None,
        crs=named_crs(given.get("crs", default_crs(collection)), collection, "crs"),
        bbox=_bbox(given["bbox"]) if "bbox" in given else None,
        bbox_crs=_literal_crs(given, "bbox-crs", collection),
        datetime=given.get("datetime"),
        filter=_filter(given),
        filter_crs=_literal_crs(given, "filter-crs", collection),
        properties=tuple(filter(None, given["properties"].split(",")))
        if "properties" in given
        else None,
        equalities=tuple(equalities),
    )


def check_syntax(parameters: Iterable[tuple[str, str]]) -> None:
    """Check what can be checked of the parameters without a collection.

    So a malformed request is always refused as such, also if its collection or version is gone.
    Raises QueryInvalid: a parameter is malformed.
    """
    given = dict(parameters)
    _integer(given, "limit", DEFAULT_LIMIT, least=1)
    _integer(given, "after", 0, least=0)
    _language(given)
    if "bbox" in given:
        _bbox(given["bbox"])


def read_page(
    collection: FeatureCollection, opened: OpenFeatures, query: FeatureQuery, *, max_bytes: int
) -> FeaturePage:
    """Read the rows of a page: at most `query.limit`, and about `max_bytes` of values.

    Raises QueryInvalid: a parameter names an unknown property, or does not fit its type. What
    `OpenFeatures.rows` raises.
    """
    layout = opened.layout
    columns = chosen_columns(opened, query.properties)
    selected = conditions(collection, opened, query)
    if selected is None:
        return FeaturePage(layout.key, columns, values=[[] for _ in columns], matched=0)
    after = [] if query.after is None else [layout.after(query.after)]
    expressions = [layout.key.comparable, opened.wkb(), *map(opened.plain, columns)]
    statement = select(
        expressions,
        opened.relation,
        [*selected, *after],
        order=layout.stored_key,
        limit=query.limit + 1,
    )
    page = FeaturePage(layout.key, columns, values=[[] for _ in columns])
    _fill(page, opened, statement, query.limit, max_bytes)
    page.matched = _count(collection, opened, query, selected)
    return page


def read_row(
    collection: FeatureCollection, opened: OpenFeatures, key: int, query: FeatureQuery
) -> FeaturePage:
    """Read the row with this key: a page of one row, or of none. Raises what `read_page` raises."""
    columns = chosen_columns(opened, query.properties)
    page = FeaturePage(opened.layout.key, columns, values=[[] for _ in columns])
    if not 0 <= key < _LARGEST_KEY:
        return page
    expressions = [opened.layout.key.comparable, opened.wkb(), *map(opened.plain, columns)]
    statement = select(expressions, opened.relation, [opened.layout.is_row(key)])
    _fill(page, opened, statement, 1, 0)
    return page


def conditions(
    collection: FeatureCollection, opened: OpenFeatures, query: FeatureQuery
) -> list[Fragment] | None:
    """Return the conditions that select the rows, None if surely no row is selected.

    Raises what `read_page` raises.
    """
    writer = ConditionWriter(collection, opened, query.filter_crs or _lonlat(collection))
    found = [writer.equal(name, value) for name, value in query.equalities]
    if query.filter is not None:
        found.append(writer.condition(query.filter))
    if query.datetime is not None:
        found.append(within(_time_column(collection, opened), query.datetime))
    if query.bbox is not None:
        area = window(query.bbox, query.bbox_crs or _lonlat(collection), collection)
        if area is None:
            return None
        found.append(opened.near(area))
        found.append("ST_Intersects(" + opened.layout.geometry + ", " + opened.shape(area) + ")")
    return found


def time_column(opened: OpenFeatures) -> FeatureColumn | None:
    """Return the column that the parameter `datetime` selects by: the first date or time."""
    return next((column for column in opened.layout.columns if column.kind in _TIMES), None)


def _time_column(collection: FeatureCollection, opened: OpenFeatures) -> FeatureColumn:
    found = time_column(opened)
    if found is None:
        raise QueryInvalid(
            f"datetime: the collection {collection.id!r} has no column of dates or times.",
            remedy="Leave datetime out.",
        )
    return found


def _fill(
    page: FeaturePage, opened: OpenFeatures, statement: Fragment, limit: int, max_bytes: int
) -> None:
    wkb: list[bytes | None] = []
    size = 0
    for chunk in opened.rows(statement):
        for row in chunk:
            if len(page.keys) >= limit or (page.keys and max_bytes and size > max_bytes):
                page.has_more = True
                break
            page.keys.append(row[0])
            wkb.append(row[1])
            for values, value in zip(page.values, row[2:], strict=True):
                values.append(value)
                size += len(value) if isinstance(value, (str, bytes)) else 8
            size += len(row[1] or b"")
        if page.has_more:
            break
    page.shapes = shapely.from_wkb(np.array(wkb, dtype=object))


def _count(
    collection: FeatureCollection,
    opened: OpenFeatures,
    query: FeatureQuery,
    selected: Sequence[Fragment],
) -> int | None:
    """Return how many rows the query selects on all pages, None if they are too many to count."""
    if not query.is_limited:
        return collection.rows
    counted = select([Fragment("1 AS one")], opened.relation, selected, limit=COUNTED_UP_TO + 1)
    statement = select([Fragment("count(*)")], "(" + counted + ") AS counted")
    (row,) = [row for chunk in opened.rows(statement) for row in chunk]
    return int(row[0]) if row[0] <= COUNTED_UP_TO else None


def chosen_columns(opened: OpenFeatures, names: tuple[str, ...] | None) -> list[FeatureColumn]:
    """Return the columns of these names, all if None. Raises QueryInvalid: one is unknown."""
    columns = opened.layout.columns
    if names is None:
        return list(columns)
    unknown = [name for name in names if opened.layout.column(name) is None]
    if unknown:
        raise QueryInvalid(f"properties: there is no property {unknown[0][:200]!r}.")
    return [column for column in columns if column.name in names]


def _integer(given: Mapping[str, str], name: str, default: int, *, least: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
    if not least <= number <= _LARGEST_KEY:
        raise QueryInvalid(f"{name} must be an integer of at least {least}.")
    return number


def _bbox(text: str) -> tuple[float, float, float, float]:
    """Return the corners. Heights, the third and the sixth of six numbers, are left out."""
    numbers = numbers_of(text, (4, 6), "bbox")
    half = len(numbers) // 2
    return numbers[0], numbers[1], numbers[half], numbers[half + 1]


def _filter(given: Mapping[str, str]) -> Any:
    language = _language(given)
    if "filter" not in given:
        return None
    return parse_text(given["filter"]) if language == TEXT else parse_json(given["filter"])


def _language(given: Mapping[str, str]) -> str:
    language = given.get("filter-lang", TEXT)
    if language not in (TEXT, JSON):
        raise QueryInvalid(f"filter-lang must be {TEXT} or {JSON}.")
    return language


def _literal_crs(
    given: Mapping[str, str], name: str, collection: FeatureCollection
) -> NamedCrs | None:
    uri = given.get(name)
    return None if uri is None else named_crs(uri, collection, name)


def _lonlat(collection: FeatureCollection) -> NamedCrs:
    return named_crs(CRS84H if collection.has_heights else CRS84, collection, "crs")
