"""Describe a CSV file: the types of its columns, its extent and its number of rows.

A CSV file declares nothing, so all rows are read once, as text. `text_types.py` finds the types;
`csv_read.py` reads the rows that are published.

Called by `vector/profile.py`.
"""

import csv
import io
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geo_platform.contracts.message import Finding
from geo_platform.contracts.vector import VectorLayer
from geo_platform.errors import BoundsImplausible, NoFeatures, NoGeometry
from geo_platform.grid import Bounds
from geo_platform.source.openable import OpenableSource
from geo_platform.vector.curves import CURVE_IN_WKT
from geo_platform.vector.extent import MAX_LONGITUDE
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
from geo_platform.vector.sources.csv_geometry import (
    Coordinates,
    coordinates,
    geometries,
    quoted,
    srids_of,
)
from geo_platform.vector.sources.csv_read import stream_csv
from geo_platform.vector.sources.source_file import open_part
from geo_platform.vector.sources.text_types import ColumnTypes, text_findings
from geo_platform.wkb import wkb_types

_MAX_SAMPLED_WKT = 1000
_MAX_SIDECAR_BYTES = 64 * 1024
# Largest fraction of rows with placeholders instead of coordinates.
_MOST_PLACEHOLDERS = 0.1


@dataclass
class _Extent:
    """The extent of points, and their number."""

    points: int = 0
    minimum: tuple[float, float] = (np.inf, np.inf)
    maximum: tuple[float, float] = (-np.inf, -np.inf)

    def add(self, x: Coordinates, y: Coordinates) -> None:
        if not x.size:
            return
        self.points += len(x)
        self.minimum = min(self.minimum[0], float(x.min())), min(self.minimum[1], float(y.min()))
        self.maximum = max(self.maximum[0], float(x.max())), max(self.maximum[1], float(y.max()))

    def bounds(self) -> Bounds | None:
        if not self.points:
            return None
        (xmin, ymin), (xmax, ymax) = self.minimum, self.maximum
        return Bounds(xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)


@dataclass
class _Survey:
    """Intermediate results of the pass over all rows.

    `types` are by column. `in_degrees` has the points within the range of degrees. `srids` holds
    None if a geometry states none. `first_cells` are the first cells with geometry that are not
    empty.
    """

    types: list[ColumnTypes]
    rows: int = 0
    all_points: _Extent = field(default_factory=_Extent)
    in_degrees: _Extent = field(default_factory=_Extent)
    geometry_types: set[str] = field(default_factory=set)
    srids: set[int | None] = field(default_factory=set)
    wkt_sampled: int = 0
    has_curves: bool = False
    degree_cells: int = 0
    first_cells: tuple[str, ...] | None = None


