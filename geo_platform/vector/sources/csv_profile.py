"""What a CSV file holds: types over all of its rows, extent, number of rows.

A CSV says no types, so all rows are read once: a type holds for a column where every value that is not empty has it.
Codes with leading zeros stay text. What stays out: reading rows for publication (`csv_read.py`).
"""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from geo_platform.contracts.message import Finding
from geo_platform.contracts.vector import FieldType, SourceField, VectorLayer
from geo_platform.errors import NoFeatures
from geo_platform.grid import Bounds
from geo_platform.source.openable import OpenableSource
from geo_platform.vector.options import VectorProfileOptions
from geo_platform.vector.sources.csv_dialect import (
    CsvDialect,
    CsvGeometry,
    find_geometry,
    read_dialect,
    says_latitude,
    says_longitude,
)
from geo_platform.vector.sources.csv_read import coordinates, split_srid, stream_csv
from geo_platform.vector.sources.description import SourceDescription, choose_layer
from geo_platform.wkb import wkb_types

_INTEGER = r"^[-+]?(0|[1-9]\d{0,17})$"
_NUMBER = r"^[-+]?(0|[1-9]\d*)?(\.\d*)?([eE][-+]?\d+)?$"
_DATE = r"^\d{4}-\d{2}-\d{2}$"
_TIMESTAMP = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?$"
_INSTANT = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[-+]\d{2}:?\d{2})$"
_WKT_SAMPLE = 1000


@dataclass(frozen=True)
class _Candidate:
    """A type, the pattern that every value must have, and the Arrow type that must take every value."""

    pattern: str
    arrow: pa.DataType
    found: FieldType
    is_utc: bool = False


_CANDIDATES = (
    _Candidate(_INTEGER, pa.int64(), FieldType.int64),
    _Candidate(_NUMBER, pa.float64(), FieldType.float64),
    _Candidate(_DATE, pa.date32(), FieldType.date),
    _Candidate(_TIMESTAMP, pa.timestamp("us"), FieldType.timestamp),
    _Candidate(_INSTANT, pa.timestamp("us", tz="UTC"), FieldType.timestamp, is_utc=True),
)


@dataclass
class _Survey:
    """What the one pass over the rows has seen so far."""

    candidates: list[list[_Candidate]]
    has_values: list[bool]
    rows: int = 0
    minimum: list[float] = field(default_factory=lambda: [np.inf, np.inf])
    maximum: list[float] = field(default_factory=lambda: [-np.inf, -np.inf])
    kinds: set[str] = field(default_factory=set)
    srids: set[int] = field(default_factory=set)
    wkt_seen: int = 0


def describe_csv(source: OpenableSource, options: VectorProfileOptions) -> SourceDescription:
    """Read all rows once, as text. Raises NoGeometry, NoFeatures, FieldEncoding, ParameterInvalid, SourceUnreadable."""
    dialect = read_dialect(source, options.encoding)
    place = find_geometry(dialect.columns, options, source.display_name)
    survey = _survey(source, dialect, place)
    if survey.rows == 0:
        raise NoFeatures(f"{source.display_name} has a header but no rows.")
    layer = VectorLayer(
        name=_stem(source.display_name), geometry_type="Point" if place.lon_lat else "Unknown"
    )
    choose_layer([layer], options.layer_name, source.display_name)
    extent = None
    if (
        place.lon_lat
        and survey.minimum[0] <= survey.maximum[0]
        and survey.minimum[1] <= survey.maximum[1]
    ):
        extent = Bounds(
            xmin=survey.minimum[0],
            ymin=survey.minimum[1],
            xmax=survey.maximum[0],
            ymax=survey.maximum[1],
        )
    format_crs, warnings = _degrees_rule(dialect, place, extent)
    return SourceDescription(
        driver="CSV",
        layers=(layer,),
        layer=layer.name,
        geometry_types=("Point",) if place.lon_lat else tuple(sorted(survey.kinds)),
        feature_count=survey.rows,
        declared_crs=f"EPSG:{next(iter(survey.srids))}" if len(survey.srids) == 1 else None,
        format_crs=format_crs,
        fields=tuple(
            _field(dialect, survey, position)
            for position in range(len(dialect.columns))
            if position != place.wkt
        ),
        geometry_column=dialect.columns[place.wkt] if place.wkt is not None else None,
        extent=extent,
        encoding=dialect.encoding,
        geometry_from="wkt_column" if place.wkt is not None else "lon_lat_columns",
        lon_lat_columns=None
        if place.lon_lat is None
        else (dialect.columns[place.lon_lat[0]], dialect.columns[place.lon_lat[1]]),
        warnings=warnings,
    )


