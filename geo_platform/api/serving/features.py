"""The routes below /features: OGC API Features over the rows of published vector items.

`serving/features` reads and writes the rows; this module reads requests and makes responses.

Called by `api/app.py`.
"""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse

from geo_platform.api.problems import problem_responses
from geo_platform.api.services import Services
from geo_platform.api.serving.feature_requests import (
    CRS,
    PROBLEMS,
    PROPERTIES,
    SELECTION,
    VERSION,
    CollectionName,
    FeatureReading,
    address_of,
    check_freshness,
    freshness_of,
    query_parameter,
    version_in,
)
from geo_platform.api.serving.readers import ReadRights
from geo_platform.contracts.arrival import SourceKind
from geo_platform.errors import NotFound, QueryInvalid
from geo_platform.serving.features.collections import (
    FeatureCollection,
    collections_of,
    find_collection,
)
from geo_platform.serving.features.documents import (
    CONFORMANCE,
    FORMATS,
    JSON_TYPE,
    SCHEMA_TYPE,
    collection_document,
    collection_list,
    landing_page,
    link,
    queryables,
)
from geo_platform.serving.features.formats import (
    CSV_TYPE,
    GEOJSON_TYPE,
    PARQUET_TYPE,
    csv_table,
    feature_collection,
    geojson_features,
    geoparquet,
)
from geo_platform.serving.features.opened import OpenFeatures
from geo_platform.serving.features.positions import to_named
from geo_platform.serving.features.query import (
    FeaturePage,
    FeatureQuery,
    read_page,
    read_parameters,
    read_row,
)
from geo_platform.serving.published import PublishedItem, version_of

# A page of the list has the collections of this many items at most.
_COLLECTIONS_OF_ITEMS = 100
_TOKEN_MAX = 4_000
_FORMAT = query_parameter(
    "f", "Format of the response.", {"enum": ["geojson", "json", "csv", "parquet"]}
)
_ITEMS = {
    "parameters": [
        query_parameter("limit", "Most rows of a page.", {"type": "integer", "minimum": 1}),
        *SELECTION,
        PROPERTIES,
        CRS,
        _FORMAT,
        query_parameter(
            "after",
            "Key of the last row of the previous page; from its link `next`.",
            {"type": "integer", "minimum": 0},
        ),
        VERSION,
        {
            "name": "property",
            "in": "query",
            "required": False,
            "description": "Any property of the collection and the value that it must have.",
            "schema": {"type": "object", "additionalProperties": {"type": "string"}},
            "style": "form",
            "explode": True,
        },
    ]
}
_ITEM = {"parameters": [PROPERTIES, CRS, VERSION]}
_ROW_PARAMETERS = ("properties", "crs", "f", "v")
_LIST = {
    "parameters": [
        query_parameter("limit", "Most items of a page.", {"type": "integer", "minimum": 1}),
        query_parameter("token", "From the link `next` of the page before."),
    ]
}
_ROWS = {
    "description": "The rows.",
    "content": {
        GEOJSON_TYPE: {"schema": {"type": "object"}},
        CSV_TYPE: {"schema": {"type": "string"}},
        PARQUET_TYPE: {"schema": {"type": "string", "format": "binary"}},
    },
}
_QUERYABLES = {
    "description": "JSON Schema of the properties.",
    "content": {SCHEMA_TYPE: {"schema": {"type": "object"}}},
}
_ROW = {"description": "The row.", "content": {GEOJSON_TYPE: {"schema": {"type": "object"}}}}


