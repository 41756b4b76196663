"""Rows for people and programs."""

import json
from collections.abc import Callable
from pathlib import Path

from geo_platform.catalog.publish import publish_raster, publish_vector
from geo_platform.chains.raster import RASTER
from geo_platform.chains.vector import VECTOR
from geo_platform.cli.commands.browse import listing_rows, read_listing
from geo_platform.contracts.raster import CogStored
from geo_platform.contracts.vector import FeaturesLoaded
from geo_platform.options import ItemOptions
from geo_platform.storage.local.folder import FolderStore
from geo_platform.storage.local.stac_files import StacFiles


def test_rows_are_json_newest_first(
    make_cogs: Callable[..., CogStored],
    make_features: Callable[..., FeaturesLoaded],
    catalog: StacFiles,
    objects: FolderStore,
) -> None:
    first = publish_raster(
        make_cogs(), ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-1"
    )
    second = publish_vector(
        make_features(), ItemOptions(), catalog, objects, recipe=VECTOR.last.recipe, run_id="run-2"
    )
    rows = list(listing_rows(catalog))
    assert json.loads(json.dumps(rows)) == rows
    assert [
        {name: row[name] for name in ("id", "collection", "run_id", "source", "outputs", "href")}
        for row in rows
    ] == [
        {
            "id": "roads",
            "collection": "vectors",
            "run_id": "run-2",
            "source": "roads.geojson",
            "outputs": [*second.outputs],
            "href": second.href,
        },
        {
            "id": "scene",
            "collection": "rasters",
            "run_id": "run-1",
            "source": "scenes/scene.tif",
            "outputs": [*first.outputs],
            "href": first.href,
        },
    ]


def test_an_unreadable_item_is_reported_with_the_rows(
    make_cogs: Callable[..., CogStored],
    make_features: Callable[..., FeaturesLoaded],
    catalog: StacFiles,
    objects: FolderStore,
    tmp_path: Path,
) -> None:
    publish_raster(
        make_cogs(), ItemOptions(), catalog, objects, recipe=RASTER.last.recipe, run_id="run-1"
    )
    publish_vector(
        make_features(), ItemOptions(), catalog, objects, recipe=VECTOR.last.recipe, run_id="run-2"
    )
    assert read_listing(catalog).fault is None
    (tmp_path / "catalog/vectors/roads/roads.json").write_text("damaged")
    listing = read_listing(catalog)
    assert [row["id"] for row in listing.rows] == ["scene"]
    assert listing.fault is not None
    assert "vectors/roads/roads.json" in listing.fault.message
