"""Read layers with OGR through pyogrio: settings, open options, errors, and a stream of rows.

The rows come as Arrow batches, each with GDAL's non-fatal errors. If a feature does not fit into a
batch, the stream is opened again with a larger limit. `source/` decides which drivers may open a
file.

Used by `vector/sources` and `vector`.
"""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyogrio
from pyogrio.errors import (
    CRSError,
    DataLayerError,
    DataSourceError,
    FeatureError,
    FieldError,
    GeometryError,
)

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.contracts.message import Finding
from geo_platform.errors import FieldEncoding, SourceTruncated, SourceUnreadable
from geo_platform.source.formats import FORMATS
from geo_platform.source.openable import OpenableSource
from geo_platform.source.pyogrio_internals import accept_unknown_types_with_z, captured_gdal_errors
from geo_platform.vector.sources.common import M_DROPPED

# GDAL ends an Arrow batch at this size. This limits memory if geometries are large.
BATCH_BYTES = 16 * 2**20

DECODED_BY_DRIVER = "as the file states (.cpg or .dbf)"

# GML_ATTRIBUTES_TO_OGR_FIELDS: an entry of a code list is only an attribute (xlink:href).
# GML_FIELDTYPES: without it, GDAL takes the types from the values; `columns.py` finds them.
# GML_DOWNLOAD_SCHEMA: as the open option, which cannot be given when layers are listed.
# OGR_FLATGEOBUF_STREAM_BASE_IMPL: the Arrow stream of the FlatGeobuf driver ends at the first batch
# that reaches the limit, and loses the rows after it (GDAL 3.12).
_BASE_STREAM = "OGR_FLATGEOBUF_STREAM_BASE_IMPL"
_SETTINGS: Mapping[str, str] = {
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "{none}",
    "GML_ATTRIBUTES_TO_OGR_FIELDS": "YES",
    "GML_DOWNLOAD_SCHEMA": "NO",
    "GML_FIELDTYPES": "ALWAYS_STRING",
    "GML_SKIP_RESOLVE_ELEMS": "ALL",
    "GDAL_DISABLE_READDIR_ON_OPEN": "FALSE",
    "OGR_ARROW_MEM_LIMIT": str(BATCH_BYTES),
    _BASE_STREAM: "YES",
    "OSM_MAX_TMPFILE_SIZE": "64",
}

# USE_CUSTOM_INDEXING: OSM's custom index ends the rows at the first node whose id is not above the
# previous one (GDAL 3.12).
_OPEN_OPTIONS: Mapping[SourceFormat, Mapping[str, str]] = {
    SourceFormat.gml: {"DOWNLOAD_SCHEMA": "NO", "WRITE_GFS": "NO"},
    SourceFormat.geopackage: {"IMMUTABLE": "YES"},
    SourceFormat.osm_pbf: {"USE_CUSTOM_INDEXING": "NO"},
}

_MAX_FINDINGS = 20
# Warnings that mean nothing for the result: "unknown type with Z" is a type.
_NOTES = ("Unrecognized geometry type : -2147483648",)
# How GDAL marks the geometry column of an Arrow stream.
_GEOMETRY_EXTENSIONS = (b"geoarrow.wkb", b"ogc.wkb")
# Drivers that may also open a format, besides the driver of the format.
_ALTERNATIVE_DRIVERS: Mapping[SourceFormat, tuple[str, ...]] = {SourceFormat.kml: ("KML",)}
_OGR_ERRORS = (
    DataSourceError,
    DataLayerError,
    FeatureError,
    FieldError,
    GeometryError,
    pa.ArrowException,
    RuntimeError,
    OSError,
)
# The JSON parser of GDAL reports this error for long strings too.
_VALUE_TOO_LONG = "Too many characters in number"

# About columns of a GeoPackage and ids of GeoJSON features, which are read without GDAL
# (`geopackage.py`, `geojson_values.py`).
_READ_OTHERWISE = re.compile(
    r"Field format '.*' not supported|geometry column '.*' of type '.*' ignored"
    r"|(Non-conformant|Invalid) content for record .*"
    r"|Several features with id = .* have been found\. Altering it to be unique\..*",
    re.DOTALL,
)

_TRUNCATION_SIGNS = (
    "malformed",
    "truncat",
    "unterminated",
    "unclosed",
    "unexpected end",
    "no element found",
    "too short",
    "end of file",
)


def open_options(source: OpenableSource) -> dict[str, str]:
    return {**_OPEN_OPTIONS.get(source.format, {}), **source.driver_options}


def configure_gdal() -> None:
    """Set the options of pyogrio's GDAL. They do not affect rasterio, which has another GDAL."""
    pyogrio.set_gdal_config_options(dict(_SETTINGS))
    accept_unknown_types_with_z()


def set_batch_bytes(limit: int) -> None:
    """Set the batch size of streams that are opened later.

    A feature that is larger than the batch size ends a stream with an error.
    """
    pyogrio.set_gdal_config_options({"OGR_ARROW_MEM_LIMIT": str(limit)})


