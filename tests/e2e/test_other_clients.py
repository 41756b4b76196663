"""Read published data with other clients: GDAL's programs, geopandas, STAC searches."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import geopandas as gpd
import psycopg
import pytest
import rasterio
import shapely
from psycopg.conninfo import conninfo_to_dict

from geo_platform.ports import SILVER
from tests.support import outputs
from tests.support.command import SAMPLES
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import ProfileUnderTest
from tests.support.skipping import cannot_run

pytestmark = DAGSTER_S_WARNINGS

HEIGHTS = SAMPLES / "sierra_nevada_srtm.tif"
COUNTRIES = SAMPLES / "natural_earth_countries.shp.zip"
TABLE = "geo.natural_earth_countries"


def _gdal(program: str, *arguments: str | Path, env: Mapping[str, str] | None = None) -> str:
    if shutil.which(program) is None:
        cannot_run(f"no {program} is not installed; on Debian: apt-get install gdal-bin")
    done = subprocess.run(
        [program, *map(str, arguments)],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _address(published: ProfileUnderTest) -> str:
    """Return the address for OGR, with a read-only login; the password is in the environment."""
    assert published.logins is not None
    parts = conninfo_to_dict(published.logins.reader.url.get_secret_value())
    return (
        f"PG:host={parts['host']} port={parts['port']} dbname={parts['dbname']} "
        f"user={parts['user']}"
    )


def _password(published: ProfileUnderTest) -> dict[str, str]:
    assert published.logins is not None
    return {
        "PGPASSWORD": str(
            conninfo_to_dict(published.logins.reader.url.get_secret_value())["password"]
        )
    }


@pytest.fixture(scope="module")
def published(
    module_production: ProfileUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> ProfileUnderTest:
    """Both samples, published once for this module."""
    home = tmp_path_factory.mktemp("clients") / "home"
    done = geo_platform_here(
        "ingest", "--json", HEIGHTS, COUNTRIES, home=home, extra=module_production.environment
    )
    assert [line["outcome"] for line in done.lines] == ["published", "published"], done.lines
    return module_production


@pytest.fixture(scope="module")
def source() -> gpd.GeoDataFrame:
    return gpd.read_file(COUNTRIES)


class TestOtherClients:
    def test_ogrinfo_agrees_on_rows_extent_and_srid(
        self, published: ProfileUnderTest, source: gpd.GeoDataFrame
    ) -> None:
        info = _gdal("ogrinfo", "-so", _address(published), TABLE, env=_password(published))
        assert f"Feature Count: {len(source)}\n" in info
        assert "Geometry: Multi Polygon\n" in info
        assert 'ID["EPSG",4326]]\n' in info
        extent = re.search(r"^Extent: \((\S+), (\S+)\) - \((\S+), (\S+)\)$", info, re.MULTILINE)
        assert extent is not None
        assert [float(value) for value in extent.groups()] == pytest.approx(
            source.total_bounds.tolist()
        )

    def test_ogr2ogr_copies_every_row(
        self, published: ProfileUnderTest, source: gpd.GeoDataFrame, tmp_path: Path
    ) -> None:
        copy = tmp_path / "copy.gpkg"
        _gdal("ogr2ogr", "-f", "GPKG", copy, _address(published), TABLE, env=_password(published))
        copied = gpd.read_file(copy)
        assert sorted(copied["name"]) == sorted(source["name"])
        assert copied.crs == source.crs
        assert copied.total_bounds == pytest.approx(source.total_bounds)

    def test_geopandas_reads_the_same_shapes(
        self, published: ProfileUnderTest, source: gpd.GeoDataFrame
    ) -> None:
        assert published.logins is not None
        frame = (
            outputs.read_table(published.logins.reader, TABLE).set_index("name").loc[source["name"]]
        )
        assert frame.crs == source.crs
        assert shapely.area(frame.geometry.to_numpy()) == pytest.approx(
            shapely.area(source.geometry.to_numpy())
        )

    def test_gdal_opens_the_cog_at_its_blob_address(
        self, published: ProfileUnderTest, tmp_path: Path
    ) -> None:
        assert published.blobs is not None
        (cog,) = [
            stored.reference
            for stored in published.objects(tmp_path).list(SILVER)
            if stored.reference.key.endswith(".tif")
        ]
        address = f"/vsiaz/{published.blobs.prefix}{SILVER}/{cog.key}"
        assert cog.uri.endswith(address.removeprefix("/vsiaz"))
        env = {
            "AZURE_STORAGE_CONNECTION_STRING": published.blobs.connection_string,
            "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        }
        info = json.loads(_gdal("gdalinfo", "-json", "-checksum", address, env=env))
        with rasterio.open(HEIGHTS) as heights:
            assert info["size"] == [heights.width, heights.height]
            assert info["bands"][0]["checksum"] == heights.checksum(1)
        assert 'ID["EPSG",4326]' in info["coordinateSystem"]["wkt"]
        assert info["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"

    @pytest.mark.parametrize(
        ("search", "found"),
        [
            (
                {"bbox": [-119.9, 37.6, -119.4, 38]},
                {"sierra_nevada_srtm", "natural_earth_countries"},
            ),
            ({"collections": ["rasters"], "bbox": [-120, 36, -118, 39]}, {"sierra_nevada_srtm"}),
            ({"collections": ["rasters"], "bbox": [4, 50, 5, 51]}, set()),
            ({"ids": ["natural_earth_countries"]}, {"natural_earth_countries"}),
            (
                {"datetime": "2000-01-01T00:00:00Z/..", "collections": ["vectors"]},
                {"natural_earth_countries"},
            ),
            (
                {
                    "intersects": {"type": "Point", "coordinates": [-119.6, 37.8]},
                    "collections": ["rasters"],
                },
                {"sierra_nevada_srtm"},
            ),
            (
                {"filter": {"op": "=", "args": [{"property": "geo_platform:kind"}, "vector"]}},
                {"natural_earth_countries"},
            ),
        ],
        ids=[
            "a box",
            "a box in a collection",
            "a box elsewhere",
            "an id",
            "a time",
            "a shape",
            "a property",
        ],
    )
    def test_a_search_finds_the_items(
        self, published: ProfileUnderTest, search: dict[str, Any], found: set[str]
    ) -> None:
        assert {feature["id"] for feature in _search(published, search)} == found

    def test_a_found_item_links_to_readable_data(
        self, published: ProfileUnderTest, source: gpd.GeoDataFrame
    ) -> None:
        (item,) = _search(published, {"ids": ["natural_earth_countries"]})
        table = item["assets"]["table"]
        assert f"{table['geo_platform:schema']}.{table['geo_platform:table']}" == TABLE
        assert table["table:row_count"] == len(source)
        assert "password" not in json.dumps(item)
        assert item["properties"]["proj:bbox"] == pytest.approx(source.total_bounds.tolist())


def _search(published: ProfileUnderTest, search: dict[str, Any]) -> list[dict[str, Any]]:
    """Search pgSTAC as a STAC API server does, with a read-only login."""
    assert published.logins is not None
    with psycopg.connect(published.logins.reader.url.get_secret_value()) as connection:
        connection.execute("SET search_path TO pgstac, public")
        row = connection.execute(
            "SELECT pgstac.search(%s)", (json.dumps({"limit": 10, **search}),)
        ).fetchone()
    assert row is not None
    features: list[dict[str, Any]] = row[0]["features"]
    return features
