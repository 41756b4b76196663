"""The routes of vector tiles: OGC API Tiles, TileJSON and a style, below each feature collection.

`serving/features/tiles.py` draws the tiles. A tile that was drawn is kept in memory under the
version of the item, since it never changes.

Called by `api/app.py`.
"""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse

from geo_platform.api.problems import problem_responses
from geo_platform.api.services import Services
from geo_platform.api.serving.feature_requests import (
    PROBLEMS,
    PROPERTIES,
    SELECTION,
    VERSION,
    CollectionName,
    FeatureReading,
    address_of,
    freshness_of,
    version_in,
)
from geo_platform.api.serving.readers import ReadRights
from geo_platform.serving.features.collections import FeatureCollection, find_collection
from geo_platform.serving.features.documents import JSON_TYPE
from geo_platform.serving.features.opened import OpenFeatures
from geo_platform.serving.features.query import (
    FeatureQuery,
    check_syntax,
    chosen_columns,
    read_parameters,
)
from geo_platform.serving.features.tile_documents import (
    GRID,
    TILE_TYPE,
    style,
    tilejson,
    tileset,
    tilesets,
)
from geo_platform.serving.features.tiles import (
    MAX_ZOOM,
    TileCache,
    VectorTile,
    draw_tile,
    tile_address,
)

_TILES = "/features/collections/{collection_id}/tiles"
_PARAMETERS = ("datetime", "filter", "filter-lang", "filter-crs", "properties", "f", "v")
_ACCOUNT_HEADER = "Tile-Account"
_QUERY = {
    "parameters": [
        *(each for each in SELECTION if not each["name"].startswith("bbox")),
        PROPERTIES,
        VERSION,
    ]
}
_TILE = {
    "description": "The tile. A layer has the rows, the layer `_account` says what became of them.",
    "content": {TILE_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    "headers": {
        _ACCOUNT_HEADER: {
            "description": "Rows in the window of the tile: rows = drawn + merged + dropped.",
            "schema": {
                "type": "string",
                "example": "rows=120, drawn=118, merged=0, dropped=2",
            },
        }
    },
}
_Zoom = Annotated[int, Path(ge=0, le=MAX_ZOOM, examples=[0])]
_Column = Annotated[int, Path(ge=0, description="From the west.", examples=[0])]
_Row = Annotated[int, Path(ge=0, description="From the north.", examples=[0])]


def vector_tile_routes(services: Services) -> APIRouter:
    """Return the routes of vector tiles."""
    router = APIRouter(prefix=_TILES, tags=["features"])
    reading = FeatureReading(services)
    settings = services.settings
    cache = TileCache(settings.tile_cache_mb * 1024**2)

    @router.get("", responses=problem_responses(*PROBLEMS))
    def list_vector_tilesets(
        request: Request, collection_id: CollectionName, rights: ReadRights
    ) -> JSONResponse:
        """List the tile sets of a feature collection."""
        collection = find_collection(
            services.published, collection_id, rights, version=version_in(request)
        )
        headers = freshness_of(request, collection, JSON_TYPE)
        return JSONResponse(tilesets(collection, address_of(request)), headers=headers)

    @router.get(f"/{GRID}", responses=problem_responses(*PROBLEMS))
    def get_vector_tileset(
        request: Request, collection_id: CollectionName, rights: ReadRights
    ) -> JSONResponse:
        """Describe the tile set."""
        collection = find_collection(
            services.published, collection_id, rights, version=version_in(request)
        )
        headers = freshness_of(request, collection, JSON_TYPE)
        return JSONResponse(tileset(collection, address_of(request)), headers=headers)

    @router.get(
        f"/{GRID}/tilejson.json", responses=problem_responses(*PROBLEMS), openapi_extra=_QUERY
    )
    def get_vector_tilejson(
        request: Request, collection_id: CollectionName, rights: ReadRights
    ) -> JSONResponse:
        """Return TileJSON. Parameters such as a filter become those of the tiles."""

        def answer(collection: FeatureCollection, opened: OpenFeatures) -> JSONResponse:
            query = _query(request, collection)
            columns = chosen_columns(opened, query.properties)
            document = tilejson(collection, columns, address_of(request), _tile_query(request))
            return JSONResponse(document, headers=freshness_of(request, collection, JSON_TYPE))

        return reading.read(request, collection_id, rights, answer)

    @router.get(f"/{GRID}/style.json", responses=problem_responses(*PROBLEMS), openapi_extra=_QUERY)
    def get_vector_style(
        request: Request, collection_id: CollectionName, rights: ReadRights
    ) -> JSONResponse:
        """Return a MapLibre style that draws the tiles."""
        check_syntax(request.query_params.multi_items())
        collection = find_collection(
            services.published, collection_id, rights, version=version_in(request)
        )
        _query(request, collection)
        document = style(collection, address_of(request), _tile_query(request))
        return JSONResponse(document, headers=freshness_of(request, collection, JSON_TYPE))

    @router.get(
        f"/{GRID}/{{z}}/{{x}}/{{y}}",
        response_class=Response,
        responses={**problem_responses(*PROBLEMS), 200: _TILE},
        openapi_extra=_QUERY,
    )
    def get_vector_tile(
        request: Request,
        collection_id: CollectionName,
        z: _Zoom,
        x: _Column,
        y: _Row,
        rights: ReadRights,
    ) -> Response:
        """Return a vector tile. Rows that do not fit are left out, the smallest first."""
        address = tile_address(z, x, y)

        def answer(collection: FeatureCollection, opened: OpenFeatures) -> Response:
            tile = draw_tile(
                collection,
                opened,
                address,
                _query(request, collection),
                max_bytes=settings.tile_max_bytes,
            )
            cache.put(_name(request, collection), tile)
            return _response(request, collection, tile)

        def known(collection: FeatureCollection) -> Response | None:
            headers = freshness_of(request, collection, TILE_TYPE)
            name = _name(request, collection)
            tile = cache.get(name)
            if tile is None and not _tile_query(request):
                tile = services.kept_tiles.tile(collection, address)
                if tile is not None:
                    cache.put(name, tile)
            return None if tile is None else _response(request, collection, tile, headers)

        return reading.read(request, collection_id, rights, answer, known)

    return router


def _query(request: Request, collection: FeatureCollection) -> FeatureQuery:
    return read_parameters(
        request.query_params.multi_items(), collection, max_limit=1, known=_PARAMETERS
    )


def _tile_query(request: Request) -> str:
    """Return the parameters of the request that select rows and properties, for its tiles."""
    return urlencode(
        [
            (name, value)
            for name, value in request.query_params.multi_items()
            if name not in ("f", "v")
        ]
    )


def _name(request: Request, collection: FeatureCollection) -> tuple[str, ...]:
    return collection.item.version, request.url.path, _tile_query(request)


def _response(
    request: Request,
    collection: FeatureCollection,
    tile: VectorTile,
    headers: dict[str, str] | None = None,
) -> Response:
    fresh = headers or freshness_of(request, collection, TILE_TYPE)
    return Response(
        tile.content,
        headers={**fresh, _ACCOUNT_HEADER: tile.account.header},
        media_type=TILE_TYPE,
    )
