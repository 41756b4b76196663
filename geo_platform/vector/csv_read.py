"""CSV rows with their types and geometry, for publication."""

from collections.abc import Iterator

import pyarrow as pa

from geo_platform.contracts.vector import VectorProfiled
from geo_platform.source.openable import OpenableSource
from geo_platform.vector.batch import SourceBatch
from geo_platform.vector.csv_dialect import CsvGeometry, read_dialect
from geo_platform.vector.csv_geometry import geometries_of_wkt, points
from geo_platform.vector.csv_rows import CsvRows, stream_csv
from geo_platform.vector.field_types import published_type


def stream_csv_features(source: OpenableSource, profile: VectorProfiled) -> Iterator[SourceBatch]:
    """All rows in batches of a few megabytes. Geometry cells are read as text, so that a bad one rejects its row alone."""
    dialect = read_dialect(source, None if profile.encoding == "UTF-8" else profile.encoding)
    place = _place(dialect.columns, profile)
    kept = [position for position in range(len(dialect.columns)) if position != place.wkt]
    types = {position: published_type(field) for position, field in zip(kept, profile.fields, strict=True)}
    read_as = {position: kind for position, kind in types.items() if position not in (place.lon_lat or ())}
    for rows in stream_csv(source, dialect, read_as):
        yield _with_geometry(rows, kept, types, place)


def _place(columns: tuple[str, ...], profile: VectorProfiled) -> CsvGeometry:
    if profile.lon_lat_columns is not None:
        x, y = profile.lon_lat_columns
        return CsvGeometry(lon_lat=(columns.index(x), columns.index(y)))
    return CsvGeometry(wkt=columns.index(profile.geometry_column or ""))


def _with_geometry(rows: CsvRows, kept: list[int], types: dict[int, pa.DataType], place: CsvGeometry) -> SourceBatch:
    if place.lon_lat is not None:
        wkb, faults = points(rows.columns.column(place.lon_lat[0]), rows.columns.column(place.lon_lat[1]))
    else:
        wkb, faults = geometries_of_wkt(rows.columns.column(place.wkt))
    arrays = [rows.columns.column(position).cast(types[position]) for position in kept]
    names = [rows.columns.schema.names[position] for position in kept]
    fields = pa.RecordBatch.from_arrays(arrays, names=names) if arrays else rows.columns.select([])
    return SourceBatch(rows.positions, fields, wkb, faults=faults, unread=rows.unread)
