"""The routes below /features: OGC API Features over the rows of published vector items.

`serving/features` reads and writes the rows; this module reads requests and makes responses.

Called by `api/app.py`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, TypeVar
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse

from geo_platform.api.problems import problem_responses
from geo_platform.api.services import Services
from geo_platform.api.serving.freshness import headers_of
from geo_platform.api.serving.readers import ReadRights
from geo_platform.errors import NotFound, QueryInvalid, VersionGone
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
    Address,
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
from geo_platform.serving.rights import Rights

T = TypeVar("T")
# How often a request without a version begins again because the item was replaced meanwhile.
_ATTEMPTS = 3
_MAX_COLLECTIONS = 1000
_PROBLEMS = (400, 404, 410, 422, 503)

CollectionName = Annotated[
    str,
    Path(
        description="Id of the feature collection: COLLECTION:ITEM, and :FAMILY if the item has "
        "several datasets.",
        examples=["vectors:wells"],
    ),
]


def _parameter(name: str, description: str, schema: Mapping[str, Any] | None = None) -> Any:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": {"type": "string", **(schema or {})},
    }


_VERSION = _parameter(
    "v",
    "Version of the item. The answer then never changes; 410 if the item was replaced.",
    {"pattern": "^[0-9a-f]{16}$"},
)
_CRS = _parameter("crs", "URI of the CRS of the response, one of the collection's `crs`.")
_PROPERTIES = _parameter("properties", "Names of the properties to return, separated by commas.")
_FORMAT = _parameter(
    "f", "Format of the response.", {"enum": ["geojson", "json", "csv", "parquet"]}
)
_SELECTION = [
    _parameter(
        "bbox",
        "Four numbers, west,south,east,north: rows whose geometry intersects this area. West is "
        "greater than east across the antimeridian. Of six numbers, the heights are ignored.",
    ),
    _parameter("bbox-crs", "URI of the CRS of bbox; by default degrees, longitude first."),
    _parameter(
        "datetime",
        "A time, a date or an interval start/end, with .. for an open end: rows whose first column "
        "of dates or times is in it.",
    ),
    _parameter("filter", "Condition in CQL2."),
    _parameter("filter-lang", "Language of filter.", {"enum": ["cql2-text", "cql2-json"]}),
    _parameter("filter-crs", "URI of the CRS of geometries in filter; by default degrees."),
]
_ITEMS = {
    "parameters": [
        _parameter("limit", "Most rows of a page.", {"type": "integer", "minimum": 1}),
        *_SELECTION,
        _PROPERTIES,
        _CRS,
        _FORMAT,
        _parameter(
            "after",
            "Key of the last row of the previous page; from its link `next`.",
            {"type": "integer", "minimum": 0},
        ),
        _VERSION,
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
_ITEM = {"parameters": [_PROPERTIES, _CRS, _VERSION]}
_ROW_PARAMETERS = ("properties", "crs", "f", "v")
_LIST = {
    "parameters": [
        _parameter("limit", "Most collections of a page.", {"type": "integer", "minimum": 1}),
        _parameter("offset", "Collections to skip.", {"type": "integer", "minimum": 0}),
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
_ROW = {"description": "The row.", "content": {GEOJSON_TYPE: {"schema": {"type": "object"}}}}


@dataclass(frozen=True)
class _Reading:
    """Answers requests for collections."""

    services: Services

    def read(
        self,
        request: Request,
        collection_id: str,
        rights: Rights,
        answer: Callable[[FeatureCollection, OpenFeatures], T],
        before: Callable[[FeatureCollection], None] = lambda collection: None,
    ) -> T:
        """Answer from an opened collection.

        `before` runs before anything but the catalog is read. If the item is replaced meanwhile, a
        request that names no version is answered from the new one.
        """
        named = version_in(request)
        for attempt in range(_ATTEMPTS):
            collection = find_collection(
                self.services.published, collection_id, rights, version=named
            )
            before(collection)
            try:
                with self.services.features.open(collection) as opened:
                    return answer(collection, opened)
            except VersionGone:
                if named is not None or attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")


def feature_routes(services: Services) -> APIRouter:
    """Return the routes of /features."""
    router = APIRouter(prefix="/features", tags=["features"])
    reading = _Reading(services)
    settings = services.settings

    @router.get("")
    def features_landing(request: Request, rights: ReadRights) -> JSONResponse:
        """Return the links of the feature service."""
        return JSONResponse(landing_page(_address(request), str(request.url_for("openapi"))))

    @router.get("/conformance")
    def features_conformance(rights: ReadRights) -> JSONResponse:
        """Return the parts of the standards that the feature service conforms to."""
        return JSONResponse({"conformsTo": list(CONFORMANCE)})

    @router.get("/collections", responses=problem_responses(400, 503), openapi_extra=_LIST)
    def list_feature_collections(request: Request, rights: ReadRights) -> JSONResponse:
        """List the feature collections that the caller may read, the newest item first."""
        limit, offset = _page_of_list(request)
        readable = _collections(services, rights)
        found = list(islice(readable, offset, offset + limit + 1))
        address = _address(request)
        next_href = address("collections", limit=limit, offset=offset + limit)
        return JSONResponse(
            collection_list(found[:limit], address, next_href if len(found) > limit else None)
        )

    @router.get("/collections/{collection_id}", responses=problem_responses(*_PROBLEMS))
    def get_feature_collection(
        request: Request, collection_id: CollectionName, rights: ReadRights
    ) -> JSONResponse:
        """Describe a feature collection: extent, CRSs, links."""
        collection = find_collection(
            services.published, collection_id, rights, version=version_in(request)
        )
        headers = _freshness(request, collection, JSON_TYPE)
        return JSONResponse(collection_document(collection, _address(request)), headers=headers)

    @router.get(
        "/collections/{collection_id}/queryables",
        responses=problem_responses(*_PROBLEMS),
    )
    def get_feature_queryables(
        request: Request, collection_id: CollectionName, rights: ReadRights
    ) -> JSONResponse:
        """Return the JSON Schema of the properties that a filter may name."""
        href = _address(request)("collections", collection_id, "queryables")

        def answer(collection: FeatureCollection, opened: OpenFeatures) -> JSONResponse:
            return JSONResponse(
                queryables(collection, opened, href),
                headers=_freshness(request, collection, SCHEMA_TYPE),
                media_type=SCHEMA_TYPE,
            )

        return reading.read(request, collection_id, rights, answer)

    @router.get(
        "/collections/{collection_id}/items",
        response_class=Response,
        responses={**problem_responses(*_PROBLEMS), 200: _ROWS},
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
            lambda collection: _discard(_freshness(request, collection, media_type)),
        )

    @router.get(
        "/collections/{collection_id}/items/{feature_id}",
        response_class=Response,
        responses={**problem_responses(*_PROBLEMS), 200: _ROW},
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
            lambda collection: _discard(_freshness(request, collection, GEOJSON_TYPE)),
        )

    return router


def version_in(request: Request) -> str | None:
    """Return the version that the address names. Raises QueryInvalid: it is none."""
    versions = request.query_params.getlist("v")
    if not versions:
        return None
    version = versions[0]
    if len(versions) > 1 or len(version) != 16 or set(version) - set("0123456789abcdef"):
        raise QueryInvalid("v must be a version of an item: 16 hexadecimal digits.")
    return version


def _collections(services: Services, rights: Rights) -> Iterator[FeatureCollection]:
    for entry in services.catalog.entries():
        document = {**entry.item, "collection": entry.collection}
        if rights.allows(document):
            yield from collections_of(
                PublishedItem(entry.collection, entry.item_id, version_of(document), document)
            )


def _page_of_list(request: Request) -> tuple[int, int]:
    given = request.query_params
    numbers = []
    for name, default, least in (("limit", "100", 1), ("offset", "0", 0)):
        text = given.get(name, default)
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
            raise QueryInvalid(f"{name} must be an integer of at least {least}.")
        numbers.append(int(text))
    unknown = set(given) - {"limit", "offset", "f"}
    if unknown:
        raise QueryInvalid(f"There is no parameter {min(unknown)[:100]!r} here.")
    return min(numbers[0], _MAX_COLLECTIONS), numbers[1]


def _address(request: Request) -> Address:
    base = str(request.base_url).rstrip("/") + "/features"

    def address(*parts: str, **parameters: Any) -> str:
        path = "".join(f"/{quote(part, safe=':')}" for part in parts)
        given = {name: value for name, value in parameters.items() if value is not None}
        return f"{base}{path}" + (f"?{urlencode(given)}" if given else "")

    return address


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


def _freshness(request: Request, collection: FeatureCollection, media_type: str) -> dict[str, str]:
    """Return ETag and Cache-Control. Raises Unchanged: the client has this answer already."""
    headers = headers_of(
        request,
        f"{collection.item.version}-{media_type.rpartition('/')[2][:3]}",
        names_version="v" in request.query_params,
        is_public=request.app.state.services.public.is_public(collection.item.collection),
    )
    return {**headers, "Vary": f"{headers['Vary']}, Accept"}


def _discard(_: Mapping[str, str]) -> None:
    """Ignore the headers: only the check of If-None-Match is wanted."""


def _rows_response(
    request: Request,
    collection: FeatureCollection,
    query: FeatureQuery,
    page: FeaturePage,
    media_type: str,
) -> Response:
    links = _page_links(request, collection, page, media_type)
    headers = {
        **_freshness(request, collection, media_type),
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
    links.append(link(_address(request)("collections", collection.id), "collection", JSON_TYPE))
    return links


def _row_response(
    request: Request, collection: FeatureCollection, query: FeatureQuery, page: FeaturePage
) -> Response:
    (feature,) = geojson_features(page, to_named(page.shapes, collection, query.crs))
    address = _address(request)
    links = [
        link(str(request.url), "self", GEOJSON_TYPE),
        link(address("collections", collection.id), "collection", JSON_TYPE),
    ]
    headers = {
        **_freshness(request, collection, GEOJSON_TYPE),
        "Content-Crs": f"<{query.crs.uri}>",
    }
    content = f'{feature[:-1]},"links":{json.dumps(links)}}}'.encode()
    return Response(content, headers=headers, media_type=GEOJSON_TYPE)
