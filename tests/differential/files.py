"""Write a generated table as a file, and read the file by software that is not GDAL.

`write` and `read` of a format share no code with the platform. What `read` returns is what the
platform has to publish: a format may not be able to hold a value, and then its writer changed it.
"""

import csv
import json
import sqlite3
import subprocess
import warnings
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import geopandas as gpd
import pandas as pd
import pyarrow.parquet as pq
import shapefile
import shapely
from defusedxml.ElementTree import fromstring
from shapely.geometry.base import BaseGeometry

from tests.differential.generated import Table

Row = tuple[dict[str, Any], BaseGeometry]

_PANDAS = {
    "int32": "Int32",
    "int64": "Int64",
    "float": "float64",
    "bool": "boolean",
    "instant": "datetime64[ms, UTC]",
    "local_time": "datetime64[ms]",
}


@dataclass(frozen=True)
class Format:
    """A file format. `kinds`: the kinds of values that its writer can write."""

    kinds: tuple[str, ...]
    write: Callable[[Table, Path], None]
    read: Callable[[Path], list[Row]]
    options: Mapping[str, Any] = field(default_factory=dict)


def _frame(table: Table) -> gpd.GeoDataFrame:
    columns: dict[str, Any] = {"key": range(1, len(table.geometries) + 1)}
    for name, values in table.columns.items():
        kind = table.kinds[name]
        columns[name] = pd.Series(values, dtype=_PANDAS.get(kind, "object"))
    return gpd.GeoDataFrame(columns, geometry=table.geometries, crs="EPSG:4326")


def _by_gdal(driver: str, **options: Any) -> Callable[[Table, Path], None]:
    def write(table: Table, path: Path) -> None:
        with warnings.catch_warnings():
            # A value may not fit the format; what the file then holds is what has to be published.
            warnings.simplefilter("ignore", RuntimeWarning)
            _frame(table).to_file(path, driver=driver, engine="pyogrio", **options)

    return write


def _read_geopackage(path: Path) -> list[Row]:
    with closing(sqlite3.connect(path)) as database:
        (layer,) = database.execute("SELECT table_name FROM gpkg_contents").fetchone()
        types = {row[1]: row[2] for row in database.execute(f'PRAGMA table_info("{layer}")')}
        rows = database.execute(f'SELECT * FROM "{layer}"')
        names = [column[0] for column in rows.description]
        found = [dict(zip(names, row, strict=True)) for row in rows]
    return [
        (
            {name: _sqlite_value(row[name], types[name]) for name in names[2:]},
            _without_header(row["geom"]),
        )
        for row in found
    ]


def _without_header(blob: bytes) -> BaseGeometry:
    # 8 bytes, then the envelope that bits 1 to 3 of the flags select (GeoPackage 1.3, 2.1.3.1.1).
    envelope_bytes = (0, 32, 48, 48, 64)[blob[3] >> 1 & 7]
    return shapely.from_wkb(blob[8 + envelope_bytes :])


def _sqlite_value(value: Any, type_name: str) -> Any:
    if value is None:
        return None
    if type_name == "DATE":
        return date.fromisoformat(value)
    if type_name == "DATETIME":
        return datetime.fromisoformat(value)
    return bool(value) if type_name == "BOOLEAN" else value


def _read_shapefile(path: Path) -> list[Row]:
    with shapefile.Reader(str(path), encoding="utf-8") as reader:
        return [
            (
                # A DBF file has no null text: an empty one stands for it.
                {name: None if value == "" else value for name, value in fields.items()},
                shapely.geometry.shape(entry.shape),
            )
            for entry in reader.iterShapeRecords()
            for fields in [entry.record.as_dict()]
        ]


def _feature(row: dict[str, Any], geometry: BaseGeometry) -> dict[str, Any]:
    properties = {
        name: value.isoformat() if isinstance(value, date) else value for name, value in row.items()
    }
    return {
        "type": "Feature",
        "properties": properties,
        "geometry": shapely.geometry.mapping(geometry),
    }


def _features(table: Table) -> list[dict[str, Any]]:
    return [_feature(*pair) for pair in zip(table.rows, table.geometries, strict=True)]


def _write_geojson(table: Table, path: Path) -> None:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": _features(table)}))


def _write_geojson_lines(table: Table, path: Path) -> None:
    path.write_text("".join(json.dumps(feature) + "\n" for feature in _features(table)))


