"""Upload routes: return where to send a file, and on the embedded profile store it.

    POST /api/uploads {"file_name": "dem.tif"}   the URL to PUT the file to: a signed URL of the
                                                 storage account, or on the embedded profile
    PUT /api/uploads/{upload_id}/{file_name}     of the platform itself

A file is stored in `bronze` as `uploads/<principal>/<upload id>/<file name>` and never overwritten.
Files that belong together (parts of a shapefile, an image and its world file) share an upload id.
Signing URLs: `storage/azure/signed_urls.py`.

Called by `api/app.py`.
"""

import asyncio
import hashlib
import re
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path as FilePath
from secrets import token_hex
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from geo_platform.api.auth.authentication import Submitter, check_container
from geo_platform.api.auth.limits import too_large
from geo_platform.api.auth.principal import Principal
from geo_platform.api.problems import problem_responses
from geo_platform.errors import NotFound, ParameterInvalid
from geo_platform.ports import BRONZE, UPLOAD_ORIGIN, ObjectStore
from geo_platform.settings import Profile, Settings
from geo_platform.storage.azure.names import check_new_key
from geo_platform.storage.local.atomic import new_incoming, os_errors

NAME_MAX_BYTES = 200
WRITE_CHUNK_BYTES = 4 * 1024**2
_UPLOAD_ID = re.compile(r"[0-9a-f]{16}")
# Metadata of an upload. The client submits the upload, so no watch may start a run for it.
_CLIENT_ORIGIN = "client"

_REMEDY = "Give a file name without folders and without a leading dot, of at most 200 bytes."


class UploadAsked(BaseModel):
    """A request for an upload."""

    model_config = ConfigDict(extra="forbid", strict=True)

    file_name: str = Field(
        description="Name of the file, without folders.", examples=["dem.tif"], max_length=255
    )
    size_bytes: int | None = Field(
        None,
        ge=1,
        description="Size of the file, so that one that is too large is refused before it is sent.",
    )
    upload_id: str | None = Field(
        None,
        pattern=f"^{_UPLOAD_ID.pattern}$",
        description="The upload_id of an earlier response, for a file that belongs to that one.",
        examples=[None],
    )


class Submission(BaseModel):
    """What to submit once the file is uploaded."""

    container_name: str = Field(examples=["bronze"])
    blob_name: str = Field(examples=["uploads/field-team-1b2c3d4e/0123456789abcdef/dem.tif"])


class UploadOffered(BaseModel):
    """Where to send a file, and what to submit then."""

    upload_id: str = Field(examples=["0123456789abcdef"])
    method: str = Field("PUT", examples=["PUT"])
    url: str = Field(
        description="URL for this one name. It does not allow reading, listing or overwriting."
    )
    headers: dict[str, str] = Field(
        description="Headers to send with the file.",
        examples=[{"x-ms-blob-type": "BlockBlob", "x-ms-meta-origin": "client"}],
    )
    needs_credential: bool = Field(
        description="Whether the PUT needs the credential. If false, it must not carry it."
    )
    max_bytes: int = Field(examples=[5_242_880_000])
    expires_at_utc: datetime | None = Field(
        description="When the URL expires; null if it does not."
    )
    submit: Submission = Field(
        description="Parameters for POST /api/jobs/submit/process_raster or "
        "/api/jobs/submit/ingest_vector."
    )


class Uploaded(BaseModel):
    """A stored upload."""

    upload_id: str
    size_bytes: int
    submit: Submission


def upload_routes(settings: Settings, objects: ObjectStore) -> APIRouter:
    """Return the upload routes. `objects` is the object store of the settings' profile."""
    router = APIRouter(tags=["uploads"])

    @router.post(
        "/api/uploads",
        name="offer_upload",
        status_code=201,
        responses=problem_responses(401, 403, 413, 422, 429, 500, 503),
    )
    async def offer(upload: UploadAsked, principal: Submitter) -> UploadOffered:
        """Return where to send a file, and what to submit then."""
        check_container(principal, BRONZE)
        max_bytes = upload_max_bytes(settings)
        if upload.size_bytes is not None and upload.size_bytes > max_bytes:
            raise too_large(max_bytes)
        upload_id = upload.upload_id or token_hex(8)
        key = upload_key(principal, upload_id, upload.file_name)
        if settings.profile is Profile.production:
            return await asyncio.to_thread(_signed_offer, settings, upload_id, key)
        return UploadOffered(
            upload_id=upload_id,
            url=f"/api/uploads/{upload_id}/{quote(key.rpartition('/')[2])}",
            headers={},
            needs_credential=True,
            max_bytes=max_bytes,
            expires_at_utc=None,
            submit=Submission(container_name=BRONZE, blob_name=key),
        )

    @router.put(
        "/api/uploads/{upload_id}/{file_name}",
        name="put_upload",
        status_code=201,
        responses=problem_responses(401, 403, 404, 409, 413, 422, 429, 500, 503),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
                },
            }
        },
    )
    async def store_upload(
        request: Request,
        principal: Submitter,
        upload_id: Annotated[
            str, Path(pattern=f"^{_UPLOAD_ID.pattern}$", examples=["0123456789abcdef"])
        ],
        file_name: Annotated[str, Path(max_length=255, examples=["dem.tif"])],
    ) -> Uploaded:
        """Store a file, on the embedded profile only."""
        check_container(principal, BRONZE)
        if settings.profile is Profile.production:
            raise NotFound(
                "This deployment takes files through its storage account.",
                remedy="POST /api/uploads, then PUT the file to the url of its response.",
            )
        key = upload_key(principal, upload_id, file_name)
        size_bytes = await _store(request, settings, objects, key)
        return Uploaded(
            upload_id=upload_id,
            size_bytes=size_bytes,
            submit=Submission(container_name=BRONZE, blob_name=key),
        )

    return router


