"""Rows along a Hilbert curve, sorted out of core.

What belongs here: the scratch file, the key of a row, the sort, writing row groups. What stays out: the port and the metadata.

Key: the centre of a row's bounding box on a 65,536 x 65,536 grid over the dataset's bounds, its distance along a Hilbert
curve of level 16 (geopandas' `hilbert_distance`, after https://github.com/rawrunprotected/hilbert_curves).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import geopandas
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from geo_platform.errors import StoreUnavailable
from geo_platform.ports import FeatureTarget
from geo_platform.storage.geoparquet_metadata import BBOX_COLUMN, bbox_type, file_schema

_SORT_MEMORY = "160MB"
_SORT_THREADS = 2
_KEY = "__hilbert_key"
_GROUP_BYTES = 24 * 2**20
_GROUP_ROWS = 65_536
_SMALLEST_GROUP_ROWS = 256
_ZSTD_LEVEL = 3

BoxArray = npt.NDArray[np.float64]


@dataclass
class Spool:
    """What was written to scratch, in the order of arrival, and what was noted on the way."""

    path: Path
    rows: int = 0
    geometry_bytes: int = 0
    other_bytes: int = 0
    total_bounds: BoxArray = field(default_factory=lambda: np.array([np.inf, np.inf, -np.inf, -np.inf]))
    z_range: list[float] = field(default_factory=lambda: [np.inf, -np.inf])
    types: set[tuple[int, bool]] = field(default_factory=set)

    @property
    def group_rows(self) -> int:
        """Rows per row group: about 24 MB before compression, at most 65,536."""
        bytes_per_row = max(1, (self.geometry_bytes + self.other_bytes) // max(1, self.rows))
        return int(min(_GROUP_ROWS, max(_SMALLEST_GROUP_ROWS, _GROUP_BYTES // bytes_per_row)))


def spool_batches(batches: Iterable[pa.RecordBatch], target: FeatureTarget, path: Path) -> Spool:
    """First pass: every batch with its bounding boxes to an Arrow file."""
    spool = Spool(path)
    schema = target.schema.append(pa.field(BBOX_COLUMN, bbox_type(), nullable=False))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        for batch in batches:
            if batch.num_rows:
                boxes = _note(spool, batch, target)
                writer.write_batch(pa.RecordBatch.from_arrays([*batch.columns, _bbox_column(boxes)], schema=schema))
    return spool


def _note(spool: Spool, batch: pa.RecordBatch, target: FeatureTarget) -> BoxArray:
    column = batch.column(target.geometry_column)
    geometries = shapely.from_wkb(column.to_numpy(zero_copy_only=False))
    boxes = shapely.bounds(geometries)
    spool.total_bounds[:2] = np.minimum(spool.total_bounds[:2], boxes[:, :2].min(axis=0))
    spool.total_bounds[2:] = np.maximum(spool.total_bounds[2:], boxes[:, 2:].max(axis=0))
    has_z = shapely.has_z(geometries)
    spool.types |= {(int(kind), bool(z)) for kind, z in zip(*np.unique([shapely.get_type_id(geometries), has_z], axis=1), strict=True)}
    if has_z.any():
        heights = shapely.get_coordinates(geometries, include_z=True)[:, 2]
        if np.isfinite(heights).any():
            spool.z_range = [min(spool.z_range[0], float(np.nanmin(heights))), max(spool.z_range[1], float(np.nanmax(heights)))]
    spool.rows += batch.num_rows
    spool.geometry_bytes += column.nbytes
    spool.other_bytes += batch.nbytes - column.nbytes
    return np.asarray(boxes, dtype=np.float64)


def _bbox_column(boxes: BoxArray) -> pa.Array:
    """32-bit boxes, rounded outward so that they still cover their geometry."""
    low = boxes[:, :2].astype(np.float32)
    high = boxes[:, 2:].astype(np.float32)
    low = np.where(low > boxes[:, :2], np.nextafter(low, np.float32(-np.inf)), low)
    high = np.where(high < boxes[:, 2:], np.nextafter(high, np.float32(np.inf)), high)
    columns = (low[:, 0], low[:, 1], high[:, 0], high[:, 1])
    return pa.StructArray.from_arrays([pa.array(column, pa.float32()) for column in columns], fields=list(bbox_type()))


def _keyed(reader: pa.RecordBatchReader, spool: Spool) -> Iterator[pa.RecordBatch]:
    for batch in reader:
        boxes = np.column_stack([child.to_numpy(zero_copy_only=False) for child in batch.column(BBOX_COLUMN).flatten()]).astype(np.float64)
        centres = geopandas.GeoSeries(shapely.points((boxes[:, :2] + boxes[:, 2:]) / 2))
        keys = centres.hilbert_distance(total_bounds=tuple(spool.total_bounds), level=16).to_numpy(dtype=np.uint32)
        yield batch.append_column(_KEY, pa.array(keys, pa.uint32()))


def write_in_order(spool: Spool, target: FeatureTarget, path: Path) -> None:
    """Second pass: sort by key and write row groups. Memory is bounded by DuckDB's limit and one row group."""
    schema = file_schema(target, spool.types, spool.total_bounds, spool.z_range)
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _SORT_MEMORY,
        "threads": _SORT_THREADS,
        "temp_directory": str(path.parent / "sort"),
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    try:
        with pa.memory_map(str(spool.path)) as mapped, duckdb.connect(":memory:", config=settings) as connection:
            stored = pa.ipc.open_stream(mapped)
            keyed = pa.RecordBatchReader.from_batches(stored.schema.append(pa.field(_KEY, pa.uint32())), _keyed(stored, spool))
            ordered = connection.from_arrow(keyed).order(_KEY).to_arrow_reader(spool.group_rows)
            with pq.ParquetWriter(
                path, schema, compression="zstd", compression_level=_ZSTD_LEVEL, write_statistics=True, use_dictionary=_dictionary(target)
            ) as writer:
                for batch in ordered:
                    table = pa.Table.from_batches([batch]).drop_columns([_KEY]).cast(schema)
                    writer.write_table(table, row_group_size=spool.group_rows)
    except duckdb.Error as error:
        raise StoreUnavailable(f"{target.dataset} could not be sorted; the scratch folder may be full.", duckdb=str(error)[:500]) from error


def _dictionary(target: FeatureTarget) -> list[str]:
    """Geometries and boxes hardly repeat: a dictionary would only cost time."""
    return [column.name for column in target.schema if column.name != target.geometry_column]