def feature_routes(services: Services) -> APIRouter:
    """Return the routes of /features."""
    router = APIRouter(prefix="/features", tags=["features"])
    reading = FeatureReading(services)
    settings = services.settings

    @router.get("")
    def features_landing(request: Request, rights: ReadRights) -> JSONResponse:
        """Return the links of the feature service."""
        return JSONResponse(landing_page(address_of(request), str(request.url_for("openapi"))))

    @router.get("/conformance")
    def features_conformance(rights: ReadRights) -> JSONResponse:
        """Return the parts of the standards that the feature service conforms to."""
        return JSONResponse({"conformsTo": list(CONFORMANCE)})

    @router.get("/collections", responses=problem_responses(400, 422, 503), openapi_extra=_LIST)
    def list_feature_collections(request: Request, rights: ReadRights) -> JSONResponse:
        """List the feature collections that the caller may read, the newest item first.

        A page has the collections of `limit` items; an item may have several.
        """
        limit, token = _page_of_list(request)
        page = services.stac.items_of_kind(SourceKind.vector, rights, limit=limit, token=token)
        found = [each for document in page.items for each in collections_of(_published(document))]
        address = address_of(request)
        next_href = address("collections", limit=limit, token=page.next_token)
        return JSONResponse(collection_list(found, address, next_href if page.next_token else None))

    @router.get("/collections/{collection_id}", responses=problem_responses(*PROBLEMS))
    def get_feature_collection(
        request: Request, collection_id: CollectionName, rights: ReadRights
    ) -> JSONResponse:
        """Describe a feature collection: extent, CRSs, links."""
        collection = find_collection(
            services.published, collection_id, rights, version=version_in(request)
        )
        headers = freshness_of(request, collection, JSON_TYPE)
        return JSONResponse(collection_document(collection, address_of(request)), headers=headers)

    @router.get(
        "/collections/{collection_id}/queryables",
        response_class=Response,
        responses={**problem_responses(*PROBLEMS), 200: _QUERYABLES},
    )
    def get_feature_queryables(
        request: Request, collection_id: CollectionName, rights: ReadRights
    ) -> JSONResponse:
        """Return the JSON Schema of the properties that a filter may name."""
        href = address_of(request)("collections", collection_id, "queryables")

        def answer(collection: FeatureCollection, opened: OpenFeatures) -> JSONResponse:
            return JSONResponse(
                queryables(collection, opened, href),
                headers=freshness_of(request, collection, SCHEMA_TYPE),
                media_type=SCHEMA_TYPE,
            )

        return reading.read(request, collection_id, rights, answer)

    @router.get(
        "/collections/{collection_id}/items",
        response_class=Response,
        responses={**problem_responses(*PROBLEMS), 200: _ROWS},
        openapi_extra=_ITEMS,
    )
    def get_features(
        request: Request, collection_id: CollectionName, rights: ReadRights
    ) -> Response:
        """Return rows by place, time and condition, a page at a time, in order of their key.

        The link `next` leads to the next page of the same version.
        """
        media_type = _media_type(request)

        def answer(collection: FeatureCollection, opened: OpenFeatures) -> Response:
            query = read_parameters(
                request.query_params.multi_items(),
                collection,
                max_limit=settings.features_max_rows,
            )
            page = read_page(collection, opened, query, max_bytes=settings.features_max_bytes)
            return _rows_response(request, collection, query, page, media_type)

        return reading.read(
            request,
            collection_id,
            rights,
            answer,
            lambda collection: check_freshness(request, collection, media_type),
        )

    @router.get(
        "/collections/{collection_id}/items/{feature_id}",
        response_class=Response,
        responses={**problem_responses(*PROBLEMS), 200: _ROW},
        openapi_extra=_ITEM,
    )
    def get_feature(
        request: Request,
        collection_id: CollectionName,
        feature_id: Annotated[str, Path(description="Key of the row.", examples=["1"])],
        rights: ReadRights,
    ) -> Response:
        """Return one row as GeoJSON."""

        def answer(collection: FeatureCollection, opened: OpenFeatures) -> Response:
            query = read_parameters(
                request.query_params.multi_items(),
                collection,
                max_limit=1,
                known=_ROW_PARAMETERS,
            )
            if query.equalities:
                raise QueryInvalid(f"There is no parameter {query.equalities[0][0][:100]!r} here.")
            is_key = feature_id.isascii() and feature_id.isdigit() and len(feature_id) < 20
            page = read_row(collection, opened, int(feature_id) if is_key else -1, query)
            if not page.keys:
                raise NotFound(
                    f"The collection {collection.id!r} has no row {feature_id[:50]!r}.",
                    remedy="The member `id` of each feature is its key.",
                )
            return _row_response(request, collection, query, page)

        return reading.read(
            request,
            collection_id,
            rights,
            answer,
            lambda collection: check_freshness(request, collection, GEOJSON_TYPE),
        )

    return router


