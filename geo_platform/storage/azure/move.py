"""Move a blob to another container of its account: copy it in the service, delete the source.

Both steps have the etag as their condition. The copy of a large blob continues after the request;
nobody can overwrite the destination until the copy has ended.
"""

import time
from contextlib import suppress
from typing import Any

from azure.core import MatchConditions
from azure.core.credentials import AzureSasCredential
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobProperties

from geo_platform.errors import Conflict, StoreUnavailable
from geo_platform.storage.azure.errors import azure_errors
from geo_platform.storage.azure.upload import match_etag

_FIRST_LOOK_S = 0.2
_LONGEST_PAUSE_S = 5.0


def move_blob(
    source: BlobClient, destination: BlobClient, etag: str, metadata: dict[str, str], what: str
) -> BlobProperties:
    """Move the blob at `etag`, and return its properties at the destination.

    `metadata` is encoded and not empty. If the process is killed in between, both blobs exist.
    Raises Conflict: the source is at another etag, or changed meanwhile; it stays where it is.
    SourceNotFound: there is no source, or no container to move to. StoreUnavailable, StoreDenied.
    """
    with azure_errors(what):
        _check_etag(source.get_blob_properties(), etag, what)
        answer = destination.start_copy_from_url(
            source_url(source),
            metadata=metadata,
            source_etag=f'"{etag}"',
            source_match_condition=MatchConditions.IfNotModified,
        )
        copied = _wait_for_copy(destination, str(answer["copy_id"]), what)
        try:
            source.delete_blob(delete_snapshots="include", **match_etag(etag))
        except ResourceNotFoundError:  # somebody deleted it meanwhile
            return copied
        except HttpResponseError:
            # The source was replaced meanwhile, or cannot be deleted: undo the copy.
            if source.exists():
                destination.delete_blob(
                    delete_snapshots="include", **match_etag(copied.etag.strip('"'))
                )
                raise
    return copied


def _check_etag(found: BlobProperties, etag: str, what: str) -> None:
    # The condition of the copy alone would not tell a wrong etag from a missing blob.
    current = found.etag.strip('"')
    if current != etag:
        raise Conflict(f"{what} is at etag {current}, not at {etag}.", remedy="Submit it again.")


def source_url(source: BlobClient) -> str:
    """Return the URL from which the service reads the source.

    With a SAS token as credential the URL contains it, and is a secret. A key or an identity is
    valid for both sides of a copy within one account.
    """
    credential: Any = source.credential
    if not isinstance(credential, AzureSasCredential):
        return source.url
    return f"{source.url}{'&' if '?' in source.url else '?'}{credential.signature.lstrip('?')}"


def _wait_for_copy(destination: BlobClient, copy_id: str, what: str) -> BlobProperties:
    """Poll with increasing pauses until the copy has ended, however long it takes."""
    pause_s = _FIRST_LOOK_S
    while True:
        found = destination.get_blob_properties()
        if found.copy.id != copy_id:
            raise Conflict(
                f"{what} was replaced by someone else while it was being moved.",
                remedy="Submit it again.",
            )
        if found.copy.status == "success":
            return found
        if found.copy.status != "pending":
            # A failed copy leaves an empty blob. Report why it failed, not that this failed too.
            with suppress(AzureError):
                destination.delete_blob(
                    delete_snapshots="include", **match_etag(found.etag.strip('"'))
                )
            raise StoreUnavailable(
                f"{what} was not copied: {found.copy.status}, {found.copy.status_description}."
            )
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
