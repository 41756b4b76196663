"""The object store on Azure Blob Storage: a key is a blob name, a put is one commit.

References name the container without the deployment's prefix, and hold the blob's own etag. The
first put creates a missing container, if the credentials allow it.

`upload.py` has uploads, `reads.py` reads by range and downloads, `move.py` moves.
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
LISTED_AT_ONCE = 5_000
# Metadata of the empty blobs that represent folders in an account with a hierarchical namespace.
_FOLDER_MARK = "hdi_isfolder"


class AzureBlobStore:
    """Implements `ports.ObjectStore` in one storage account.

    Safe among threads, processes and machines. `received` is called with the number of bytes of
    every response that holds content. The caller closes `service`.
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
        """Describe one object. Raises as `ports.ObjectStore`; a folder is SourceNotFound."""
        return self._stored_object(container, self._properties(container, key))

    def list(self, container: str, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object whose key starts with `prefix`, in the service's order of names.

        Skipped are hidden files, names that are not valid keys, and blobs that represent folders.
        A missing container is empty.
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
        limit: int = LISTED_AT_ONCE,
    ) -> ObjectPage:
        """As `list`, in one request. `after` is the service's continuation token.

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
        """Open a reader that fetches ranges of the object at one etag, each checked by its MD5.

        Raises as `ports.ObjectStore`.
        """
        found = self._properties(container, key, etag)
        blob, what, pinned = (
            self._blob(container, key),
            _label(container, key),
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
        """Download the object to a file, once per etag and process.

        Raises as `ports.ObjectStore`.
        """
        at = _etag(self._properties(container, key, etag))
        with self._downloads.file(
            (container, key, at), lambda path: self._fetch_file(container, key, at, path)
        ) as path:
            yield path

    def read_bytes(self, container: str, key: str) -> bytes:
        """Return the content of an object. Raises as `ports.ObjectStore`.

        Raises Conflict: the object is large, and was replaced while it was read.
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
        """Upload a file in parallel blocks, commit them in one request, and verify the blob.

        `move` deletes the file afterwards. Raises as `ports.ObjectStore`.
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
        """Store a small object, atomically. Raises as `ports.ObjectStore`."""
        return self._put(
            container,
            lambda: nullcontext((BytesIO(content), len(content))),
            PutOptions(check_new_key(key), metadata, only_if_etag),
        )

    def delete(self, container: str, key: str) -> None:
        """Delete an object. Do nothing if there is none."""
        with azure_errors(_label(container, key)):
            try:
                self._blob(container, key).delete_blob(delete_snapshots="include")
            except ResourceNotFoundError:
                return

    def move(
        self, container: str, key: str, to_container: str, *, etag: str, metadata: Mapping[str, str]
    ) -> StoredObject:
        """Copy the object within the account, then delete the source.

        The bytes do not pass through this machine. A missing container is created.
        Raises as `ports.ObjectStore`.
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
            self.stat(container, key)  # raises if it is the source's container that is missing
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

    def _objects(self, container: str, found: Iterable[BlobProperties]) -> Iterator[StoredObject]:
        for one in found:
            if key_fault(one.name) is None and not _is_folder(one):
                yield self._stored_object(container, one)

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
        """Fetch the object at `etag`, or the current one, in parallel ranges, and check its MD5."""
        what = _label(container, key)
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
                f"{what} was not read as it is stored: {size_bytes} of {found.size} bytes, or the "
                "MD5 is another one."
            )

    def _fetch_file(self, container: str, key: str, etag: str, path: Path) -> None:
        with path.open("w+b") as stream:
            self._fetch(container, key, etag, stream)

    def _properties(self, container: str, key: str, etag: str | None = None) -> BlobProperties:
        with azure_errors(_label(container, key)):
            found = self._blob(container, key).get_blob_properties(**match_etag(etag))
        if _is_folder(found):
            raise SourceNotFound(f"{_label(container, key)} is not a file.")
        return found

    def _blob(self, container: str, key: str) -> BlobClient:
        return self._service.get_blob_client(
            self._prefix + check_container(container), check_key(key)
        )

    def _stored_object(self, container: str, found: BlobProperties) -> StoredObject:
        blob = UploadedBlob(_etag(found), found.last_modified, found.size)
        return self._stored_blob(container, found.name, blob, decoded_metadata(found.metadata))

    def _stored_blob(
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


def _label(container: str, key: str) -> str:
    return f"The object {container}/{key}"