def _published(document: dict[str, Any]) -> PublishedItem:
    return PublishedItem(document["collection"], document["id"], version_of(document), document)


def _page_of_list(request: Request) -> tuple[int, str | None]:
    """Return the limit and the token. Raises QueryInvalid: one of them is malformed."""
    given = request.query_params
    unknown = set(given) - {"limit", "token", "f"}
    if unknown:
        raise QueryInvalid(f"There is no parameter {min(unknown)[:100]!r} here.")
    text, token = given.get("limit", str(_COLLECTIONS_OF_ITEMS)), given.get("token")
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= 1):
        raise QueryInvalid("limit must be an integer of at least 1.")
    if token is not None and not 1 <= len(token) <= _TOKEN_MAX:
        raise QueryInvalid("token is not one of a link `next`.")
    return min(int(text), _COLLECTIONS_OF_ITEMS), token


def _media_type(request: Request) -> str:
    """Return the format that the request asks for: by `f`, else by the header Accept."""
    name = request.query_params.get("f")
    if name is not None:
        chosen = {**FORMATS, "json": GEOJSON_TYPE}.get(name)
        if chosen is None:
            raise QueryInvalid(f"f must be one of: {', '.join(FORMATS)}.")
        return chosen
    accepted = request.headers.get("accept", "")
    for part in accepted.split(","):
        wanted = part.partition(";")[0].strip().lower()
        if wanted in FORMATS.values():
            return wanted
        if wanted in (JSON_TYPE, "*/*"):
            break
    return GEOJSON_TYPE


def _rows_response(
    request: Request,
    collection: FeatureCollection,
    query: FeatureQuery,
    page: FeaturePage,
    media_type: str,
) -> Response:
    links = _page_links(request, collection, page, media_type)
    headers = {
        **freshness_of(request, collection, media_type),
        "Content-Crs": f"<{query.crs.uri}>",
        "Link": ", ".join(
            f'<{each["href"]}>; rel="{each["rel"]}"; type="{each["type"]}"' for each in links
        ),
    }
    shapes = to_named(page.shapes, collection, query.crs, as_xy=media_type == PARQUET_TYPE)
    if page.matched is not None:
        headers["OGC-NumberMatched"] = str(page.matched)
    headers["OGC-NumberReturned"] = str(len(page.keys))
    if media_type == CSV_TYPE:
        content = csv_table(page, shapes, collection.geometry_column)
        return Response(content, headers=headers, media_type=CSV_TYPE)
    if media_type == PARQUET_TYPE:
        content = geoparquet(page, shapes, query.crs, collection.geometry_column)
        return Response(content, headers=headers, media_type=PARQUET_TYPE)
    members: dict[str, Any] = {"links": links, "numberReturned": len(page.keys)}
    if page.matched is not None:
        members["numberMatched"] = page.matched
    content = feature_collection(geojson_features(page, shapes), members)
    return Response(content, headers=headers, media_type=GEOJSON_TYPE)


def _page_links(
    request: Request, collection: FeatureCollection, page: FeaturePage, media_type: str
) -> list[dict[str, str]]:
    own = str(request.url)
    links = [link(own, "self", media_type)]
    if page.has_more:
        following = request.url.include_query_params(after=page.keys[-1], v=collection.item.version)
        links.append(link(str(following), "next", media_type))
    links += [
        link(str(request.url.include_query_params(f=name)), "alternate", other)
        for name, other in FORMATS.items()
        if other != media_type
    ]
    links.append(link(address_of(request)("collections", collection.id), "collection", JSON_TYPE))
    return links


def _row_response(
    request: Request, collection: FeatureCollection, query: FeatureQuery, page: FeaturePage
) -> Response:
    (feature,) = geojson_features(page, to_named(page.shapes, collection, query.crs))
    address = address_of(request)
    links = [
        link(str(request.url), "self", GEOJSON_TYPE),
        link(address("collections", collection.id), "collection", JSON_TYPE),
    ]
    headers = {
        **freshness_of(request, collection, GEOJSON_TYPE),
        "Content-Crs": f"<{query.crs.uri}>",
    }
    content = f'{feature[:-1]},"links":{json.dumps(links)}}}'.encode()
    return Response(content, headers=headers, media_type=GEOJSON_TYPE)
