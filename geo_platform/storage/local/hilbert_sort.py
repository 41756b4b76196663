"""Sort rows along a Hilbert curve with scratch files, one bucket of rows in memory at a time.

Each row has a key. It is the position of the centre of the row's bounding box on a Hilbert curve of
level 16, a grid of 65,536 x 65,536 cells over the dataset's bounds (geopandas' `hilbert_distance`).
Rows with the same key keep the order of the source: the same input makes the same file.

A bucket is a scratch file of rows in a range of keys. A bucket that is too large to be sorted in
memory is split into buckets of smaller ranges, recursively.

Why not sort in a database: DuckDB 2.0 moves rows in vectors of 2,048, which is 450 MB for polygons
of 220 KB, and fails at its memory limit. Buckets here are limited in bytes.

Called by `geoparquet_order.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

SIZE_COLUMN = "__row_bytes"
_KEY_COLUMN = "__hilbert_key"
_BBOX_COLUMN = "bbox"
_LEVEL = 16
_LEAST_WIDTH = 1e-290
_BUCKET_BYTES = 32 * 2**20
_MAX_BUCKETS = 64
_BINS = 65_536

Keys = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Bucket:
    """A scratch file of rows whose keys are in [first_key, last_key]."""

    path: Path
    size_bytes: int
    first_key: int
    last_key: int


def sorted_tables(
    path: Path, size_bytes: int, total_bounds: npt.NDArray[np.float64], scratch: Path
) -> Iterator[pa.Table]:
    """Yield the rows of an Arrow stream file in order of key, as tables of at most about 32 MB.

    The file needs the columns `bbox` (struct of xmin, ymin, xmax, ymax) and `__row_bytes` (size of
    the row). `size_bytes` is the sum of `__row_bytes`, `total_bounds` are xmin, ymin, xmax, ymax of
    all boxes. `scratch` is a folder for temporary files. The file is deleted.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    keyed_path = scratch / "keyed.arrow"
    _add_keys(path, keyed_path, total_bounds)
    all_rows = _Bucket(keyed_path, size_bytes, 0, 4**_LEVEL - 1)
    for table in _sorted(all_rows, scratch):
        yield table.drop_columns([_KEY_COLUMN])


def _add_keys(source: Path, target: Path, total_bounds: npt.NDArray[np.float64]) -> None:
    with pa.OSFile(str(source), "rb") as stream, pa.ipc.open_stream(stream) as reader:
        schema = reader.schema.append(pa.field(_KEY_COLUMN, pa.int64()))
        with _open_writer(target, schema) as writer:
            for batch in reader:
                keys = pa.array(_keys(batch.column(_BBOX_COLUMN), total_bounds))
                writer.write_batch(
                    pa.RecordBatch.from_arrays([*batch.columns, keys], schema=schema)
                )
    source.unlink()


def _keys(boxes: pa.StructArray, total_bounds: npt.NDArray[np.float64]) -> Keys:
    xmin, ymin, xmax, ymax = (
        child.to_numpy(zero_copy_only=False).astype(np.float64) for child in boxes.flatten()
    )
    # Imported here: it loads pandas, which takes a quarter of a second, and rasters do not need it.
    import geopandas

    # The number of cells divided by a smaller width overflows. Such rows are in one place.
    low, high = total_bounds[:2], total_bounds[2:]
    bounds = np.concatenate([low, np.where(high - low < _LEAST_WIDTH, low, high)])
    centres = geopandas.GeoSeries(shapely.points((xmin + xmax) / 2, (ymin + ymax) / 2))
    return np.asarray(
        centres.hilbert_distance(total_bounds=tuple(bounds), level=_LEVEL), dtype=np.int64
    )


def _sorted(bucket: _Bucket, scratch: Path) -> Iterator[pa.Table]:
    if bucket.size_bytes <= _BUCKET_BYTES:
        yield _read_sorted(bucket)
    elif bucket.first_key == bucket.last_key:
        yield from _read_as_is(bucket)
    else:
        for part in _split(bucket, scratch):
            yield from _sorted(part, scratch)


