"""Describe a layer through OGR, for all formats except CSV and GeoParquet.

This module reads the header of the layer and a sample of its rows. `profile.py` and `plan.py` check
the results.

Called by `vector/profile.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.contracts.message import Finding
from geo_platform.contracts.vector import FieldOrigin, FieldType, SourceField, VectorLayer
from geo_platform.errors import NoFeatures, SourceTruncated
from geo_platform.source.openable import OpenableSource
from geo_platform.vector.extent import row_bounds
from geo_platform.vector.field_types import describe_field
from geo_platform.vector.geometry_families import has_z
from geo_platform.vector.options import VectorProfileOptions
from geo_platform.vector.sources.columns import describe_texts, describe_times, describe_unsigned
from geo_platform.vector.sources.common import M_DROPPED, SourceDescription, choose_layer
from geo_platform.vector.sources.dbf import are_all_deleted, cpg_encoding
from geo_platform.vector.sources.geojson_text import scan_geojson, with_foreign_members
from geo_platform.vector.sources.geojson_values import (
    ID_COLUMN,
    FeatureIdColumn,
    describe_ids,
    false_date_keys,
    false_dates_finding,
    large_number_keys,
    numbers_as_text_finding,
    with_members_as_text,
)
from geo_platform.vector.sources.geopackage import describe_table
from geo_platform.vector.sources.gml_text import envelope_fields, scan_crs
from geo_platform.vector.sources.ogr import (
    DECODED_BY_DRIVER,
    LayerStream,
    encoding_to_pass,
    geometry_position,
    layer_info,
    layer_list,
    texts_with_zero,
)
from geo_platform.vector.sources.source_file import with_signed_integers
from geo_platform.wkb import wkb_types

_SAMPLE_ROWS = 2000
# WGS 84 in every file of the format: RFC 7946 section 4, OGC KML 2.3 section 6.2, the OSM wiki.
_FORMAT_CRS = {
    SourceFormat.geojson: "EPSG:4326",
    SourceFormat.geojson_lines: "EPSG:4326",
    SourceFormat.kml: "EPSG:4326",
    SourceFormat.osm_pbf: "EPSG:4326",
}
_REAL = "OFTReal"
_DATES = ("OFTDate", "OFTDateTime")
_GEOJSON = (SourceFormat.geojson, SourceFormat.geojson_lines)
# Formats whose ids of features are stored in the file, as the primary key of the table.
_FORMATS_WITH_KEYS = (SourceFormat.geopackage, SourceFormat.file_geodatabase)


@dataclass(frozen=True)
class _Sample:
    """Facts about the sampled rows. `rows` is their number; `has_m` means measures (M)."""

    schema: pa.Schema
    geometry_column: str
    rows: int
    row_bounds: npt.NDArray[np.float64]
    geometry_types: tuple[str, ...]
    has_curves: bool
    has_m: bool


@dataclass(frozen=True)
class _Columns:
    """The fields to read, all columns of the layer, and warnings about them."""

    fields: tuple[SourceField, ...]
    columns: tuple[str, ...]
    findings: tuple[Finding, ...]


def describe_ogr(source: OpenableSource, options: VectorProfileOptions) -> SourceDescription:
    """List the layers, choose one, and read its header and first rows.

    Raises LayerNotFound, LayerAmbiguous, NoGeometry, NoFeatures: no layer or row to publish.
    Raises FieldEncoding, SourceUnreadable, SourceTruncated: the file cannot be read.
    Raises UnsupportedFormat: a CRS in the file is a link or names a file.
    """
    findings: dict[str, Finding] = {}
    text = scan_geojson(source) if source.format in _GEOJSON else None
    gml = scan_crs(source) if source.format is SourceFormat.gml else None
    original = source
    has_long = text is not None and text.has_long_integers
    long_keys = large_number_keys(source) if has_long else ()
    source = with_members_as_text(source, long_keys)
    source, unsigned = with_signed_integers(source)
    if text is None:
        layers = tuple(
            VectorLayer(name=name, geometry_type=kind)
            for name, kind in layer_list(source, findings)
        )
        chosen = choose_layer(layers, options.layer_name, source.display_name)
        given = options.encoding if source.format is SourceFormat.shapefile else None
        info = layer_info(source, chosen.name, given, findings)
    else:
        # GeoJSON has one layer, and GDAL reads the whole file to list it.
        source = with_foreign_members(source, are_kept=False)
        info = layer_info(source, None, None, findings)
        layers = (VectorLayer(name=info["layer_name"], geometry_type=info["geometry_type"]),)
        chosen = choose_layer(layers, options.layer_name, source.display_name)
    if has_long:
        kinds = zip(info["fields"], info["ogr_types"], strict=True)
        long_keys = large_number_keys(original, [name for name, kind in kinds if kind == _REAL])
        source = with_foreign_members(with_members_as_text(original, long_keys), are_kept=False)
        info = layer_info(source, None, None, findings)
    date_keys = _false_date_keys(original, info)
    if date_keys:
        source = with_members_as_text(original, (*long_keys, *date_keys))
        info = layer_info(source, None, None, findings)
    keeps_foreign = (
        text is not None
        and source.format is SourceFormat.geojson
        and bool(text.foreign)
        and not text.collides(info["fields"])
    )
    if keeps_foreign:
        source = with_foreign_members(source, are_kept=True)
        info = layer_info(source, chosen.name, None, findings)
    encoding = _encoding(source, chosen.name, options, str(info["encoding"] or "UTF-8"))
    sample = _sample(source, chosen.name, encoding_to_pass(source, encoding), findings)
    if info["features"] > 0 and sample.rows == 0 and not _is_deleted(source, chosen.name):
        raise SourceTruncated(
            f"{source.display_name} declares {info['features']:,} rows, but none could be read."
        )
    if sample.rows == 0:
        raise NoFeatures(f"Layer {chosen.name!r} of {source.display_name} has no rows.")
    if sample.has_m:
        findings.setdefault(M_DROPPED.message, M_DROPPED)
    cut = texts_with_zero(source, chosen.name, _texts(sample), findings)
    ids = FeatureIdColumn(None)
    if text is not None and text.has_ids:
        ids = describe_ids(original, int(info["features"]))
    layer = _columns(source, chosen.name, sample, info, findings, ids, unsigned)
    return SourceDescription(
        driver=str(info["driver"]),
        layers=layers,
        layer=chosen.name,
        geometry_types=_geometry_types(str(info["geometry_type"] or "Unknown"), sample),
        feature_count=int(info["features"]) if info["features"] >= 0 else None,
        declared_crs=info["crs"],
        format_crs=_FORMAT_CRS.get(source.format),
        fields=layer.fields,
        columns=layer.columns,
        geometry_column=sample.geometry_column,
        row_bounds=sample.row_bounds,
        encoding=encoding,
        has_curves=sample.has_curves,
        stated_crs=(
            text.stated_crs()
            if text is not None
            else gml.stated(chosen.name, info["crs"])
            if gml is not None
            else ()
        ),
        keeps_foreign_members=keeps_foreign,
        numbers_as_text=(*long_keys, *date_keys),
        warnings=(
            *findings.values(),
            *_encoding_findings(source, options, encoding),
            *layer.findings,
            *((_cut_finding(cut),) if cut else ()),
            *((numbers_as_text_finding(long_keys),) if long_keys else ()),
            *((false_dates_finding(date_keys),) if date_keys else ()),
            *(() if text is None else text.findings(are_kept=keeps_foreign)),
            *(() if gml is None else gml.findings(chosen.name)),
        ),
    )


def _texts(sample: _Sample) -> list[str]:
    return [field.name for field in sample.schema if pa.types.is_string(field.type)]


def _cut_finding(columns: Sequence[str]) -> Finding:
    names = ", ".join(map(repr, columns))
    message = f"Columns with U+0000 in texts: {names}. These texts are published up to it."
    return Finding(code="TEXT_CUT", message=message)


def _false_date_keys(source: OpenableSource, info: dict[str, Any]) -> tuple[str, ...]:
    """Return the members of newline-delimited GeoJSON that hold days that do not exist.

    GDAL 3.12 changes them. Its option that returns dates as text is for GeoJSON documents only.
    """
    if source.format is not SourceFormat.geojson_lines:
        return ()
    kinds = zip(info["fields"], info["ogr_types"], strict=True)
    columns = {name for name, kind in kinds if kind in _DATES}
    return false_date_keys(source, columns) if columns else ()


def _is_deleted(source: OpenableSource, layer: str) -> bool:
    """Return whether every record of a Shapefile is marked as deleted."""
    return source.format is SourceFormat.shapefile and are_all_deleted(source, layer)


def _encoding(
    source: OpenableSource, layer: str, options: VectorProfileOptions, declared: str
) -> str:
    """Return the encoding of text. Only a Shapefile can have another encoding than UTF-8.

    If the .cpg or .dbf file declares an encoding, GDAL decodes the text and reports UTF-8.
    """
    if source.format is not SourceFormat.shapefile:
        return "UTF-8"
    if options.encoding is not None:
        return options.encoding
    if declared == "UTF-8":
        return DECODED_BY_DRIVER
    return cpg_encoding(source, layer) or declared


def _sample(
    source: OpenableSource, layer: str, encoding: str | None, findings: dict[str, Finding]
) -> _Sample:
    """Read batches until a row has a geometry."""
    rows, geometry_types, has_curves, has_m = 0, set[str](), False, False
    bounds = np.empty((0, 4))
    with LayerStream(
        source, layer, encoding=encoding, batch_rows=_SAMPLE_ROWS, findings=findings
    ) as stream:
        for batch in stream:
            rows += batch.rows.num_rows
            wkb = batch.rows.column(geometry_position(batch.rows.schema))
            types = wkb_types(wkb)
            geometry_types |= set(types.names())
            has_curves = has_curves or bool(types.is_curve.any())
            has_m = has_m or bool(types.has_m.any())
            bounds = row_bounds(wkb, types)
            if geometry_types:
                break
        return _Sample(
            schema=stream.schema,
            geometry_column=stream.geometry_column,
            rows=rows,
            row_bounds=bounds,
            geometry_types=tuple(sorted(geometry_types)),
            has_curves=has_curves,
            has_m=has_m,
        )


def _geometry_types(declared: str, sample: _Sample) -> tuple[str, ...]:
    """Return the declared type, if the layer declares one, and the sampled types.

    The sampled types are needed too, because a Shapefile that declares Polygon can hold
    multipolygons.
    """
    if declared in ("Unknown", "Geometry", "GeometryCollection") or declared.startswith("Unknown"):
        return sample.geometry_types
    kind = declared.removeprefix("2.5D ").removeprefix("Measured ").removeprefix("3D ")
    z = has_z(declared) or any(has_z(name) for name in sample.geometry_types)
    base = kind.split(" ")[0]
    return tuple(sorted({base + (" Z" if z else ""), *sample.geometry_types}))


def _columns(
    source: OpenableSource,
    layer: str,
    sample: _Sample,
    info: dict[str, Any],
    findings: dict[str, Finding],
    ids: FeatureIdColumn,
    unsigned: frozenset[str],
) -> _Columns:
    """Choose how each column of the layer is read, and its type."""
    driver = _driver_fields(sample, info)
    key = str(info["fid_column"] or "")
    key_field = _key_field(source, key, driver)
    if source.format is SourceFormat.geopackage:
        table = describe_table(
            source,
            layer,
            (sample.geometry_column, key),
            {field.name: field for field in driver},
        )
        by_name = {field.name: field for field in driver} | dict(table.fields)
        fields = [*key_field, *(by_name[name] for name in table.columns if name in by_name)]
        return _Columns(
            tuple(fields), (*[field.name for field in key_field], *table.columns), table.findings
        )
    if source.format is SourceFormat.gml:
        left = envelope_fields(source, layer)
        texts = describe_texts(
            source, layer, [field for field in driver if field.name not in left], findings
        )
        return _Columns(texts.fields, tuple(f.name for f in texts.fields), texts.findings)
    times = describe_times(source, layer, driver, sample.schema, findings)
    times = describe_unsigned(source, layer, times, unsigned, findings)
    fields = [*key_field, *times.fields]
    if ids.field is not None:
        # GDAL's column of this name has the same ids, as far as it has them.
        fields = [ids.field, *(field for field in fields if field.name != ids.field.name)]
    names = [field.name for field in fields]
    if ids.findings and ID_COLUMN not in names:
        names.append(ID_COLUMN)
    return _Columns(tuple(fields), tuple(names), (*times.findings, *ids.findings))


def _key_field(
    source: OpenableSource, key: str, driver: Sequence[SourceField]
) -> list[SourceField]:
    """Return the field of the layer's primary key, which GDAL holds as the id of a feature."""
    if source.format not in _FORMATS_WITH_KEYS or not key or key in {f.name for f in driver}:
        return []
    return [
        SourceField(
            name=key,
            type=FieldType.int64,
            source_type="primary key",
            origin=FieldOrigin.feature_id,
        )
    ]


