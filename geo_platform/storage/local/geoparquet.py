"""The feature store on GeoParquet files: one file per dataset and fingerprint, ordered along a Hilbert curve.

What belongs here: the FeatureStore port. What stays out: the order (`geoparquet_order.py`), the metadata
(`geoparquet_metadata.py`), cleaning (the stages do it).

    silver/<key_prefix>/<fingerprint>/<dataset>.parquet

Two passes, so that memory stays flat at any size: batches go to a scratch file while bounds and types are noted, then
they are sorted out of core and written for good. The result is opened and read back before it is put to the store.

A written GeoParquet file opened again, before anyone is told of it.

What belongs here: reading back what was meant to be written. What stays out: the geometries' own validity.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geo_platform.contracts.message import Finding, ObjectReference, TableReference
from geo_platform.errors import (
    Conflict,
    NoFeatures,
    ParameterInvalid,
    StoreUnavailable,
    TableExists,
)
from geo_platform.grid import Bounds
from geo_platform.ports import (
    FEATURES_RECORD,
    SILVER,
    FeatureDataset,
    FeatureTarget,
    IndexRequest,
    ObjectStore,
    etag_or_empty,
)
from geo_platform.storage.local.geoparquet_order import (
    BBOX_COLUMN,
    Spool,
    spool_batches,
    write_in_order,
)


def read_back(path: Path, spool: Spool, target: FeatureTarget) -> Bounds:
    """Bounds as the file states them, once row count, columns and boxes agree with what was spooled.

    The boxes of all rows are read, so every row group is decompressed in part. Raises StoreUnavailable: a disk that
    gives back something else than was written is a fault to try again.
    """
    try:
        with pq.ParquetFile(path) as file:
            geo = json.loads(file.schema_arrow.metadata[b"geo"])
            rows, covered = _boxes(file)
            columns = [name for name in file.schema_arrow.names if name != BBOX_COLUMN]
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise StoreUnavailable(
            f"{target.dataset} could not be read back after writing.", found=str(error)[:500]
        ) from error
    bbox = geo["columns"][target.geometry_column]["bbox"]
    half = len(bbox) // 2
    bounds = Bounds(xmin=bbox[0], ymin=bbox[1], xmax=bbox[half], ymax=bbox[half + 1])
    stated = np.array(bounds.xyxy)
    is_covered = bool((covered[:2] <= stated[:2]).all() and (covered[2:] >= stated[2:]).all())
    is_close = np.allclose(covered, stated, rtol=1e-6, atol=1e-30)
    if rows != spool.rows or columns != target.schema.names or not (is_covered and is_close):
        raise StoreUnavailable(
            f"{target.dataset} was not read back as it was written: {rows:,} rows of {spool.rows:,}.",
            bounds=covered.tolist(),
            columns=columns,
        )
    return bounds


def _boxes(file: pq.ParquetFile) -> tuple[int, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    rows, covered = 0, np.array([np.inf, np.inf, -np.inf, -np.inf])
    for batch in file.iter_batches(columns=[BBOX_COLUMN]):
        boxes = [
            child.to_numpy(zero_copy_only=False).astype(np.float64)
            for child in batch.column(0).flatten()
        ]
        covered[:2] = np.minimum(covered[:2], [boxes[0].min(), boxes[1].min()])
        covered[2:] = np.maximum(covered[2:], [boxes[2].max(), boxes[3].max()])
        rows += batch.num_rows
    return rows, covered


DESTINATION = "geoparquet"
MEDIA_TYPE = "application/vnd.apache.parquet"


class GeoParquetLake:
    """Implements `ports.FeatureStore` with GeoParquet 1.1 in the silver container of an object store."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def check_free(self, target: FeatureTarget) -> None:
        """Earlier versions of the same source do not count, unless the dataset is to be created."""
        if target.load_mode == "append":
            raise ParameterInvalid(
                "Rows cannot be appended to a GeoParquet dataset: files are written once.",
                remedy="Load the rows as a dataset of their own, or use the production profile, whose tables take more rows.",
            )
        if target.load_mode == "replace":
            return
        for stored in self._objects.list(SILVER, f"{target.key_prefix}/"):
            if not stored.reference.key.endswith(f"/{FEATURES_RECORD}"):
                continue
            holder, own = stored.metadata.get("source_uri"), target.metadata["source_uri"]
            if holder is not None and holder != own:
                raise TableExists(
                    f"The dataset {target.dataset} came from {holder}, not from {own}.",
                    dataset=target.dataset,
                )
            if (
                target.load_mode == "create"
                and stored.metadata.get("fingerprint") != target.fingerprint
            ):
                raise TableExists(
                    f"The dataset {target.dataset} is there already.", dataset=target.dataset
                )

    def holds(self, stored: ObjectReference | None, table: TableReference | None) -> bool:
        """A dataset of files is its object, at the etag that it was put with."""
        if stored is None:
            return False
        return etag_or_empty(self._objects, stored.container, stored.key) == stored.etag

    def sweep(self, older_than_utc: datetime) -> tuple[str, ...]:
        """Nothing: what is being written lies in scratch, which is swept by itself."""
        return ()

    def load(
        self, target: FeatureTarget, batches: Iterable[pa.RecordBatch], *, scratch: Path
    ) -> FeatureDataset:
        """Write, verify, publish. Errors: what `batches` raises, NoFeatures, StoreUnavailable, StoreDenied."""
        seen = etag_or_empty(self._objects, SILVER, _key(target))
        folder = scratch / f"geoparquet-{target.fingerprint}"
        folder.mkdir(parents=True, exist_ok=True)
        spool = spool_batches(batches, target, folder / "unsorted.arrow")
        if spool.rows == 0:
            raise NoFeatures(f"No rows are left to publish in {target.dataset}.")
        path = folder / f"{target.dataset}.parquet"
        write_in_order(spool, target, path)
        return self._publish(path, spool, target, over=seen)

    def _publish(
        self, path: Path, spool: Spool, target: FeatureTarget, *, over: str
    ) -> FeatureDataset:
        """Put where nothing changed since the load began; else another run of the same recipe was faster, and its file is the dataset.

        Replaced, it would not be what that run's item says of it: the footer names the run.
        """
        bounds = read_back(path, spool, target)
        sha256 = _sha256(path)
        metadata = {
            **target.metadata,
            "fingerprint": target.fingerprint,
            "sha256": sha256,
            "media_type": MEDIA_TYPE,
        }
        key = _key(target)
        try:
            reference = self._objects.put_file(
                SILVER, key, path, metadata=metadata, move=True, only_if_etag=over
            ).reference
        except Conflict:
            path.unlink(missing_ok=True)
            reference = self._objects.stat(SILVER, key).reference
            with self._objects.local_path(SILVER, key, etag=reference.etag) as other:
                bounds, sha256 = read_back(other, spool, target), _sha256(other)
        findings = tuple(_not_in_files(target.indexes))
        return FeatureDataset(
            DESTINATION, target.dataset, reference, sha256, spool.rows, bounds, findings
        )


def _key(target: FeatureTarget) -> str:
    return f"{target.key_prefix}/{target.fingerprint}/{target.dataset}.parquet"


def _not_in_files(indexes: IndexRequest) -> Iterator[Finding]:
    columns = (*indexes.attributes, *indexes.temporal)
    if columns:
        says = f"A GeoParquet file has no indexes: {', '.join(columns)} will be searched by the statistics of its row groups."
        yield Finding(code="INDEXES_NOT_IN_FILES", message=says)
    if not indexes.spatial:
        yield Finding(
            code="SPATIAL_ORDER_KEPT",
            message="A GeoParquet file is always written in spatial order.",
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
