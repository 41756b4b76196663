"""A written GeoParquet file opened again, before anyone is told of it.

What belongs here: reading back what was meant to be written. What stays out: the geometries' own validity.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geo_platform.errors import StoreUnavailable
from geo_platform.grid import Bounds
from geo_platform.ports import FeatureTarget
from geo_platform.storage.geoparquet_metadata import BBOX_COLUMN
from geo_platform.storage.geoparquet_order import Spool


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
        raise StoreUnavailable(f"{target.dataset} could not be read back after writing.", found=str(error)[:500]) from error
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
        boxes = [child.to_numpy(zero_copy_only=False).astype(np.float64) for child in batch.column(0).flatten()]
        covered[:2] = np.minimum(covered[:2], [boxes[0].min(), boxes[1].min()])
        covered[2:] = np.maximum(covered[2:], [boxes[2].max(), boxes[3].max()])
        rows += batch.num_rows
    return rows, covered
