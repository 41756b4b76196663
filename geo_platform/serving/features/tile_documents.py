"""The JSON documents of vector tiles: tile sets (OGC API Tiles), TileJSON and a MapLibre style.

Sources: OGC 20-057, https://github.com/mapbox/tilejson-spec (3.0.0),
https://maplibre.org/maplibre-style-spec.

Called by `api/serving/vector_tiles.py` and `kept_tiles.py`.
"""

import math
from collections.abc import Sequence
from typing import Any

from geo_platform.serving.features.collections import FeatureCollection
from geo_platform.serving.features.documents import JSON_TYPE, Address, link
from geo_platform.serving.features.merged import MERGED_LAYER, ROWS_OF_CELL
from geo_platform.serving.features.opened import ColumnKind, FeatureColumn
from geo_platform.serving.features.tiles import ACCOUNT_LAYER, DEEPEST_OFFERED

TILE_TYPE = "application/vnd.mapbox-vector-tile"
GRID = "WebMercatorQuad"
_GRID_URI = f"http://www.opengis.net/def/tilematrixset/OGC/1.0/{GRID}"
_EPSG_3857 = "http://www.opengis.net/def/crs/EPSG/0/3857"
_COLOUR = "#2a6f97"
# A style opens with the rows on so many pixels at most, at this zoom at most. The world has 512 px
# at zoom 0.
_VIEW_PX, _WORLD_PX, _CLOSEST_VIEW = 384, 512, 14.0
# About 0.1 m, in degrees.
_EDGE = 1e-6
_NUMBERS = frozenset({ColumnKind.integer, ColumnKind.single, ColumnKind.double})


def tile_template(collection: FeatureCollection, address: Address, query: str) -> str:
    """Return the address of a tile with {z}, {x} and {y}. It names the version of the item."""
    base = address("collections", collection.id, "tiles", GRID)
    return f"{base}/{{z}}/{{x}}/{{y}}?v={collection.item.version}" + (f"&{query}" if query else "")


def tilesets(collection: FeatureCollection, address: Address) -> dict[str, Any]:
    """Return the list of the collection's tile sets: one."""
    at = "collections", collection.id, "tiles"
    return {
        "links": [link(address(*at), "self", JSON_TYPE)],
        "tilesets": [
            {
                **_tileset(collection),
                "links": [link(address(*at, GRID), "self", JSON_TYPE)],
            }
        ],
    }


def tileset(collection: FeatureCollection, address: Address) -> dict[str, Any]:
    """Return the description of the tile set."""
    at = "collections", collection.id, "tiles", GRID
    template = (
        tile_template(collection, address, "")
        .replace("{z}", "{tileMatrix}")
        .replace("{x}", "{tileCol}")
        .replace("{y}", "{tileRow}")
    )
    west, south, east, north = collection.lonlat_bounds
    return {
        **_tileset(collection),
        "boundingBox": {
            "lowerLeft": [west, south],
            "upperRight": [east, north],
            "crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84",
        },
        "links": [
            link(address(*at), "self", JSON_TYPE),
            link(_GRID_URI, "http://www.opengis.net/def/rel/ogc/1.0/tiling-scheme", JSON_TYPE),
            {**link(template, "item", TILE_TYPE), "templated": True},
            link(address(*at, "tilejson.json"), "describedby", JSON_TYPE, "TileJSON"),
            link(address(*at, "style.json"), "style", JSON_TYPE, "MapLibre style"),
        ],
    }


def _tileset(collection: FeatureCollection) -> dict[str, Any]:
    return {
        "title": collection.title,
        "dataType": "vector",
        "crs": _EPSG_3857,
        "tileMatrixSetURI": _GRID_URI,
    }


def vector_layers(
    collection: FeatureCollection,
    columns: Sequence[FeatureColumn],
    *,
    deepest: int = DEEPEST_OFFERED,
) -> list[dict[str, Any]]:
    """Return the layers of the tiles with the types of their fields, as TileJSON describes them."""
    zooms = {"minzoom": 0, "maxzoom": deepest}
    fields = {
        column.name: "Boolean"
        if column.kind is ColumnKind.boolean
        else "Number"
        if column.kind in _NUMBERS
        else "String"
        for column in columns
        if column.kind is not ColumnKind.binary
    }
    return [
        {"id": collection.id, "fields": fields, **zooms},
        {
            "id": MERGED_LAYER,
            "description": "Cells of rows smaller than a pixel, in tiles of many rows.",
            "fields": {ROWS_OF_CELL: "Number"},
            **zooms,
        },
        {
            "id": ACCOUNT_LAYER,
            "description": "What became of the rows in the window of the tile.",
            "fields": dict.fromkeys(("rows", "drawn", "merged", "dropped"), "Number"),
            **zooms,
        },
    ]


