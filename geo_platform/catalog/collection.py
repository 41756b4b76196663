"""The STAC collection that items are published into.

What belongs here: the collection's first document, pure. What stays out: its extent over all items and its links, which
the catalog keeps; people's own titles and descriptions, which it leaves alone.
"""

from typing import Any

from geo_platform.catalog.provenance import STAC_VERSION
from geo_platform.contracts.arrival import SourceKind

_ABOUT = {
    SourceKind.raster: (
        "Rasters",
        "Rasters as Cloud Optimized GeoTIFFs, each opened again and compared with its source.",
    ),
    SourceKind.vector: (
        "Vector datasets",
        "Vector datasets as sorted GeoParquet; every row of the source is published or listed.",
    ),
}


def build_collection(collection_id: str, kind: SourceKind, item: dict[str, Any]) -> dict[str, Any]:
    """A valid collection of STAC 1.1 around one item. The licence is `other`: what came in does not say it."""
    title, description = _ABOUT[kind]
    properties = item["properties"]
    start = properties.get("start_datetime") or properties["datetime"]
    end = properties.get("end_datetime") or properties["datetime"]
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": [],
        "id": collection_id,
        "title": title if collection_id in {"rasters", "vectors"} else collection_id,
        "description": description,
        "license": "other",
        "extent": {"spatial": {"bbox": [item["bbox"]]}, "temporal": {"interval": [[start, end]]}},
        "links": [],
    }
