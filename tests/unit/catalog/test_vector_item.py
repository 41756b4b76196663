"""The item of a vector dataset, and as pystac reads it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pystac
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.table import TableExtension

from geo_platform.catalog.item import to_document
from geo_platform.catalog.provenance import Provenance
from geo_platform.catalog.validate import item_faults
from geo_platform.catalog.vector_item import build_vector_item
from geo_platform.contracts.vector import FeaturesLoaded
from geo_platform.grid import LonLatBounds
from geo_platform.options import ItemOptions
from geo_platform.ports import ASSET_ORDER

MakeFeatures = Callable[..., FeaturesLoaded]
NOW = datetime(2026, 11, 23, 18, tzinfo=UTC)


def built(loaded: FeaturesLoaded, **options: Any) -> dict[str, Any]:
    provenance = Provenance(
        run_id="run-1",
        fingerprint="f" * 32,
        published_at_utc=NOW,
        created_utc=NOW,
        software={"gdal": "3.12"},
    )
    item = to_document(build_vector_item(loaded, ItemOptions(**options), provenance))
    assert item_faults(item) == ()
    return item


def test_pystac_reads_the_table_back(make_features: MakeFeatures) -> None:
    item = pystac.Item.from_dict(built(make_features()))
    table = TableExtension.ext(item)
    assert [(column.name, column.col_type) for column in table.columns] == [
        ("strasse_b", "string"),
        ("lanes", "int32"),
        ("geometry", "geometry"),
    ]
    assert table.columns[0].description == "Straße <b> in the source: not a plain name"
    assert table.columns[1].to_dict().keys() == {"name", "type"}
    assert (table.row_count, table.primary_geometry) == (10, "geometry")
    assert ProjectionExtension.ext(item).code == "EPSG:4326"


def test_every_row_is_accounted_for(make_features: MakeFeatures) -> None:
    item = built(make_features())
    properties = item["properties"]
    assert [
        properties[f"geo_platform:rows_{what}"]
        for what in ("read", "inserted", "rejected", "repaired")
    ] == [12, 10, 2, 1]
    assert properties["geo_platform:reject_reasons"] == [{"reason": "no geometry", "rows": 2}]
    assert "12 rows read, 10 published, 2 rejected" in properties["processing:lineage"]


def test_assets_and_their_roles(make_features: MakeFeatures) -> None:
    roles = {key: asset["roles"] for key, asset in built(make_features())["assets"].items()}
    assert list(roles) == [name for name in ASSET_ORDER if name in roles]
    assert roles == {"data": ["data"], "rejected": ["metadata"], "thumbnail": ["thumbnail"]}
    in_a_database = make_features(
        dataset_object=None, sha256=None, rejected_object=None, destination="postgis"
    )
    assert list(built(in_a_database)["assets"]) == ["thumbnail"]
    assert built(make_features())["assets"]["data"]["type"] == "application/vnd.apache.parquet"


def test_the_outline_is_the_box_and_is_cut_at_the_antimeridian(make_features: MakeFeatures) -> None:
    item = built(make_features())
    assert (item["bbox"], item["geometry"]["type"]) == ([4.0, 50.0, 5.0, 51.0], "Polygon")
    crossing = built(
        make_features(lonlat_bounds=LonLatBounds(west=170.0, south=-20.0, east=-170.0, north=-10.0))
    )
    assert (crossing["bbox"], crossing["geometry"]["type"]) == (
        [170.0, -20.0, -170.0, -10.0],
        "MultiPolygon",
    )
    point = built(
        make_features(lonlat_bounds=LonLatBounds(west=1.0, south=2.0, east=1.0, north=2.0))
    )
    assert (point["bbox"], point["geometry"]["type"]) == ([1.0, 2.0, 1.0, 2.0], "Point")


def test_ids_title_and_time_of_the_options(make_features: MakeFeatures) -> None:
    item = built(
        make_features(),
        item_id="my-roads",
        collection_id="transport",
        title="Straßen",
        datetime_utc="2021-06-30T10:15:00Z",
    )
    assert (item["id"], item["collection"], item["properties"]["title"]) == (
        "my-roads",
        "transport",
        "Straßen",
    )
    assert (item["properties"]["datetime"], item["properties"]["geo_platform:datetime_source"]) == (
        "2021-06-30T10:15:00Z",
        "user",
    )