def _stem(display_name: str) -> str:
    return display_name.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]


def _survey(source: OpenableSource, dialect: CsvDialect, place: CsvGeometry) -> _Survey:
    width = len(dialect.columns)
    survey = _Survey([list(_CANDIDATES) for _ in range(width)], [False] * width)
    for rows in stream_csv(source, dialect, {}):
        survey.rows += rows.columns.num_rows + len(rows.unread)
        for position in range(width):
            _narrow(survey, position, rows.columns.column(position))
        if place.lon_lat is not None:
            for axis, position in enumerate(place.lon_lat):
                values = coordinates(rows.columns.column(position))
                finite = values[np.isfinite(values)]
                if finite.size:
                    survey.minimum[axis] = min(survey.minimum[axis], float(finite.min()))
                    survey.maximum[axis] = max(survey.maximum[axis], float(finite.max()))
        elif place.wkt is not None and survey.wkt_seen < _WKT_SAMPLE:
            _look_at_wkt(survey, rows.columns.column(place.wkt))
    return survey


def _narrow(survey: _Survey, position: int, column: pa.Array) -> None:
    values = column.drop_null()
    if len(values) == 0:
        return
    survey.has_values[position] = True
    survey.candidates[position] = [
        candidate for candidate in survey.candidates[position] if _all_are(values, candidate)
    ]


def _all_are(values: pa.Array, candidate: _Candidate) -> bool:
    if not pc.all(pc.match_substring_regex(values, candidate.pattern)).as_py():
        return False
    try:
        values.cast(candidate.arrow)
    except pa.ArrowInvalid:
        return False
    return True


def _look_at_wkt(survey: _Survey, column: pa.Array) -> None:
    srids, texts = split_srid(column.drop_null().slice(0, _WKT_SAMPLE))
    survey.srids |= srids
    geometries = shapely.from_wkt(np.asarray(texts, dtype=object), on_invalid="ignore")
    survey.kinds |= set(wkb_types(pa.array(shapely.to_wkb(geometries), pa.binary())).names())
    survey.wkt_seen += int(np.count_nonzero(~shapely.is_missing(geometries)))


def _field(dialect: CsvDialect, survey: _Survey, position: int) -> SourceField:
    fitting = survey.candidates[position] if survey.has_values[position] else []
    if not fitting:
        return SourceField(
            name=dialect.columns[position], type=FieldType.string, source_type="text"
        )
    return SourceField(
        name=dialect.columns[position],
        type=fitting[0].found,
        source_type="text",
        is_utc=fitting[0].is_utc,
    )


def _degrees_rule(
    dialect: CsvDialect, place: CsvGeometry, extent: Bounds | None
) -> tuple[str | None, tuple[Finding, ...]]:
    """WGS 84 where both columns are *named* longitude and latitude and all values are degrees; else nothing is assumed."""
    if place.lon_lat is None or extent is None:
        return None, ()
    x, y = (dialect.columns[position] for position in place.lon_lat)
    in_range = (
        extent.xmin >= -180 and extent.xmax <= 180 and extent.ymin >= -90 and extent.ymax <= 90
    )
    if not (says_longitude(x) and says_latitude(y) and in_range):
        return None, ()
    said = f"Columns {x!r} and {y!r} are named as longitude and latitude and hold degrees, so they are taken for WGS 84."
    return "EPSG:4326", (Finding(code="CRS_FROM_COLUMN_NAMES", message=said),)
