"""The route that downloads an asset of a published item.

    GET, HEAD /stac/collections/{collection_id}/items/{item_id}/assets/{name}

The platform streams the object, or redirects to a URL of the storage account that allows reading
this object for some minutes (GEO_PLATFORM_SERVING_DOWNLOADS).

Starlette's FileResponse is not used: it opens a path after it has read its size, which may join two
contents, and it knows no store but the disk.

Called by `api/app.py`.
"""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from threading import Lock
from typing import Annotated, Any, BinaryIO

from anyio import CancelScope, CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from geo_platform.api.problems import problem_response, problem_responses
from geo_platform.api.services import Services
from geo_platform.api.serving.readers import ReadRights
from geo_platform.errors import (
    Conflict,
    ParameterInvalid,
    PlatformError,
    SourceNotFound,
    StoreUnavailable,
)
from geo_platform.ports import StoredObject
from geo_platform.serving.downloads import (
    ByteRange,
    StoredAsset,
    UnsatisfiableRangeError,
    is_range_valid,
    range_of,
    replaced,
    stored_asset,
    stored_object,
)
from geo_platform.settings import Profile, ServingDownloads

PART_BYTES = 1024**2
# Reads of all downloads at once; other routes have threads of their own.
READ_THREADS = 16
# Streams of one process at once. Each holds up to 12 MiB of an object in a storage account.
MAX_STREAMS = 100
# How long the size and the etag of an object are remembered. Opening it checks the etag again.
REMEMBERED_S = 5.0
MAX_REMEMBERED = 1000

_log = logging.getLogger("geo_platform.api")
_PATH = "/stac/collections/{collection_id}/items/{item_id}/assets/{name}"

_CollectionId = Annotated[str, Path(examples=["rasters"])]
_ItemId = Annotated[str, Path(examples=["dem"])]
_Name = Annotated[str, Path(description="Name of the asset.", examples=["data"])]
_Version = Annotated[
    str | None,
    Query(
        pattern="^[0-9a-f]{16}$",
        description="Version of the item. An address with a version may be cached for ever.",
        examples=["0f1e2d3c4b5a6978"],
    ),
]
_HEADERS = {
    name: {"description": text, "schema": {"type": "string"}}
    for name, text in {
        "ETag": "Changes with the version of the item and with the file.",
        "Accept-Ranges": "bytes",
        "Content-Disposition": "The name to save the file under.",
    }.items()
}
# The first is the type from which clients are generated, the others are those of the assets.
_TYPES = (
    "application/octet-stream",
    "image/tiff",
    "image/png",
    "image/webp",
    "application/vnd.apache.parquet",
)
_BYTES = {name: {"schema": {"type": "string", "format": "binary"}} for name in _TYPES}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file.", "content": _BYTES, "headers": _HEADERS},
    206: {"description": "The range of the header Range.", "content": _BYTES, "headers": _HEADERS},
    304: {"description": "The client has the published version (If-None-Match)."},
    307: {"description": "The file is at Location, for some minutes, without the credential."},
    **problem_responses(404, 409, 410, 416, 422),
}


def download_routes(services: Services) -> APIRouter:
    """Return the route of downloads."""
    router = APIRouter(tags=["downloads"])
    downloads = _Downloads(services)

    @router.get(_PATH, response_class=Response, responses=_RESPONSES)
    def download_asset(
        collection_id: _CollectionId,
        item_id: _ItemId,
        name: _Name,
        request: Request,
        rights: ReadRights,
        v: _Version = None,
    ) -> Response:
        """Download an asset, or one range of it.

        `If-None-Match` and `If-Range` take the ETag. Several ranges get the whole file. HEAD
        returns the headers alone.
        """
        item = services.published.item(collection_id, item_id, rights, version=v)
        return downloads.response(request, stored_asset(item, name), is_versioned=v is not None)

    @router.head(_PATH, response_class=Response, include_in_schema=False)
    def describe_asset(
        collection_id: _CollectionId,
        item_id: _ItemId,
        name: _Name,
        request: Request,
        rights: ReadRights,
        v: _Version = None,
    ) -> Response:
        """Return the headers of a download."""
        item = services.published.item(collection_id, item_id, rights, version=v)
        return downloads.response(request, stored_asset(item, name), is_versioned=v is not None)

    return router


