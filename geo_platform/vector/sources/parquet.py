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
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

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
from geo_platform.vector.curves import linearised_wkb, nests_too_deep
from geo_platform.vector.geometry_families import family_of
from geo_platform.vector.sources.common import (
    M_DROPPED,
    SourceBatch,
    SourceDescription,
    choose_layer,
    layer_name_of,
)
from geo_platform.vector.sources.parquet_columns import (
    NATIVE_ENCODINGS,
    describe_attributes,
    wkb_of_native,
)
from geo_platform.vector.sources.source_file import open_bytes
from geo_platform.wkb import wkb_types

_COLLECTION_CODE = 7
_BUFFER_BYTES = 2**20
_SAMPLE_ROWS = 1000
_TRUNCATION_SIGNS = ("footer", "end of", "truncat", "couldn't deserialize")


@dataclass(frozen=True)
class _GeoMetadata:
    """The parts of the `geo` metadata that are needed to read the rows.

    `primary` and `position` are the name and place of the primary geometry column, `encoding` is
    that of its geometries, and `column` its entry in the metadata. `bbox_column` is the column with
    the bounding boxes of the rows, or None.
    """

    primary: str
    position: int
    encoding: str
    column: dict[str, Any]
    bbox_column: str | None
    other_geometries: tuple[str, ...]


def describe_parquet(source: OpenableSource, layer_name: str | None) -> SourceDescription:
    """Describe the file from its footer and its first rows.

    Raises NoGeometry: the file has no GeoParquet metadata.
    Raises NoFeatures: the file has no rows.
    Raises LayerNotFound: `layer_name` is not the stem of the file name, the only layer.
    Raises SourceUnreadable, SourceTruncated: the file cannot be read.
    Raises UnsupportedFormat: the geometry is in an encoding that GeoParquet 1.1 does not have.
    """
    with _opened(source) as file:
        geo = _geo_metadata(file, source.display_name)
        declared = _declared_types(geo.column)
        layer = VectorLayer(
            name=layer_name_of(source.display_name),
            geometry_type=declared[0] if len(declared) == 1 else "Unknown",
        )
        choose_layer([layer], layer_name, source.display_name)
        if file.metadata.num_rows == 0:
            raise NoFeatures(f"{source.display_name} has no rows.")
        attributes = _attribute_positions(file, geo)
        fields, field_findings = describe_attributes(file, attributes)
        sample = _sample(file, geo)
        sampled_types = wkb_types(sample)
        return SourceDescription(
            driver="Parquet",
            layers=(layer,),
            layer=layer.name,
            geometry_types=declared or sampled_types.names(),
            feature_count=file.metadata.num_rows,
            declared_crs=_crs(geo.column),
            format_crs="OGC:CRS84" if "crs" not in geo.column else None,
            fields=fields,
            geometry_column=geo.primary,
            extent=_extent(geo.column.get("bbox"), _straight(sample, {})[0]),
            encoding="UTF-8",
            has_curves=bool(sampled_types.is_curve.any()),
            warnings=(*_warnings(geo), *field_findings),
        )


