"""Wrap the stores of `ports.py` so that each call records an OpenTelemetry span.

A span holds the name of the method, its arguments, duration and result. `telemetry/tracing.py`
starts and records spans. Every method raises what the same method of the wrapped store raises.

The span of an open file or a listing lasts until the file or listing is closed. It is the current
span only while the store works. Otherwise spans of the caller would become its children. The event
`ready` marks the end of opening.

Called by `resources/production.py` and `resources/stores.py`.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

import pyarrow as pa
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import Span

from geo_platform.contracts.message import ObjectReference, TableReference
from geo_platform.ports import (
    Catalog,
    CatalogEntry,
    FeatureDataset,
    FeatureStore,
    FeatureTarget,
    ItemVersion,
    ObjectPage,
    ObjectStore,
    StoredObject,
)
from geo_platform.telemetry.tracing import Attribute, call_started, calling

T = TypeVar("T")
Store = TypeVar("Store")


class _Traced(Generic[Store]):
    """A wrapped store, and the id of the run that uses the store, "" outside of runs."""

    _port = ""

    def __init__(self, store: Store, *, run_id: str = "") -> None:
        self._store = store
        self._run_id = run_id

    @contextmanager
    def _span(self, method: str, **attributes: Attribute) -> Iterator[Span]:
        span = self._start_span(method, attributes)
        try:
            with calling(span):
                yield span
        finally:
            span.end()

    @contextmanager
    def _open_span(
        self,
        method: str,
        open_context: Callable[[], AbstractContextManager[T]],
        **attributes: Attribute,
    ) -> Iterator[T]:
        with ExitStack() as stack:
            span = self._start_span(method, attributes)
            stack.callback(span.end)
            with calling(span):
                value = stack.enter_context(open_context())
            span.add_event("ready")
            yield value

    def _iterate(
        self, method: str, open_iterator: Callable[[], Iterator[T]], **attributes: Attribute
    ) -> Iterator[T]:
        """Iterate in a span that starts when the first item is requested."""
        count = 0
        with ExitStack() as stack:
            span = self._start_span(method, attributes)
            stack.callback(span.end)
            stack.callback(lambda: span.set_attribute("count", count))
            with calling(span):
                items = stack.enter_context(closing(_closable(open_iterator())))
            while True:
                with calling(span):
                    try:
                        item = next(items)
                    except StopIteration:
                        return
                count += 1
                yield item

    def _start_span(self, method: str, attributes: Mapping[str, Attribute]) -> Span:
        return call_started(f"{self._port}.{method}", self._run_id, attributes)


class TracedObjects(_Traced[ObjectStore]):
    """Implements `ports.ObjectStore` around another object store."""

    _port = "objects"

    @property
    def is_local(self) -> bool:
        return self._store.is_local

    def stat(self, container: str, key: str) -> StoredObject:
        with self._span("stat", container=container, key=key) as span:
            return _record_object(span, self._store.stat(container, key))

    def list(self, container: str, prefix: str = "") -> Iterator[StoredObject]:
        return self._iterate(
            "list", lambda: self._store.list(container, prefix), container=container, prefix=prefix
        )

    def page(
        self, container: str, prefix: str = "", *, after: str | None = None, limit: int = 5000
    ) -> ObjectPage:
        with self._span("page", container=container, prefix=prefix, after=after) as span:
            page = self._store.page(container, prefix, after=after, limit=limit)
            span.set_attribute("count", len(page.objects))
            return page

    def local_path(
        self, container: str, key: str, *, etag: str | None = None
    ) -> AbstractContextManager[Path]:
        return self._open_span(
            "local_path",
            lambda: self._store.local_path(container, key, etag=etag),
            container=container,
            key=key,
            etag=etag,
        )

    def open(
        self, container: str, key: str, *, etag: str | None = None
    ) -> AbstractContextManager[BinaryIO]:
        return self._open_span(
            "open",
            lambda: self._store.open(container, key, etag=etag),
            container=container,
            key=key,
            etag=etag,
        )

    def read_bytes(self, container: str, key: str) -> bytes:
        with self._span("read_bytes", container=container, key=key) as span:
            content = self._store.read_bytes(container, key)
            span.set_attribute("size_bytes", len(content))
            return content

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
        with self._span(
            "put_file", container=container, key=key, only_if_etag=only_if_etag
        ) as span:
            return _record_object(
                span,
                self._store.put_file(
                    container, key, path, metadata=metadata, move=move, only_if_etag=only_if_etag
                ),
            )

    def put_bytes(
        self,
        container: str,
        key: str,
        content: bytes,
        *,
        metadata: Mapping[str, str],
        only_if_etag: str | None = None,
    ) -> StoredObject:
        with self._span(
            "put_bytes", container=container, key=key, only_if_etag=only_if_etag
        ) as span:
            return _record_object(
                span,
                self._store.put_bytes(
                    container, key, content, metadata=metadata, only_if_etag=only_if_etag
                ),
            )

    def delete(self, container: str, key: str) -> None:
        with self._span("delete", container=container, key=key):
            self._store.delete(container, key)

    def move(
        self, container: str, key: str, to_container: str, *, etag: str, metadata: Mapping[str, str]
    ) -> StoredObject:
        with self._span("move", container=container, key=key, to_container=to_container) as span:
            return _record_object(
                span, self._store.move(container, key, to_container, etag=etag, metadata=metadata)
            )


class TracedFeatures(_Traced[FeatureStore]):
    """Implements `ports.FeatureStore` around another feature store."""

    _port = "features"

    def check_free(self, target: FeatureTarget) -> None:
        with self._span("check_free", **_target_attributes(target)):
            self._store.check_free(target)

    def load(
        self, target: FeatureTarget, batches: Iterable[pa.RecordBatch], *, scratch: Path
    ) -> FeatureDataset:
        """Load in a span whose attribute `source_ms` is how long the store waited for batches.

        The wait includes reading and cleaning: both happen when the store requests a batch.
        """
        source = _TimedBatches(batches, get_current())
        with self._span("load", **_target_attributes(target)) as span:
            loaded = self._store.load(target, source, scratch=scratch)
            span.set_attributes(
                {
                    "rows": loaded.rows,
                    "destination": loaded.destination,
                    "source_ms": round(source.waited_s * 1000, 1),
                }
            )
            return loaded

    def holds(self, stored: ObjectReference | None, table: TableReference | None) -> bool:
        key = stored.key if stored is not None else None
        name = f"{table.schema_name}.{table.table_name}" if table is not None else None
        with self._span("holds", key=key, table=name) as span:
            is_held = self._store.holds(stored, table)
            span.set_attribute("found", is_held)
            return is_held

    def sweep(self, older_than_utc: datetime) -> tuple[str, ...]:
        with self._span("sweep", older_than_utc=older_than_utc.isoformat()) as span:
            removed = self._store.sweep(older_than_utc)
            span.set_attribute("count", len(removed))
            return removed


class TracedCatalog(_Traced[Catalog]):
    """Implements `ports.Catalog` around another catalog."""

    _port = "catalog"

    def item(self, collection: str, item_id: str) -> dict[str, Any] | None:
        with self._span("item", collection=collection, item_id=item_id) as span:
            item = self._store.item(collection, item_id)
            span.set_attribute("found", item is not None)
            return item

    def entries(self) -> Iterator[CatalogEntry]:
        return self._iterate("entries", self._store.entries)

    def publish(
        self, collection: dict[str, Any], item: dict[str, Any], *, replaces: str | None
    ) -> str:
        with self._span(
            "publish", collection=collection.get("id"), item_id=item.get("id"), replaces=replaces
        ):
            return self._store.publish(collection, item, replaces=replaces)

    def collection(self, collection: str) -> dict[str, Any] | None:
        with self._span("collection", collection=collection) as span:
            document = self._store.collection(collection)
            span.set_attribute("found", document is not None)
            return document

    def unpublish(self, collection: str, item_id: str, *, published: str) -> None:
        with self._span("unpublish", collection=collection, item_id=item_id, published=published):
            self._store.unpublish(collection, item_id, published=published)

    def versions(
        self, collection: str | None = None, item_id: str | None = None
    ) -> Iterator[ItemVersion]:
        return self._iterate(
            "versions",
            lambda: self._store.versions(collection, item_id),
            collection=collection,
            item_id=item_id,
        )

    def forget(self, version: ItemVersion) -> None:
        with self._span(
            "forget",
            collection=version.collection,
            item_id=version.item_id,
            fingerprint=version.fingerprint,
        ):
            self._store.forget(version)


class _TimedBatches:
    """Batches that are read in the caller's span context, in whichever thread the store reads."""

    def __init__(self, batches: Iterable[pa.RecordBatch], context: Context) -> None:
        self._batches = batches
        self._context = context
        self.waited_s = 0.0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        with closing(_closable(self._batches)) as batches:
            while True:
                token, started_s = attach(self._context), time.perf_counter()
                try:
                    batch = next(batches)
                except StopIteration:
                    return
                finally:
                    self.waited_s += time.perf_counter() - started_s
                    detach(token)
                yield batch


def _closable(items: Iterable[T]) -> Any:
    """Return a generator over the items. Closing it closes `items` too, if that is a generator."""
    yield from items


def _record_object(span: Span, stored: StoredObject) -> StoredObject:
    span.set_attributes({"size_bytes": stored.reference.size_bytes, "etag": stored.reference.etag})
    return stored


def _target_attributes(target: FeatureTarget) -> dict[str, Attribute]:
    return {
        "dataset": target.dataset,
        "schema": target.schema_name,
        "load_mode": target.load_mode,
        "fingerprint": target.fingerprint,
    }
