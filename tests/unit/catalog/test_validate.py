"""Faults are found without a network, in the core and in every extension."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pystac
import pytest

from geo_platform.catalog.item import build_collection, to_document
from geo_platform.catalog.provenance import Provenance
from geo_platform.catalog.raster_item import build_raster_item
from geo_platform.catalog.validate import collection_faults, item_faults
from geo_platform.catalog.vector_item import build_vector_item
from geo_platform.contracts.raster import CogStored
from geo_platform.contracts.vector import FeaturesLoaded
from geo_platform.options import ItemOptions

NOW = datetime(2026, 11, 23, 18, tzinfo=UTC)
PROVENANCE = Provenance(
    run_id="run-1",
    fingerprint="f" * 32,
    published_at_utc=NOW,
    created_utc=NOW,
    software={"gdal": "3.12"},
)


@pytest.fixture
def raster(make_cogs: Callable[..., CogStored]) -> dict[str, Any]:
    return to_document(build_raster_item(make_cogs(), ItemOptions(), PROVENANCE))


@pytest.fixture
def vector(make_features: Callable[..., FeaturesLoaded]) -> dict[str, Any]:
    return to_document(build_vector_item(make_features(), ItemOptions(), PROVENANCE))


def collection_of(item: dict[str, Any]) -> dict[str, Any]:
    return to_document(build_collection(pystac.Item.from_dict(item)))


def test_built_documents_are_valid(raster: dict[str, Any], vector: dict[str, Any]) -> None:
    assert item_faults(raster) == item_faults(vector) == ()
    for item in (raster, vector):
        assert collection_faults(collection_of(item)) == ()


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (["stac_version"], "1.0.0", "stac_version"),
        (["properties", "datetime"], "2020-01-01T00:00:00+02:00", "datetime"),
        (["bbox"], [1, 2, 3], "bbox"),
        (["geometry"], {"type": "Circle"}, "geometry"),
        (["assets", "data", "href"], "", "href"),
        (["assets", "data", "bands", 0, "data_type"], "uint9", "data_type"),
        (["assets", "data", "bands", 0, "statistics", "valid_percent"], 101, "valid_percent"),
        (["properties", "proj:shape"], [1.5, 2], "proj:shape"),
        (["properties", "proj:epsg"], 4326, "proj:epsg"),
        (["assets", "data", "file:checksum"], "XYZ", "file:checksum"),
        (["properties", "version"], 3, "version"),
        (["properties", "processing:level"], 3, "processing:level"),
        (["assets", "data", "bands", 0, "raster:scale"], "one", "raster:scale"),
        (["assets", "data", "raster:bands"], [], "raster:bands"),
        (["bbox"], [-190, 0, 0, 1], "longitudes"),
        (
            ["stac_extensions"],
            ["https://example.com/unknown/v1.0.0/schema.json"],
            "schema is not known",
        ),
    ],
)
def test_each_fault_is_found(
    path: list[Any], value: Any, named: str, raster: dict[str, Any]
) -> None:
    place: Any = raster
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    faults = item_faults(raster)
    assert faults
    assert any(named in fault for fault in faults), faults


def test_a_table_without_names_is_found(vector: dict[str, Any]) -> None:
    vector["properties"]["table:columns"] = [{"type": "string"}]
    assert any("name" in fault for fault in item_faults(vector))


def test_a_raster_item_needs_a_field_of_the_raster_extension(raster: dict[str, Any]) -> None:
    for asset in raster["assets"].values():
        asset.pop("bands", None)
    assert item_faults(raster) == ("raster: no asset has a field of the raster extension",)


def test_a_collection_without_an_extent_is_found(raster: dict[str, Any]) -> None:
    collection = collection_of(raster)
    del collection["extent"]
    assert any("extent" in fault for fault in collection_faults(collection))
