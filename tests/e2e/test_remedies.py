"""Each remedy of docs/errors.md that a file or an option needs, followed on a real file to its end.

A case makes an input that is refused with a code, follows the remedy, and ingests again. The codes
of faults, of the HTTP API and of runs over many files have tests of their own, see `ELSEWHERE`;
`NOT_FOLLOWED` lists the others.
"""

import json
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from shapely import LineString, Point, Polygon

from geo_platform.cli.commands.ingest import ingest_sources
from geo_platform.errors import error_leaves
from tests.support.command import geo_platform
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import PRODUCTION_IS_SLOW, ProfileUnderTest

pytestmark = DAGSTER_S_WARNINGS

_TESTS = Path(__file__).parents[1]

Options = Sequence[str]
# Follow a remedy: change the file or return another one, and the options to give.
Followed = tuple[Path, Options]
Error = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """How to be refused with `code`, a part of the remedy, and how to follow it."""

    code: str
    refused: Callable[[Path], Followed]
    remedy: str
    follow: Callable[[Path, Error], Followed]
    before: Callable[[Path], Followed] | None = None


def _raster(
    path: Path,
    dtype: str = "int16",
    *,
    crs: str | None = "EPSG:32632",
    bands: int = 1,
    nodata: float | None = None,
    fill: float | None = None,
) -> Path:
    rows, columns = np.mgrid[0:64, 0:64]
    pixels = (rows * 3 + columns + 1).astype(dtype) if fill is None else np.full((64, 64), fill)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=64,
        height=64,
        count=bands,
        dtype=dtype,
        crs=crs,
        transform=Affine(10, 0, 600_000, 0, -10, 5_200_000),
        nodata=nodata,
    ) as dataset:
        for band in range(1, bands + 1):
            dataset.write(pixels.astype(dtype), band)
    return path


def _points(path: Path, *, crs: str | None = "EPSG:4326", lon: float = 11.0, **kept: Any) -> Path:
    frame = gpd.GeoDataFrame({"name": ["a", "b"]}, geometry=[Point(lon, 47), Point(lon + 1, 48)])
    frame.set_crs(crs or "EPSG:4326").to_file(path, **kept)
    if crs is None:
        path.with_suffix(".prj").unlink()
    return path


def _zip(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def _text(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding)
    return path


def _geojson(*geometries: dict[str, Any]) -> str:
    features = [
        {"type": "Feature", "properties": {"name": "a"}, "geometry": geometry}
        for geometry in geometries
    ]
    return json.dumps({"type": "FeatureCollection", "features": features})


_POINT = {"type": "Point", "coordinates": [11.0, 47.0]}


_KML = (
    '<?xml version="1.0"?><kml xmlns="http://www.opengis.net/kml/2.2"><Document><Placemark>'
    "<name>a</name><Point><coordinates>11,47</coordinates></Point></Placemark></Document></kml>"
)


def _stating(path: Path, crs: str) -> Path:
    named = {"type": "name", "properties": {"name": crs}}
    return _text(path, json.dumps({**json.loads(_geojson(_POINT)), "crs": named}))


def _layers(path: Path) -> Path:
    for layer in ("roads", "rivers"):
        gpd.GeoDataFrame(
            {"name": [layer]}, geometry=[LineString([(11, 47), (12, 48)])], crs="EPSG:4326"
        ).to_file(path, layer=layer, driver="GPKG")
    return path


def _mixed(path: Path) -> Path:
    gpd.GeoDataFrame(
        {"name": ["a", "b"]},
        geometry=[Point(11, 47), Polygon([(11, 47), (12, 47), (12, 48)])],
        crs="EPSG:4326",
    ).to_file(path, driver="GPKG", geometry_type="Unknown")
    return path


def _cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-3000])
    return path


def _not_a_database(path: Path) -> Path:
    """Damage a page in the middle of a GeoPackage."""
    content = bytearray(_points(path, driver="GPKG").read_bytes())
    content[100:4096] = struct.pack("B", 255) * 3996
    path.write_bytes(content)
    return path


