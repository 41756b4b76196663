"""An item whose rows came from several sources, one added after the other: what it says of those before.

What belongs here: joining the item that is published with what a load added to its table; pure. What stays out: the table.
"""

from collections.abc import Mapping
from typing import Any

from geo_platform.contracts.vector import FeaturesLoaded
from geo_platform.grid import LonLatBounds
from geo_platform.ports import (
    ASSET_SCHEMA,
    ASSET_TABLE,
    ITEM_FINGERPRINT,
    ITEM_RUN_ID,
    ITEM_SOURCE,
    ITEM_SOURCE_CONTAINER,
)

APPEND = "append"
# Property: every source that rows came from, in the order in which they were added.
ITEM_SOURCES = "geo_platform:sources"

Item = Mapping[str, Any]


def is_appended(loaded: FeaturesLoaded) -> bool:
    return loaded.load_mode == APPEND


def added_to(before: Item | None, loaded: FeaturesLoaded) -> Item | None:
    """The published item whose table the rows were added to; None where that is another table, or none."""
    if before is None or loaded.table is None or not is_appended(loaded):
        return None
    own = (loaded.table.schema_name, loaded.table.table_name)
    named = [
        (asset.get(ASSET_SCHEMA), asset.get(ASSET_TABLE)) for asset in before["assets"].values()
    ]
    return before if own in named else None


def joined_sources(
    before: Item | None, loaded: FeaturesLoaded, *, fingerprint: str, run_id: str
) -> list[dict[str, Any]]:
    """Those of the item before, and this one. The same state of a source is there once, where it was added last."""
    source = loaded.source
    own = {
        "container": source.container,
        "source": source.key,
        "etag": source.etag,
        "fingerprint": fingerprint,
        "run_id": run_id,
        "rows": loaded.inserted,
    }
    same = [own[name] for name in ("container", "source", "etag")]
    return [
        *(
            entry
            for entry in _sources_of(before)
            if [entry.get(name) for name in ("container", "source", "etag")] != same
        ),
        own,
    ]


def joined_bounds(before: Item | None, bounds: LonLatBounds) -> LonLatBounds:
    """Around both. Where either crosses the antimeridian, all longitudes: which side of it the other lies on is not known."""
    if before is None:
        return bounds
    west, south, east, north = before["bbox"]
    crosses = west > east or bounds.crosses_antimeridian
    return LonLatBounds(
        west=-180.0 if crosses else min(west, bounds.west),
        south=min(south, bounds.south),
        east=180.0 if crosses else max(east, bounds.east),
        north=max(north, bounds.north),
    )


def joined_box(before: Item | None, box: tuple[float, float, float, float]) -> list[float]:
    """Around both, in the published CRS, which is one for all rows of a table."""
    xmin, ymin, xmax, ymax = box if before is None else before["properties"].get("proj:bbox", box)
    return [min(xmin, box[0]), min(ymin, box[1]), max(xmax, box[2]), max(ymax, box[3])]


def joined_links(before: Item | None, own: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The item's links, and one to each source of those before."""
    known = {link["href"] for link in own}
    earlier = (
        [link for link in before["links"] if link["rel"] == "via" and link["href"] not in known]
        if before is not None
        else []
    )
    return [*own, *earlier]


def _sources_of(before: Item | None) -> list[dict[str, Any]]:
    if before is None:
        return []
    properties = before["properties"]
    if ITEM_SOURCES in properties:
        return list(properties[ITEM_SOURCES])
    return [
        {
            "container": properties.get(ITEM_SOURCE_CONTAINER),
            "source": properties.get(ITEM_SOURCE),
            "etag": properties.get("geo_platform:source_etag"),
            "fingerprint": properties.get(ITEM_FINGERPRINT),
            "run_id": properties.get(ITEM_RUN_ID),
            "rows": properties.get("geo_platform:rows_inserted"),
        }
    ]
