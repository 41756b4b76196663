"""The object store on Azure Blob Storage: containers are containers, keys are blob names, a put is one commit.

What belongs here: the ObjectStore port. What stays out: uploading (`azure_upload.py`), reading by ranges
(`azure_ranges.py`), files of downloads (`azure_downloads.py`), moving (`azure_move.py`), names and metadata (`azure_names.py`).

References name the container without the deployment's prefix, and carry the blob's own etag. A container that is missing
is made by the first put into it, where the identity may do that.
"""

import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from io import BufferedRandom, BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.core.paging import PageIterator
from azure.core.pipeline import PipelineResponse
from azure.storage.blob import BlobClient, BlobProperties, BlobServiceClient

from geo_platform.contracts.message import ObjectReference
from geo_platform.errors import ParameterInvalid, SourceNotFound, StoreDenied, StoreUnavailable
from geo_platform.ports import ObjectPage, StoredObject
from geo_platform.storage.azure.downloads import Downloads
from geo_platform.storage.azure.errors import azure_errors
from geo_platform.storage.azure.move import move_blob
from geo_platform.storage.azure.names import (
    blob_uri,
    check_new_key,
    decoded_metadata,
    encoded_metadata,
)
from geo_platform.storage.azure.ranges import RangeReader
from geo_platform.storage.azure.upload import (
    Source,
    Terms,
    UploadedBlob,
    match_etag,
    unchanging_file,
    upload,
)
from geo_platform.storage.keys import check_container, check_key, check_other, key_fault
from geo_platform.storage.local.atomic import os_errors

PARALLEL_RANGES = 4
LISTED_AT_ONCE = 5_000
# Metadata of the empty blobs that stand for folders in an account with a hierarchical namespace.
_FOLDER_MARK = "hdi_isfolder"


