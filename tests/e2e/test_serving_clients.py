"""Read what is served with OWSLib, GDAL's STACIT driver and stac-api-validator.

Values are compared with the stored files and tables, read by rasterio, pyarrow and psycopg.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import geopandas as gpd
import numpy as np
import psycopg
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from owslib.ogcapi.features import Features
from owslib.wmts import WebMapTileService
from rasterio.io import MemoryFile

from tests.support.command import ROOT
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import MODULE_IN_PRODUCTION_IS_SLOW, ProfileUnderTest
from tests.support.publications import COLLECTION, item
from tests.support.reading import ReadingApi, reading_api

pytestmark = [
    *DAGSTER_S_WARNINGS,
    MODULE_IN_PRODUCTION_IS_SLOW,
    # Tiles have no georeference of their own.
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]

ROWS, COLS = 150, 200
WELLS = "vectors:wells"
WEST = "/raster/collections/rasters/items/west"
BEYOND = 2**53 + 1


@dataclass
class Clients:
    """The served application, the folder of the sources and the home."""

    api: ReadingApi
    files: Path
    profile: ProfileUnderTest

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Api-Key": self.api.key}

    def source(self, name: str) -> NDArray[Any]:
        with rasterio.open(self.files / f"{name}.tif") as opened:
            return np.asarray(opened.read(1))

    def wmts(self, query: str = "") -> Any:
        address = f"{self.api.address}{WEST}/WMTSCapabilities.xml{query}"
        return WebMapTileService(address, headers=self.headers)

    def features(self) -> Any:
        return Features(f"{self.api.address}/features", headers=self.headers)

    def stored_rows(self) -> dict[int, dict[str, Any]]:
        """The rows of the table or of the GeoParquet file, by id, with the geometry as WKB."""
        names = ("number", "name", "depth", "geometry")
        if self.profile.logins is None:
            (path,) = (self.api.settings.home_dir / "store/silver").rglob("wells*.parquet")
            rows = [tuple(row[name] for name in names) for row in pq.read_table(path).to_pylist()]
            return {id_: dict(zip(names, row, strict=True)) for id_, row in enumerate(rows, 1)}
        url = self.profile.logins.reader.url.get_secret_value()
        with psycopg.connect(url) as connection:
            found = connection.execute(
                "SELECT fid, number, name, depth, ST_AsBinary(geometry) FROM geo.wells"
            ).fetchall()
        return {id_: dict(zip(names, row, strict=True)) for id_, *row in found}


@pytest.fixture(scope="module")
def clients(
    module_profile: ProfileUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Clients]:
    folder = tmp_path_factory.mktemp("clients")
    home, files = folder / "home", folder / "files"
    files.mkdir()
    pixels = np.random.default_rng(1).integers(1, 60_000, (ROWS, 2 * COLS), dtype=np.uint16)
    for name, first in (("west", 0), ("east", COLS)):
        with rasterio.open(
            files / f"{name}.tif", "w", driver="GTiff", width=COLS, height=ROWS, count=1,
            dtype="uint16", crs="EPSG:32633", nodata=0,
            transform=Affine(10, 0, 500_000 + 10 * first, 0, -10, 5_200_000),
        ) as target:  # fmt: skip
            target.write(pixels[:, first : first + COLS], 1)
    wells = {
        "number": [BEYOND + 2 * row for row in range(25)],
        "name": [None if row % 5 == 4 else f"Brunnen Zürich {row}" for row in range(25)],
        "depth": [row / 3 for row in range(25)],
    }
    places = [shapely.Point(7 + row / 10, 46 + row / 30) for row in range(25)]
    gpd.GeoDataFrame(wells, geometry=places, crs=4326).to_parquet(files / "wells.parquet")
    done = geo_platform_here(
        "ingest", "--json", *sorted(files.iterdir()), home=home, extra=module_profile.environment
    )
    assert [line["outcome"] for line in done.lines] == ["published"] * 3, done.stderr
    with reading_api(home, module_profile) as api:
        yield Clients(api, files, module_profile)


class TestOwslibReadsWmts:
    def test_the_capabilities_say_what_is_there(self, clients: Clients) -> None:
        service = clients.wmts()
        assert (service.identification.type, service.restonly) == ("OGC WMTS", True)
        layer = service["default"]
        item = clients.api.ask("/stac/collections/rasters/items/west").json()
        assert list(layer.boundingBoxWGS84) == pytest.approx(item["bbox"])
        (native,) = layer.boundingBox
        with rasterio.open(clients.files / "west.tif") as source:
            assert native.extent == tuple(source.bounds)
            assert native.crs == f"urn:ogc:def:crs:EPSG::{source.crs.to_epsg()}"
        assert layer.formats == ["image/png", "image/webp", "image/jpeg"]
        assert set(layer.tilematrixsetlinks) == {"WebMercatorQuad", "native"}
        mercator = service.tilematrixsets["WebMercatorQuad"]
        assert mercator.crs == "urn:ogc:def:crs:EPSG::3857"
        first = mercator.tilematrix["0"]
        assert first.topleftcorner == pytest.approx((-20037508.342789244, 20037508.342789244))
        assert first.scaledenominator == pytest.approx(559082264.0287178)
        last = service.tilematrixsets["native"].tilematrix["0"]
        assert (last.topleftcorner, last.tilewidth) == ((500_000, 5_200_000), 512)
        assert last.scaledenominator == pytest.approx(10 / 0.00028)

    def test_a_tile_has_the_pixels_of_its_address(self, clients: Clients) -> None:
        service = clients.wmts("?tile_format=png")
        assert service["default"].formats == ["image/png"]
        zoom = 14
        x = int((15.013 + 180) / 360 * 2**zoom)
        y = int((1 - np.arcsinh(np.tan(np.radians(46.947))) / np.pi) / 2 * 2**zoom)
        place = {"tilematrix": str(zoom), "row": y, "column": x}
        tile = service.gettile(layer="default", tilematrixset="WebMercatorQuad", **place)
        assert tile.info()["Content-Type"] == "image/png"
        ours = clients.api.ask(f"{WEST}/tiles/WebMercatorQuad/{zoom}/{x}/{y}.png")
        pixels = _picture(tile.read())
        assert np.array_equal(pixels, _picture(ours.content))
        assert pixels[3].any()
        native = service.gettile(
            layer="default", tilematrixset="native", tilematrix="0", row=0, column=0
        )
        # The preview of ingestion is drawn from the same pixels, on the same grid.
        drawn = _picture(native.read())[:, :ROWS, :COLS]
        assert np.array_equal(drawn, _picture(clients.api.ask(f"{WEST}/preview.png").content))

    @pytest.mark.parametrize(
        "query",
        [
            "service=WMTS&request=GetCapabilities&version=1.0.0",
            "SERVICE=WMTS&REQUEST=GetCapabilities",
            "Service=WMTS&version=1.0.0",
        ],
    )
    def test_the_parameters_of_ows_are_taken_in_any_case(
        self, clients: Clients, query: str
    ) -> None:
        plain = clients.api.ask(f"{WEST}/WMTSCapabilities.xml")
        asked = clients.api.ask(f"{WEST}/WMTSCapabilities.xml?{query}")
        assert (asked.status_code, asked.content) == (200, plain.content)

    @pytest.mark.parametrize(
        "query",
        ["service=WMS", "REQUEST=GetTile&SERVICE=WMTS", "version=2.0.0", "VERSION=2.0.0", "x=1"],
    )
    def test_other_requests_are_refused(self, clients: Clients, query: str) -> None:
        refused = clients.api.ask(f"{WEST}/WMTSCapabilities.xml?{query}")
        assert (refused.status_code, refused.json()["code"]) == (422, "PARAMETER_INVALID")


class TestOwslibReadsFeatures:
    def test_collections_and_queryables(self, clients: Clients) -> None:
        features = clients.features()
        assert features.feature_collections() == [WELLS]
        assert any("ogcapi-features-1" in uri for uri in features.conformance()["conformsTo"])
        (box,) = features.collection(WELLS)["extent"]["spatial"]["bbox"]
        assert box == pytest.approx([7, 46, 9.4, 46.8])
        queryables = features.collection_queryables(WELLS)["properties"]
        assert {name: each.get("type") for name, each in queryables.items()} == {
            "fid": "integer",
            "number": "integer",
            "name": "string",
            "depth": "number",
            "geometry": None,
        }

    @pytest.mark.parametrize("limit", [7, 1000])
    def test_all_pages_have_the_ids_and_values_that_are_stored(
        self, clients: Clients, limit: int
    ) -> None:
        features, asked, found = clients.features(), {"limit": limit}, []
        while True:
            page = features.collection_items(WELLS, **asked)
            found += page["features"]
            following = [link["href"] for link in page["links"] if link["rel"] == "next"]
            if not following:
                break
            asked = dict(parse_qsl(urlsplit(following[0]).query))
        assert len(found) == page["numberMatched"] == 25
        assert {each["id"]: _values(each) for each in found} == clients.stored_rows()

    def test_a_box_and_a_filter_select_rows(self, clients: Clients) -> None:
        features = clients.features()
        rows = clients.stored_rows()

        def ids(**selection: Any) -> set[int]:
            return {
                each["id"] for each in features.collection_items(WELLS, **selection)["features"]
            }

        assert ids(bbox=[7.05, 46, 7.25, 46.1]) == {
            id_ for id_, row in rows.items() if row["number"] in (BEYOND + 2, BEYOND + 4)
        }
        # Neighbours that a 64-bit float cannot tell apart.
        assert ids(filter=f"number = {BEYOND + 2}") == {
            id_ for id_, row in rows.items() if row["number"] == BEYOND + 2
        }
        assert ids(filter="name IS NULL", limit=100) == {
            id_ for id_, row in rows.items() if row["name"] is None
        }
        (one,) = {id_ for id_, row in rows.items() if row["number"] == BEYOND + 6}
        assert _values(features.collection_item(WELLS, str(one))) == rows[one]


class TestGdalReadsSearches:
    """STACIT of rasterio's GDAL, 3.10.2 or newer: older ones do not know `proj:code`."""

    @pytest.mark.parametrize(
        ("path", "setting"),
        [
            ("/stac/search?collections=rasters&limit=10", "GDAL_HTTP_USERPWD"),
            ("/stac/search?collections=rasters&limit=1", "GDAL_HTTP_HEADER_FILE"),
            ("/stac/collections/rasters/items?limit=100", "GDAL_HTTP_USERPWD"),
        ],
        ids=["a search", "two pages", "a collection"],
    )
    def test_a_search_is_a_mosaic_of_the_cogs(
        self, clients: Clients, path: str, setting: str, tmp_path: Path
    ) -> None:
        (tmp_path / "header").write_text(f"X-Api-Key: {clients.api.key}\n")
        credentials = {
            "GDAL_HTTP_HEADER_FILE": str(tmp_path / "header"),
            "GDAL_HTTP_USERPWD": f"any:{clients.api.key}",
        }
        name = f'STACIT:"{clients.api.address}{path}":asset=data'
        rio = Path(sys.executable).with_name("rio")
        done = subprocess.run(
            [rio, "convert", name, tmp_path / "mosaic.tif"],
            env={setting: credentials[setting], "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        with rasterio.open(tmp_path / "mosaic.tif") as mosaic:
            assert (mosaic.crs.to_epsg(), mosaic.nodata) == (32633, 0)
            assert mosaic.transform[:6] == (10, 0, 500_000, 0, -10, 5_200_000)
            expected = np.hstack([clients.source("west"), clients.source("east")])
            assert np.array_equal(mosaic.read(1), expected)


@pytest.mark.slow
class TestStacApiValidator:
    """Anybody may read the collections: the validator asks for /openapi.json without a key."""

    def test_it_finds_no_error_in_what_is_conformed_to(self, clients: Clients) -> None:
        # Properties of the validator's filters; unknown ones are refused.
        known = {"mission": "sentinel-2", "eo:cloud_cover": 20}
        scene = item("scene", bbox=(15, 46.9, 15.1, 47), **known)
        clients.api.services.catalog.publish(COLLECTION, scene, replaces=None)
        for collection in ("rasters", "vectors"):
            clients.api.services.public.publish(collection)
        corners = [[14, 46], [16, 46], [16, 48], [14, 48], [14, 46]]
        arguments = {
            "root-url": f"{clients.api.address}/stac",
            "collection": "rasters",
            "geometry": json.dumps({"type": "Polygon", "coordinates": [corners]}),
            "fields-nested-property": "properties.geo_platform:source",
        }
        # Not the extension `query`: the validator sends numbers as text, and expects that they are
        # compared as numbers.
        classes = ["core", "collections", "features", "item-search", "filter"]
        classes += ["item-search#sort", "item-search#fields"]
        program = ROOT / "tests/support/stac_api_checks.py"
        done = subprocess.run(
            [
                *(sys.executable, program, "--validate-pagination"),
                *(part for name, value in arguments.items() for part in (f"--{name}", value)),
                *(part for name in classes for part in ("--conformance", name)),
            ],
            env={"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert "Errors: none" in done.stdout, done.stdout
        assert done.returncode == 0


def _picture(content: bytes) -> NDArray[Any]:
    with MemoryFile(content) as memory, memory.open() as picture:
        return np.asarray(picture.read())


def _values(feature: dict[str, Any]) -> dict[str, Any]:
    properties = {name: value for name, value in feature["properties"].items() if name != "fid"}
    shape = shapely.geometry.shape(feature["geometry"])
    return {**properties, "geometry": shapely.to_wkb(shape)}
