"""Write a page of features as GeoJSON, CSV or GeoParquet.

| kind               | GeoJSON                               | CSV          | GeoParquet      |
|--------------------|---------------------------------------|--------------|-----------------|
| integer            | number with all its digits            | the same     | int64           |
| single, double     | shortest number, null if not finite   | with NaN     | float, double   |
| date, time         | 2026-11-24, 10:15:00.5                | the same     | date32, time64  |
| timestamp, instant | 2026-11-24T10:15:00, and Z if instant | the same     | timestamp       |
| binary             | base64                                | base64       | binary          |
| json               | the JSON itself, unchanged            | its text     | string          |
| other              | text as PostgreSQL writes it          | the same     | string          |

Called by `api/serving/features.py`, `documents.py` and `tiles.py`.
"""

import base64
import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from geo_platform.serving.features.opened import ColumnKind, FeatureColumn
from geo_platform.serving.features.positions import NamedCrs
from geo_platform.serving.features.query import FeaturePage

GEOJSON_TYPE = "application/geo+json"
CSV_TYPE = "text/csv"
PARQUET_TYPE = "application/vnd.apache.parquet"
_SECOND = 1_000_000
_ARROW_TYPES: Mapping[ColumnKind, pa.DataType] = {
    ColumnKind.boolean: pa.bool_(),
    ColumnKind.integer: pa.int64(),
    ColumnKind.single: pa.float32(),
    ColumnKind.double: pa.float64(),
    ColumnKind.date: pa.date32(),
    ColumnKind.time: pa.time64("us"),
    ColumnKind.timestamp: pa.timestamp("us"),
    ColumnKind.instant: pa.timestamp("us", tz="UTC"),
    ColumnKind.binary: pa.binary(),
}
_INTEGERS_INSIDE = frozenset(
    {ColumnKind.date, ColumnKind.time, ColumnKind.timestamp, ColumnKind.instant}
)


def geojson_features(page: FeaturePage, shapes: "np.ndarray[Any, Any]") -> list[str]:
    """Return each row as the text of a GeoJSON feature. `shapes` are in the CRS of the response."""
    geometries = shapely.to_geojson(shapes)
    columns = [
        (
            json.dumps(column.name, ensure_ascii=False),
            [_json(column.kind, value) for value in values],
        )
        for column, values in zip(page.columns, page.values, strict=True)
    ]
    features = []
    for number, (key, geometry) in enumerate(zip(page.keys, geometries, strict=True)):
        properties = ",".join(f"{name}:{texts[number]}" for name, texts in columns)
        features.append(
            f'{{"type":"Feature","id":{key},"geometry":{geometry or "null"},'
            f'"properties":{{{properties}}}}}'
        )
    return features


def feature_collection(features: Sequence[str], members: Mapping[str, Any]) -> bytes:
    """Return the text of a FeatureCollection with further members, such as links."""
    head = json.dumps({"type": "FeatureCollection", **members}, ensure_ascii=False)
    return f'{head[:-1]},"features":[{",".join(features)}]}}'.encode()


def csv_table(page: FeaturePage, shapes: "np.ndarray[Any, Any]", geometry_column: str) -> bytes:
    """Return the rows as CSV with a header, the geometry as WKT in the last column."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([page.key.name, *(column.name for column in page.columns), geometry_column])
    wkt = shapely.to_wkt(shapes, rounding_precision=-1, output_dimension=3)
    columns = [
        [text_of(column.kind, value) for value in values]
        for column, values in zip(page.columns, page.values, strict=True)
    ]
    for number, key in enumerate(page.keys):
        writer.writerow([key, *(texts[number] for texts in columns), wkt[number] or ""])
    return out.getvalue().encode()


def geoparquet(
    page: FeaturePage, shapes: "np.ndarray[Any, Any]", crs: NamedCrs, geometry_column: str
) -> bytes:
    """Return the rows as GeoParquet 1.1. `shapes` are x, y, whatever the order of the CRS."""
    arrays = [pa.array(page.keys, pa.int64())]
    arrays += [
        _array(column, values) for column, values in zip(page.columns, page.values, strict=True)
    ]
    wkb = shapely.to_wkb(shapes, flavor="iso", output_dimension=3)
    arrays.append(pa.array(wkb.tolist() if len(wkb) else [], pa.binary()))
    names = [page.key.name, *(column.name for column in page.columns), geometry_column]
    column = {
        "encoding": "WKB",
        "geometry_types": _geometry_types(shapes),
        "crs": crs.crs.to_json_dict(),
    }
    if len(shapes) and np.isfinite(bounds := shapely.total_bounds(shapes)).all():
        column["bbox"] = bounds.tolist()
    geo = {
        "version": "1.1.0",
        "primary_column": geometry_column,
        "columns": {geometry_column: column},
    }
    table = pa.table(arrays, names=names).replace_schema_metadata({"geo": json.dumps(geo)})
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def _geometry_types(shapes: "np.ndarray[Any, Any]") -> list[str]:
    return sorted(
        {shape.geom_type + (" Z" if shape.has_z else "") for shape in shapes if shape is not None}
    )


def _array(column: FeatureColumn, values: list[Any]) -> pa.Array:
    arrow_type = _ARROW_TYPES.get(column.kind, pa.string())
    if column.kind is ColumnKind.date:
        return pa.array(values, pa.int32()).cast(arrow_type)
    if column.kind in _INTEGERS_INSIDE:
        return pa.array(values, pa.int64()).cast(arrow_type)
    return pa.array(values, arrow_type)


def _json(kind: ColumnKind, value: Any) -> str:
    if value is None:
        return "null"
    if kind is ColumnKind.integer:
        return str(value)
    if kind is ColumnKind.boolean:
        return "true" if value else "false"
    if kind is ColumnKind.json:
        return _own_json(value)
    if kind in (ColumnKind.single, ColumnKind.double):
        return _number(kind, value) if math.isfinite(value) else "null"
    return json.dumps(text_of(kind, value), ensure_ascii=False)


def _own_json(text: str) -> str:
    """Return JSON as it is, so that its numbers keep their digits; other text as a string."""
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return json.dumps(text, ensure_ascii=False)
    return text


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def text_of(kind: ColumnKind, value: Any) -> str:
    """Return a value as text, NULL as the empty text."""
    if value is None:
        return ""
    written = _WRITERS.get(kind)
    return written(value) if written is not None else str(value)


def _number(kind: ColumnKind, value: float) -> str:
    return str(np.float32(value)) if kind is ColumnKind.single else repr(float(value))


def _date(days: int) -> str:
    return str(np.datetime64(days, "D"))


def _moment(microseconds: int) -> str:
    text = str(np.datetime64(microseconds, "us"))
    return text.rstrip("0").rstrip(".") if "." in text else text


def _clock(microseconds: int) -> str:
    seconds, rest = divmod(microseconds, _SECOND)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{rest:06}".rstrip("0") if rest else text


_WRITERS: Mapping[ColumnKind, Callable[[Any], str]] = {
    ColumnKind.boolean: lambda value: "true" if value else "false",
    ColumnKind.single: lambda value: _number(ColumnKind.single, value),
    ColumnKind.double: lambda value: _number(ColumnKind.double, value),
    ColumnKind.date: _date,
    ColumnKind.time: _clock,
    ColumnKind.timestamp: _moment,
    ColumnKind.instant: lambda value: _moment(value) + "Z",
    ColumnKind.binary: lambda value: base64.b64encode(bytes(value)).decode(),
}
