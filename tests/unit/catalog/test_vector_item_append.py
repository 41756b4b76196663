"""Rows appended from several sources are described by one item that lists all sources."""

from collections.abc import Callable
from typing import Any

import pytest

from geo_platform.catalog.publish import publish_vector
from geo_platform.catalog.validate import item_faults
from geo_platform.chains.vector import VECTOR
from geo_platform.contracts.message import TableReference
from geo_platform.contracts.publication import ItemPublished
from geo_platform.contracts.vector import FeaturesLoaded
from geo_platform.grid import Bounds, LonLatBounds
from geo_platform.options import ItemOptions
from geo_platform.storage.local.folder import FolderStore
from geo_platform.storage.local.stac_files import StacFiles

MakeFeatures = Callable[..., FeaturesLoaded]
Publish = Callable[..., ItemPublished]


def table(version: str, rows: int, name: str = "parcels") -> TableReference:
    uri = f"postgresql://host:5432/db?table=geo.{name}"
    return TableReference(uri=uri, schema_name="geo", table_name=name, version=version, rows=rows)


@pytest.fixture
def load(make_features: MakeFeatures) -> Callable[..., FeaturesLoaded]:
    """Return a load that appended 10 rows to the table parcels, which then has `rows`."""

    def make(key: str, version: str, rows: int, **changes: Any) -> FeaturesLoaded:
        own = {
            "dataset": "parcels",
            "dataset_object": None,
            "sha256": None,
            "destination": "postgis",
            "load_mode": "append",
        }
        return make_features(
            key, **{**own, "table": table(version, rows), "fingerprint": version * 16, **changes}
        )

    return make


@pytest.fixture
def publish(catalog: StacFiles, objects: FolderStore) -> Publish:
    """Return `publish_vector` with the stores of this test."""

    def publish_load(
        loaded: FeaturesLoaded, *, run_id: str, options: ItemOptions | None = None
    ) -> ItemPublished:
        return publish_vector(
            loaded,
            options or ItemOptions(),
            catalog,
            objects,
            recipe=VECTOR.last.recipe,
            run_id=run_id,
        )

    return publish_load


def published(catalog: StacFiles) -> dict[str, Any]:
    (entry,) = catalog.entries()
    item = catalog.item(entry.collection, entry.item_id)
    assert item is not None
    assert item_faults(item) == ()
    return item


def test_rows_of_two_files_are_described_by_the_item_of_the_dataset(
    load: MakeFeatures, publish: Publish, catalog: StacFiles
) -> None:
    publish(load("2019.gpkg", "v1", 10), run_id="run-1")
    second = load(
        "2020.gpkg",
        "v2",
        18,
        bounds=Bounds(xmin=7.0, ymin=40.0, xmax=8.0, ymax=41.0),
        lonlat_bounds=LonLatBounds(west=7.0, south=40.0, east=8.0, north=41.0),
    )
    answer = publish(second, run_id="run-2")
    item = published(catalog)
    assert (answer.item_id, item["properties"]["title"]) == ("parcels", "parcels")
    assert [
        (entry["source"], entry["run_id"], entry["rows"])
        for entry in item["properties"]["geo_platform:sources"]
    ] == [
        ("2019.gpkg", "run-1", 10),
        ("2020.gpkg", "run-2", 10),
    ]
    assert {link["title"] for link in item["links"] if link["rel"] == "via"} == {
        "bronze/2019.gpkg",
        "bronze/2020.gpkg",
    }
    assert (item["bbox"], item["properties"]["proj:bbox"]) == (
        [4.0, 40.0, 8.0, 51.0],
        [4.0, 40.0, 8.0, 51.0],
    )
    assert item["properties"]["table:row_count"] == item["assets"]["table"]["table:row_count"] == 18
    assert item["properties"]["geo_platform:rows_inserted"] == 10
    assert item["properties"]["geo_platform:source"] == "2020.gpkg"


def test_an_append_to_a_table_of_one_source_lists_that_source_too(
    load: MakeFeatures, publish: Publish, catalog: StacFiles
) -> None:
    first = load("parcels.gpkg", "v1", 10, load_mode="update")
    publish(first, run_id="run-1")
    assert "geo_platform:sources" not in published(catalog)["properties"]
    publish(load("2020.gpkg", "v2", 20), run_id="run-2")
    sources = published(catalog)["properties"]["geo_platform:sources"]
    assert [(entry["source"], entry["etag"], entry["rows"]) for entry in sources] == [
        ("parcels.gpkg", first.source.etag, 10),
        ("2020.gpkg", sources[1]["etag"], 10),
    ]


def test_a_file_appended_again_is_listed_once_and_a_changed_one_twice(
    load: MakeFeatures, publish: Publish, catalog: StacFiles
) -> None:
    first = load("a.gpkg", "v1", 10)
    publish(first, run_id="run-1")
    publish(load("b.gpkg", "v2", 20), run_id="run-2")
    again = load("a.gpkg", "v3", 20, source=first.source)
    publish(again, run_id="run-3")
    publish(load("a.gpkg", "v4", 25), run_id="run-4")
    sources = published(catalog)["properties"]["geo_platform:sources"]
    assert [(entry["source"], entry["run_id"]) for entry in sources] == [
        ("b.gpkg", "run-2"),
        ("a.gpkg", "run-3"),
        ("a.gpkg", "run-4"),
    ]


def test_the_id_and_title_of_the_options_come_first(
    load: MakeFeatures, publish: Publish, catalog: StacFiles
) -> None:
    publish(
        load("a.gpkg", "v1", 10), run_id="run-1", options=ItemOptions(item_id="land", title="Land")
    )
    item = published(catalog)
    assert (item["id"], item["properties"]["title"]) == ("land", "Land")


def test_sources_of_another_table_are_not_listed(
    load: MakeFeatures, publish: Publish, catalog: StacFiles
) -> None:
    publish(load("a.gpkg", "v1", 10, table=table("o1", 10, "other")), run_id="run-1")
    publish(load("b.gpkg", "v2", 10), run_id="run-2")
    assert [
        entry["source"] for entry in published(catalog)["properties"]["geo_platform:sources"]
    ] == ["b.gpkg"]


def test_joined_bounds_across_the_antimeridian_go_round_by_the_shorter_way(
    load: MakeFeatures, publish: Publish, catalog: StacFiles
) -> None:
    publish(load("a.gpkg", "v1", 10), run_id="run-1")
    crossing = load(
        "b.gpkg",
        "v2",
        20,
        lonlat_bounds=LonLatBounds(west=170.0, south=-10.0, east=-170.0, north=10.0),
    )
    publish(crossing, run_id="run-2")
    assert published(catalog)["bbox"] == [4.0, -10.0, -170.0, 51.0]


def test_the_same_append_is_unchanged_only_while_its_table_is_the_published_one(
    load: MakeFeatures, publish: Publish, catalog: StacFiles
) -> None:
    first = load("a.gpkg", "v1", 10)
    publish(first, run_id="run-1")
    assert publish(first, run_id="run-2").was_unchanged
    (dataset,) = first.datasets
    loaded_again = dataset.model_copy(update={"table": table("v1 again", 10)})
    anew = first.model_copy(update={"datasets": (loaded_again,)})
    assert not publish(anew, run_id="run-3").was_unchanged
    publish(load("b.gpkg", "v2", 20), run_id="run-4")
    assert not publish(load("a.gpkg", "v3", 20), run_id="run-5").was_unchanged
