"""Supported formats are recognised by content, whatever the name; others are refused by name."""

import gzip
import json
import os
import sqlite3
from pathlib import Path

import pytest

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.errors import (
    NoGeometry,
    PlatformError,
    SourceEmpty,
    SourceTruncated,
    SourceUnreadable,
    UnsupportedFormat,
)
from geo_platform.source.formats import FORMATS
from geo_platform.source.sniff import detect
from tests.unit.source.conftest import write_raster

_NAMED_BY_FORMAT = [
    "geotiff.tif",
    "jpeg2000.jp2",
    "erdas_imagine.img",
    "esri_ascii_grid.asc",
    "png.png",
    "jpeg.jpg",
    "geopackage.gpkg",
    "shapefile.shp",
    "geojson.geojson",
    "geojson_lines.geojsonl",
    "flatgeobuf.fgb",
    "geoparquet.parquet",
    "kml.kml",
    "gml.gml",
    "csv.csv",
    "osm_pbf.osm.pbf",
]
_NAME_IS_EVIDENCE = {"csv.csv"}
_PARTS = ("shapefile.shx", "shapefile.dbf")


def _detect(path: Path, name: str | None = None) -> SourceFormat:
    return detect(path, name=name or path.name, sidecars=_PARTS).format


def _written(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "object"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("name", _NAMED_BY_FORMAT)
def test_a_file_is_recognised_by_its_bytes(samples: Path, name: str) -> None:
    found = detect(samples / name, name=name, sidecars=_PARTS)
    assert found.format == SourceFormat(name.partition(".")[0])
    assert found.kind is FORMATS[found.format].kind
    assert found.media_type == FORMATS[found.format].media_type


@pytest.mark.parametrize(
    "name", [name for name in _NAMED_BY_FORMAT if name not in _NAME_IS_EVIDENCE]
)
def test_a_wrong_name_changes_nothing(samples: Path, name: str) -> None:
    assert _detect(samples / name, "report.vrt") == SourceFormat(name.partition(".")[0])


def test_every_format_has_a_sample_or_is_an_archives(samples: Path) -> None:
    assert {name.partition(".")[0] for name in _NAMED_BY_FORMAT} == set(SourceFormat) - {
        "srtm_hgt",
        "file_geodatabase",
    }


@pytest.mark.parametrize("name", ["N47E008.hgt", "n47e008.HGT", "folder/S12W077.SRTMGL1.hgt"])
def test_an_srtm_tile_needs_its_size_and_its_name(samples: Path, name: str) -> None:
    assert _detect(samples / "N47E008.hgt", name) is SourceFormat.srtm_hgt


def test_an_srtm_tile_without_its_name_is_not_recognised(samples: Path) -> None:
    with pytest.raises(UnsupportedFormat):
        _detect(samples / "N47E008.hgt", "tile.hgt")


def test_a_cut_srtm_tile_is_truncated(tmp_path: Path) -> None:
    with pytest.raises(SourceTruncated):
        _detect(_written(tmp_path, bytes(1201 * 1201)), "N47E008.hgt")


def test_bigtiff_and_both_byte_orders(tmp_path: Path) -> None:
    for number, profile in enumerate(
        ({"BIGTIFF": "YES"}, {"ENDIANNESS": "BIG"}, {"BIGTIFF": "YES", "ENDIANNESS": "BIG"})
    ):
        assert _detect(write_raster(tmp_path / f"{number}.tif", **profile)) is SourceFormat.geotiff


def test_an_empty_object(tmp_path: Path) -> None:
    with pytest.raises(SourceEmpty):
        _detect(_written(tmp_path, b""))


@pytest.mark.parametrize(
    "name",
    [
        "geotiff.tif",
        "geopackage.gpkg",
        "shapefile.shp",
        "flatgeobuf.fgb",
        "geoparquet.parquet",
        "jpeg2000.jp2",
    ],
)
def test_a_file_cut_inside_its_header_or_directory_is_truncated(
    samples: Path, tmp_path: Path, name: str
) -> None:
    whole = (samples / name).read_bytes()
    assert _detect(_written(tmp_path, whole), name) == SourceFormat(name.partition(".")[0])
    for kept in (20, 60):
        with pytest.raises((SourceTruncated, SourceUnreadable)):
            _detect(_written(tmp_path, whole[:kept]), name)


def test_a_tiff_whose_directory_lies_past_the_end(tmp_path: Path) -> None:
    with pytest.raises(SourceTruncated, match="past its end"):
        _detect(_written(tmp_path, b"II*\0" + (10_000).to_bytes(4, "little") + bytes(100)))


def test_a_tiff_whose_directories_form_a_loop(tmp_path: Path) -> None:
    def entry(tag: int) -> bytes:
        return tag.to_bytes(2, "little") + b"\x03\0\x01\0\0\0\x01\0\0\0"

    directory = b"\x02\0" + entry(256) + entry(257) + (8).to_bytes(4, "little")
    with pytest.raises(SourceUnreadable, match="loop"):
        _detect(_written(tmp_path, b"II*\0" + (8).to_bytes(4, "little") + directory))


def test_a_half_geopackage_is_truncated(samples: Path, tmp_path: Path) -> None:
    whole = (samples / "geopackage.gpkg").read_bytes()
    with pytest.raises(SourceTruncated):
        _detect(_written(tmp_path, whole[: len(whole) // 2]))


@pytest.mark.parametrize("kept", [40, 100, -13, -1])
def test_a_png_that_ends_before_its_last_chunk_is_truncated(
    samples: Path, tmp_path: Path, kept: int
) -> None:
    whole = (samples / "png.png").read_bytes()
    with pytest.raises(SourceTruncated):
        _detect(_written(tmp_path, whole[:kept]))
    assert _detect(_written(tmp_path, whole + b"and more")) is SourceFormat.png


def test_a_path_that_is_not_utf_8_is_recognised(samples: Path, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/not\xffutf8.gpkg"))
    path.write_bytes((samples / "geopackage.gpkg").read_bytes())
    assert _detect(path) is SourceFormat.geopackage


@pytest.mark.parametrize(
    "page", ["<!doctype html><p>404", "<!-- x --> <HTML>", "\n<!DOCTYPE html PUBLIC 'x'><html>"]
)
def test_an_error_page_instead_of_the_file_is_named(tmp_path: Path, page: str) -> None:
    with pytest.raises(UnsupportedFormat, match="web page"):
        _detect(_written(tmp_path, page), "data.geojson")


def test_a_shapefile_without_its_index_says_what_to_send(samples: Path) -> None:
    with pytest.raises(SourceUnreadable) as refusal:
        detect(samples / "shapefile.shp", name="shapefile.shp", sidecars=("shapefile.dbf",))
    assert ".shx" in refusal.value.message
    assert "zip" in refusal.value.remedy


@pytest.mark.parametrize(
    ("part", "expected"), [("shapefile.shx", "index"), ("shapefile.dbf", "attribute table")]
)
def test_a_lone_part_of_a_shapefile_is_named(samples: Path, part: str, expected: str) -> None:
    with pytest.raises(UnsupportedFormat, match=expected):
        _detect(samples / part)


def test_parquet_without_geometry(samples: Path) -> None:
    with pytest.raises(NoGeometry, match="'geo'"):
        _detect(samples / "plain.parquet")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("To whom it may concern", "text"),
        ("%PDF-1.7\n", "PDF"),
        (gzip.compress(b"x", mtime=0), "gzip"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(40), "7-Zip"),
        (b"Rar!\x1a\x07\x01\x00" + bytes(40), "RAR"),
        (bytes(257) + b"ustar\x0000" + bytes(250), "tar"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "HDF5"),
        ("<VRTDataset rasterXSize='1' rasterYSize='1'/>", "virtual raster"),
        ("<OGRVRTDataSource/>", "virtual file"),
        ("<GDAL_WMS><Service name='TMS'/></GDAL_WMS>", "web map service"),
        ("<OGRWFSDataSource/>", "web feature service"),
        ("<!DOCTYPE html><html></html>", "web page"),
        ("<html></html>", "web page"),
        ("<gpx/>", "GPX"),
        ("PG:dbname=postgres", "database"),
        ('{"type": "gdal_streamed_alg", "command_line": "gdal vector pipeline"}', "GDALG"),
        ('{"type": "Topology", "objects": {}}', "TopoJSON"),
        (
            '{"displayFieldName": "", "geometryType": "esriGeometryPoint", "features": []}',
            "Esri JSON",
        ),
        ('{"type": "Feature", "stac_version": "1.1.0"}', "STAC"),
        ('{"stac_version": "1.0.0", "type": "Catalog"}', "STAC"),
        ('{"a": 1}', "not GeoJSON"),
        ("<a/>", "neither KML nor GML"),
        (bytes(range(256)) * 4, "unknown"),
    ],
)
def test_unsupported_content_is_named(tmp_path: Path, content: str | bytes, expected: str) -> None:
    path = _written(tmp_path, content)
    for name in ("image.tif", "data.geojson", "object"):
        with pytest.raises(UnsupportedFormat, match=expected):
            _detect(path, name)


@pytest.mark.parametrize(
    "document",
    [
        {"type": "FeatureCollection", "features": []},
        {
            "name": "x",
            "crs": {"type": "name", "properties": {"name": "EPSG:2056"}},
            "type": "FeatureCollection",
            "features": [],
        },
        {"type": "Feature", "geometry": None, "properties": {"type": "Topology", "tricky": '}"]{'}},
        {"coordinates": [1, 2], "type": "Point"},
        {
            "features": [{"type": "Feature", "geometry": None, "properties": {}}],
            "type": "FeatureCollection",
        },
    ],
)
def test_geojson_members_in_any_order(tmp_path: Path, document: dict[str, object]) -> None:
    for text in (json.dumps(document), "\ufeff \n" + json.dumps(document, indent=2)):
        assert _detect(_written(tmp_path, text), "x.txt") is SourceFormat.geojson


def test_geojson_whose_type_comes_after_a_megabyte_of_features(tmp_path: Path) -> None:
    feature = {"type": "Feature", "geometry": None, "properties": {"text": "x" * 1000}}
    assert (
        _detect(
            _written(
                tmp_path, json.dumps({"features": [feature] * 1000, "type": "FeatureCollection"})
            )
        )
        is SourceFormat.geojson
    )


@pytest.mark.parametrize("between", ["\n", "\r\n", "\n\x1e", " \n \n"])
def test_features_one_after_another_are_lines(tmp_path: Path, between: str) -> None:
    feature = '{"type":"Feature","geometry":null,"properties":{"a":"}{"}}'
    assert _detect(_written(tmp_path, between.join([feature] * 3))) is SourceFormat.geojson_lines
    assert _detect(_written(tmp_path, "\x1e" + feature + "\n")) is SourceFormat.geojson_lines


def test_kml_and_gml_of_any_version(tmp_path: Path) -> None:
    for namespace in ("http://www.opengis.net/kml/2.2", "http://earth.google.com/kml/2.1"):
        assert (
            _detect(
                _written(
                    tmp_path, f'<?xml version="1.0"?>\n<!-- c --><k:kml xmlns:k="{namespace}"/>'
                )
            )
            is SourceFormat.kml
        )
    assert _detect(_written(tmp_path, "<kml><Document/></kml>")) is SourceFormat.kml
    for namespace in ("http://www.opengis.net/gml", "http://www.opengis.net/gml/3.2"):
        assert (
            _detect(_written(tmp_path, f'<City xmlns="urn:x" xmlns:gml="{namespace}"></City>'))
            is SourceFormat.gml
        )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_of_any_delimiter_and_western_encoding(
    tmp_path: Path, delimiter: str, encoding: str
) -> None:
    rows = [
        ["Ort", "Länge", "Breite", "Notiz"],
        ["Zürich", "8.5", "47.4", '"zwei\nZeilen"'],
        ["Genf", "6.1", "46.2", ""],
    ]
    content = "\r\n".join(delimiter.join(row) for row in rows).encode(encoding)
    assert _detect(_written(tmp_path, content), "orte.CSV") is SourceFormat.csv


def test_csv_needs_its_name_and_columns(tmp_path: Path) -> None:
    table = _written(tmp_path, "a,b\n1,2\n")
    with pytest.raises(UnsupportedFormat):
        _detect(table, "table.txt")
    with pytest.raises(UnsupportedFormat, match="not a table"):
        _detect(
            _written(
                tmp_path,
                "Dear all,\n\nthis is a letter, and it has, here and there, commas.\nBest\n",
            ),
            "letter.csv",
        )


def test_a_long_csv_whose_head_is_cut_in_a_row(tmp_path: Path) -> None:
    row = "x" * 5000 + ",1,2\n"
    assert _detect(_written(tmp_path, "wkt,a,b\n" + row * 200), "x.csv") is SourceFormat.csv


def test_an_ascii_grid_in_any_order_and_case(tmp_path: Path) -> None:
    header = "NROWS 2\nncols 3\nXLLCENTER 1\nyllcenter 2\ndx 1\ndy 2\nNODATA_value -9999\n"
    assert (
        _detect(_written(tmp_path, header + "1 2 3\n4 5 6\n"), "grid.txt")
        is SourceFormat.esri_ascii_grid
    )
    with pytest.raises(UnsupportedFormat):
        _detect(_written(tmp_path, "ncols 3\nnrows 2\n1 2 3\n4 5 6\n"), "grid.asc")


def _database(path: Path, *statements: str, application_id: int = 0) -> Path:
    database = sqlite3.connect(path)
    for statement in (*statements, f"PRAGMA application_id = {application_id}"):
        database.execute(statement)
    database.commit()
    database.close()
    return path


def test_other_sqlite_databases_are_named(tmp_path: Path) -> None:
    tiles = _database(tmp_path / "a", "CREATE TABLE tiles (z)", "CREATE TABLE metadata (name)")
    with pytest.raises(UnsupportedFormat, match="MBTiles"):
        _detect(tiles, "tiles.gpkg")
    contents = "CREATE TABLE gpkg_contents (table_name TEXT, data_type TEXT)"
    raster = _database(
        tmp_path / "b",
        contents,
        "INSERT INTO gpkg_contents VALUES ('t', 'tiles')",
        application_id=0x47504B47,
    )
    with pytest.raises(UnsupportedFormat, match="raster tiles"):
        _detect(raster)
    with pytest.raises(NoGeometry):
        _detect(_database(tmp_path / "c", contents, application_id=0x47504B47))


def test_refusals_name_the_object_without_its_control_characters(tmp_path: Path) -> None:
    with pytest.raises(PlatformError) as refusal:
        _detect(_written(tmp_path, b"nothing"), "evil\x1b[31m\n.tif")
    assert "\x1b" not in refusal.value.message
    assert "\n" not in refusal.value.message
