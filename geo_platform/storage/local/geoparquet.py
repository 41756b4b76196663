"""The feature store on GeoParquet files: one file per dataset and fingerprint.

    silver/<key_prefix>/<fingerprint>/<dataset>.parquet

A load makes two passes, so that its use of memory does not grow with the dataset. The first pass
writes the batches to a scratch file. The second pass sorts them on disk along a Hilbert curve into
the final file (`geoparquet_order.py`). The final file is read back and checked before it is put
into the object store.

Called by `resources/stores.py` and `storage/stores.py`.
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
    SourceNotFound,
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
    stated_bounds,
    write_in_order,
)

DESTINATION = "geoparquet"
MEDIA_TYPE = "application/vnd.apache.parquet"


class GeoParquetLake:
    """Implements `ports.FeatureStore` with GeoParquet 1.1 files in the container `silver`.

    Every method but `sweep` raises StoreUnavailable, StoreDenied: the object store does not answer
    or refuses access.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def check_free(self, target: FeatureTarget) -> None:
        """Check that the load mode allows writing the dataset.

        Raises TableExists: a dataset of this name exists, and it came from another source or the
        mode is `create`. The mode `replace` allows both; a dataset of the same fingerprint is
        allowed in every mode. ParameterInvalid: the mode is `append`.
        """
        if target.load_mode == "append":
            raise ParameterInvalid(
                "Rows cannot be appended to a GeoParquet dataset: files are written once.",
                remedy="Load the rows as another dataset, or use the production profile, whose "
                "tables can be appended to.",
            )
        if target.load_mode == "replace":
            return
        for stored in self._objects.list(SILVER, f"{target.key_prefix}/"):
            if not stored.reference.key.endswith(f"/{FEATURES_RECORD}"):
                continue
            stored_source = stored.metadata.get("source_uri")
            source = target.metadata["source_uri"]
            if stored_source is not None and stored_source != source:
                raise TableExists(
                    f"The dataset {target.dataset} came from {stored_source}, not from {source}.",
                    dataset=target.dataset,
                )
            if (
                target.load_mode == "create"
                and stored.metadata.get("fingerprint") != target.fingerprint
            ):
                raise TableExists(
                    f"The dataset {target.dataset} exists already.", dataset=target.dataset
                )

    def holds(self, stored: ObjectReference | None, table: TableReference | None) -> bool:
        """Return whether the object still exists with the same etag. `table` is ignored.

        Raises ParameterInvalid: the container or the key of `stored` is not valid.
        """
        if stored is None:
            return False
        return etag_or_empty(self._objects, stored.container, stored.key) == stored.etag

    def sweep(self, older_than_utc: datetime) -> tuple[str, ...]:
        """Do nothing: unfinished files are in scratch folders, which have a sweep of their own."""
        return ()

    def load(
        self, target: FeatureTarget, batches: Iterable[pa.RecordBatch], *, scratch: Path
    ) -> FeatureDataset:
        """Write the file, verify it, and put it into the object store.

        Raises what `batches` raises. NoFeatures: there are no rows. StoreUnavailable: also if the
        file differs from the rows when it is read back.
        """
        current_etag = etag_or_empty(self._objects, SILVER, _key(target))
        folder = scratch / f"geoparquet-{target.fingerprint}"
        folder.mkdir(parents=True, exist_ok=True)
        spool = spool_batches(batches, target, folder / "unsorted.arrow")
        if spool.rows == 0:
            raise NoFeatures(f"No rows are left to publish in {target.dataset}.")
        kept = None if target.is_forced else self._sound_file(spool, target)
        if kept is not None:
            spool.path.unlink(missing_ok=True)
            return kept
        path = folder / f"{target.dataset}.parquet"
        write_in_order(spool, target, path)
        return self._publish(path, spool, target, replaces_etag=current_etag)

    def _publish(
        self, path: Path, spool: Spool, target: FeatureTarget, *, replaces_etag: str
    ) -> FeatureDataset:
        """Put the file, if the object still has the etag `replaces_etag`.

        Otherwise another run with the same fingerprint put its file meanwhile, and that file is the
        result of this load too.
        """
        bounds = read_back(path, spool, target)
        sha256 = _sha256(path)
        metadata = {
            **target.metadata,
            "fingerprint": target.fingerprint,
            "sha256": sha256,
            "media_type": MEDIA_TYPE,
        }
        try:
            reference = self._objects.put_file(
                SILVER, _key(target), path, metadata=metadata, move=True, only_if_etag=replaces_etag
            ).reference
        except Conflict:
            path.unlink(missing_ok=True)
            kept = self._sound_file(spool, target)
            if kept is None:
                raise
            return kept
        return _dataset(target, reference, sha256, spool.rows, bounds)

    def _sound_file(self, spool: Spool, target: FeatureTarget) -> FeatureDataset | None:
        """Return the stored dataset if its file is undamaged and holds the spooled rows.

        Another run with the same fingerprint put it, and may publish an item that names it. The
        file must not be replaced: the metadata in its footer names the other run, and so does the
        item of that run.
        """
        try:
            stored = self._objects.stat(SILVER, _key(target))
            with self._objects.local_path(SILVER, _key(target), etag=stored.reference.etag) as path:
                sha256 = _sha256(path)
                if stored.metadata.get("sha256") != sha256:
                    return None
                bounds = read_back(path, spool, target)
        except (SourceNotFound, Conflict):
            return None
        return _dataset(target, stored.reference, sha256, spool.rows, bounds)


