"""The item of a raster, field by field, and as pystac reads it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pystac
import pytest
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.version import ItemVersionExtension
from pystac.validation import JsonSchemaSTACValidator, validate_dict
from pystac.validation.schema_uri_map import DefaultSchemaUriMap

from geo_platform.catalog.item import to_document
from geo_platform.catalog.provenance import Provenance
from geo_platform.catalog.raster_item import build_raster_item
from geo_platform.catalog.validate import item_faults
from geo_platform.contracts.message import Finding, SpatialReference
from geo_platform.contracts.raster import (
    ClassColor,
    CogFile,
    CogStored,
    Drawing,
    DrawingStyle,
    OutputTier,
    RasterBand,
)
from geo_platform.grid import Bounds, LonLatBounds
from geo_platform.options import ItemOptions
from geo_platform.ports import ASSET_ORDER
from geo_platform.storage.local.folder import FolderStore

from .conftest import LOCAL_WKT, band, cog, sha256

MakeCogs = Callable[..., CogStored]
NOW = datetime(2026, 11, 23, 18, tzinfo=UTC)
PROVENANCE = Provenance(
    run_id="run-1",
    fingerprint="f" * 32,
    published_at_utc=NOW,
    created_utc=NOW,
    software={"geo-platform": "0.1.0"},
)


def built(stored: CogStored, **options: Any) -> dict[str, Any]:
    item = to_document(build_raster_item(stored, ItemOptions(**options), PROVENANCE))
    assert item_faults(item) == ()
    json.dumps(item, allow_nan=False)
    return item


def test_run_source_and_software_are_recorded(make_cogs: MakeCogs) -> None:
    stored = make_cogs(warnings=(Finding(code="SOUTH_UP", message="stored from south to north"),))
    properties = built(stored)["properties"]
    assert properties["geo_platform:run_id"] == "run-1"
    assert properties["geo_platform:fingerprint"] == properties["version"] == "f" * 32
    assert (properties["geo_platform:source"], properties["geo_platform:source_container"]) == (
        "scenes/scene.tif",
        "bronze",
    )
    assert properties["geo_platform:source_etag"] == stored.source.etag
    assert properties["geo_platform:kind"] == "raster"
    assert properties["geo_platform:warnings"] == [
        {"code": "SOUTH_UP", "message": "stored from south to north"}
    ]
    assert properties["processing:software"] == {"geo-platform": "0.1.0"}
    assert "bronze/scenes/scene.tif" in properties["processing:lineage"]
    assert properties["updated"] == properties["created"] == "2026-11-23T18:00:00Z"
    assert properties["title"] == "scene"


def test_the_time_and_its_source(make_cogs: MakeCogs) -> None:
    def time_of(stored: CogStored, **options: Any) -> tuple[str, str]:
        properties = built(stored, **options)["properties"]
        return properties["datetime"], properties["geo_platform:datetime_source"]

    assert time_of(make_cogs()) == ("2026-05-04T03:02:01Z", "last_modified")
    assert time_of(make_cogs("s_20200131.tif")) == ("2020-01-31T00:00:00Z", "file_name:yyyymmdd")
    tagged = make_cogs(
        "s_20200131.tif", acquired_at="2019-02-03T04:05:06Z", acquired_from="ACQUISITIONDATETIME"
    )
    assert time_of(tagged) == ("2019-02-03T04:05:06Z", "tag:ACQUISITIONDATETIME")
    assert time_of(tagged, datetime_utc="2018-01-01T01:00:00+02:00") == (
        "2017-12-31T23:00:00Z",
        "user",
    )


def test_pystac_reads_projection_file_and_version_back(make_cogs: MakeCogs) -> None:
    stored = make_cogs()
    item = pystac.Item.from_dict(built(stored))
    projection = ProjectionExtension.ext(item)
    assert (projection.code, projection.shape) == ("EPSG:32618", [100, 200])
    assert projection.transform == [30.0, 0.0, 580000.0, 0.0, -30.0, 4503000.0]
    assert projection.bbox == [580000.0, 4500000.0, 586000.0, 4503000.0]
    data = FileExtension.ext(item.assets["data"])
    assert (data.size, data.checksum) == (
        stored.cogs[0].stored.size_bytes,
        "1220" + sha256(b"pixels of analysis"),
    )
    assert ItemVersionExtension(item).version == "f" * 32
    assert item.assets["data"].media_type == pystac.MediaType.COG
    assert item.common_metadata.updated == NOW


def test_pystac_validates_it(make_cogs: MakeCogs) -> None:
    """With the core schemas that pystac carries; it would fetch those of extensions."""
    results = validate_dict(
        built(make_cogs()), extensions=[], validator=JsonSchemaSTACValidator(DefaultSchemaUriMap())
    )
    assert len(results) == 1


def test_assets_and_their_roles(make_cogs: MakeCogs, objects: FolderStore) -> None:
    tiers = (OutputTier.analysis, OutputTier.visualization, OutputTier.archive)
    item = built(make_cogs(cogs=tuple(cog(objects, tier) for tier in tiers)))
    assert {key: asset["roles"] for key, asset in item["assets"].items()} == {
        "data": ["data"],
        "visualization": ["visual"],
        "archive": ["archive"],
        "thumbnail": ["thumbnail"],
        "preview": ["overview"],
    }
    assert list(item["assets"]) == [name for name in ASSET_ORDER if name in item["assets"]]
    assert item["assets"]["preview"]["type"] == "image/webp"
    assert item["assets"]["data"]["geo_platform:key"] == "cogs/scene/analysis & more.tif"
    only = built(make_cogs(cogs=(cog(objects, OutputTier.visualization),)))
    assert only["assets"]["data"]["roles"] == ["data", "visual"]


def test_an_asset_on_another_grid_has_its_own_projection(
    make_cogs: MakeCogs, objects: FolderStore
) -> None:
    web = SpatialReference(wkt=LOCAL_WKT, authority_code="EPSG:3857", came_from="user")
    cogs = (
        cog(objects),
        cog(objects, OutputTier.visualization, crs=web),
        cog(objects, OutputTier.archive),
    )
    assets = built(make_cogs(cogs=cogs))["assets"]
    assert assets["visualization"]["proj:code"] == "EPSG:3857"
    assert "proj:code" not in assets["data"] | assets["archive"]


def test_a_crs_without_an_authority_code_is_written_as_wkt(
    make_cogs: MakeCogs, objects: FolderStore
) -> None:
    local = SpatialReference(wkt=LOCAL_WKT, authority_code=None, came_from="file")
    properties = built(make_cogs(cogs=(cog(objects, crs=local),)))["properties"]
    assert properties["proj:code"] is None
    assert properties["proj:wkt2"] == LOCAL_WKT
    assert properties["geo_platform:crs_source"] == "file"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"nodata": 0.0}, {"nodata": 0, "data_type": "uint8"}),
        (
            {"dtype": "float32", "nodata": None, "nodata_is_nan": True},
            {"nodata": "nan", "data_type": "float32"},
        ),
        ({"dtype": "float32", "nodata": float("-inf")}, {"nodata": "-inf"}),
        (
            {"dtype": "float32", "nodata": float(np.float32(-3.4028234663852886e38))},
            {"nodata": -3.4028234663852886e38},
        ),
        ({"dtype": "int16", "nodata": -32768.0}, {"nodata": -32768}),
        ({"dtype": "complex64", "nodata": None}, {"data_type": "cfloat32"}),
        ({"dtype": "bool", "nodata": None}, {"data_type": "other"}),
        (
            {"unit": "metre", "scale": 0.1, "offset": -5.0},
            {"unit": "metre", "raster:scale": 0.1, "raster:offset": -5.0},
        ),
        ({"description": "NDVI <script>"}, {"description": "NDVI <script>"}),
        ({"color_interpretation": "red"}, {"description": "red", "name": "b1"}),
        ({}, {"raster:spatial_resolution": 30.0}),
    ],
)
def test_bands(
    changes: dict[str, Any], expected: dict[str, Any], make_cogs: MakeCogs, objects: FolderStore
) -> None:
    (described,) = built(make_cogs(cogs=(cog(objects, bands=(band(**changes),)),)))["assets"][
        "data"
    ]["bands"]
    assert expected.items() <= described.items()


def test_statistics_leave_out_infinity_and_nan(make_cogs: MakeCogs, objects: FolderStore) -> None:
    plain = band()
    assert plain.statistics is not None
    odd = band(
        2,
        statistics=plain.statistics.model_copy(
            update={"maximum": float("inf"), "mean": float("nan"), "valid_percent": 100.0000001}
        ),
    )
    bands: tuple[RasterBand, ...] = (plain, odd, band(3, statistics=None))
    described = built(make_cogs(cogs=(cog(objects, bands=bands),)))["assets"]["data"]["bands"]
    assert described[0]["statistics"] == {
        "minimum": 0.0,
        "maximum": 255.0,
        "mean": 80.5,
        "stddev": 12.25,
        "valid_percent": 97.5,
    }
    assert described[1]["statistics"] == {"minimum": 0.0, "stddev": 12.25, "valid_percent": 100.0}
    assert "statistics" not in described[2]


def test_degrees_have_no_resolution_in_metres_and_feet_are_converted(
    make_cogs: MakeCogs, objects: FolderStore
) -> None:
    def resolution(code: str) -> float | None:
        from pyproj import CRS

        crs = SpatialReference(
            wkt=CRS.from_user_input(code).to_wkt(), authority_code=code, came_from="file"
        )
        only: CogFile = cog(objects, crs=crs)
        found: float | None = built(make_cogs(cogs=(only,)))["assets"]["data"]["bands"][0].get(
            "raster:spatial_resolution"
        )
        return found

    assert resolution("EPSG:4326") is None
    assert resolution("EPSG:2263") == pytest.approx(30 * 1200 / 3937, abs=1e-6)


def test_across_the_antimeridian(make_cogs: MakeCogs, objects: FolderStore) -> None:
    fiji = cog(
        objects,
        lonlat_bounds=LonLatBounds(west=177.0, south=-19.0, east=-178.0, north=-16.0),
        bounds=Bounds(xmin=1800000.0, ymin=3000000.0, xmax=2300000.0, ymax=3500000.0),
    )
    outline = (
        '{"type":"MultiPolygon","coordinates":[[[[177,-19],[180,-19],[180,-16],[177,-16],[177,-19]]],'
        "[[[-180,-19],[-178,-19],[-178,-16],[-180,-16],[-180,-19]]]]}"
    )
    item = built(make_cogs(cogs=(fiji,), footprint_geojson=outline))
    assert item["bbox"] == [177.0, -19.0, -178.0, -16.0]
    assert item["geometry"]["type"] == "MultiPolygon"


def test_classes_with_names_are_listed(make_cogs: MakeCogs) -> None:
    colors = (
        ClassColor(value=0, color=(0, 0, 0)),
        ClassColor(value=1, color=(10, 160, 70), name="forest & wood"),
        ClassColor(value=7, color=(200, 30, 40), name="Wald"),
    )
    drawing = Drawing(style=DrawingStyle.palette, bands=(1,), colors=colors)
    item = built(make_cogs().model_copy(update={"drawing": drawing}))
    assert item["assets"]["data"]["classification:classes"] == [
        {"value": 1, "name": "forest_wood", "color_hint": "0AA046", "title": "forest & wood"},
        {"value": 7, "name": "Wald", "color_hint": "C81E28", "title": "Wald"},
    ]
    assert item["properties"]["renders"]["default"]["colormap"]["7"] == [200, 30, 40, 255]
    unnamed = drawing.model_copy(update={"colors": colors[:1]})
    item = built(make_cogs().model_copy(update={"drawing": unnamed}))
    assert "classification:classes" not in item["assets"]["data"]
    assert not any("classification" in uri for uri in item["stac_extensions"])
