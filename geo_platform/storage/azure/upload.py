"""Upload a file or bytes to a blob: atomic, with checksums, and verified afterwards.

A large file is uploaded in blocks, which are invisible until one request commits them. The names of
the blocks contain the id of the upload, so that two uploads of one key never mix. The service
checks the MD5 of each block; the MD5 of the whole file is computed in the same pass and stored with
the blob. If the response to a commit is lost, the upload id in the blob's metadata shows that the
commit was done.
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

# Opens the content from its beginning, once per attempt: (stream, size in bytes).
Source = Callable[[], AbstractContextManager[tuple[BinaryIO, int]]]


def block_bytes(size_bytes: int) -> int:
    """Return the block size: 8 MiB, or as many whole MiB as 50,000 blocks need."""
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
    """Return the condition as arguments of Azure's client. "" is no blob, None no condition."""
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
    """What the last request makes visible: staged blocks, or small content sent with it."""

    size_bytes: int
    md5: bytes
    content: bytes = b""
    block_ids: tuple[str, ...] = ()


def upload(blob: BlobClient, source: Source, options: PutOptions, what: str) -> UploadedBlob:
    """Upload `source`, and verify size and MD5 of the blob. `what` names it in errors.

    Raises what opening the source raises. Conflict: the condition does not hold, the source changed
    while it was read, or others keep writing the blob. SourceNotFound: there is no such container.
    StoreUnavailable, StoreDenied.
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
    """Open a file, and check at the end that it did not change. Gives (stream, size in bytes).

    Raises SourceNotFound: there is no such file. SourceUnreadable: it is not a regular file.
    Conflict: it changed. StoreDenied, StoreUnavailable.
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
        remedy="Wait until it is written completely, then submit it.",
    )


def _send(blob: BlobClient, stream: BinaryIO, size_bytes: int, options: PutOptions) -> _Payload:
    if size_bytes <= BLOCK_BYTES:
        content = stream.read(BLOCK_BYTES + 1)
        return _Payload(len(content), hashlib.md5(content, usedforsecurity=False).digest(), content)
    md5, block_ids, sent_bytes = hashlib.md5(usedforsecurity=False), list[str](), 0
    under_way: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(PARALLEL_BLOCKS, thread_name_prefix="stage-block") as pool:
        try:
            while block := stream.read(block_bytes(size_bytes)):
                if len(under_way) == PARALLEL_BLOCKS:
                    under_way.popleft().result()
                block_ids.append(
                    b64encode(f"{options.upload_id}{len(block_ids):06d}".encode()).decode()
                )
                under_way.append(
                    pool.submit(
                        blob.stage_block, block_ids[-1], block, len(block), validate_content=True
                    )
                )
                md5.update(block)
                sent_bytes += len(block)
            while under_way:
                under_way.popleft().result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return _Payload(sent_bytes, md5.digest(), block_ids=tuple(block_ids))


def _commit(
    blob: BlobClient, sent: _Payload, options: PutOptions, what: str
) -> UploadedBlob | None:
    """Send the request that makes the blob visible.

    Return None if another put of the same key discarded the staged blocks.
    """
    try:
        if sent.block_ids:
            answer = blob.commit_block_list(
                [BlobBlock(block_id) for block_id in sent.block_ids],
                **options.request_arguments(sent.md5),
            )
        else:
            arguments = options.request_arguments(sent.md5)
            answer = blob.upload_blob(
                sent.content,
                length=sent.size_bytes,
                overwrite=True,
                validate_content=True,
                **arguments,
            )
    except AzureError as error:
        fault, found = translate(error, what), None
        if isinstance(fault, Conflict | StoreUnavailable):
            with suppress(AzureError):  # report the first error, not this one
                found = _blob_of_this_put(blob, options)
        if found is not None:
            return _verify(found, sent, what)
        if error_code(error) == "InvalidBlockList":
            return None
        raise fault from AzureErrorText(without_secrets(error))
    with azure_errors(what):
        found = _blob_of_this_put(blob, options)
    if found is None:  # replaced or deleted right after the commit, which did succeed
        return UploadedBlob(
            str(answer["etag"]).strip('"'), cast(datetime, answer["last_modified"]), sent.size_bytes
        )
    return _verify(found, sent, what)


def _blob_of_this_put(blob: BlobClient, options: PutOptions) -> BlobProperties | None:
    """Return the properties of the blob, or None if it is missing or came from another put."""
    try:
        found = blob.get_blob_properties()
    except ResourceNotFoundError:
        return None
    return found if (found.metadata or {}).get(UPLOAD_ID) == options.upload_id else None


def _verify(found: BlobProperties, sent: _Payload, what: str) -> UploadedBlob:
    if (
        found.size != sent.size_bytes
        or bytes(found.content_settings.content_md5 or b"") != sent.md5
    ):
        raise StoreUnavailable(
            f"{what} was not stored as it was sent: {found.size} of {sent.size_bytes} bytes, or "
            "the MD5 is another one."
        )
    return UploadedBlob(found.etag.strip('"'), found.last_modified, sent.size_bytes)