def _read_geojson(path: Path) -> list[Row]:
    return [_row_of(feature) for feature in json.loads(path.read_text())["features"]]


def _read_geojson_lines(path: Path) -> list[Row]:
    return [_row_of(json.loads(line)) for line in path.read_text().split("\n") if line]


def _row_of(feature: dict[str, Any]) -> Row:
    return feature["properties"], shapely.geometry.shape(feature["geometry"])


def _write_csv(table: Table, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["key", *table.columns, "outline"])
        writer.writeheader()
        for row, geometry in zip(table.rows, table.geometries, strict=True):
            writer.writerow({**row, "outline": geometry.wkt})


def _read_csv(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [
        (
            {name: value or None for name, value in row.items() if name != "outline"},
            shapely.from_wkt(row["outline"]),
        )
        for row in rows
    ]


def _write_parquet(table: Table, path: Path) -> None:
    _frame(table).to_parquet(path)


def _read_parquet(path: Path) -> list[Row]:
    rows = pq.read_table(path).to_pylist()
    return [(row, shapely.from_wkb(row.pop("geometry"))) for row in rows]


def _local_name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _read_gml(path: Path) -> list[Row]:
    # GML 3 has the axis order of EPSG:4326: latitude, longitude.
    rows = []
    for (feature,) in fromstring(path.read_bytes()).findall(".//{*}featureMember"):
        properties = {_local_name(child): child.text for child in feature if not len(child)}
        (shape,) = [c for c in feature if len(c) and _local_name(c) != "boundedBy"]
        (text,) = [part.text or "" for part in shape.iter() if _local_name(part) in _GML_PLACES]
        numbers = [float(number) for number in text.split()]
        points = list(zip(numbers[1::2], numbers[::2], strict=True))
        rows.append((properties, _geometry(shape, points)))
    return rows


def _read_kml(path: Path) -> list[Row]:
    rows = []
    for placemark in fromstring(path.read_bytes()).findall(".//{*}Placemark"):
        properties = {
            part.get("name", ""): part.text for part in placemark.findall(".//{*}SimpleData")
        }
        (text,) = [part.text or "" for part in placemark.findall(".//{*}coordinates")]
        points = [tuple(map(float, point.split(",")[:2])) for point in text.split()]
        rows.append((properties, _geometry(placemark, points)))
    return rows


_GML_PLACES = ("pos", "posList")


def _geometry(parent: Element, points: list[Any]) -> BaseGeometry:
    names = {_local_name(part) for part in parent.iter()}
    if "Point" in names:
        return shapely.Point(points[0])
    return shapely.Polygon(points) if "Polygon" in names else shapely.LineString(points)


def _read_flatgeobuf(path: Path) -> list[Row]:
    # No other reader of FlatGeobuf is published for Python, so GDAL's own program reads the rows.
    lines = path.with_name("rows.geojsonl")
    subprocess.run(["ogr2ogr", "-f", "GeoJSONSeq", lines, path], check=True, capture_output=True)
    return _read_geojson_lines(lines)


_COMMON = ("int32", "int64", "float", "text", "bool")
_TIMES = ("date", "local_time", "instant")

_CSV_OPTIONS = {"wkt_column": "outline", "input_crs": "EPSG:4326"}
_JSON = (*_COMMON, "huge", *_TIMES, "zoned_time")

FORMATS = {
    ".gpkg": Format((*_COMMON, *_TIMES), _by_gdal("GPKG"), _read_geopackage),
    ".shp": Format(("int32", "float", "text", "date"), _by_gdal("ESRI Shapefile"), _read_shapefile),
    ".geojson": Format(_JSON, _write_geojson, _read_geojson),
    ".geojsonl": Format(_JSON, _write_geojson_lines, _read_geojson_lines),
    ".fgb": Format((*_COMMON, "local_time", "instant"), _by_gdal("FlatGeobuf"), _read_flatgeobuf),
    ".gml": Format((*_COMMON, *_TIMES), _by_gdal("GML", FORMAT="GML3.2"), _read_gml),
    ".kml": Format(("int32", "float", "text"), _by_gdal("LIBKML"), _read_kml),
    ".csv": Format((*_COMMON, "huge"), _write_csv, _read_csv, _CSV_OPTIONS),
    ".parquet": Format((*_COMMON, *_TIMES), _write_parquet, _read_parquet),
}
