"""Give a route the published item that its address names, and say how long the answer stays fresh.

    def tile(fresh: Fresh) -> Response:
        return Response(content, headers=fresh.headers)

The route has the path parameters `collection_id` and `item_id`. An address with `v=<version>` is
answered with that version or with 410, so that a cache may keep the answer for ever. Any other
address has to be asked again, and is answered with 304 while the version is the same. Neither a
304 nor a refusal reads anything but the catalog.

Used by `api/serving` and `api`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import URL

from geo_platform import __version__
from geo_platform.api.serving.readers import ReadRights
from geo_platform.serving.published import PublishedItem

JSON = "application/json"
FOR_EVER = "max-age=31536000, immutable"

ItemVersion = Annotated[
    str | None,
    Query(
        alias="v",
        pattern="^[0-9a-f]{16}$",
        description="Version of the item. The answer then never changes; 410 if it is replaced.",
    ),
]
CollectionId = Annotated[str, Path(description="Id of the collection.", examples=["rasters"])]
ItemId = Annotated[str, Path(description="Id of the item.", examples=["sierra_nevada_srtm"])]


class Unchanged(Exception):  # noqa: N818  # not an error: what the client has is fresh
    """The client has this answer already. `headers` are those of the answer."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__("304")
        self.headers = dict(headers)


@dataclass(frozen=True)
class FreshItem:
    """A published item, and the headers ETag and Cache-Control of an answer that is made of it."""

    item: PublishedItem
    headers: Mapping[str, str]


def headers_of(
    request: Request, version: str, *, names_version: bool, is_public: bool = False
) -> dict[str, str]:
    """Return ETag and Cache-Control of the answer to a request.

    `version`: changes with the data that the answer is made of. `names_version`: the address has
    it. `is_public`: everybody may read the data, so that shared caches may keep the answer.
    Raises Unchanged: the client has the answer (If-None-Match).
    """
    visibility = "public" if is_public else "private"
    headers = {
        "ETag": _etag(request.url, version),
        "Cache-Control": f"{visibility}, {FOR_EVER if names_version else 'no-cache'}",
        "Vary": "Authorization, X-Api-Key",
    }
    if _is_known(request, headers["ETag"]):
        raise Unchanged(headers)
    return headers


def document_response(request: Request, document: Any, media_type: str = JSON) -> Response:
    """Return a JSON document of the catalog, whose ETag is a digest of its bytes.

    Raises Unchanged: the client has the document (If-None-Match).
    """
    response = JSONResponse(document, media_type=media_type)
    headers = {
        "ETag": f'"{hashlib.sha256(response.body).hexdigest()[:32]}"',
        "Cache-Control": "private, no-cache",
        "Vary": "Authorization, X-Api-Key",
    }
    if _is_known(request, headers["ETag"]):
        raise Unchanged(headers)
    response.headers.update(headers)
    return response


def _is_known(request: Request, etag: str) -> bool:
    known = [
        tag.strip().removeprefix("W/")
        for value in request.headers.getlist("if-none-match")
        for tag in value.split(",")
    ]
    return request.method in ("GET", "HEAD") and (etag in known or "*" in known)


def fresh_item(
    request: Request,
    collection_id: CollectionId,
    item_id: ItemId,
    rights: ReadRights,
    v: ItemVersion = None,
) -> FreshItem:
    """Return the item that the path names.

    Raises NotFound: there is no such item, or the caller may not read it. VersionGone: the address
    names another version. Unchanged: the client has the answer.
    """
    services = request.app.state.services
    item = services.published.item(collection_id, item_id, rights, version=v)
    names_version = v is not None
    is_public = names_version and services.public.is_public(item.collection)
    headers = headers_of(request, item.version, names_version=names_version, is_public=is_public)
    return FreshItem(item, headers)


Fresh = Annotated[FreshItem, Depends(fresh_item)]


def answer_unchanged(app: FastAPI) -> None:
    """Make the application return 304 where a route raises Unchanged."""

    async def not_modified(_: Request, error: Exception) -> Response:
        return Response(
            status_code=304, headers=error.headers if isinstance(error, Unchanged) else {}
        )

    app.add_exception_handler(Unchanged, not_modified)


def _etag(url: URL, version: str) -> str:
    """Return a strong entity tag: the version, and a digest of the address without its version.

    A release may answer the same request with other bytes, so the digest counts the release too.
    """
    query = "&".join(sorted(part for part in url.query.split("&") if not part.startswith("v=")))
    digest = hashlib.sha256(f"{__version__} {url.path} {query}".encode()).hexdigest()
    return f'"{version}-{digest[:16]}"'
