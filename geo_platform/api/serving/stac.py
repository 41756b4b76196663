"""The routes of the STAC API: landing page, collections, items, search, queryables.

`serving/stac` answers them. Invalid parameters are refused with 400, as OGC API requires.

Called by `api/app.py`.
"""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from geo_platform.api.problems import (
    ParametersInvalid,
    parameters_invalid,
    problem_response,
    problem_responses,
)
from geo_platform.api.services import Services
from geo_platform.api.serving.freshness import document_response
from geo_platform.api.serving.readers import ReadRights
from geo_platform.errors import ParameterInvalid, QueryInvalid
from geo_platform.serving.stac.documents import (
    GEOJSON,
    JSON,
    SCHEMA,
    StacAddresses,
    link,
)
from geo_platform.serving.stac.item_source import ItemPage
from geo_platform.serving.stac.request import (
    CRS84,
    DEFAULT_LIMIT,
    MAX_LIMIT,
    ItemSearch,
    SearchBody,
    search_body,
)
from geo_platform.serving.stac.stac_reader import CONFORMANCE, collection_list, feature_collection

PREFIX = "/stac"
SEARCH = f"{PREFIX}/search"

# Escaped, a few of these still fit into a request of 64 KiB. Longer ones belong into a body.
Text = Annotated[str | None, Field(max_length=2_000)]
LongText = Annotated[str | None, Field(max_length=4_000)]
CollectionId = Annotated[str, Path(description="The id of the collection.", examples=["rasters"])]
ItemId = Annotated[str, Path(description="The id of the item.", examples=["dem"])]


