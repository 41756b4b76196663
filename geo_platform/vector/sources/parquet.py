"""Read GeoParquet sources with pyarrow: the `geo` metadata, the fields and the rows.

In GeoParquet 1.1.0, a missing `crs` means OGC:CRS84, and a null `crs` means an unknown CRS.
`storage/local/geoparquet.py` writes GeoParquet.

Called by `vector/profile.py` and `vector/read.py`.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geo_platform.contracts.message import Finding
from geo_platform.contracts.vector import VectorLayer
from geo_platform.errors import (
    NoFeatures,
    NoGeometry,
    SourceTruncated,
    SourceUnreadable,
    UnsupportedFormat,
)
from geo_platform.grid import Bounds
from geo_platform.source.openable import OpenableSource
from geo_platform.vector.field_types import describe_field
from geo_platform.vector.sources.common import (
    SourceBatch,
    SourceDescription,
    choose_layer,
    layer_name_of,
)
from geo_platform.vector.sources.source_file import open_bytes
from geo_platform.wkb import wkb_types

_BUFFER_BYTES = 2**20
_SAMPLE_ROWS = 1000
_TRUNCATION_SIGNS = ("footer", "end of", "truncat", "couldn't deserialize")


@dataclass(frozen=True)
class _GeoMetadata:
    """The parts of the `geo` metadata that are needed to read the rows.

    `primary` is the name of the primary geometry column, and `column` its entry in the metadata.
    `bbox_column` is the column with the bounding boxes of the rows, or None.
    """

    primary: str
    column: dict[str, Any]
    bbox_column: str | None
    other_geometries: tuple[str, ...]


def describe_parquet(source: OpenableSource, layer_name: str | None) -> SourceDescription:
    """Describe the file from its footer and its first rows.

    Raises NoGeometry: the file has no GeoParquet metadata.
    Raises NoFeatures: the file has no rows.
    Raises LayerNotFound: `layer_name` is not the stem of the file name, the only layer.
    Raises SourceUnreadable, SourceTruncated: the file cannot be read.
    Raises UnsupportedFormat: the geometry is not encoded as WKB.
    """
    with _opened(source) as file:
        geo = _geo_metadata(file, source.display_name)
        declared = tuple(geo.column.get("geometry_types") or ())
        layer = VectorLayer(
            name=layer_name_of(source.display_name),
            geometry_type=declared[0] if len(declared) == 1 else "Unknown",
        )
        choose_layer([layer], layer_name, source.display_name)
        if file.metadata.num_rows == 0:
            raise NoFeatures(f"{source.display_name} has no rows.")
        sampled = _sampled_types(file, geo)
        return SourceDescription(
            driver="Parquet",
            layers=(layer,),
            layer=layer.name,
            geometry_types=declared or sampled,
            feature_count=file.metadata.num_rows,
            declared_crs=_crs(geo.column),
            format_crs="OGC:CRS84" if "crs" not in geo.column else None,
            fields=tuple(
                describe_field(file.schema_arrow.field(position))
                for position in _attribute_positions(file, geo)
            ),
            geometry_column=geo.primary,
            extent=_extent(geo.column.get("bbox")),
            encoding="UTF-8",
            warnings=_warnings(geo),
        )


def stream_parquet(source: OpenableSource, batch_rows: int) -> Iterator[SourceBatch]:
    """Yield all rows in batches of at most `batch_rows` rows. Row groups are decoded page by page.

    Raises NoGeometry, UnsupportedFormat: the file has no geometry column encoded as WKB.
    Raises SourceUnreadable, SourceTruncated: the file cannot be read.
    """
    with _opened(source) as file:
        geo = _geo_metadata(file, source.display_name)
        attributes = _attribute_positions(file, geo)
        schema = pa.schema([file.schema_arrow.field(position) for position in attributes])
        at = 0
        skipped = [] if geo.bbox_column is None else [geo.bbox_column]
        names = [name for name in file.schema_arrow.names if name not in skipped]
        for batch in file.iter_batches(batch_size=batch_rows, columns=names, use_threads=True):
            columns = {
                name: batch.column(position) for position, name in enumerate(batch.schema.names)
            }
            fields = _record_batch(
                [columns[schema.field(i).name] for i in range(len(schema))], schema, batch.num_rows
            )
            yield SourceBatch(
                np.arange(at, at + batch.num_rows, dtype=np.int64),
                fields,
                _wkb(columns[geo.primary]),
            )
            at += batch.num_rows


@contextmanager
def _opened(source: OpenableSource) -> Iterator[pq.ParquetFile]:
    with open_bytes(source) as stream:
        try:
            yield pq.ParquetFile(stream, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        except pa.ArrowException as error:
            text = str(error)
            if any(sign in text.lower() for sign in _TRUNCATION_SIGNS):
                raise SourceTruncated(
                    f"{source.display_name} ends too early or is damaged inside.", arrow=text[:500]
                ) from error
            raise SourceUnreadable(
                f"{source.display_name} cannot be read as GeoParquet.", arrow=text[:500]
            ) from error


def _geo_metadata(file: pq.ParquetFile, display_name: str) -> _GeoMetadata:
    text = (file.schema_arrow.metadata or {}).get(b"geo")
    if text is None:
        raise NoGeometry(
            f"{display_name} is Parquet without GeoParquet metadata.",
            remedy="Write it as GeoParquet, for example with geopandas' to_parquet.",
        )
    try:
        geo = json.loads(text)
        primary, columns = geo["primary_column"], geo["columns"]
        column = columns[primary]
    except (ValueError, KeyError, TypeError) as error:
        raise SourceUnreadable(f"The GeoParquet metadata of {display_name} is invalid.") from error
    if primary not in file.schema_arrow.names:
        raise SourceUnreadable(
            f"{display_name} declares {primary!r} as its geometry column, but has no such column."
        )
    if column.get("encoding") != "WKB":
        raise UnsupportedFormat(
            f"{display_name} has its geometry in the encoding {column.get('encoding')!r}; only "
            "WKB is supported.",
            remedy="Write it with geometry_encoding='WKB'.",
        )
    covering = (column.get("covering") or {}).get("bbox", {}).get("xmin", [None])
    others = tuple(name for name in columns if name != primary)
    return _GeoMetadata(
        primary, column, covering[0] if covering and len(covering) > 1 else None, others
    )


def _attribute_positions(file: pq.ParquetFile, geo: _GeoMetadata) -> list[int]:
    return [
        position
        for position, name in enumerate(file.schema_arrow.names)
        if name not in (geo.primary, geo.bbox_column)
    ]


def _sampled_types(file: pq.ParquetFile, geo: _GeoMetadata) -> tuple[str, ...]:
    """Return the geometry types of the first batch that has a geometry."""
    for batch in file.iter_batches(
        batch_size=_SAMPLE_ROWS, columns=[geo.primary], use_threads=False
    ):
        names = wkb_types(_wkb(batch.column(0))).names()
        if names:
            return names
    return ()


def _crs(column: dict[str, Any]) -> str | None:
    crs = column.get("crs")
    return crs if crs is None or isinstance(crs, str) else json.dumps(crs)


def _extent(bbox: list[float] | None) -> Bounds | None:
    if (
        not bbox
        or len(bbox) not in (4, 6)
        or not all(isinstance(value, int | float) for value in bbox)
    ):
        return None
    half = len(bbox) // 2
    xmin, ymin, xmax, ymax = (
        float(value) for value in (bbox[0], bbox[1], bbox[half], bbox[half + 1])
    )
    return (
        Bounds(xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
        if xmin <= xmax and ymin <= ymax
        else None
    )


def _warnings(geo: _GeoMetadata) -> tuple[Finding, ...]:
    findings = []
    if geo.other_geometries:
        names = ", ".join(map(repr, geo.other_geometries))
        findings.append(
            Finding(
                code="GEOMETRY_COLUMNS_LEFT",
                message=f"Other geometry columns are published as plain binary: {names}.",
            )
        )
    if geo.column.get("edges") == "spherical":
        findings.append(
            Finding(
                code="EDGES_SPHERICAL",
                message=(
                    "The source declares spherical edges; they are treated as straight in its CRS."
                ),
            )
        )
    return tuple(findings)


def _wkb(column: pa.Array) -> pa.Array:
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    return storage if pa.types.is_binary(storage.type) else storage.cast(pa.binary())


def _record_batch(arrays: list[pa.Array], schema: pa.Schema, rows: int) -> pa.RecordBatch:
    if not arrays:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))
    return pa.RecordBatch.from_arrays(arrays, names=schema.names)