def _picture(path: Path) -> Path:
    # rasterio warns that the picture has no transform, which is what the case needs.
    with (
        warnings.catch_warnings(action="ignore"),
        rasterio.open(path, "w", driver="PNG", width=64, height=64, count=3, dtype="uint8") as png,
    ):
        png.write(np.arange(3 * 64 * 64, dtype="uint8").reshape(3, 64, 64))
    return path


def _with_world_file(path: Path) -> Path:
    path.with_suffix(".pgw").write_text("10\n0\n0\n-10\n600005\n5199995\n")
    return path


CASES = [
    Case(
        "ARCHIVE_UNSAFE",
        lambda at: (_zip(at / "a.zip", ("../points.geojson", _geojson(_POINT).encode())), ()),
        "Zip only the data files",
        lambda at, _: (_zip(at / "b.zip", ("points.geojson", _geojson(_POINT).encode())), ()),
    ),
    Case(
        "BOUNDS_IMPLAUSIBLE",
        lambda at: (_points(at / "metres.gpkg", lon=500_000.0), ()),
        "--input-crs and --override-crs",
        lambda at, _: (at / "metres.gpkg", ("--input-crs", "EPSG:3857", "--override-crs")),
    ),
    Case(
        "CONFLICT",
        lambda at: (_raster(at / "south" / "scene.tif"), ()),
        "Choose another --item-id",
        lambda at, _: (at / "south" / "scene.tif", ("--item-id", "south-scene")),
        before=lambda at: (_raster(at / "north" / "scene.tif"), ()),
    ),
    Case(
        "CRS_MISMATCH",
        lambda at: (_raster(at / "a.tif"), ("--input-crs", "EPSG:32633")),
        "Omit --input-crs to use the CRS of the file, or set --override-crs",
        lambda at, _: (at / "a.tif", ()),
    ),
    Case(
        "CRS_MISMATCH",
        lambda at: (_points(at / "a.gpkg"), ("--input-crs", "EPSG:4258")),
        "or set --override-crs if the file is wrong",
        lambda at, _: (at / "a.gpkg", ("--input-crs", "EPSG:4258", "--override-crs")),
    ),
    Case(
        "CRS_MISSING",
        lambda at: (_raster(at / "a.tif", crs=None), ()),
        "for example --input-crs EPSG:4326",
        lambda at, _: (at / "a.tif", ("--input-crs", "EPSG:32632")),
    ),
    Case(
        "CRS_MISSING",
        lambda at: (_points(at / "a.shp", crs=None), ()),
        "for example --input-crs EPSG:4326",
        lambda at, _: (at / "a.shp", ("--input-crs", "EPSG:4326")),
    ),
    Case(
        "CRS_MISSING",
        lambda at: (_stating(at / "a.geojson", "urn:ogc:def:crs:EPSG::999999"), ()),
        "for example --input-crs EPSG:4326",
        lambda at, _: (at / "a.geojson", ("--input-crs", "EPSG:4326")),
    ),
    Case(
        "UNSUPPORTED_FORMAT",
        lambda at: (_text(at / "a.kml", _KML.replace("?>", "?><!DOCTYPE kml>")), ()),
        "Remove the line <!DOCTYPE",
        lambda at, _: (_text(at / "a.kml", _KML), ()),
    ),
    Case(
        "DECOMPRESSION_BOMB",
        lambda at: (
            _zip(at / "a.zip", ("a.geojson", _geojson(_POINT).encode() + b" " * 200_000_000)),
            (),
        ),
        "Submit it unpacked",
        lambda at, _: (_text(at / "a.geojson", _geojson(_POINT) + " " * 200_000), ()),
    ),
    Case(
        "FIELD_ENCODING",
        lambda at: (_text(at / "a.csv", "name;lon;lat\nMünchen;11.5;48.1\n", "cp1252"), ()),
        "for example --encoding CP1252",
        lambda at, _: (at / "a.csv", ("--encoding", "CP1252")),
    ),
    Case(
        "GEOMETRY_MIXED",
        lambda at: (_mixed(at / "a.gpkg"), ("--mixed-geometry", "refuse")),
        "or --mixed-geometry keep",
        lambda at, _: (at / "a.gpkg", ("--mixed-geometry", "keep")),
    ),
    Case(
        "GEOMETRY_MIXED",
        lambda at: (_mixed(at / "a.gpkg"), ()),
        "--mixed-geometry split",
        lambda at, _: (at / "a.gpkg", ("--mixed-geometry", "split")),
    ),
    Case(
        "GEOMETRY_UNREPAIRABLE",
        lambda at: (
            _text(at / "a.csv", 'name,wkt\na,"POLYGON ((11 47, 11 47, 11 47, 11 47))"\n'),
            ("--input-crs", "EPSG:4326"),
        ),
        "Repair the geometries",
        lambda at, _: (
            _text(at / "a.csv", 'name,wkt\na,"POLYGON ((11 47, 12 47, 12 48, 11 47))"\n'),
            ("--input-crs", "EPSG:4326"),
        ),
    ),
    Case(
        "GEOTRANSFORM_MISSING",
        lambda at: (_picture(at / "a.png"), ("--input-crs", "EPSG:32632")),
        "Add a world file beside the image",
        lambda at, _: (_with_world_file(at / "a.png"), ("--input-crs", "EPSG:32632")),
    ),
    Case(
        "LAYER_AMBIGUOUS",
        lambda at: (_layers(at / "a.gpkg"), ()),
        "--layer-name",
        lambda at, error: (at / "a.gpkg", ("--layer-name", _named_in(error, "rivers"))),
    ),
    Case(
        "LAYER_AMBIGUOUS",
        lambda at: (_layers(at / "a.gpkg"), ()),
        "all of them with --layer-name '*'",
        lambda at, _: (at / "a.gpkg", ("--layer-name", "*")),
    ),
    Case(
        "LAYER_NOT_FOUND",
        lambda at: (_layers(at / "a.gpkg"), ("--layer-name", "lakes")),
        "--layer-name",
        lambda at, error: (at / "a.gpkg", ("--layer-name", _named_in(error, "roads"))),
    ),
    Case(
        "LAYER_NOT_FOUND",
        lambda at: (
            _zip(at / "a.zip", ("a.geojson", _geojson(_POINT).encode())),
            ("--archive-member", "b.geojson"),
        ),
        "with --archive-member",
        lambda at, error: (at / "a.zip", ("--archive-member", _named_in(error, "a.geojson"))),
    ),
    Case(
        "NODATA_CONFLICT",
        lambda at: (_raster(at / "a.tif", nodata=-1), ("--nodata", "-9999")),
        "Omit --nodata",
        lambda at, _: (at / "a.tif", ()),
    ),
    Case(
        "NODATA_CONFLICT",
        lambda at: (_raster(at / "a.tif", "uint8"), ("--nodata", "-9999")),
        "with --nodata",
        lambda at, _: (at / "a.tif", ("--nodata", "0")),
    ),
    Case(
        "NO_FEATURES",
        lambda at: (_text(at / "a.csv", "name,lon,lat\n"), ()),
        "Check the export",
        lambda at, _: (_text(at / "a.csv", "name,lon,lat\na,11,47\n"), ()),
    ),
    Case(
        "NO_GEOMETRY",
        lambda at: (_text(at / "a.csv", "name,across,up\na,11,47\n"), ()),
        "--lat-name and --lon-name, or --wkt-column. Give their CRS with --input-crs",
        lambda at, _: (
            at / "a.csv",
            ("--lat-name", "up", "--lon-name", "across", "--input-crs", "EPSG:4326"),
        ),
    ),
    Case(
        "NO_GEOMETRY",
        lambda at: (_text(at / "a.csv", "name,outline\na,POINT (11 47)\n"), ()),
        "or --wkt-column",
        lambda at, _: (at / "a.csv", ("--wkt-column", "outline", "--input-crs", "EPSG:4326")),
    ),
    Case(
        "PARAMETER_INVALID",
        lambda at: (_raster(at / "a.tif"), ("--target-crs", "EPSG:999999")),
        "",
        lambda at, _: (at / "a.tif", ("--target-crs", "EPSG:3857")),
    ),
    Case(
        "RASTER_64BIT_REJECTED",
        lambda at: (_raster(at / "a.tif", "float64"), ("--strict-mode",)),
        "submit it without --strict-mode",
        lambda at, _: (at / "a.tif", ()),
    ),
    Case(
        "RASTER_EMPTY",
        lambda at: (_raster(at / "a.tif", nodata=-1, fill=-1), ()),
        "Check the export, or the nodata value",
        lambda at, _: (_raster(at / "a.tif", nodata=-2, fill=-1), ()),
    ),
    Case(
        "RASTER_TYPE_MISMATCH",
        lambda at: (_raster(at / "a.tif"), ("--raster-type", "rgb")),
        "Leave --raster-type at auto",
        lambda at, _: (at / "a.tif", ("--raster-type", "auto")),
    ),
    Case(
        "RASTER_TYPE_MISMATCH",
        lambda at: (_raster(at / "a.tif"), ("--output-tier", "visualization")),
        "--output-tier analysis",
        lambda at, _: (at / "a.tif", ("--output-tier", "analysis")),
    ),
    Case(
        "SOURCE_EMPTY",
        lambda at: (_text(at / "a.tif", ""), ()),
        "Export or copy it again",
        lambda at, _: (_raster(at / "a.tif"), ()),
    ),
    Case(
        "SOURCE_NOT_FOUND",
        lambda at: (at / "A.tif", ()),
        "Check the path",
        lambda at, _: (_raster(at / "a.tif"), ()),
    ),
    Case(
        "SOURCE_TRUNCATED",
        lambda at: (_cut(_raster(at / "a.tif")), ()),
        "Copy or upload it again",
        lambda at, _: (_raster(at / "a.tif"), ()),
    ),
    Case(
        "SOURCE_UNREADABLE",
        lambda at: (_not_a_database(at / "a.gpkg"), ()),
        "export it again",
        lambda at, _: (_points(_without(at / "a.gpkg"), driver="GPKG"), ()),
    ),
    Case(
        "TABLE_EXISTS",
        lambda at: (_points(at / "south" / "roads.gpkg"), ()),
        "Choose another --table-name and another --item-id",
        lambda at, _: (
            at / "south" / "roads.gpkg",
            ("--table-name", "south_roads", "--item-id", "south-roads"),
        ),
        before=lambda at: (_points(at / "north" / "roads.gpkg"), ()),
    ),
    Case(
        "TABLE_EXISTS",
        lambda at: (_points(at / "a.gpkg"), ("--load-mode", "create", "--target-crs", "EPSG:3857")),
        "Choose another --table-name and another --item-id",
        lambda at, _: (
            at / "a.gpkg",
            (
                *("--load-mode", "create", "--target-crs", "EPSG:3857"),
                *("--table-name", "b", "--item-id", "b"),
            ),
        ),
        before=lambda at: (_points(at / "a.gpkg"), ("--load-mode", "create")),
    ),
    Case(
        "TABLE_NAME_INVALID",
        lambda at: (_points(at / "a.gpkg", driver="GPKG"), ("--table-name", "2nd table")),
        "Begin with a letter",
        lambda at, _: (at / "a.gpkg", ("--table-name", "second_table")),
    ),
    Case(
        "UNSUPPORTED_FORMAT",
        lambda at: (_text(at / "a.dxf", "0\nSECTION\n2\nENTITIES\n0\nENDSEC\n0\nEOF\n"), ()),
        "docs/formats.md",
        lambda at, _: (_text(at / "a.geojson", _geojson(_POINT)), ()),
    ),
]