def describe_csv(source: OpenableSource, options: VectorProfileOptions) -> SourceDescription:
    """Describe a CSV file by reading all of its rows once.

    Raises NoGeometry, ParameterInvalid: the geometry columns cannot be determined.
    Raises NoFeatures: the file has no rows.
    Raises NoGeometry: no cell of the geometry columns can be read.
    Raises BoundsImplausible: the columns of latitude and longitude seem to be swapped.
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
    _check_readable(dialect, geometry, survey, source.display_name)
    extent = _extent(dialect, geometry, survey)
    _check_not_swapped(dialect, geometry, extent, source.display_name)
    stated, srid_findings = _stated_crs(survey)
    format_crs, crs_findings = _crs_from_column_names(dialect, geometry, extent)
    return SourceDescription(
        driver="CSV",
        layers=(layer,),
        layer=layer.name,
        geometry_types=("Point",) if geometry.lon_lat else tuple(sorted(survey.geometry_types)),
        feature_count=survey.rows,
        declared_crs=_declared_crs(source),
        stated_crs=stated,
        format_crs=format_crs,
        fields=tuple(
            types.described(dialect.columns[position])
            for position, types in enumerate(survey.types)
            if position != geometry.wkt
        ),
        geometry_column=dialect.columns[geometry.wkt] if geometry.wkt is not None else None,
        extent=extent,
        encoding=dialect.encoding,
        geometry_from="wkt_column" if geometry.wkt is not None else "lon_lat_columns",
        lon_lat_columns=None
        if geometry.lon_lat is None
        else (dialect.columns[geometry.lon_lat[0]], dialect.columns[geometry.lon_lat[1]]),
        has_curves=survey.has_curves,
        warnings=(
            *srid_findings,
            *crs_findings,
            *_degree_findings(dialect, geometry, survey),
            *text_findings(dialect.columns, survey.types),
        ),
    )


def _survey(source: OpenableSource, dialect: CsvDialect, geometry: CsvGeometry) -> _Survey:
    are_text = _declared_texts(source)
    survey = _Survey(
        [
            ColumnTypes.text() if at in are_text else ColumnTypes()
            for at in range(len(dialect.columns))
        ]
    )
    for rows in stream_csv(source, dialect, {}):
        survey.rows += rows.columns.num_rows + len(rows.unread)
        for position, types in enumerate(survey.types):
            if position != geometry.wkt:
                types.add(rows.columns.column(position))
        if geometry.lon_lat is not None:
            _survey_coordinates(survey, rows.columns, geometry.lon_lat)
        elif geometry.wkt is not None:
            _survey_geometry(survey, rows.columns.column(geometry.wkt))
    return survey


def _survey_coordinates(survey: _Survey, columns: pa.RecordBatch, lon_lat: tuple[int, int]) -> None:
    read = [coordinates(columns.column(position), axis) for axis, position in enumerate(lon_lat)]
    survey.degree_cells += sum(degree_cells for _, degree_cells in read)
    (x, _), (y, _) = read
    is_point = np.isfinite(x) & np.isfinite(y)
    are_degrees = is_point & (np.abs(x) <= MAX_LONGITUDE) & (np.abs(y) <= 90)
    survey.all_points.add(x[is_point], y[is_point])
    survey.in_degrees.add(x[are_degrees], y[are_degrees])
    if survey.first_cells is None:
        cells = [columns.column(position).drop_null() for position in lon_lat]
        if all(len(column) for column in cells):
            survey.first_cells = tuple(column[0].as_py() for column in cells)


def _survey_geometry(survey: _Survey, column: pa.Array) -> None:
    cells = column.drop_null()
    survey.srids |= srids_of(cells)
    survey.has_curves = survey.has_curves or bool(
        pc.any(pc.match_substring_regex(cells, CURVE_IN_WKT)).as_py()
    )
    if survey.first_cells is None and len(cells):
        survey.first_cells = (cells[0].as_py(),)
    if survey.wkt_sampled < _MAX_SAMPLED_WKT:
        sample = geometries(cells.slice(0, _MAX_SAMPLED_WKT))
        survey.geometry_types |= set(wkb_types(sample.wkb).names())
        survey.has_curves = survey.has_curves or sample.linearised > 0
        survey.wkt_sampled += len(sample.wkb) - sample.wkb.null_count


def _extent(dialect: CsvDialect, geometry: CsvGeometry, survey: _Survey) -> Bounds | None:
    """Return the extent of the points.

    If columns are named longitude and latitude, a few points outside the range of degrees do not
    count: they are placeholders such as 999, and their rows are rejected.
    """
    others = survey.all_points.points - survey.in_degrees.points
    if _are_named_degrees(dialect, geometry) and others <= _MOST_PLACEHOLDERS * survey.rows:
        return survey.in_degrees.bounds()
    return survey.all_points.bounds()


def _are_named_degrees(dialect: CsvDialect, geometry: CsvGeometry) -> bool:
    if geometry.lon_lat is None:
        return False
    x, y = (dialect.columns[position] for position in geometry.lon_lat)
    return is_longitude_name(x) and is_latitude_name(y)


def _check_readable(
    dialect: CsvDialect, geometry: CsvGeometry, survey: _Survey, display_name: str
) -> None:
    """Raise NoGeometry: cells of the geometry columns are filled, but none can be read."""
    if survey.first_cells is None:
        return
    shown = ", ".join(map(quoted, survey.first_cells))
    if geometry.lon_lat is not None and not survey.all_points.points:
        x, y = (dialect.columns[position] for position in geometry.lon_lat)
        raise NoGeometry(
            f"Columns {x!r} and {y!r} of {display_name} hold no coordinates that can be read. "
            f"Their first values: {shown}.",
            remedy="Write them as numbers, for example 50.505, or as degrees, minutes and seconds "
            "with a letter N, S, E or W, for example 50°30'18\"N.",
        )
    if geometry.wkt is not None and not survey.geometry_types:
        raise NoGeometry(
            f"Column {dialect.columns[geometry.wkt]!r} of {display_name} holds no geometry that "
            f"can be read. Its first value: {shown}.",
            remedy="Write the geometries as WKT, EWKT, or hexadecimal WKB or EWKB.",
        )


def _check_not_swapped(
    dialect: CsvDialect, geometry: CsvGeometry, extent: Bounds | None, display_name: str
) -> None:
    """Raise BoundsImplausible: only swapped, the columns hold latitudes and longitudes."""
    if geometry.lon_lat is None or extent is None:
        return
    x, y = (dialect.columns[position] for position in geometry.lon_lat)
    fits_only_swapped = (
        max(abs(extent.ymin), abs(extent.ymax)) > 90
        and max(abs(extent.ymin), abs(extent.ymax)) <= 180
        and max(abs(extent.xmin), abs(extent.xmax)) <= 90
    )
    if fits_only_swapped and _are_named_degrees(dialect, geometry):
        raise BoundsImplausible(
            f"The columns of {display_name} seem to be swapped: {y!r} holds values from "
            f"{extent.ymin:g} to {extent.ymax:g}, which are no latitudes, and {x!r} values from "
            f"{extent.xmin:g} to {extent.xmax:g}.",
            remedy=f"If they are, set lon_name to {y}, lat_name to {x} and input_crs to EPSG:4326.",
        )


def _declared_crs(source: OpenableSource) -> str | None:
    """Return the text of the .prj file beside the source, or None if there is none."""
    with open_part(source, layer_name_of(source.display_name), ".prj") as stream:
        text = "" if stream is None else stream.read(_MAX_SIDECAR_BYTES).decode("utf-8", "replace")
    return text.strip(" \t\r\n\0") or None


def _declared_texts(source: OpenableSource) -> set[int]:
    """Return the positions of the columns that the .csvt file beside the source declares as text.

    The other types that it can declare are found in the values.
    """
    with open_part(source, layer_name_of(source.display_name), ".csvt") as stream:
        text = "" if stream is None else stream.read(_MAX_SIDECAR_BYTES).decode("utf-8", "replace")
    kinds = next(csv.reader(io.StringIO(text)), [])
    return {at for at, kind in enumerate(kinds) if kind.strip().lower().startswith("string")}


def _stated_crs(survey: _Survey) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """Return the CRSs that the geometries state, and a warning if only some state one."""
    srids = sorted(srid for srid in survey.srids if srid is not None)
    stated = tuple(f"EPSG:{srid}" for srid in srids)
    if len(srids) != 1 or None not in survey.srids:
        return stated, ()
    message = f"Some geometries state no SRID; they are taken to be in EPSG:{srids[0]} too."
    return stated, (Finding(code="SRID_ASSUMED", message=message),)


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
        max(-extent.xmin, extent.xmax) <= MAX_LONGITUDE and max(-extent.ymin, extent.ymax) <= 90
    )
    if not (_are_named_degrees(dialect, geometry) and are_degrees):
        return None, ()
    message = (
        f"Columns {x!r} and {y!r} are named longitude and latitude and hold degrees, so their CRS "
        "is taken to be WGS 84."
    )
    return "EPSG:4326", (Finding(code="CRS_FROM_COLUMN_NAMES", message=message),)


def _degree_findings(
    dialect: CsvDialect, geometry: CsvGeometry, survey: _Survey
) -> tuple[Finding, ...]:
    if geometry.lon_lat is None or not survey.degree_cells:
        return ()
    x, y = (dialect.columns[position] for position in geometry.lon_lat)
    message = (
        f"{survey.degree_cells:,} cells of {x!r} and {y!r} hold degrees, minutes and seconds; "
        "the points have decimal degrees."
    )
    return (Finding(code="COORDINATES_IN_DEGREES", message=message),)