class AzureBlobStore:
    """ObjectStore in one storage account. Safe among threads, processes and machines.

    `received` is told the bytes of every answer that carries an object's content. `close` removes downloaded files; the
    service's client is closed by whoever made it.
    """

    is_local = False

    def __init__(
        self,
        service: BlobServiceClient,
        *,
        container_prefix: str = "",
        scratch: Path | None = None,
        received: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._service = service
        self._prefix = container_prefix
        self._downloads = Downloads(scratch)
        self._received = received

    def stat(self, container: str, key: str) -> StoredObject:
        """Describe one object. Raises SourceNotFound, StoreDenied, StoreUnavailable, ParameterInvalid."""
        return self._described(container, self._properties(container, key))

    def list(self, container: str, prefix: str = "") -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, in the service's order of names, fetched page by page.

        Left out: hidden files, names that are no valid key, folders' own blobs. A container that is not there is empty.
        """
        client = self._service.get_container_client(self._prefix + check_container(container))
        with azure_errors(f"The container {container}"):
            try:
                pages = client.list_blobs(
                    name_starts_with=prefix or None,
                    include=["metadata"],
                    results_per_page=LISTED_AT_ONCE,
                )
                yield from self._objects(container, pages)
            except ResourceNotFoundError:
                return

    def page(
        self,
        container: str,
        prefix: str = "",
        *,
        after: str | None = None,
        most: int = LISTED_AT_ONCE,
    ) -> ObjectPage:
        """As `list`, by one request. `after` is the service's own token; where it takes it no more, ParameterInvalid."""
        client = self._service.get_container_client(self._prefix + check_container(container))
        answered: list[datetime] = []

        def note(response: PipelineResponse[Any, Any]) -> None:
            answered.append(parsedate_to_datetime(response.http_response.headers["Date"]))

        with azure_errors(f"The container {container}"):
            try:
                names = client.list_blobs(
                    name_starts_with=prefix or None,
                    include=["metadata"],
                    results_per_page=most,
                    raw_response_hook=note,
                )
                pages = cast(PageIterator[BlobProperties], names.by_page(after))
                objects = tuple(self._objects(container, next(pages)))
                return ObjectPage(objects, pages.continuation_token or None, answered[-1])
            except ResourceNotFoundError:
                return ObjectPage((), None, answered[-1])
            except HttpResponseError as error:
                if error.status_code != 400 or after is None:
                    raise
                raise ParameterInvalid(
                    f"The listing of {container} cannot be gone on with.",
                    remedy="List it from its beginning.",
                ) from None

    @contextmanager
    def open(self, container: str, key: str, *, etag: str | None = None) -> Iterator[BinaryIO]:
        """A reader that fetches ranges of the object at one etag, little more than what is read of it, each checked by its MD5."""
        found = self._properties(container, key, etag)
        blob, what, pinned = (
            self._blob(container, key),
            _named(container, key),
            match_etag(_etag(found)),
        )

        def fetch(offset: int, length: int) -> bytes:
            with azure_errors(what):
                content: bytes = blob.download_blob(
                    offset=offset, length=length, validate_content=True, **pinned
                ).readall()
            self._received(len(content))
            return content

        with RangeReader(found.size, fetch, what) as reader:
            yield cast(BinaryIO, reader)

    @contextmanager
    def local_path(self, container: str, key: str, *, etag: str | None = None) -> Iterator[Path]:
        """The object's bytes in a file of this process, fetched once for each etag, whatever the stages that ask for it."""
        at = _etag(self._properties(container, key, etag))
        with self._downloads.file(
            (container, key, at), lambda path: self._fetch_file(container, key, at, path)
        ) as path:
            yield path

    def read_bytes(self, container: str, key: str) -> bytes:
        """The whole object. Raises SourceNotFound, StoreDenied, StoreUnavailable; Conflict where a large one was replaced meanwhile."""
        content = BytesIO()
        self._fetch(container, key, None, content)
        return content.getvalue()

    def put_file(
        self,
        container: str,
        key: str,
        path: Path,
        *,
        metadata: Mapping[str, str],
        move: bool = False,
        only_if_etag: str | None = None,
    ) -> StoredObject:
        """Publish a file under a key: in blocks, side by side, made visible by one commit and read back.

        Raises SourceNotFound, SourceUnreadable (no regular file), Conflict (`only_if_etag` does not hold, or the file
        changed while it was copied), ParameterInvalid, StoreDenied, StoreUnavailable.
        """
        stored = self._put(
            container,
            lambda: unchanging_file(path),
            Terms(check_new_key(key), metadata, only_if_etag),
        )
        if move:
            with os_errors(f"The file {path.name!r}"):
                path.unlink()
        return stored

    def put_bytes(
        self,
        container: str,
        key: str,
        content: bytes,
        *,
        metadata: Mapping[str, str],
        only_if_etag: str | None = None,
    ) -> StoredObject:
        """Publish a small object, atomically."""
        return self._put(
            container,
            lambda: nullcontext((BytesIO(content), len(content))),
            Terms(check_new_key(key), metadata, only_if_etag),
        )

    def delete(self, container: str, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        with azure_errors(_named(container, key)):
            try:
                self._blob(container, key).delete_blob(delete_snapshots="include")
            except ResourceNotFoundError:
                return

    def move(
        self, container: str, key: str, to_container: str, *, etag: str, metadata: Mapping[str, str]
    ) -> StoredObject:
        """Copied within the account, without its bytes coming here, then removed; the container is made where it is missing."""
        check_other(container, to_container)
        what = _named(container, key)
        source, destination = (
            self._blob(container, key),
            self._blob(to_container, check_new_key(key)),
        )
        said = encoded_metadata(metadata, upload_id=uuid.uuid4().hex)
        try:
            moved = move_blob(source, destination, etag, said, what)
        except SourceNotFound as missing:
            if missing.details.get("azure_code") != "ContainerNotFound":
                raise
            self.stat(container, key)  # it may be the source's container that is not there
            self._make_container(to_container)
            moved = move_blob(source, destination, etag, said, what)
        return self._described(to_container, moved)

    def close(self) -> None:
        """Remove what was downloaded."""
        self._downloads.close()

    def _put(self, container: str, source: Source, terms: Terms) -> StoredObject:
        blob, what = self._blob(container, terms.key), _named(container, terms.key)
        try:
            done = upload(blob, source, terms, what)
        except SourceNotFound as missing:
            if missing.details.get("azure_code") != "ContainerNotFound":
                raise
            self._make_container(container)
            done = upload(blob, source, terms, what)
        return self._stored(container, terms.key, done, terms.metadata)

    def _objects(self, container: str, found: Iterable[BlobProperties]) -> Iterator[StoredObject]:
        for one in found:
            if key_fault(one.name) is None and not _is_folder(one):
                yield self._described(container, one)

    def _make_container(self, container: str) -> None:
        name = self._prefix + container
        try:
            with (
                azure_errors(f"The container {name}"),
                suppress(ResourceExistsError),
            ):  # another put may make it
                self._service.create_container(name)
        except StoreDenied as denied:
            remedy = f"Make the container {name}, or let the platform's identity make containers."
            raise StoreDenied(
                f"The container {name} is missing and may not be made with these credentials.",
                remedy=remedy,
            ) from denied

    def _fetch(
        self, container: str, key: str, etag: str | None, stream: BytesIO | BufferedRandom
    ) -> None:
        """All of the object at this etag or the present one, in ranges side by side, held against its MD5 where it has one."""
        what = _named(container, key)
        with azure_errors(what):
            ranges = self._blob(container, key).download_blob(
                max_concurrency=PARALLEL_RANGES, **match_etag(etag)
            )
            size_bytes, found = ranges.readinto(stream), ranges.properties
        if _is_folder(found):
            raise SourceNotFound(f"{what} is not a file.")
        self._received(size_bytes)
        stream.seek(0)
        digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).digest()
        if size_bytes != found.size or digest != bytes(
            found.content_settings.content_md5 or digest
        ):
            raise StoreUnavailable(
                f"{what} was not read as it is stored: {size_bytes} bytes of {found.size}, or another MD5."
            )

    def _fetch_file(self, container: str, key: str, etag: str, path: Path) -> None:
        with path.open("w+b") as stream:
            self._fetch(container, key, etag, stream)

    def _properties(self, container: str, key: str, etag: str | None = None) -> BlobProperties:
        with azure_errors(_named(container, key)):
            found = self._blob(container, key).get_blob_properties(**match_etag(etag))
        if _is_folder(found):
            raise SourceNotFound(f"{_named(container, key)} is not a file.")
        return found

    def _blob(self, container: str, key: str) -> BlobClient:
        return self._service.get_blob_client(
            self._prefix + check_container(container), check_key(key)
        )

    def _described(self, container: str, found: BlobProperties) -> StoredObject:
        blob = UploadedBlob(_etag(found), found.last_modified, found.size)
        return self._stored(container, found.name, blob, decoded_metadata(found.metadata))

    def _stored(
        self, container: str, key: str, blob: UploadedBlob, metadata: Mapping[str, str]
    ) -> StoredObject:
        account_url = f"{self._service.scheme}://{self._service.primary_hostname}"
        uri = blob_uri(account_url, self._prefix + container, key)
        reference = ObjectReference(
            container=container, key=key, uri=uri, etag=blob.etag, size_bytes=blob.size_bytes
        )
        return StoredObject(reference, blob.last_modified_utc, dict(metadata))


def _etag(found: BlobProperties) -> str:
    return found.etag.strip('"')


def _is_folder(found: BlobProperties) -> bool:
    return any(
        name.lower() == _FOLDER_MARK and value == "true"
        for name, value in (found.metadata or {}).items()
    )


def _named(container: str, key: str) -> str:
    return f"The object {container}/{key}"
