"""Write a GeoParquet 1.1 file in spatial order, in two passes over scratch files.

The first pass writes the rows to a scratch file (the spool) in the order of the source. The second
pass writes row groups in the order of a Hilbert curve. The use of memory does not grow with the
dataset. The sort is in `hilbert_sort.py`.
Source: https://geoparquet.org/releases/v1.1.0/

Called by `geoparquet.py`.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from geo_platform.longitudes import LongitudesOfRows, degrees_per_unit
from geo_platform.ports import FeatureTarget
from geo_platform.storage.local.hilbert_sort import SIZE_COLUMN, sorted_tables

BBOX_COLUMN = "bbox"
GEOPARQUET_VERSION = "1.1.0"
GROUP_ROWS = 65_536
_ZSTD_LEVEL = 3
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_TYPE_NAMES = (
    "Point",
    "LineString",
    "LinearRing",
    "Polygon",
    "MultiPoint",
    "MultiLineString",
    "MultiPolygon",
    "GeometryCollection",
)

BoxArray = npt.NDArray[np.float64]


@dataclass
class Spool:
    """Rows in a scratch file, in the order of the source, and their measurements.

    `size_bytes` is the sum of the row sizes, `total_bounds` are xmin, ymin, xmax, ymax, `z_range`
    is (lowest, highest) of the finite heights, and `types` holds (shapely type id, has Z) pairs.
    `longitudes` are those of the rows in a geographic CRS, None in any other CRS.
    """

    path: Path
    longitudes: LongitudesOfRows | None = None
    rows: int = 0
    size_bytes: int = 0
    total_bounds: BoxArray = field(
        default_factory=lambda: np.array([np.inf, np.inf, -np.inf, -np.inf])
    )
    z_range: list[float] = field(default_factory=lambda: [np.inf, -np.inf])
    types: set[tuple[int, bool]] = field(default_factory=set)


def spool_batches(batches: Iterable[pa.RecordBatch], target: FeatureTarget, path: Path) -> Spool:
    """Write all batches to an Arrow file, with the bounding box and size of each row (first pass).

    Raises what `batches` raises.
    """
    spool = Spool(path, longitudes=_longitudes(target))
    schema = target.schema.append(pa.field(BBOX_COLUMN, bbox_type(), nullable=False)).append(
        pa.field(SIZE_COLUMN, pa.int64())
    )
    with (
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_stream(
            sink, schema, options=pa.ipc.IpcWriteOptions(compression="lz4")
        ) as writer,
    ):
        for batch in batches:
            if batch.num_rows:
                boxes, sizes = _measure(spool, batch, target)
                writer.write_batch(
                    pa.RecordBatch.from_arrays(
                        [*batch.columns, _bbox_column(boxes), pa.array(sizes)], schema=schema
                    )
                )
    return spool


def _measure(
    spool: Spool, batch: pa.RecordBatch, target: FeatureTarget
) -> tuple[BoxArray, npt.NDArray[np.int64]]:
    column = batch.column(target.geometry_column)
    wkb = column.to_numpy(zero_copy_only=False)
    geometries = shapely.from_wkb(wkb)
    boxes = np.asarray(shapely.bounds(geometries), dtype=np.float64)
    spool.total_bounds[:2] = np.minimum(spool.total_bounds[:2], boxes[:, :2].min(axis=0))
    spool.total_bounds[2:] = np.maximum(spool.total_bounds[2:], boxes[:, 2:].max(axis=0))
    if spool.longitudes is not None:
        spool.longitudes.add(boxes, geometries)
    has_z = shapely.has_z(geometries)
    spool.types |= {
        (int(kind), bool(z))
        for kind, z in np.unique(np.column_stack([shapely.get_type_id(geometries), has_z]), axis=0)
    }
    if has_z.any():
        heights = shapely.get_coordinates(geometries, include_z=True)[:, 2]
        finite = heights[np.isfinite(heights)]
        if finite.size:
            spool.z_range = [
                min(spool.z_range[0], float(finite.min())),
                max(spool.z_range[1], float(finite.max())),
            ]
    other_columns_bytes = max(0, batch.nbytes - column.nbytes) // batch.num_rows
    sizes = (
        np.fromiter(map(len, wkb), dtype=np.int64, count=len(wkb))
        + other_columns_bytes
        + bbox_type().num_fields * 4
    )
    spool.rows += batch.num_rows
    spool.size_bytes += int(sizes.sum())
    return boxes, sizes


def _bbox_column(boxes: BoxArray) -> pa.Array:
    """Return the boxes as 32-bit floats, rounded outward to cover the geometries."""
    low = boxes[:, :2].astype(np.float32)
    high = boxes[:, 2:].astype(np.float32)
    low = np.where(low > boxes[:, :2], np.nextafter(low, np.float32(-np.inf)), low)
    high = np.where(high < boxes[:, 2:], np.nextafter(high, np.float32(np.inf)), high)
    columns = (low[:, 0], low[:, 1], high[:, 0], high[:, 1])
    return pa.StructArray.from_arrays(
        [pa.array(column, pa.float32()) for column in columns], fields=list(bbox_type())
    )


def write_in_order(spool: Spool, target: FeatureTarget, path: Path) -> None:
    """Write the rows to a GeoParquet file in the order of the Hilbert curve (second pass).

    A row group has at most 65,536 rows and about 32 MB. The spool file is deleted.
    """
    schema = file_schema(target, spool.types, stated_bounds(spool), spool.z_range)
    with pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=_ZSTD_LEVEL,
        write_statistics=True,
        use_dictionary=_dictionary_columns(target),
    ) as writer:
        for table in sorted_tables(
            spool.path, spool.size_bytes, spool.total_bounds, path.parent / "sort"
        ):
            writer.write_table(
                table.drop_columns([SIZE_COLUMN]).cast(schema), row_group_size=GROUP_ROWS
            )


def stated_bounds(spool: Spool) -> BoxArray:
    """Return the bounds that the file states, with xmin > xmax across the antimeridian.

    GeoParquet follows RFC 7946, section 5.2, in a geographic CRS.
    """
    bounds = spool.total_bounds.copy()
    box = None if spool.longitudes is None else spool.longitudes.crossing()
    if box is not None:
        bounds[[0, 2]] = box
    return bounds


def _longitudes(target: FeatureTarget) -> LongitudesOfRows | None:
    crs = CRS.from_wkt(target.crs.wkt)
    return LongitudesOfRows(degrees_per_unit(crs)) if crs.is_geographic else None


def _dictionary_columns(target: FeatureTarget) -> list[str]:
    # Geometries and boxes rarely repeat: for these columns a dictionary would only cost time.
    return [column.name for column in target.schema if column.name != target.geometry_column]


def bbox_type() -> pa.StructType:
    """Return the type of the column `bbox` (the covering of GeoParquet): a 32-bit box per row."""
    return pa.struct([pa.field(corner, pa.float32(), nullable=False) for corner in _CORNERS])


def geo_metadata(
    target: FeatureTarget,
    types: Iterable[tuple[int, bool]],
    bounds: npt.NDArray[np.float64],
    z_range: Sequence[float],
) -> dict[str, Any]:
    """Return the value of the `geo` key of the file's metadata.

    `types` are the (shapely type id, has Z) pairs that occur. `bounds` are xmin, ymin, xmax, ymax,
    with xmin > xmax across the antimeridian.
    `z_range` is (lowest, highest), with lowest > highest if there are no heights.
    """
    low, high = [float(value) for value in bounds[:2]], [float(value) for value in bounds[2:]]
    if z_range[0] <= z_range[1]:
        low, high = [*low, z_range[0]], [*high, z_range[1]]
    column = {
        "encoding": "WKB",
        "geometry_types": sorted(_TYPE_NAMES[kind] + (" Z" if z else "") for kind, z in types),
        "crs": CRS.from_wkt(target.crs.wkt).to_json_dict(),
        "edges": "planar",
        "bbox": low + high,
        "covering": {"bbox": {corner: [BBOX_COLUMN, corner] for corner in _CORNERS}},
    }
    return {
        "version": GEOPARQUET_VERSION,
        "primary_column": target.geometry_column,
        "columns": {target.geometry_column: column},
    }


def file_schema(
    target: FeatureTarget,
    types: Iterable[tuple[int, bool]],
    bounds: npt.NDArray[np.float64],
    z_range: Sequence[float],
) -> pa.Schema:
    """Return the file's schema: the columns of the target, then the boxes, with the metadata.

    The arguments are those of `geo_metadata`.
    """
    geo = geo_metadata(target, types, bounds, z_range)
    platform_metadata = {
        f"geo_platform:{key}": value
        for key, value in {**target.metadata, "fingerprint": target.fingerprint}.items()
    }
    metadata = {"geo": json.dumps(geo, separators=(",", ":")), **platform_metadata}
    return target.schema.append(pa.field(BBOX_COLUMN, bbox_type(), nullable=False)).with_metadata(
        metadata
    )