# Codes whose remedies other tests follow, or that nobody who ingests a file can cause.
# Codes whose remedies other tests follow to the end.
_API = "integration/test_api_authentication.py"
ELSEWHERE = {
    "BODY_TOO_LARGE": f"{_API}::test_a_too_long_body_is_cut_off_whatever_its_content_length",
    "DATABASE_UNAVAILABLE": "e2e/test_faults.py"
    "::test_a_database_that_fails_during_a_load_and_recovers",
    "FILES_REFUSED": "e2e/test_many_files.py"
    "::test_refused_files_are_reported_traced_and_retried_alone",
    "FORBIDDEN": f"{_API}::test_each_scope_opens_its_own_routes_and_those_of_lower_scopes",
    "MESSAGE_UNREADABLE": "assets/test_messages.py"
    "::test_an_unreadable_message_fails_with_a_code_and_is_not_retried",
    "RUN_CANCELED": "integration/test_api_jobs.py"
    "::test_a_failed_job_can_be_submitted_again_canceled_and_retried",
    "STORE_DENIED": "e2e/test_folders.py::test_an_unusable_home_is_a_platform_error",
    "STORE_UNAVAILABLE": "e2e/test_faults.py"
    "::test_a_store_that_fails_during_an_upload_and_recovers",
    "UNAUTHENTICATED": f"{_API}"
    "::test_a_key_is_accepted_in_its_header_as_bearer_or_password_and_never_in_the_url",
    "VERSION_GONE": "e2e/test_serving_downloads.py"
    "::test_an_address_with_a_version_is_for_ever_and_never_another_version",
}
# Codes whose remedies no test follows, and why.
NOT_FOLLOWED = {
    # Somebody has to be told, and nothing else is to be done.
    *("CATALOG_REJECTED", "COG_INVALID", "UNEXPECTED_FAULT"),
    # The command is that of FILES_REFUSED.
    "FILES_FAILED",
    # Waiting, another machine, a smaller source, the right id.
    *("MEMORY_EXCEEDED", "NOT_FOUND", "RATE_EXCEEDED", "TIME_EXCEEDED"),
}