def upload_max_bytes(settings: Settings) -> int:
    """Return the largest size of an upload."""
    if settings.profile is not Profile.production:
        return settings.api_upload_max_bytes
    from geo_platform.storage.azure.signed_urls import ONE_PUT_MAX_BYTES

    return min(settings.api_upload_max_bytes, ONE_PUT_MAX_BYTES)


def upload_key(principal: Principal, upload_id: str, file_name: str) -> str:
    """Return the key of an upload in BRONZE.

    Raises ParameterInvalid: the file name has a folder, a leading dot or an unprintable character,
    or is too long.
    """
    return check_new_key(f"{upload_prefix(principal)}{upload_id}/{checked_file_name(file_name)}")


def upload_prefix(principal: Principal) -> str:
    """Return the folder of a principal.

    The digest makes it unique, since two subjects may have the same readable part.
    """
    readable = (
        re.sub(r"[^a-z0-9]+", "-", principal.subject.partition(":")[2].lower()).strip("-")[:40]
        or "who"
    )
    return f"uploads/{readable}-{hashlib.sha256(principal.subject.encode()).hexdigest()[:12]}/"


def checked_file_name(name: str) -> str:
    """Return the name normalised to NFC, so that names that look the same are the same.

    Raises ParameterInvalid: the name has a folder, a leading dot or an unprintable character, or is
    too long.
    """
    try:
        normal = unicodedata.normalize("NFC", name)
        is_too_long = len(normal.encode()) > NAME_MAX_BYTES
    except UnicodeEncodeError:
        raise ParameterInvalid("The file's name is not valid Unicode.", remedy=_REMEDY) from None
    if (
        not normal
        or is_too_long
        or "/" in normal
        or "\\" in normal
        or normal.startswith(".")
        or not normal.isprintable()
        or normal != normal.strip()
    ):
        raise ParameterInvalid(f"{name!r} is not a valid file name for an upload.", remedy=_REMEDY)
    return normal


def _signed_offer(settings: Settings, upload_id: str, key: str) -> UploadOffered:
    from geo_platform.storage.azure.signed_urls import signed_upload

    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=settings.api_upload_minutes)
    return UploadOffered(
        upload_id=upload_id,
        url=signed_upload(settings, BRONZE, key, ends_at_utc=ends),
        headers={"x-ms-blob-type": "BlockBlob", f"x-ms-meta-{UPLOAD_ORIGIN}": _CLIENT_ORIGIN},
        needs_credential=False,
        max_bytes=upload_max_bytes(settings),
        expires_at_utc=ends,
        submit=Submission(container_name=BRONZE, blob_name=key),
    )


async def _store(request: Request, settings: Settings, objects: ObjectStore, key: str) -> int:
    """Write the body to a scratch file, move the file into the store, and return its size.

    Raises ParameterInvalid: the body is empty. Conflict: the key exists. StoreUnavailable,
    StoreDenied: the disk is full, or the store refuses access.
    """
    with os_errors("The upload"):
        incoming = new_incoming(settings.scratch_dir)
    size_bytes = 0
    try:
        buffer = bytearray()
        async for part in request.stream():
            size_bytes += len(part)
            buffer += part
            if len(buffer) >= WRITE_CHUNK_BYTES:
                await asyncio.to_thread(_append, incoming, bytes(buffer))
                buffer.clear()
        await asyncio.to_thread(_append, incoming, bytes(buffer))
        if not size_bytes:
            raise ParameterInvalid(
                "The upload is empty.", remedy="Send the file as the body of the request."
            )
        await asyncio.to_thread(_publish, objects, key, incoming)
    finally:
        incoming.unlink(missing_ok=True)
    return size_bytes


def _append(path: FilePath, content: bytes) -> None:
    with os_errors("The upload"), path.open("ab") as file:
        file.write(content)


def _publish(objects: ObjectStore, key: str, path: FilePath) -> None:
    objects.put_file(
        BRONZE, key, path, metadata={UPLOAD_ORIGIN: _CLIENT_ORIGIN}, move=True, only_if_etag=""
    )
