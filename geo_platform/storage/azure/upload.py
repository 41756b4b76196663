"""Putting a file or bytes into a blob: whole or not at all, checked on the way and read back.

What belongs here: blocks, conditions, checksums, and what is done when another put comes between. What stays out: names
and metadata (`azure_names.py`), containers (`azure_blob.py`).

A large file goes up in blocks that nobody sees before one request commits them. Each put names its blocks by an id of its
own, so two puts of one key never mix; the service checks each block's MD5, and the MD5 of the whole file, computed in the
same reading, is stored with the blob. A commit whose answer was lost is recognised by the id, which the blob carries.
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
    AzureAnswer,
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

# Opens what is to be put, each time from its beginning: (stream, size in bytes).
Source = Callable[[], AbstractContextManager[tuple[BinaryIO, int]]]


def block_bytes(size_bytes: int) -> int:
    """8 MiB, or as many whole MiB as make 50,000 blocks suffice. Pure."""
    return max(BLOCK_BYTES, -(-size_bytes // (MAX_BLOCKS * _MEBIBYTE)) * _MEBIBYTE)


@dataclass(frozen=True)
class Terms:
    """What a put says beside its bytes. `only_if_etag`: None for any case, "" where nothing may be there, else what must be."""

    key: str
    metadata: Mapping[str, str]
    only_if_etag: str | None = None
    upload_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def of_request(self, md5: bytes) -> dict[str, Any]:
        """Arguments of the request that makes the blob visible."""
        settings = ContentSettings(
            content_type=content_type(self.key, self.metadata), content_md5=bytearray(md5)
        )
        said = {
            "metadata": encoded_metadata(self.metadata, upload_id=self.upload_id),
            "content_settings": settings,
        }
        return said | match_etag(self.only_if_etag)


def match_etag(etag: str | None) -> dict[str, Any]:
    """A condition as Azure's client takes it."""
    if etag is None:
        return {}
    if not etag:
        return {"match_condition": MatchConditions.IfMissing}
    return {"etag": f'"{etag}"', "match_condition": MatchConditions.IfNotModified}


@dataclass(frozen=True)
class UploadedBlob:
    """A blob as a put left it."""

    etag: str
    last_modified_utc: datetime
    size_bytes: int


@dataclass(frozen=True)
class _Sent:
    """What one request can make visible: blocks that are staged already, or bytes so few that they go along."""

    size_bytes: int
    md5: bytes
    content: bytes = b""
    block_ids: tuple[str, ...] = ()


def upload(blob: BlobClient, source: Source, terms: Terms, what: str) -> UploadedBlob:
    """Put the source's bytes and read back what the service says of them.

    Raises what opening the source raises, Conflict (the condition does not hold, or others write the key all the time),
    StoreUnavailable, StoreDenied, SourceNotFound (no such container).
    """
    for _ in range(_ATTEMPTS):
        with source() as (stream, size_bytes), azure_errors(what):
            sent = _sent(blob, stream, size_bytes, terms)
        if sent.size_bytes != size_bytes:
            raise _changed(what)
        done = _made_visible(blob, sent, terms, what)
        if done is not None:
            return done
    raise Conflict(
        f"{what} is being written by others at the same time.",
        remedy="Wait for them to end, then submit it again.",
    )


@contextmanager
def unchanging_file(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """A file that is the same when the context ends as when it began. Raises SourceNotFound, SourceUnreadable, Conflict."""
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
        raise _changed(f"The file {path.name!r}")


def _changed(what: str) -> Conflict:
    return Conflict(
        f"{what} changed while it was copied.",
        remedy="Wait until it is written completely, then submit it.",
    )


def _sent(blob: BlobClient, stream: BinaryIO, size_bytes: int, terms: Terms) -> _Sent:
    if size_bytes <= BLOCK_BYTES:
        content = stream.read(BLOCK_BYTES + 1)
        return _Sent(len(content), hashlib.md5(content, usedforsecurity=False).digest(), content)
    md5, block_ids, sent_bytes = hashlib.md5(usedforsecurity=False), list[str](), 0
    under_way: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(PARALLEL_BLOCKS, thread_name_prefix="stage-block") as pool:
        try:
            while block := stream.read(block_bytes(size_bytes)):
                if len(under_way) == PARALLEL_BLOCKS:
                    under_way.popleft().result()
                block_ids.append(
                    b64encode(f"{terms.upload_id}{len(block_ids):06d}".encode()).decode()
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
    return _Sent(sent_bytes, md5.digest(), block_ids=tuple(block_ids))


def _made_visible(blob: BlobClient, sent: _Sent, terms: Terms, what: str) -> UploadedBlob | None:
    """The one request that publishes; None where another put of the same key threw the staged blocks away."""
    try:
        if sent.block_ids:
            answer = blob.commit_block_list(
                [BlobBlock(block_id) for block_id in sent.block_ids], **terms.of_request(sent.md5)
            )
        else:
            arguments = terms.of_request(sent.md5)
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
            with suppress(AzureError):  # what went wrong first is what is told
                found = _own(blob, terms)
        if found is not None:
            return _checked(found, sent, what)
        if error_code(error) == "InvalidBlockList":
            return None
        raise fault from AzureAnswer(without_secrets(error))
    with azure_errors(what):
        found = _own(blob, terms)
    if found is None:  # replaced or removed in this very moment: it was there as it was sent
        return UploadedBlob(
            str(answer["etag"]).strip('"'), cast(datetime, answer["last_modified"]), sent.size_bytes
        )
    return _checked(found, sent, what)


def _own(blob: BlobClient, terms: Terms) -> BlobProperties | None:
    """The blob, if it is there and came from this very put."""
    try:
        found = blob.get_blob_properties()
    except ResourceNotFoundError:
        return None
    return found if (found.metadata or {}).get(UPLOAD_ID) == terms.upload_id else None


def _checked(found: BlobProperties, sent: _Sent, what: str) -> UploadedBlob:
    if (
        found.size != sent.size_bytes
        or bytes(found.content_settings.content_md5 or b"") != sent.md5
    ):
        raise StoreUnavailable(
            f"{what} was not read back as it was written: {found.size} bytes of {sent.size_bytes}, or another MD5."
        )
    return UploadedBlob(found.etag.strip('"'), found.last_modified, sent.size_bytes)