def _driver_fields(sample: _Sample, info: dict[str, Any]) -> tuple[SourceField, ...]:
    geometry_at = geometry_position(sample.schema)
    attributes = [field for at, field in enumerate(sample.schema) if at != geometry_at]
    types = [
        _ogr_name(kind, sub)
        for kind, sub in zip(info["ogr_types"], info["ogr_subtypes"], strict=True)
    ]
    if len(types) != len(attributes):
        return tuple(describe_field(field) for field in attributes)
    return tuple(describe_field(field, kind) for field, kind in zip(attributes, types, strict=True))


def _ogr_name(ogr_type: str, subtype: str) -> str:
    name = str(ogr_type).removeprefix("OFT")
    return name if subtype in ("OFSTNone", None) else f"{name}({str(subtype).removeprefix('OFST')})"


def _encoding_findings(
    source: OpenableSource, options: VectorProfileOptions, encoding: str
) -> tuple[Finding, ...]:
    if options.encoding is not None and source.format is not SourceFormat.shapefile:
        return (
            Finding(
                code="ENCODING_IGNORED",
                message="This format is always UTF-8; the option encoding was ignored.",
            ),
        )
    if (
        source.format is SourceFormat.shapefile
        and options.encoding is None
        and encoding == "ISO-8859-1"
    ):
        message = (
            "The Shapefile declares ISO-8859-1 or no encoding; if letters look wrong, set encoding."
        )
        return (Finding(code="ENCODING_ASSUMED", message=message),)
    return ()