def _named_in(error: Error, name: str) -> str:
    """Return a name that the message tells the user."""
    assert name in error["message"]
    return name


def _without(path: Path) -> Path:
    path.unlink()
    return path


def test_each_code_has_its_case() -> None:
    codes = {case.code for case in CASES}
    assert codes | set(ELSEWHERE) | NOT_FOLLOWED == {leaf.code for leaf in error_leaves()}
    assert not codes & (set(ELSEWHERE) | NOT_FOLLOWED)
    assert not set(ELSEWHERE) & NOT_FOLLOWED
    for place in ELSEWHERE.values():
        path, _, name = place.partition("::")
        assert f"def {name}(" in (_TESTS / path).read_text(), place


@PRODUCTION_IS_SLOW
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code}-{case.remedy[:20]}")
def test_a_remedy_works_when_it_is_followed(
    tmp_path: Path, profile: ProfileUnderTest, case: Case
) -> None:
    folder = tmp_path / "data"
    for name in ("north", "south"):
        (folder / name).mkdir(parents=True)

    def ingest(source: Path, options: Options) -> dict[str, Any]:
        ended = geo_platform_here(
            "ingest",
            "--json",
            source,
            *options,
            home=tmp_path / "home",
            extra=profile.environment,
        )
        assert ended.stdout, ended.stderr
        return dict(ended.lines[0])

    if case.before is not None:
        assert ingest(*case.before(folder))["outcome"] == "published"
    refused = ingest(*case.refused(folder))
    assert (refused["outcome"], (refused["error"] or {}).get("code")) == ("refused", case.code)
    error = refused["error"]
    assert case.remedy in error["remedy"]
    assert set(re.findall(r"--[a-z][a-z-]+", error["remedy"])) <= _known_options()
    followed = ingest(*case.follow(folder, error))
    assert (followed["outcome"], followed["error"]) == ("published", None)


def test_warnings_of_libraries_do_not_reach_the_screen(tmp_path: Path) -> None:
    """Shapely warns of an overflow, rasterio of a nodata value beside an alpha band."""
    folder = tmp_path / "in"
    folder.mkdir()
    _text(folder / "a.csv", "name,wkt\na,POINT (11 47)\nb,POINT (1e400 47)\n")
    _text(folder / "a.prj", CRS.from_epsg(4326).to_wkt())
    with rasterio.open(
        folder / "b.tif",
        "w",
        driver="GTiff",
        width=64,
        height=64,
        count=4,
        dtype="uint8",
        nodata=0,
        crs="EPSG:32632",
        transform=Affine(10, 0, 600_000, 0, -10, 5_200_000),
        photometric="RGB",
        alpha="YES",
    ) as dataset:
        dataset.write(np.full((4, 64, 64), 200, "uint8"))
    ended = geo_platform("ingest", "--json", folder, home=tmp_path)
    assert {line["source"].rpartition("/")[2] for line in ended.lines} == {"a.csv", "b.tif"}
    assert ended.stderr == ""


def _known_options() -> set[str]:
    context = click.Context(ingest_sources)
    return {name for parameter in ingest_sources.get_params(context) for name in parameter.opts}