def encoding_to_pass(source: OpenableSource, encoding: str) -> str | None:
    """Return the encoding to pass to pyogrio, or None if the driver is to decode the text.

    Passing UTF-8 would override the encoding that a Shapefile declares.
    """
    is_explicit = source.format is SourceFormat.shapefile and encoding != DECODED_BY_DRIVER
    return encoding if is_explicit else None


def geometry_position(schema: pa.Schema) -> int:
    """Return the position of the geometry in an Arrow stream. A field may have the same name."""
    marked = [
        position
        for position, field in enumerate(schema)
        if (field.metadata or {}).get(b"ARROW:extension:name") in _GEOMETRY_EXTENSIONS
    ]
    return marked[0] if marked else len(schema) - 1


@contextmanager
def ogr_errors(display_name: str) -> Iterator[None]:
    """Translate errors of GDAL and Arrow.

    The text of GDAL goes only to the details of the error, because it contains local paths.
    Raises FieldEncoding: a field name cannot be decoded.
    Raises SourceTruncated: the text of the error means that the file ends too early.
    Raises SourceUnreadable: any other error.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise FieldEncoding(
            f"A field name of {display_name} cannot be decoded in the encoding that the file "
            "declares.",
            found=str(error),
        ) from error
    except CRSError as error:
        raise SourceUnreadable(
            f"The coordinate reference system of {display_name} is invalid.",
            remedy="Correct it. For a Shapefile, leave out the .prj and set input_crs.",
            gdal=str(error),
        ) from error
    except _OGR_ERRORS as error:
        text = str(error)
        if _VALUE_TOO_LONG in text:
            raise SourceUnreadable(
                f"{display_name} has a value of more than 10,000,000 characters, which GDAL does "
                "not read from JSON.",
                remedy="Shorten the value, or send the data as GeoPackage.",
                gdal=text,
            ) from error
        if any(sign in text.lower() for sign in _TRUNCATION_SIGNS):
            raise SourceTruncated(
                f"{display_name} ends too early or is damaged inside.", gdal=text
            ) from error
        content = "vector data" if isinstance(error, DataSourceError) else "the requested layer"
        raise SourceUnreadable(f"{display_name} cannot be read as {content}.", gdal=text) from error


@contextmanager
def gdal_warnings(findings: dict[str, Finding]) -> Iterator[list[str]]:
    """Add messages of GDAL to `findings`, with their text as key, instead of printing them.

    Yield a list that holds the texts of non-fatal errors after the block has ended.
    """
    with warnings.catch_warnings(record=True) as caught, captured_gdal_errors() as errors:
        warnings.simplefilter("always")
        yield errors
    for text in [str(warning.message) for warning in caught] + errors:
        if _READ_OTHERWISE.fullmatch(text):
            continue
        if any(note in text for note in _NOTES):
            continue
        if "Measured (M)" in text:
            findings.setdefault(M_DROPPED.message, M_DROPPED)
        elif len(findings) < _MAX_FINDINGS:
            findings.setdefault(text, Finding(code="GDAL_WARNING", message=text[:300]))


def layer_list(
    source: OpenableSource, findings: dict[str, Finding]
) -> list[tuple[str, str | None]]:
    """Return (name, geometry type or None) of every layer.

    Raises SourceTruncated, SourceUnreadable: the file cannot be read.
    """
    configure_gdal()
    with ogr_errors(source.display_name), gdal_warnings(findings):
        return [
            (str(name), None if kind is None else str(kind))
            for name, kind in pyogrio.list_layers(source.gdal_path)
        ]


def layer_info(
    source: OpenableSource, layer: str | None, encoding: str | None, findings: dict[str, Finding]
) -> dict[str, Any]:
    """Return pyogrio's description of a layer; `layer` None means the first one.

    Raises FieldEncoding: a field name cannot be decoded.
    Raises SourceTruncated, SourceUnreadable: the file or its CRS cannot be read, or a driver of
    another format opened the file.
    """
    configure_gdal()
    with ogr_errors(source.display_name), gdal_warnings(findings):
        info: dict[str, Any] = pyogrio.read_info(
            source.gdal_path, layer=layer, encoding=encoding, **open_options(source)
        )
    allowed = (FORMATS[source.format].ogr_driver, *_ALTERNATIVE_DRIVERS.get(source.format, ()))
    if info["driver"] not in allowed:
        raise SourceUnreadable(
            f"{source.display_name} was opened as {info['driver']}, not as "
            f"{FORMATS[source.format].label}."
        )
    return info


# Rows of a FlatGeobuf whose texts are searched for U+0000.
_CHECKED_TEXTS = 20_000


def texts_with_zero(
    source: OpenableSource, layer: str, columns: Sequence[str], findings: dict[str, Finding]
) -> tuple[str, ...]:
    """Return the columns of text of a FlatGeobuf with U+0000 in the first rows.

    GDAL 3.12 ends such a text at the character, except in the stream that loses rows (_SETTINGS).
    Raises SourceTruncated, SourceUnreadable: the file cannot be read.
    """
    if source.format is not SourceFormat.flatgeobuf or not columns:
        return ()
    configure_gdal()
    pyogrio.set_gdal_config_options({_BASE_STREAM: "NO"})
    try:
        with (
            ogr_errors(source.display_name),
            gdal_warnings(findings),
            pyogrio.open_arrow(
                source.gdal_path,
                layer=layer,
                columns=list(columns),
                read_geometry=False,
                batch_size=_CHECKED_TEXTS,
                use_pyarrow=True,
            ) as (_, reader),
        ):
            rows = next(iter(reader), None)
    finally:
        configure_gdal()
    if rows is None:
        return ()
    # Names may repeat; then there are other columns than those of text.
    named = zip(rows.schema.names, rows.columns, strict=True)
    found = [
        name
        for name, column in named
        if pa.types.is_string(column.type) and pc.any(pc.match_substring(column, "\0")).as_py()
    ]
    return tuple(dict.fromkeys(found))


# The batch limit is not raised beyond this size.
_MAX_FEATURE_BYTES = 1024**3


# Part of GDAL's error for a feature larger than the batch limit.
_TOO_LARGE = "Too large feature"


# Rows per batch after this error.
_ROWS_OF_LARGE_FEATURES = 64


@dataclass(frozen=True)
class StreamedBatch:
    """Rows, and the texts of the non-fatal errors that GDAL reported while it read the rows."""

    rows: pa.RecordBatch
    errors: tuple[str, ...]


class LayerStream:
    """A context manager that yields the batches of a layer. Iterate over it once.

    Warnings of GDAL are added to `findings`, with their text as key. Opening and iterating raise
    FieldEncoding if a field name cannot be decoded, and SourceTruncated or SourceUnreadable if the
    file cannot be read.
    """

    def __init__(
        self,
        source: OpenableSource,
        layer: str,
        *,
        encoding: str | None,
        batch_rows: int,
        findings: dict[str, Finding],
        columns: Sequence[str] | None = None,
        with_geometry: bool = True,
        with_ids: bool = False,
        times_as_text: bool = False,
    ) -> None:
        """`columns` limits the columns that are read; None reads all.

        `with_ids` adds the driver's ids of features, in the column `id_column`. `times_as_text`
        returns dates with a time of day as the driver reads them, with the zone of each.
        """
        self._source = source
        self._layer = layer
        self._encoding = encoding
        self._batch_rows = batch_rows
        self._findings = findings
        self._columns = columns
        self._with_geometry = with_geometry
        self._with_ids = with_ids
        self._times_as_text = times_as_text
        self._open = ExitStack()
        self._batch_bytes = BATCH_BYTES

    def __enter__(self) -> Self:
        configure_gdal()
        self._reopen(skip=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def schema(self) -> pa.Schema:
        schema: pa.Schema = self._reader.schema
        return schema

    @property
    def geometry_column(self) -> str:
        return str(self.schema.field(geometry_position(self.schema)).name)

    @property
    def id_column(self) -> str | None:
        """Return the column of the driver's ids: the first one. None without `with_ids`."""
        return str(self.schema.names[0]) if self._with_ids else None

    def __iter__(self) -> Iterator[StreamedBatch]:
        at = 0
        while True:
            batch = self._next(at)
            if batch is None:
                return
            at += batch.rows.num_rows
            yield batch

    def _reopen(self, *, skip: int) -> None:
        self._open.close()
        set_batch_bytes(self._batch_bytes)
        with ogr_errors(self._source.display_name), gdal_warnings(self._findings):
            self._meta, self._reader = self._open.enter_context(
                pyogrio.open_arrow(
                    self._source.gdal_path,
                    layer=self._layer,
                    encoding=self._encoding,
                    columns=self._columns,
                    read_geometry=self._with_geometry,
                    return_fids=self._with_ids,
                    datetime_as_string=self._times_as_text,
                    use_pyarrow=True,
                    batch_size=self._batch_rows,
                    skip_features=skip,
                    **open_options(self._source),
                )
            )

    def _next(self, at: int) -> StreamedBatch | None:
        """Return the next batch, or None at the end. `at` is the number of rows yielded before.

        Messages of GDAL are captured only during the read, not while the caller works.
        """
        while True:
            with ogr_errors(self._source.display_name), gdal_warnings(self._findings) as errors:
                try:
                    result: Any = self._reader.read_next_batch()
                except StopIteration:
                    result = None
                except (pa.ArrowException, OSError) as error:
                    if _TOO_LARGE not in str(error) or self._batch_bytes >= _MAX_FEATURE_BYTES:
                        raise
                    result = error
            self._check(errors)
            if result is None:
                return None
            if not isinstance(result, BaseException):
                return StreamedBatch(result, tuple(errors))
            self._batch_bytes *= 4
            self._batch_rows = min(self._batch_rows, _ROWS_OF_LARGE_FEATURES)
            self._reopen(skip=at)

    def _check(self, errors: list[str]) -> None:
        # If the OSM driver cannot read a block, it reports an error and then ends without an
        # exception, as at the end of the file.
        if errors and self._source.format is SourceFormat.osm_pbf:
            raise SourceTruncated(
                f"{self._source.display_name} ends too early or is damaged inside.",
                gdal=errors[0][:500],
            )