class ListParameters(BaseModel):
    """The query parameters of every list. Another parameter is refused."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    bbox: Text = Field(None, description="west,south,east,north", examples=["-180,-90,180,90"])
    datetime: Text = Field(
        None,
        description="An RFC 3339 instant or interval; `..` is an open end.",
        examples=["2026-01-01T00:00:00Z/.."],
    )
    limit: int = Field(DEFAULT_LIMIT, ge=1, description=f"At most {MAX_LIMIT} are returned.")
    token: LongText = Field(None, description="From the link `next` of the page before.")
    filter: LongText = Field(None, description="A CQL2 filter.", examples=["id LIKE 'd%'"])
    filter_lang: Text = Field(
        None,
        alias="filter-lang",
        description="cql2-text (default) or cql2-json.",
        examples=["cql2-text"],
    )
    filter_crs: Text = Field(
        None, alias="filter-crs", description=f"Only {CRS84}.", examples=[CRS84]
    )
    query: Text = Field(
        None, description="The query extension, as JSON.", examples=['{"id": {"eq": "dem"}}']
    )
    sortby: Text = Field(
        None, description="Fields, each after + (ascending) or -.", examples=["-datetime,+id"]
    )
    fields: Text = Field(
        None, description="Fields to include, or to exclude after -.", examples=["id,-assets"]
    )
    q: Text = Field(
        None,
        description="Words or phrases of title, description or keywords, separated by commas.",
        examples=["elevation"],
    )

    def body(self, **more: Any) -> SearchBody:
        """Return the parameters as a search. Raises ParameterInvalid."""
        texts = self.model_dump(by_alias=True, exclude_none=True)
        try:
            return SearchBody.model_validate(
                {**search_body({name: str(text) for name, text in texts.items()}), **more}
            )
        except ValidationError as error:
            raise ParametersInvalid(
                [(".".join(map(str, each["loc"])), str(each["msg"])) for each in error.errors()]
            ) from error


class ItemsParameters(ListParameters):
    """The query parameters of the items of a collection."""

    collections: Text = Field(None, description="Ids, separated by commas.", examples=["rasters"])
    ids: Text = Field(None, description="Ids, separated by commas.", examples=["dem"])


class SearchParameters(ItemsParameters):
    """The query parameters of an item search."""

    intersects: LongText = Field(
        None,
        description="A GeoJSON geometry, instead of `bbox`.",
        examples=['{"type": "Point", "coordinates": [8, 47]}'],
    )


class StacRoute(APIRoute):
    """A route that refuses invalid parameters with 400 instead of 422."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().handle(scope, receive, send)
        except HTTPException as error:
            if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and self.path == SEARCH:
                # The framework names the methods of the first route at this path only.
                raise HTTPException(error.status_code, headers={"Allow": "GET, POST"}) from error
            raise

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def refusing(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                return problem_response(
                    parameters_invalid(error), request, status=HTTPStatus.BAD_REQUEST
                )
            except ParameterInvalid as error:
                return problem_response(error, request, status=HTTPStatus.BAD_REQUEST)

        return refusing


def stac_routes(services: Services) -> APIRouter:
    """Return the routes of /stac."""
    router = APIRouter(prefix=PREFIX, tags=["search"], route_class=StacRoute)
    _add_catalog(router, services)
    _add_collections(router, services)
    _add_items(router, services)
    _add_queryables(router, services)
    return router


def addresses_of(request: Request) -> StacAddresses:
    """Return the addresses of the STAC API, as the client sees the server."""
    return StacAddresses(f"{str(request.base_url).rstrip('/')}{PREFIX}")


def _add_catalog(router: APIRouter, services: Services) -> None:
    @router.get("", responses=_documents(JSON, "Catalog", 400))
    def stac_landing_page(request: Request, rights: ReadRights) -> Response:
        """Return the landing page of the STAC API."""
        description = f"{str(request.base_url).rstrip('/')}/openapi.json"
        return document_response(
            request, services.stac.landing_page(rights, addresses_of(request), description)
        )

    @router.get("/conformance", responses=_documents(JSON, None, 400))
    def stac_conformance(request: Request, rights: ReadRights) -> Response:
        """Return the conformance classes."""
        return document_response(request, {"conformsTo": CONFORMANCE})


def _add_collections(router: APIRouter, services: Services) -> None:
    @router.get("/collections", responses=_documents(JSON, None, 400))
    def stac_collections(
        request: Request, rights: ReadRights, parameters: Annotated[ListParameters, Query()]
    ) -> Response:
        """Find collections. A collection is listed if you may read one of its items."""
        # In order of id, unless another order is asked for.
        order = {} if parameters.sortby else {"sortby": [{"field": "id", "direction": "asc"}]}
        search = ItemSearch.of(parameters.body(**order))
        addresses = addresses_of(request)
        page = services.stac.collections(search, rights)
        links = [
            *_page_links(request, f"{addresses.root}/collections", page, JSON),
            link("root", addresses.root),
            link("parent", addresses.root),
        ]
        return document_response(request, collection_list(page, search, addresses, links))

    @router.get("/collections/{collection_id}", responses=_documents(JSON, "Collection", 400, 404))
    def stac_collection(
        request: Request, rights: ReadRights, collection_id: CollectionId
    ) -> Response:
        """Return a collection. Its extent is that of the items that you may read."""
        document = services.stac.collection(collection_id, rights)
        return document_response(request, addresses_of(request).linked_collection(document))


def _add_items(router: APIRouter, services: Services) -> None:
    @router.get(
        "/collections/{collection_id}/items",
        responses=_documents(GEOJSON, "FeatureCollection", 400, 404),
    )
    def stac_items(
        request: Request,
        rights: ReadRights,
        collection_id: CollectionId,
        parameters: Annotated[ItemsParameters, Query()],
    ) -> Response:
        """Find items of a collection, newest first."""
        addresses = addresses_of(request)
        services.stac.collection(collection_id, rights)
        body = parameters.body()
        # Clients send the collection also as a parameter.
        is_chosen = body.collections is None or collection_id in body.collections
        body.collections = [collection_id] if is_chosen else []
        search = ItemSearch.of(body)
        page = services.stac.items(search, rights)
        own = addresses.collection(collection_id)
        links = [
            *_page_links(request, f"{own}/items", page, GEOJSON),
            link("root", addresses.root),
            link("parent", own),
            link("collection", own),
        ]
        return document_response(
            request, feature_collection(page, search, addresses, links), media_type=GEOJSON
        )

    @router.get(
        "/collections/{collection_id}/items/{item_id}",
        responses=_documents(GEOJSON, "Feature", 400, 404),
    )
    def stac_item(
        request: Request, rights: ReadRights, collection_id: CollectionId, item_id: ItemId
    ) -> Response:
        """Return an item. Its assets have addresses of this API, for its present version."""
        item = services.stac.item(collection_id, item_id, rights)
        document = addresses_of(request).linked_item(item.document)
        return document_response(request, document, media_type=GEOJSON)

    @router.get("/search", responses=_documents(GEOJSON, "FeatureCollection", 400))
    def stac_search(
        request: Request, rights: ReadRights, parameters: Annotated[SearchParameters, Query()]
    ) -> Response:
        """Find items of all collections, newest first."""
        addresses = addresses_of(request)
        search = ItemSearch.of(parameters.body())
        page = services.stac.items(search, rights)
        links = [
            *_page_links(request, f"{addresses.root}/search", page, GEOJSON),
            link("root", addresses.root),
        ]
        return document_response(
            request, feature_collection(page, search, addresses, links), media_type=GEOJSON
        )

    @router.post(
        "/search", responses=_documents(GEOJSON, "FeatureCollection", 400, is_conditional=False)
    )
    def stac_search_by_body(request: Request, rights: ReadRights, body: SearchBody) -> Response:
        """Find items of all collections, newest first, with the parameters in the body."""
        if request.query_params:
            raise QueryInvalid(
                "A POST request has its parameters in the body, and none in the address.",
                remedy="Put the parameters into the body, or send a GET request.",
            )
        addresses = addresses_of(request)
        search = ItemSearch.of(body)
        page = services.stac.items(search, rights)
        links = [link("root", addresses.root)]
        if page.next_token is not None:
            again = body.model_dump(
                mode="json", by_alias=True, exclude_none=True, exclude={"token"}
            )
            href = f"{addresses.root}/search"
            again["token"] = page.next_token
            links.append(link("next", href, GEOJSON, method="POST", body=again, merge=False))
        return JSONResponse(feature_collection(page, search, addresses, links), media_type=GEOJSON)


def _add_queryables(router: APIRouter, services: Services) -> None:
    def described(
        request: Request, rights: ReadRights, path: str, collection: str | None
    ) -> Response:
        href = f"{addresses_of(request).root}{path}"
        document = services.stac.queryables(
            rights, href, collection, for_sorting=path.endswith("sortables")
        )
        return document_response(request, document, media_type=SCHEMA)

    @router.get("/queryables", responses=_documents(SCHEMA, None, 400))
    def stac_queryables(request: Request, rights: ReadRights) -> Response:
        """Return the properties that a filter may name: those of the items that you may read."""
        return described(request, rights, "/queryables", None)

    @router.get("/sortables", responses=_documents(SCHEMA, None, 400))
    def stac_sortables(request: Request, rights: ReadRights) -> Response:
        """Return the properties that an order may name."""
        return described(request, rights, "/sortables", None)

    @router.get(
        "/collections/{collection_id}/queryables", responses=_documents(SCHEMA, None, 400, 404)
    )
    def stac_collection_queryables(
        request: Request, rights: ReadRights, collection_id: CollectionId
    ) -> Response:
        """Return the properties that a filter of this collection may name."""
        path = f"/collections/{collection_id}/queryables"
        return described(request, rights, path, collection_id)

    @router.get(
        "/collections/{collection_id}/sortables", responses=_documents(SCHEMA, None, 400, 404)
    )
    def stac_collection_sortables(
        request: Request, rights: ReadRights, collection_id: CollectionId
    ) -> Response:
        """Return the properties that an order of this collection may name."""
        path = f"/collections/{collection_id}/sortables"
        return described(request, rights, path, collection_id)


def _page_links(
    request: Request, href: str, page: ItemPage, media_type: str
) -> list[dict[str, Any]]:
    query = str(request.url.query)
    links = [link("self", f"{href}?{query}" if query else href, media_type)]
    if page.next_token is not None:
        parameters = {**dict(request.query_params), "token": page.next_token}
        links.append(link("next", f"{href}?{urlencode(parameters)}", media_type, method="GET"))
    return links


def _documents(
    media_type: str, kind: str | None, *statuses: int, is_conditional: bool = True
) -> dict[int | str, dict[str, Any]]:
    """Describe the response of a route: a JSON object, of this STAC type, or a problem.

    `is_conditional`: the route answers If-None-Match.
    """
    schema: dict[str, Any] = {"type": "object"}
    if kind is not None:
        schema |= {"required": ["type"], "properties": {"type": {"const": kind}}}
    success = {"description": "Found.", "content": {media_type: {"schema": schema}}}
    described = {200: success, **problem_responses(*statuses, 422)}
    if is_conditional:
        described[304] = {"description": "The client has this document (If-None-Match)."}
    return described