def stream_parquet(
    source: OpenableSource, batch_rows: int, findings: dict[str, Finding]
) -> Iterator[SourceBatch]:
    """Yield all rows in batches of at most `batch_rows` rows. Row groups are decoded page by page.

    What is dropped from the rows is added to `findings`, with its text as key.
    Raises NoGeometry, UnsupportedFormat: the file has no geometry column in a known encoding.
    Raises SourceUnreadable, SourceTruncated: the file cannot be read.
    """
    with _opened(source) as file:
        geo = _geo_metadata(file, source.display_name)
        attributes = _attribute_positions(file, geo)
        schema = pa.schema([file.schema_arrow.field(position) for position in attributes])
        read, names = _columns_to_read(file.schema_arrow.names, [*attributes, geo.position])
        places = [read.index(position) for position in attributes]
        at = 0
        for batch in file.iter_batches(batch_size=batch_rows, columns=names, use_threads=True):
            fields = _record_batch(
                [batch.column(place) for place in places], schema, batch.num_rows
            )
            wkb, linearised = _straight(_wkb(batch.column(read.index(geo.position)), geo), findings)
            _note_nanoseconds(fields, findings)
            yield SourceBatch(
                np.arange(at, at + batch.num_rows, dtype=np.int64),
                fields,
                wkb,
                linearised=linearised,
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
        encoding = column["encoding"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceUnreadable(
            f"The GeoParquet metadata of {display_name} is invalid.",
            remedy="Write the file again, for example with geopandas' to_parquet.",
        ) from error
    names = file.schema_arrow.names
    if primary not in names:
        raise SourceUnreadable(
            f"{display_name} declares {primary!r} as its geometry column, but has no such column."
        )
    if not isinstance(encoding, str) or encoding not in ("WKB", *NATIVE_ENCODINGS):
        raise UnsupportedFormat(
            f"{display_name} has its geometry in the encoding {encoding!r}, which is not one of "
            "GeoParquet 1.1.",
            remedy="Write it with geometry_encoding='WKB'.",
        )
    others = tuple(name for name in columns if name != primary)
    covering = _covering_column(column)
    # A covering of points can be the geometry column itself, and a column of data may repeat the
    # name of the covering column.
    is_spare = covering is not None and covering != primary and names.count(covering) == 1
    return _GeoMetadata(
        primary, names.index(primary), encoding, column, covering if is_spare else None, others
    )


def _covering_column(column: dict[str, Any]) -> str | None:
    """Return the column with the bounding boxes of the rows, or None if the metadata has none."""
    try:
        path = column["covering"]["bbox"]["xmin"]
        return path[0] if len(path) > 1 and isinstance(path[0], str) else None
    except (KeyError, TypeError, IndexError):
        return None


def _declared_types(column: dict[str, Any]) -> tuple[str, ...]:
    """Return the geometry types that the metadata declares, or none if they are not valid."""
    declared = column.get("geometry_types")
    if not isinstance(declared, list) or not all(
        isinstance(name, str) and family_of(name) is not None for name in declared
    ):
        return ()
    return tuple(declared)


def _attribute_positions(file: pq.ParquetFile, geo: _GeoMetadata) -> list[int]:
    return [
        position
        for position, name in enumerate(file.schema_arrow.names)
        if position != geo.position and name != geo.bbox_column
    ]


def _columns_to_read(names: list[str], positions: list[int]) -> tuple[list[int], list[str] | None]:
    """Return the positions of the columns to read, and their names, or None to read all columns.

    pyarrow chooses columns by name. A name that repeats or has a dot can mean several columns.
    """
    if len(set(names)) < len(names) or any("." in name for name in names):
        return list(range(len(names))), None
    read = sorted(positions)
    return read, [names[position] for position in read]


def _sample(file: pq.ParquetFile, geo: _GeoMetadata) -> pa.Array:
    """Return the geometries of the first batch that has one, as WKB."""
    sample = pa.array([], pa.binary())
    for batch in file.iter_batches(
        batch_size=_SAMPLE_ROWS, columns=[geo.primary], use_threads=False
    ):
        # The name can mean further columns, which follow.
        sample = _wkb(batch.column(0), geo)
        if wkb_types(sample).names():
            break
    return sample


def _crs(column: dict[str, Any]) -> str | None:
    crs = column.get("crs")
    return crs if crs is None or isinstance(crs, str) else json.dumps(crs)


def _extent(bbox: object, sample: pa.Array) -> Bounds | None:
    """Return the declared extent, or None if it is not valid or leaves out sampled rows.

    Writers that change the rows often keep an extent that is stale.
    """
    if (
        not isinstance(bbox, list)
        or len(bbox) not in (4, 6)
        or not all(isinstance(value, int | float) for value in bbox)
    ):
        return None
    half = len(bbox) // 2
    try:
        declared = [float(bbox[index]) for index in (0, 1, half, half + 1)]
        with np.errstate(all="ignore"):
            geometries = shapely.from_wkb(sample.to_numpy(zero_copy_only=False), "ignore")
    except (OverflowError, NotImplementedError):
        return None
    xmin, ymin, xmax, ymax = declared
    if not (xmin <= xmax and ymin <= ymax):
        return None
    found = shapely.total_bounds(geometries)
    margin = 1e-6 * max(1.0, *map(abs, declared))
    holds_sample = (found[:2] >= np.array(declared[:2]) - margin).all() and (
        found[2:] <= np.array(declared[2:]) + margin
    ).all()
    if np.isfinite(found).all() and not holds_sample:
        return None
    return Bounds(xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)


def _warnings(geo: _GeoMetadata) -> tuple[Finding, ...]:
    findings = []
    if geo.other_geometries:
        names = ", ".join(map(repr, geo.other_geometries))
        findings.append(
            Finding(
                code="GEOMETRY_COLUMNS_LEFT",
                message=f"Other geometry columns are published as plain data: {names}.",
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


def _wkb(column: pa.Array, geo: _GeoMetadata) -> pa.Array:
    if geo.encoding != "WKB":
        return wkb_of_native(column, geo.encoding)
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    return storage if pa.types.is_binary(storage.type) else storage.cast(pa.binary())


def _straight(wkb: pa.Array, findings: dict[str, Finding]) -> tuple[pa.Array, int]:
    """Replace curves by line segments. Return the column and the number of replaced curves."""
    types = wkb_types(wkb)
    if types.has_m.any():
        findings.setdefault(M_DROPPED.message, M_DROPPED)
    curved = np.flatnonzero(types.is_curve)
    collections = np.flatnonzero(types.codes == _COLLECTION_CODE)
    if not curved.size and not collections.size:
        return wkb, 0
    values = wkb.to_pylist()
    for row in collections:
        # Bytes that are no geometry are rejected later.
        values[row] = b"" if nests_too_deep(values[row]) else values[row]
    for row in curved:
        geometry = linearised_wkb(values[row])
        values[row] = values[row] if geometry is None else shapely.to_wkb(geometry, flavor="iso")
    return pa.array(values, pa.binary()), len(curved)


def _note_nanoseconds(fields: pa.RecordBatch, findings: dict[str, Finding]) -> None:
    """Add a warning for each column whose times have digits after the microseconds."""
    for name, column in zip(fields.schema.names, fields.columns, strict=True):
        kind = column.type
        if not (pa.types.is_timestamp(kind) or pa.types.is_time64(kind)) or kind.unit != "ns":
            continue
        message = f"Times of {name!r} are cut to microseconds."
        if message in findings:
            continue
        values = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        if (values % 1000).any():
            findings[message] = Finding(code="TIME_DIGITS_CUT", message=message)


def _record_batch(arrays: list[pa.Array], schema: pa.Schema, rows: int) -> pa.RecordBatch:
    if not arrays:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))
    return pa.RecordBatch.from_arrays(arrays, names=schema.names)
