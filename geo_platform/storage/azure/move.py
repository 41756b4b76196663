"""Move a blob to another container of its account: let the service copy it, then delete the source.

Both requests have the condition that the source still has its etag. The service copies a large blob
after the request has returned. Until the copy has ended, nobody can overwrite the destination.

Called by `blob.py`.
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

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0


def move_blob(
    source: BlobClient, destination: BlobClient, etag: str, metadata: dict[str, str], what: str
) -> BlobProperties:
    """Move the blob at `etag`, and return its properties at the destination.

    `metadata` is that of the new blob, encoded and not empty: for empty metadata the service would
    copy that of the source. If the process is killed during the move, both blobs may exist.
    Raises Conflict: the source does not have the etag, or the source or the copy was replaced
    during the move. SourceNotFound: there is no source, or no container to move to.
    StoreUnavailable: the service does not answer, or could not copy. StoreDenied: the credential is
    refused or lacks a right.
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
        except ResourceNotFoundError:  # Another client deleted the source meanwhile.
            return copied
        except HttpResponseError:
            # The source was replaced meanwhile, or cannot be deleted: undo the copy.
            if source.exists():
                destination.delete_blob(
                    delete_snapshots="include", **match_etag(copied.etag.strip('"'))
                )
                raise
    return copied


def _check_etag(properties: BlobProperties, etag: str, what: str) -> None:
    # The request to copy fails in the same way for a wrong etag and for a missing blob.
    current = properties.etag.strip('"')
    if current != etag:
        raise Conflict(f"{what} is at etag {current}, not at {etag}.", remedy="Submit it again.")


def source_url(source: BlobClient) -> str:
    """Return the URL from which the service reads the source.

    If the credential is a SAS token, the URL contains the token and is a secret. The service
    requires it there: unlike a key or an identity, a SAS token of the request does not authorize
    reading the source.
    """
    credential: Any = source.credential
    if not isinstance(credential, AzureSasCredential):
        return source.url
    return f"{source.url}{'&' if '?' in source.url else '?'}{credential.signature.lstrip('?')}"


def _wait_for_copy(destination: BlobClient, copy_id: str, what: str) -> BlobProperties:
    """Poll with increasing pauses until the copy has ended, however long it takes."""
    pause_s = _FIRST_PAUSE_S
    while True:
        properties = destination.get_blob_properties()
        if properties.copy.id != copy_id:
            raise Conflict(
                f"{what} was replaced by someone else while it was being moved.",
                remedy="Submit it again.",
            )
        if properties.copy.status == "success":
            return properties
        if properties.copy.status != "pending":
            # A failed copy leaves an empty blob. If it cannot be deleted, still report the failed
            # copy.
            with suppress(AzureError):
                destination.delete_blob(
                    delete_snapshots="include", **match_etag(properties.etag.strip('"'))
                )
            raise StoreUnavailable(
                f"{what} was not copied: {properties.copy.status}, "
                f"{properties.copy.status_description}."
            )
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
