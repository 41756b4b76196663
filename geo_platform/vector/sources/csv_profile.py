"""Describe a CSV file: the types of its columns, its extent and its number of rows.

A CSV file declares no types. All rows are therefore read once as text, and a column gets a type if
every non-empty value fits the type. Numbers with leading zeros stay text, because they are codes.
`csv_read.py` reads the rows that are published.

Called by `vector/profile.py`.
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
from geo_platform.vector.sources.common import (
    SourceDescription,
    choose_layer,
    layer_name_of,
)
from geo_platform.vector.sources.csv_dialect import (
    CsvDialect,
    CsvGeometry,
    find_geometry,
    is_latitude_name,
    is_longitude_name,
    read_dialect,
)
from geo_platform.vector.sources.csv_read import coordinates, split_srid, stream_csv
from geo_platform.wkb import wkb_types

_INTEGER = r"^[-+]?(0|[1-9]\d{0,17})$"
_NUMBER = r"^[-+]?(0|[1-9]\d*)?(\.\d*)?([eE][-+]?\d+)?$"
_DATE = r"^\d{4}-\d{2}-\d{2}$"
_TIMESTAMP = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?$"
_INSTANT = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[-+]\d{2}:?\d{2})$"
_MAX_SAMPLED_WKT = 1000


@dataclass(frozen=True)
class _CsvType:
    """A candidate type of a column. Each value must match `pattern` and cast to `arrow`."""

    pattern: str
    arrow: pa.DataType
    field_type: FieldType
    is_utc: bool = False


_CSV_TYPES = (
    _CsvType(_INTEGER, pa.int64(), FieldType.int64),
    _CsvType(_NUMBER, pa.float64(), FieldType.float64),
    _CsvType(_DATE, pa.date32(), FieldType.date),
    _CsvType(_TIMESTAMP, pa.timestamp("us"), FieldType.timestamp),
    _CsvType(_INSTANT, pa.timestamp("us", tz="UTC"), FieldType.timestamp, is_utc=True),
)


@dataclass
class _Survey:
    """Intermediate results of the pass over all rows.

    `possible_types` and `has_values` are by column; `minimum` and `maximum` by axis (x, y).
    """

    possible_types: list[list[_CsvType]]
    has_values: list[bool]
    rows: int = 0
    minimum: list[float] = field(default_factory=lambda: [np.inf, np.inf])
    maximum: list[float] = field(default_factory=lambda: [-np.inf, -np.inf])
    geometry_types: set[str] = field(default_factory=set)
    srids: set[int] = field(default_factory=set)
    wkt_sampled: int = 0


def describe_csv(source: OpenableSource, options: VectorProfileOptions) -> SourceDescription:
    """Describe a CSV file by reading all of its rows once.

    Raises NoGeometry, ParameterInvalid: the geometry columns cannot be determined.
    Raises NoFeatures: the file has no rows.
    Raises LayerNotFound: `layer_name` is not the stem of the file name, the only layer.
    Raises FieldEncoding, SourceUnreadable, SourceTruncated: the file cannot be read.
    """
    dialect = read_dialect(source, options.encoding)
    geometry = find_geometry(dialect.columns, options, source.display_name)
    survey = _survey(source, dialect, geometry)
    if survey.rows == 0:
        raise NoFeatures(f"{source.display_name} has a header but no rows.")
    layer = VectorLayer(
        name=layer_name_of(source.display_name),
        geometry_type="Point" if geometry.lon_lat else "Unknown",
    )
    choose_layer([layer], options.layer_name, source.display_name)
    extent = None
    if (
        geometry.lon_lat
        and survey.minimum[0] <= survey.maximum[0]
        and survey.minimum[1] <= survey.maximum[1]
    ):
        extent = Bounds(
            xmin=survey.minimum[0],
            ymin=survey.minimum[1],
            xmax=survey.maximum[0],
            ymax=survey.maximum[1],
        )
    format_crs, warnings = _crs_from_column_names(dialect, geometry, extent)
    return SourceDescription(
        driver="CSV",
        layers=(layer,),
        layer=layer.name,
        geometry_types=("Point",) if geometry.lon_lat else tuple(sorted(survey.geometry_types)),
        feature_count=survey.rows,
        declared_crs=f"EPSG:{next(iter(survey.srids))}" if len(survey.srids) == 1 else None,
        format_crs=format_crs,
        fields=tuple(
            _field(dialect, survey, position)
            for position in range(len(dialect.columns))
            if position != geometry.wkt
        ),
        geometry_column=dialect.columns[geometry.wkt] if geometry.wkt is not None else None,
        extent=extent,
        encoding=dialect.encoding,
        geometry_from="wkt_column" if geometry.wkt is not None else "lon_lat_columns",
        lon_lat_columns=None
        if geometry.lon_lat is None
        else (dialect.columns[geometry.lon_lat[0]], dialect.columns[geometry.lon_lat[1]]),
        warnings=warnings,
    )


def _survey(source: OpenableSource, dialect: CsvDialect, geometry: CsvGeometry) -> _Survey:
    width = len(dialect.columns)
    survey = _Survey([list(_CSV_TYPES) for _ in range(width)], [False] * width)
    for rows in stream_csv(source, dialect, {}):
        survey.rows += rows.columns.num_rows + len(rows.unread)
        for position in range(width):
            _narrow_types(survey, position, rows.columns.column(position))
        if geometry.lon_lat is not None:
            for axis, position in enumerate(geometry.lon_lat):
                values = coordinates(rows.columns.column(position))
                finite = values[np.isfinite(values)]
                if finite.size:
                    survey.minimum[axis] = min(survey.minimum[axis], float(finite.min()))
                    survey.maximum[axis] = max(survey.maximum[axis], float(finite.max()))
        elif geometry.wkt is not None and survey.wkt_sampled < _MAX_SAMPLED_WKT:
            _sample_wkt(survey, rows.columns.column(geometry.wkt))
    return survey


def _narrow_types(survey: _Survey, position: int, column: pa.Array) -> None:
    values = column.drop_null()
    if len(values) == 0:
        return
    survey.has_values[position] = True
    survey.possible_types[position] = [
        csv_type for csv_type in survey.possible_types[position] if _all_fit(values, csv_type)
    ]


def _all_fit(values: pa.Array, csv_type: _CsvType) -> bool:
    if not pc.all(pc.match_substring_regex(values, csv_type.pattern)).as_py():
        return False
    try:
        values.cast(csv_type.arrow)
    except pa.ArrowInvalid:
        return False
    return True


def _sample_wkt(survey: _Survey, column: pa.Array) -> None:
    srids, texts = split_srid(column.drop_null().slice(0, _MAX_SAMPLED_WKT))
    survey.srids |= srids
    geometries = shapely.from_wkt(np.asarray(texts, dtype=object), on_invalid="ignore")
    survey.geometry_types |= set(
        wkb_types(pa.array(shapely.to_wkb(geometries), pa.binary())).names()
    )
    survey.wkt_sampled += int(np.count_nonzero(~shapely.is_missing(geometries)))


def _field(dialect: CsvDialect, survey: _Survey, position: int) -> SourceField:
    fitting = survey.possible_types[position] if survey.has_values[position] else []
    if not fitting:
        return SourceField(
            name=dialect.columns[position], type=FieldType.string, source_type="text"
        )
    return SourceField(
        name=dialect.columns[position],
        type=fitting[0].field_type,
        source_type="text",
        is_utc=fitting[0].is_utc,
    )


def _crs_from_column_names(
    dialect: CsvDialect, geometry: CsvGeometry, extent: Bounds | None
) -> tuple[str | None, tuple[Finding, ...]]:
    """Return WGS 84 and a warning if the columns are named longitude and latitude and hold degrees.

    Otherwise return None: no CRS is assumed.
    """
    if geometry.lon_lat is None or extent is None:
        return None, ()
    x, y = (dialect.columns[position] for position in geometry.lon_lat)
    are_degrees = (
        extent.xmin >= -180 and extent.xmax <= 180 and extent.ymin >= -90 and extent.ymax <= 90
    )
    if not (is_longitude_name(x) and is_latitude_name(y) and are_degrees):
        return None, ()
    message = (
        f"Columns {x!r} and {y!r} are named longitude and latitude and hold degrees, so their CRS "
        "is taken to be WGS 84."
    )
    return "EPSG:4326", (Finding(code="CRS_FROM_COLUMN_NAMES", message=message),)