class _Downloads:
    """Answers requests for assets. Safe among threads."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._settings = services.settings
        self._threads = CapacityLimiter(READ_THREADS)
        self._streams = 0
        self._remembered: dict[tuple[str, str, str], tuple[float, StoredObject]] = {}
        self._lock = Lock()

    def response(self, request: Request, asset: StoredAsset, *, is_versioned: bool) -> Response:
        """Return the response to a GET or HEAD request.

        Raises VersionGone, Conflict: the object is not the item's. StoreUnavailable, StoreDenied:
        the store does not answer or refuses access.
        """
        headers = {
            "Cache-Control": self._cache_control(asset) if is_versioned else "no-cache",
        }
        known = asset.known_tag(request.headers.get("if-none-match"))
        if known is not None:
            return Response(status_code=304, headers={**headers, "ETag": known})
        try:
            return self._answer(request, asset, self._stored(asset), headers)
        except (Conflict, SourceNotFound):
            # The object may have been replaced since it was described: describe it once more.
            self._forget(asset)
        try:
            return self._answer(request, asset, self._stored(asset), headers)
        except (Conflict, SourceNotFound):
            raise replaced(asset) from None

    def _answer(
        self, request: Request, asset: StoredAsset, stored: StoredObject, headers: dict[str, str]
    ) -> Response:
        headers = {**headers, "ETag": asset.etag_of(stored)}
        if_none_match = request.headers.get("if-none-match")
        if if_none_match is not None and if_none_match.strip() == "*":
            return Response(status_code=304, headers=headers)
        if self._is_redirected:
            return RedirectResponse(
                self._signed_url(asset), 307, {"Cache-Control": "no-store", "ETag": headers["ETag"]}
            )
        return self._direct(request, asset, stored, headers)

    @property
    def _is_redirected(self) -> bool:
        return (
            self._settings.profile is Profile.production
            and self._settings.serving_downloads is ServingDownloads.redirect
        )

    def _cache_control(self, asset: StoredAsset) -> str:
        is_public = self._services.public.is_public(asset.collection)
        return f"{'public' if is_public else 'private'}, max-age=31536000, immutable"

    def _direct(
        self, request: Request, asset: StoredAsset, stored: StoredObject, headers: dict[str, str]
    ) -> Response:
        size_bytes = stored.reference.size_bytes
        is_ranged = is_range_valid(request.headers.get("if-range"), headers["ETag"])
        try:
            part = range_of(request.headers.get("range") if is_ranged else None, size_bytes)
        except UnsatisfiableRangeError:
            return problem_response(
                ParameterInvalid(
                    f"The file has {size_bytes} bytes, and none of them is in the range.",
                    remedy="Ask for a range within the file, or for the whole file.",
                ),
                request,
                headers={"Content-Range": f"bytes */{size_bytes}"},
                status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            )
        sent = part or ByteRange(0, size_bytes)
        headers |= {
            "Accept-Ranges": "bytes",
            "Content-Length": str(sent.end - sent.start),
            "Content-Type": asset.media_type,
            "Content-Disposition": asset.content_disposition,
            "Last-Modified": format_datetime(stored.last_modified_utc, usegmt=True),
        }
        if part is not None:
            headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{size_bytes}"
        status = 200 if part is None else 206
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers)
        opened = ExitStack()
        stream = self._open(asset, stored, opened)
        return StreamingResponse(self._parts(stream, opened, sent), status, headers)

    def _stored(self, asset: StoredAsset) -> StoredObject:
        key = (asset.version, asset.container, asset.key)
        with self._lock:
            until, stored = self._remembered.get(key, (0.0, None))
        if stored is not None and time.monotonic() < until:
            return stored
        stored = stored_object(asset, self._services.objects)
        with self._lock:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = (time.monotonic() + REMEMBERED_S, stored)
        return stored

    def _forget(self, asset: StoredAsset) -> None:
        with self._lock:
            self._remembered.pop((asset.version, asset.container, asset.key), None)

    def _open(self, asset: StoredAsset, stored: StoredObject, opened: ExitStack) -> BinaryIO:
        """Open the object before the response begins, so that a failure has its own status.

        Raises Conflict, SourceNotFound: the object is not the described one any more.
        """
        if self._streams >= MAX_STREAMS:
            raise StoreUnavailable(
                "Too many downloads at once.",
                remedy="Send the request again after the seconds that Retry-After names.",
                retry_after_s=1,
            )
        return opened.enter_context(
            self._services.objects.open(asset.container, asset.key, etag=stored.reference.etag)
        )

    async def _parts(
        self, stream: BinaryIO, opened: ExitStack, sent: ByteRange
    ) -> AsyncIterator[bytes]:
        """Yield the bytes in parts. A slow client holds the open object, but no thread."""
        self._streams += 1
        remaining = sent.end - sent.start
        try:
            await run_sync(stream.seek, sent.start, limiter=self._threads)
            while remaining:
                part = await run_sync(
                    stream.read, min(PART_BYTES, remaining), limiter=self._threads
                )
                if not part:
                    raise StoreUnavailable("The object ended before its size was read.")
                remaining -= len(part)
                yield part
        except PlatformError as error:
            # The status is sent already: the connection is cut, and the client sees too few bytes.
            _log.warning("A download was cut off: %s", error)
            raise
        finally:
            self._streams -= 1
            with CancelScope(shield=True):
                await run_sync(opened.close, limiter=self._threads)

    def _signed_url(self, asset: StoredAsset) -> str:
        from geo_platform.storage.azure.signed_urls import signed_download

        ends = datetime.now(UTC) + timedelta(minutes=self._settings.serving_download_minutes)
        return signed_download(
            self._settings,
            asset.container,
            asset.key,
            ends_at_utc=ends.replace(microsecond=0),
            media_type=asset.media_type,
            content_disposition=asset.content_disposition,
        )
