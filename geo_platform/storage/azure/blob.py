"""The object store on Azure Blob Storage: an object is a blob, and its key is the blob's name.

The name of a container in the account is the prefix of the settings and the platform's name, for
example `test-bronze`. References of objects have the name without the prefix. The etag of an object
is the blob's etag. A put creates a missing container, if the credentials allow it.

`upload.py` has uploads, `reads.py` the reader of ranges and the cache of downloads, `move.py`
moves.

Called by `resources/production.py` and `storage/stores.py`.
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
from geo_platform.storage.azure.errors import azure_errors
from geo_platform.storage.azure.move import move_blob
from geo_platform.storage.azure.names import (
    blob_uri,
    check_new_key,
    decoded_metadata,
    encoded_metadata,
)
from geo_platform.storage.azure.reads import Downloads, RangeReader
from geo_platform.storage.azure.upload import (
    PutOptions,
    Source,
    UploadedBlob,
    match_etag,
    unchanging_file,
    upload,
)
from geo_platform.storage.keys import check_container, check_key, check_move, key_fault
from geo_platform.storage.local.atomic import os_errors

PARALLEL_RANGES = 4
LIST_PAGE_SIZE = 5_000
# Metadata name of the empty blobs that stand for folders, in accounts with a hierarchical
# namespace.
_FOLDER_MARK = "hdi_isfolder"


class AzureBlobStore:
    """Implements `ports.ObjectStore` in one storage account.

    Threads, processes and machines may use it at the same time. `received` is called with the
    number of bytes of every downloaded range or object. The caller closes `service`.
    Every method raises ParameterInvalid: the container or the key is not valid. StoreDenied: the
    credential is refused or lacks a right. StoreUnavailable: the service does not answer, is busy,
    or a checksum is wrong. UnexpectedFault: the service refuses the request for another reason.
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
        """Describe one object. Raises SourceNotFound: there is no such blob, or it is a folder."""
        return self._stored_object(container, self._properties(container, key))

    def list(self, container: str, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object whose key starts with `prefix`, in the service's order of names.

        It skips hidden files, names that are not valid keys, and blobs that stand for folders. For
        a missing container it yields nothing.
        """
        client = self._service.get_container_client(self._prefix + check_container(container))
        with azure_errors(f"The container {container}"):
            try:
                pages = client.list_blobs(
                    name_starts_with=prefix or None,
                    include=["metadata"],
                    results_per_page=LIST_PAGE_SIZE,
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
        limit: int = LIST_PAGE_SIZE,
    ) -> ObjectPage:
        """Return the objects of one page of the service's listing, with one request.

        `after` is the service's continuation token. The same blobs are skipped as in `list`, so
        that a page may have fewer than `limit` objects.
        Raises ParameterInvalid: the service refuses `after`.
        """
        client = self._service.get_container_client(self._prefix + check_container(container))
        dates: list[datetime] = []

        def note_date(response: PipelineResponse[Any, Any]) -> None:
            dates.append(parsedate_to_datetime(response.http_response.headers["Date"]))

        with azure_errors(f"The container {container}"):
            try:
                names = client.list_blobs(
                    name_starts_with=prefix or None,
                    include=["metadata"],
                    results_per_page=limit,
                    raw_response_hook=note_date,
                )
                pages = cast(PageIterator[BlobProperties], names.by_page(after))
                objects = tuple(self._objects(container, next(pages)))
                return ObjectPage(objects, pages.continuation_token or None, dates[-1])
            except ResourceNotFoundError:
                return ObjectPage((), None, dates[-1])
            except HttpResponseError as error:
                if error.status_code != 400 or after is None:
                    raise
                raise ParameterInvalid(
                    f"The listing of {container} cannot be continued.",
                    remedy="List it from the beginning.",
                ) from None

    @contextmanager
    def open(self, container: str, key: str, *, etag: str | None = None) -> Iterator[BinaryIO]:
        """Open a reader that fetches ranges of one version of the object, and checks their MD5.

        Raises SourceNotFound: there is no such object. Conflict: the object has another etag, or
        was replaced while it was read.
        """
        properties = self._properties(container, key, etag)
        blob, label = self._blob(container, key), _label(container, key)
        etag_condition = match_etag(_etag(properties))

        def fetch(offset: int, length: int) -> bytes:
            with azure_errors(label):
                content: bytes = blob.download_blob(
                    offset=offset, length=length, validate_content=True, **etag_condition
                ).readall()
            self._received(len(content))
            return content

        with RangeReader(properties.size, fetch, label) as reader:
            yield cast(BinaryIO, reader)

    @contextmanager
    def local_path(self, container: str, key: str, *, etag: str | None = None) -> Iterator[Path]:
        """Open a context that gives the path of a downloaded copy. Do not write to it.

        This store object downloads each etag once, and may remove the copy after the context.
        Raises SourceNotFound: there is no such object. Conflict: the object has another etag, or
        was replaced before it was downloaded.
        """
        current_etag = _etag(self._properties(container, key, etag))
        with self._downloads.file(
            (container, key, current_etag),
            lambda path: self._fetch_file(container, key, current_etag, path),
        ) as path:
            yield path

    def read_bytes(self, container: str, key: str) -> bytes:
        """Return the content of an object.

        Raises SourceNotFound: there is no such object. Conflict: the object takes several requests
        and was replaced between them.
        """
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
        """Upload a file, and verify the blob. A large file is sent in parallel blocks.

        With `move` the local file is deleted afterwards. `only_if_etag` is the etag that the object
        must have now: "" if there must be no object yet, None for any.
        Raises Conflict: the object has another etag, other clients keep writing it, or the file
        changed while it was read. SourceNotFound: there is no file `path`. SourceUnreadable: it is
        not a regular file. ParameterInvalid: Azure would change the key, or the metadata is too
        large.
        """
        stored = self._put(
            container,
            lambda: unchanging_file(path),
            PutOptions(check_new_key(key), metadata, only_if_etag),
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
        """Store a small object, atomically. `only_if_etag` is as in `put_file`.

        Raises Conflict: the object has another etag, or other clients keep writing it.
        ParameterInvalid: Azure would change the key, or the metadata is too large.
        """
        return self._put(
            container,
            lambda: nullcontext((BytesIO(content), len(content))),
            PutOptions(check_new_key(key), metadata, only_if_etag),
        )

    def delete(self, container: str, key: str) -> None:
        """Delete an object and its snapshots. Do nothing if there is no such object.

        Raises Conflict: another client holds a lease on the blob.
        """
        with azure_errors(_label(container, key)):
            try:
                self._blob(container, key).delete_blob(delete_snapshots="include")
            except ResourceNotFoundError:
                return

    def move(
        self, container: str, key: str, to_container: str, *, etag: str, metadata: Mapping[str, str]
    ) -> StoredObject:
        """Copy the object to another container of the account, then delete the source.

        The service copies: this machine does not download the bytes. A missing container is
        created.
        Raises SourceNotFound: there is no such object. Conflict: the object does not have the etag
        `etag`, or the source or the copy was replaced during the move. ParameterInvalid: both
        containers are the same.
        """
        check_move(container, to_container)
        what = _label(container, key)
        source, destination = (
            self._blob(container, key),
            self._blob(to_container, check_new_key(key)),
        )
        encoded = encoded_metadata(metadata, upload_id=uuid.uuid4().hex)
        try:
            moved = move_blob(source, destination, etag, encoded, what)
        except SourceNotFound as missing:
            if missing.details.get("azure_code") != "ContainerNotFound":
                raise
            self.stat(container, key)  # Raises if the container of the source is the missing one.
            self._create_container(to_container)
            moved = move_blob(source, destination, etag, encoded, what)
        return self._stored_object(to_container, moved)

    def close(self) -> None:
        """Remove the downloaded files."""
        self._downloads.close()

    def _put(self, container: str, source: Source, options: PutOptions) -> StoredObject:
        blob, what = self._blob(container, options.key), _label(container, options.key)
        try:
            uploaded = upload(blob, source, options, what)
        except SourceNotFound as missing:
            if missing.details.get("azure_code") != "ContainerNotFound":
                raise
            self._create_container(container)
            uploaded = upload(blob, source, options, what)
        return self._stored_blob(container, options.key, uploaded, options.metadata)

    def _objects(self, container: str, blobs: Iterable[BlobProperties]) -> Iterator[StoredObject]:
        for blob in blobs:
            if key_fault(blob.name) is None and not _is_folder(blob):
                yield self._stored_object(container, blob)

    def _create_container(self, container: str) -> None:
        name = self._prefix + container
        try:
            # Another put may create it at the same time.
            with azure_errors(f"The container {name}"), suppress(ResourceExistsError):
                self._service.create_container(name)
        except StoreDenied as denied:
            remedy = f"Create the container {name}, or let the platform's identity create it."
            raise StoreDenied(
                f"The container {name} is missing, and these credentials cannot create it.",
                remedy=remedy,
            ) from denied

    def _fetch(
        self, container: str, key: str, etag: str | None, stream: BytesIO | BufferedRandom
    ) -> None:
        """Write the content to `stream`, fetched in parallel ranges, and check its MD5.

        `etag` is the version of the object; None for the current version.
        """
        what = _label(container, key)
        with azure_errors(what):
            ranges = self._blob(container, key).download_blob(
                max_concurrency=PARALLEL_RANGES, **match_etag(etag)
            )
            size_bytes, properties = ranges.readinto(stream), ranges.properties
        if _is_folder(properties):
            raise SourceNotFound(f"{what} is not a file.")
        self._received(size_bytes)
        stream.seek(0)
        digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).digest()
        if size_bytes != properties.size or digest != bytes(
            properties.content_settings.content_md5 or digest
        ):
            raise StoreUnavailable(
                f"{what} was not read as it is stored: {size_bytes} of {properties.size} bytes, or "
                "the MD5 is another one."
            )

    def _fetch_file(self, container: str, key: str, etag: str, path: Path) -> None:
        with path.open("w+b") as stream:
            self._fetch(container, key, etag, stream)

    def _properties(self, container: str, key: str, etag: str | None = None) -> BlobProperties:
        with azure_errors(_label(container, key)):
            properties = self._blob(container, key).get_blob_properties(**match_etag(etag))
        if _is_folder(properties):
            raise SourceNotFound(f"{_label(container, key)} is not a file.")
        return properties

    def _blob(self, container: str, key: str) -> BlobClient:
        return self._service.get_blob_client(
            self._prefix + check_container(container), check_key(key)
        )

    def _stored_object(self, container: str, properties: BlobProperties) -> StoredObject:
        blob = UploadedBlob(_etag(properties), properties.last_modified, properties.size)
        return self._stored_blob(
            container, properties.name, blob, decoded_metadata(properties.metadata)
        )

    def _stored_blob(
        self, container: str, key: str, blob: UploadedBlob, metadata: Mapping[str, str]
    ) -> StoredObject:
        account_url = f"{self._service.scheme}://{self._service.primary_hostname}"
        uri = blob_uri(account_url, self._prefix + container, key)
        reference = ObjectReference(
            container=container, key=key, uri=uri, etag=blob.etag, size_bytes=blob.size_bytes
        )
        return StoredObject(reference, blob.last_modified_utc, dict(metadata))


def _etag(properties: BlobProperties) -> str:
    return properties.etag.strip('"')


def _is_folder(properties: BlobProperties) -> bool:
    return any(
        name.lower() == _FOLDER_MARK and value == "true"
        for name, value in (properties.metadata or {}).items()
    )


def _label(container: str, key: str) -> str:
    return f"The object {container}/{key}"