def _dataset(
    target: FeatureTarget, reference: ObjectReference, sha256: str, rows: int, bounds: Bounds
) -> FeatureDataset:
    findings = tuple(_index_findings(target.indexes))
    return FeatureDataset(DESTINATION, target.dataset, reference, sha256, rows, bounds, findings)


def read_back(path: Path, spool: Spool, target: FeatureTarget) -> Bounds:
    """Compare rows, columns and boxes of a file with the spooled rows, and return its bounds.

    The boxes of all rows are read, so that a part of every row group is decompressed.
    Raises StoreUnavailable: the file cannot be read, or differs from the spooled rows.
    """
    try:
        with pq.ParquetFile(path) as file:
            geo = json.loads(file.schema_arrow.metadata[b"geo"])
            rows, box_union = _read_boxes(file)
            columns = [name for name in file.schema_arrow.names if name != BBOX_COLUMN]
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise StoreUnavailable(
            f"{target.dataset} could not be read back after writing.", found=str(error)[:500]
        ) from error
    bbox = geo["columns"][target.geometry_column]["bbox"]
    half = len(bbox) // 2
    xmin, xmax = bbox[0], bbox[half]
    if xmin > xmax:  # across the antimeridian
        xmin, xmax = float(spool.total_bounds[0]), float(spool.total_bounds[2])
    bounds = Bounds(xmin=xmin, ymin=bbox[1], xmax=xmax, ymax=bbox[half + 1])
    found_bounds = np.array(bounds.xyxy)
    is_covered = bool(
        (box_union[:2] <= found_bounds[:2]).all() and (box_union[2:] >= found_bounds[2:]).all()
    )
    is_close = np.allclose(box_union, found_bounds, rtol=1e-6, atol=1e-30)
    states_bounds = np.array_equal(
        stated_bounds(spool), [bbox[0], bbox[1], bbox[half], bbox[half + 1]]
    )
    is_same = rows == spool.rows and columns == target.schema.names and states_bounds
    if not (is_same and is_covered and is_close):
        raise StoreUnavailable(
            f"{target.dataset} was not read back as it was written: {rows:,} rows of "
            f"{spool.rows:,}.",
            bounds=box_union.tolist(),
            columns=columns,
        )
    return bounds


def _read_boxes(file: pq.ParquetFile) -> tuple[int, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    rows, box_union = 0, np.array([np.inf, np.inf, -np.inf, -np.inf])
    for batch in file.iter_batches(columns=[BBOX_COLUMN]):
        boxes = [
            child.to_numpy(zero_copy_only=False).astype(np.float64)
            for child in batch.column(0).flatten()
        ]
        box_union[:2] = np.minimum(box_union[:2], [boxes[0].min(), boxes[1].min()])
        box_union[2:] = np.maximum(box_union[2:], [boxes[2].max(), boxes[3].max()])
        rows += batch.num_rows
    return rows, box_union


def _key(target: FeatureTarget) -> str:
    return f"{target.key_prefix}/{target.fingerprint}/{target.dataset}.parquet"


def _index_findings(indexes: IndexRequest) -> Iterator[Finding]:
    columns = (*indexes.attributes, *indexes.temporal)
    if columns:
        yield Finding(
            code="INDEXES_NOT_IN_FILES",
            message=f"A GeoParquet file has no indexes: {', '.join(columns)} will be searched by "
            "the statistics of its row groups.",
        )
    if not indexes.spatial:
        yield Finding(
            code="SPATIAL_ORDER_KEPT",
            message="A GeoParquet file is always written in spatial order.",
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
