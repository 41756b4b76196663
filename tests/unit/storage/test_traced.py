"""The traced ports pass on every call, and start a span with its arguments and result."""

import inspect
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from geo_platform.errors import SourceNotFound
from geo_platform.ports import BRONZE, QUARANTINE, Catalog, FeatureStore, ObjectStore
from geo_platform.storage.local.folder import FolderStore
from geo_platform.storage.traced import TracedCatalog, TracedFeatures, TracedObjects
from geo_platform.telemetry.logs import telemetry_context
from geo_platform.telemetry.tracing import stage_span

_TARGET: Any = type(
    "Target", (), {"dataset": "d", "schema_name": "geo", "load_mode": "update", "fingerprint": "f"}
)()
RUN = "ea2add4b-aee9-45ca-b4b4-26abf84316a1"


@pytest.mark.parametrize(
    ("port", "traced"),
    [(ObjectStore, TracedObjects), (FeatureStore, TracedFeatures), (Catalog, TracedCatalog)],
)
def test_every_method_of_the_port_exists_with_its_signature(port: type, traced: type) -> None:
    wanted = {name: member for name, member in vars(port).items() if not name.startswith("_")}
    assert wanted
    for name, member in wanted.items():
        own = vars(traced)[name]
        if not isinstance(member, property):
            assert inspect.signature(own) == inspect.signature(member), name


def test_calls_of_objects_return_what_the_store_returns_and_have_spans(
    tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    objects = TracedObjects(FolderStore(tmp_path), run_id=RUN)
    objects.put_bytes(BRONZE, "a.txt", b"abc", metadata={})
    assert objects.read_bytes(BRONZE, "a.txt") == b"abc"
    assert [stored.reference.key for stored in objects.list(BRONZE)] == ["a.txt"]
    (paged,) = objects.page(BRONZE).objects
    objects.move(BRONZE, "a.txt", QUARANTINE, etag=paged.reference.etag, metadata={})
    objects.move(
        QUARANTINE,
        "a.txt",
        BRONZE,
        etag=objects.stat(QUARANTINE, "a.txt").reference.etag,
        metadata={},
    )
    with objects.open(BRONZE, "a.txt") as file:
        assert file.read() == b"abc"
        assert "objects.open" not in {span.name for span in spans.get_finished_spans()}, (
            "the span lasts as long as the file is open"
        )
    with objects.local_path(BRONZE, "a.txt") as path:
        assert path.read_bytes() == b"abc"
    objects.delete(BRONZE, "a.txt")
    with pytest.raises(SourceNotFound):
        objects.stat(BRONZE, "a.txt")
    names = [span.name for span in spans.get_finished_spans()]
    wanted = [
        "put_bytes",
        "read_bytes",
        "list",
        "page",
        "move",
        "stat",
        "move",
        "open",
        "local_path",
        "delete",
        "stat",
    ]
    assert names == [f"objects.{name}" for name in wanted]


def test_a_listing_that_is_closed_early_ends_its_span(
    tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    objects = TracedObjects(FolderStore(tmp_path), run_id=RUN)
    for name in "abc":
        objects.put_bytes(BRONZE, name, b"", metadata={})
    listing = objects.list(BRONZE)
    next(listing)
    listing.close()  # type: ignore[attr-defined]
    (listed,) = [span for span in spans.get_finished_spans() if span.name == "objects.list"]
    assert (listed.attributes or {})["count"] == 1


class _Eager:
    """A feature store that reads all batches at once."""

    def load(self, target: Any, batches: Any, *, scratch: Path) -> Any:
        @contextmanager
        def nothing() -> Iterator[None]:
            yield

        with nothing():
            raise _Received(list(batches))


class _Threaded:
    """A feature store that reads the batches in its own thread, as PostGIS does."""

    def load(self, target: Any, batches: Any, *, scratch: Path) -> Any:
        with ThreadPoolExecutor(1) as pool:
            raise _Received(pool.submit(list, batches).result())


def test_a_read_during_a_load_is_a_child_of_the_stage(
    tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    objects = TracedObjects(FolderStore(tmp_path), run_id=RUN)
    objects.put_bytes(BRONZE, "a", b"", metadata={})

    def read() -> Iterator[pa.RecordBatch]:
        objects.read_bytes(BRONZE, "a")
        yield pa.record_batch({"n": [1]})

    for store in (_Eager(), _Threaded()):
        spans.clear()
        with pytest.raises(_Received), telemetry_context(run_id=RUN), stage_span("vector_features"):
            TracedFeatures(store, run_id=RUN).load(_TARGET, read(), scratch=tmp_path)  # type: ignore[arg-type]
        reading, loading, stage = spans.get_finished_spans()
        assert stage.context is not None
        assert {span.name: span.parent and span.parent.span_id for span in (reading, loading)} == {
            "objects.read_bytes": stage.context.span_id,
            "features.load": stage.context.span_id,
        }


class _Received(Exception):  # noqa: N818  # carries the batches
    pass


def test_batches_reach_the_store_complete_and_in_order(
    tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    batches = [pa.record_batch({"n": [number]}) for number in range(3)]
    with pytest.raises(_Received) as seen:
        TracedFeatures(_Eager(), run_id=RUN).load(_TARGET, iter(batches), scratch=tmp_path)  # type: ignore[arg-type]
    assert seen.value.args[0] == batches
    assert [span.name for span in spans.get_finished_spans()] == ["features.load"]