def _read_sorted(bucket: _Bucket) -> pa.Table:
    with pa.OSFile(str(bucket.path), "rb") as stream, pa.ipc.open_stream(stream) as reader:
        table = reader.read_all()
    bucket.path.unlink()
    keys = table.column(_KEY_COLUMN).to_numpy()
    return table.take(pa.array(np.argsort(keys, kind="stable")))


def _read_as_is(bucket: _Bucket) -> Iterator[pa.Table]:
    # All rows have the same key, so that there is nothing to sort.
    with pa.OSFile(str(bucket.path), "rb") as stream, pa.ipc.open_stream(stream) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])
    bucket.path.unlink()


def _split(bucket: _Bucket, scratch: Path) -> list[_Bucket]:
    """Split a bucket into buckets of about equal bytes, each with a part of its range of keys.

    The range of keys is divided into bins of equal width, and a new bucket gets consecutive bins.
    Its range begins and ends at bins that have rows. So every recursion has a smaller range, until
    the range is one key.
    """
    width = -(-(bucket.last_key - bucket.first_key + 1) // _BINS)
    weights = _histogram(bucket, width)
    part_of_bin = _assign_bins(weights)
    parts = [
        _Bucket(
            path=scratch / f"{bucket.path.stem}-{part}.arrow",
            size_bytes=int(weights[bins].sum()),
            first_key=bucket.first_key + int(bins[0]) * width,
            last_key=min(bucket.last_key, bucket.first_key + (int(bins[-1]) + 1) * width - 1),
        )
        for part in range(int(part_of_bin.max()) + 1)
        if (bins := np.flatnonzero((part_of_bin == part) & (weights > 0))).size
    ]
    _distribute_rows(bucket, parts, part_of_bin, width)
    return parts


def _histogram(bucket: _Bucket, width: int) -> npt.NDArray[np.float64]:
    """Return the bytes of the rows in each bin. Only the columns of keys and sizes are read."""
    weights = np.zeros(_BINS)
    with pa.OSFile(str(bucket.path), "rb") as stream:
        names = pa.ipc.open_stream(stream).schema.names
        stream.seek(0)
        column_indexes = [names.index(SIZE_COLUMN), names.index(_KEY_COLUMN)]
        for batch in pa.ipc.open_stream(
            stream, options=pa.ipc.IpcReadOptions(included_fields=column_indexes)
        ):
            bins = (batch.column(_KEY_COLUMN).to_numpy() - bucket.first_key) // width
            weights += np.bincount(
                bins, weights=batch.column(SIZE_COLUMN).to_numpy(), minlength=_BINS
            )
    return weights


def _assign_bins(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the number of the part to which each bin belongs.

    A part is a series of consecutive bins with at most 32 MB, or more if there would be more than
    64 parts. A single bin may exceed the limit.
    """
    limit = max(_BUCKET_BYTES, weights.sum() / (_MAX_BUCKETS - 1))
    parts = np.zeros(_BINS, dtype=np.int64)
    part, part_bytes = 0, 0.0
    for position in np.flatnonzero(weights):
        if part_bytes and part_bytes + weights[position] > limit:
            part, part_bytes = part + 1, 0.0
            parts[position:] = part
        part_bytes += weights[position]
    return parts


def _distribute_rows(
    bucket: _Bucket, parts: list[_Bucket], part_of_bin: npt.NDArray[np.int64], width: int
) -> None:
    with pa.OSFile(str(bucket.path), "rb") as stream, pa.ipc.open_stream(stream) as reader:
        writers = [_open_writer(part.path, reader.schema) for part in parts]
        try:
            for batch in reader:
                part_of_row = part_of_bin[
                    (batch.column(_KEY_COLUMN).to_numpy() - bucket.first_key) // width
                ]
                for part in np.unique(part_of_row):
                    writers[part].write_batch(
                        batch.filter(pc.equal(pa.array(part_of_row), int(part)))
                    )
        finally:
            for writer in writers:
                writer.close()
    bucket.path.unlink()


def _open_writer(path: Path, schema: pa.Schema) -> pa.ipc.RecordBatchStreamWriter:
    return pa.ipc.new_stream(str(path), schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))