def tilejson(
    collection: FeatureCollection,
    columns: Sequence[FeatureColumn],
    address: Address,
    query: str,
) -> dict[str, Any]:
    """Return TileJSON 3.0.0. `query` holds the parameters of the tiles, such as a filter."""
    return {
        "tilejson": "3.0.0",
        "name": collection.title,
        "version": "1.0.0",
        "scheme": "xyz",
        "tiles": [tile_template(collection, address, query)],
        "minzoom": 0,
        "maxzoom": DEEPEST_OFFERED,
        "bounds": _drawn_bounds(collection),
        "center": [*_centre(collection), 0],
        "vector_layers": vector_layers(collection, columns),
    }


def style(collection: FeatureCollection, address: Address, query: str) -> dict[str, Any]:
    """Return a MapLibre style: points as circles, lines as lines, polygons filled.

    Without another view it opens where the rows are.
    """
    drawn = {"source": "features", "source-layer": collection.id}
    return {
        "version": 8,
        "name": collection.title,
        "center": _centre(collection),
        "zoom": _zoom(collection),
        "sources": {
            "features": {
                "type": "vector",
                "tiles": [tile_template(collection, address, query)],
                "minzoom": 0,
                "maxzoom": DEEPEST_OFFERED,
                "bounds": _drawn_bounds(collection),
            }
        },
        "layers": [
            {
                "id": "polygons",
                "type": "fill",
                **drawn,
                "filter": ["==", ["geometry-type"], "Polygon"],
                "paint": {"fill-color": _COLOUR, "fill-opacity": 0.4},
            },
            {
                "id": "lines",
                "type": "line",
                **drawn,
                "filter": ["!=", ["geometry-type"], "Point"],
                "paint": {"line-color": _COLOUR, "line-width": 1},
            },
            {
                "id": "points",
                "type": "circle",
                **drawn,
                "filter": ["==", ["geometry-type"], "Point"],
                "paint": {"circle-color": _COLOUR, "circle-radius": 3},
            },
            {
                "id": "merged",
                "type": "circle",
                "source": "features",
                "source-layer": MERGED_LAYER,
                "paint": {"circle-color": _COLOUR, "circle-radius": 2, "circle-opacity": 0.4},
            },
        ],
    }


def _drawn_bounds(collection: FeatureCollection) -> list[float]:
    """Return west, south, east, north with west < east: all longitudes across the antimeridian.

    They reach past the rows. MapLibre leaves out a tile that the bounds only touch, also if rows
    lie on its edge: of bounds that are one point on an edge, it asks for no tile.
    """
    west, south, east, north = collection.lonlat_bounds
    if west > east:
        west, east = -180.0, 180.0
    return [
        max(west - _EDGE, -180.0),
        max(south - _EDGE, -90.0),
        min(east + _EDGE, 180.0),
        min(north + _EDGE, 90.0),
    ]


def _centre(collection: FeatureCollection) -> list[float]:
    """Return the longitude and latitude of the middle of the bounds."""
    west, south, east, north = collection.lonlat_bounds
    middle = (west + east + (360.0 if west > east else 0.0)) / 2
    return [middle - 360.0 if middle > 180.0 else middle, (south + north) / 2]


def _zoom(collection: FeatureCollection) -> float:
    """Return the zoom at which the style opens."""
    west, south, east, north = collection.lonlat_bounds
    wide = (east - west + (360.0 if west > east else 0.0)) / 360
    high = _mercator(north) - _mercator(south)
    turns = max(wide, high) * _WORLD_PX / _VIEW_PX
    return round(-math.log2(min(max(turns, 2.0**-_CLOSEST_VIEW), 1.0)), 2)


def _mercator(latitude: float) -> float:
    """Return how far north a latitude is on the map, as a part of its height."""
    return math.asinh(math.tan(math.radians(min(max(latitude, -85.0), 85.0)))) / (2 * math.pi)
