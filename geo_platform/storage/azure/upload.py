"""Upload a file or bytes to a blob: atomic, with checksums, and verified afterwards.

A large file is sent in blocks, which are invisible until one request commits them. The names of the
blocks contain the id of the upload, so that two uploads to one key never mix their blocks. The
service checks the MD5 of each block. The MD5 of the whole file is computed in the same pass and
stored with the blob. If the response to the commit is lost, the upload id in the blob's metadata
shows whether the commit succeeded.

Called by `blob.py` and `move.py`.
"""

import hashlib
import stat as file_modes
import uuid
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.blob import BlobBlock, BlobClient, BlobProperties, ContentSettings

from geo_platform.errors import Conflict, SourceUnreadable, StoreUnavailable
from geo_platform.storage.azure.errors import (
    AzureErrorText,
    azure_errors,
    error_code,
    translate,
    without_secrets,
)
from geo_platform.storage.azure.names import UPLOAD_ID, content_type, encoded_metadata
from geo_platform.storage.local.atomic import os_errors

BLOCK_BYTES = 8 * 1024**2
MAX_BLOCKS = 50_000
PARALLEL_BLOCKS = 4
_ATTEMPTS = 3
_MEBIBYTE = 1024**2

# Opens the content at its beginning, and gives (stream, size in bytes). Called once per attempt.
Source = Callable[[], AbstractContextManager[tuple[BinaryIO, int]]]


