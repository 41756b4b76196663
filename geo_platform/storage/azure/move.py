"""Moving a blob to another container of its account: copied by the service, not through this machine, then removed.

What belongs here: the copy, its end, and removing the one that was copied. What stays out: names and containers (`azure_blob.py`).

Both steps are under the condition of the etag. The copy of a large blob goes on after the request; a blob that is still being copied
cannot be overwritten, so that its end is this move's. The address of the source carries the SAS token where that is how the platform
shows who it is: a key or an identity counts for both sides of a copy within one account.
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
    """The blob at that etag, as it lies at its destination. `metadata` are encoded and not empty.

    Killed in between the blob lies in both. Raises Conflict (another etag, before or meanwhile: then only the source is there),
    SourceNotFound (no source, or no container to go to), StoreUnavailable, StoreDenied.
    """
    with azure_errors(what):
        _check_etag(source.get_blob_properties(), etag, what)
        answer = destination.start_copy_from_url(
            address_of(source),
            metadata=metadata,
            source_etag=f'"{etag}"',
            source_match_condition=MatchConditions.IfNotModified,
        )
        copied = _copied(destination, str(answer["copy_id"]), what)
        try:
            source.delete_blob(delete_snapshots="include", **match_etag(etag))
        except ResourceNotFoundError:  # somebody removed it meanwhile
            return copied
        except HttpResponseError:
            if source.exists():  # what was copied is not what lies there now, or may not be removed
                destination.delete_blob(
                    delete_snapshots="include", **match_etag(copied.etag.strip('"'))
                )
                raise
    return copied


def _check_etag(found: BlobProperties, etag: str, what: str) -> None:
    """Apart from the condition of the copy, since a blob that is not there does not fulfil a condition either."""
    present = found.etag.strip('"')
    if present != etag:
        raise Conflict(f"{what} is at etag {present}, not at {etag}.", remedy="Submit it again.")


def address_of(source: BlobClient) -> str:
    """Where the service reads it; a secret, where it ends in a SAS token."""
    credential: Any = source.credential
    if not isinstance(credential, AzureSasCredential):
        return source.url
    return f"{source.url}{'&' if '?' in source.url else '?'}{credential.signature.lstrip('?')}"


def _copied(destination: BlobClient, copy_id: str, what: str) -> BlobProperties:
    """Wait for the end of the copy, however long it takes, looking ever more rarely."""
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
            with suppress(
                AzureError
            ):  # a copy that failed is an empty blob; why it failed is what is told
                destination.delete_blob(
                    delete_snapshots="include", **match_etag(found.etag.strip('"'))
                )
            raise StoreUnavailable(
                f"{what} was not copied: {found.copy.status}, {found.copy.status_description}."
            )
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