def block_bytes(size_bytes: int) -> int:
    """Return the block size: 8 MiB, or more if the file would need more than 50,000 blocks.

    It is a whole number of MiB. 50,000 is the limit of the service.
    """
    return max(BLOCK_BYTES, -(-size_bytes // (MAX_BLOCKS * _MEBIBYTE)) * _MEBIBYTE)


@dataclass(frozen=True)
class PutOptions:
    """Key, metadata and condition of a put.

    `only_if_etag` is the etag that the blob must have, "" for no blob, None for no condition.
    """

    key: str
    metadata: Mapping[str, str]
    only_if_etag: str | None = None
    upload_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def request_arguments(self, md5: bytes) -> dict[str, Any]:
        """Return the arguments of the request that makes the blob visible."""
        settings = ContentSettings(
            content_type=content_type(self.key, self.metadata), content_md5=bytearray(md5)
        )
        arguments = {
            "metadata": encoded_metadata(self.metadata, upload_id=self.upload_id),
            "content_settings": settings,
        }
        return arguments | match_etag(self.only_if_etag)


def match_etag(etag: str | None) -> dict[str, Any]:
    """Return arguments for Azure's client that make a request depend on the blob's etag.

    With "" there must be no blob. With None there is no condition.
    """
    if etag is None:
        return {}
    if not etag:
        return {"match_condition": MatchConditions.IfMissing}
    return {"etag": f'"{etag}"', "match_condition": MatchConditions.IfNotModified}


@dataclass(frozen=True)
class UploadedBlob:
    """A blob as the service stored it."""

    etag: str
    last_modified_utc: datetime
    size_bytes: int


@dataclass(frozen=True)
class _Payload:
    """The content that the last request makes visible.

    It is either in blocks that were sent before (`block_ids`), or small (`content`).
    """

    size_bytes: int
    md5: bytes
    content: bytes = b""
    block_ids: tuple[str, ...] = ()


def upload(blob: BlobClient, source: Source, options: PutOptions, what: str) -> UploadedBlob:
    """Upload `source`, and verify size and MD5 of the blob. `what` names the blob in errors.

    Raises what opening the source raises. Conflict: the blob does not have the etag of the options,
    the source changed while it was read, or other clients keep writing the blob. SourceNotFound:
    there is no such container. StoreUnavailable: the service does not response, or the blob differs
    from the source. StoreDenied: the credential is refused or lacks a right.
    """
    for _ in range(_ATTEMPTS):
        with source() as (stream, size_bytes), azure_errors(what):
            sent = _send(blob, stream, size_bytes, options)
        if sent.size_bytes != size_bytes:
            raise _changed_error(what)
        uploaded = _commit(blob, sent, options, what)
        if uploaded is not None:
            return uploaded
    raise Conflict(
        f"{what} is being written by other clients.",
        remedy="Wait until they are done, then submit it again.",
    )


@contextmanager
def unchanging_file(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a context that gives (stream, size in bytes) of a file that must not change.

    Raises SourceNotFound: there is no such file. SourceUnreadable: it is not a regular file.
    Conflict: the file changed during the context. StoreDenied: there is no permission.
    StoreUnavailable: any other error of the file system.
    """
    with os_errors(f"The file {path.name!r}"):
        before = path.stat()
        if not file_modes.S_ISREG(before.st_mode):
            raise SourceUnreadable(
                f"{path.name!r} is not a regular file.",
                remedy="Give a file, not a folder, pipe or device.",
            )
        with path.open("rb") as stream:
            yield stream, before.st_size
        after = path.stat()
    if (before.st_ino, before.st_mtime_ns, before.st_size) != (
        after.st_ino,
        after.st_mtime_ns,
        after.st_size,
    ):
        raise _changed_error(f"The file {path.name!r}")


def _changed_error(what: str) -> Conflict:
    return Conflict(
        f"{what} changed while it was copied.",
        remedy="Wait until the file is complete, then submit it again.",
    )


def _send(blob: BlobClient, stream: BinaryIO, size_bytes: int, options: PutOptions) -> _Payload:
    if size_bytes <= BLOCK_BYTES:
        content = stream.read(BLOCK_BYTES + 1)
        return _Payload(len(content), hashlib.md5(content, usedforsecurity=False).digest(), content)
    md5, block_ids, sent_bytes = hashlib.md5(usedforsecurity=False), list[str](), 0
    pending: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(PARALLEL_BLOCKS, thread_name_prefix="stage-block") as pool:
        try:
            while block := stream.read(block_bytes(size_bytes)):
                if len(pending) == PARALLEL_BLOCKS:
                    pending.popleft().result()
                block_ids.append(
                    b64encode(f"{options.upload_id}{len(block_ids):06d}".encode()).decode()
                )
                pending.append(
                    pool.submit(
                        blob.stage_block, block_ids[-1], block, len(block), validate_content=True
                    )
                )
                md5.update(block)
                sent_bytes += len(block)
            while pending:
                pending.popleft().result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return _Payload(sent_bytes, md5.digest(), block_ids=tuple(block_ids))


def _commit(
    blob: BlobClient, sent: _Payload, options: PutOptions, what: str
) -> UploadedBlob | None:
    """Send the request that makes the blob visible, and return the verified blob.

    Return None if a put of another client to the same key discarded the blocks.
    """
    try:
        if sent.block_ids:
            response = blob.commit_block_list(
                [BlobBlock(block_id) for block_id in sent.block_ids],
                **options.request_arguments(sent.md5),
            )
        else:
            arguments = options.request_arguments(sent.md5)
            response = blob.upload_blob(
                sent.content,
                length=sent.size_bytes,
                overwrite=True,
                validate_content=True,
                **arguments,
            )
    except AzureError as error:
        translated, own_blob = translate(error, what), None
        if isinstance(translated, Conflict | StoreUnavailable):
            # The response may have been lost. If the check fails too, report the first error.
            with suppress(AzureError):
                own_blob = _blob_of_this_put(blob, options)
        if own_blob is not None:
            return _verify(own_blob, sent, what)
        if error_code(error) == "InvalidBlockList":
            return None
        raise translated from AzureErrorText(without_secrets(error))
    with azure_errors(what):
        own_blob = _blob_of_this_put(blob, options)
    if own_blob is None:  # The commit succeeded, and another client replaced or deleted the blob.
        return UploadedBlob(
            str(response["etag"]).strip('"'),
            cast(datetime, response["last_modified"]),
            sent.size_bytes,
        )
    return _verify(own_blob, sent, what)


def _blob_of_this_put(blob: BlobClient, options: PutOptions) -> BlobProperties | None:
    """Return the properties of the blob, or None if it is missing or came from another put."""
    try:
        properties = blob.get_blob_properties()
    except ResourceNotFoundError:
        return None
    return properties if (properties.metadata or {}).get(UPLOAD_ID) == options.upload_id else None


def _verify(properties: BlobProperties, sent: _Payload, what: str) -> UploadedBlob:
    if (
        properties.size != sent.size_bytes
        or bytes(properties.content_settings.content_md5 or b"") != sent.md5
    ):
        raise StoreUnavailable(
            f"{what} was not stored as it was sent: {properties.size} of {sent.size_bytes} bytes, "
            "or the MD5 is another one."
        )
    return UploadedBlob(properties.etag.strip('"'), properties.last_modified, sent.size_bytes)
