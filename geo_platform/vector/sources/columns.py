"""Put the columns of a layer together: from the driver, and from the file beside the driver.

The profile decides where the values of each field come from (`FieldOrigin`), and this module
follows it while the rows are read.

GDAL's Arrow stream gives a column of times one zone, which the driver takes from its first rows,
from all or from none (GDAL 3.12). Its text of a time has the zone of that time. If the stream has a
zone for a column, the driver has seen one in every row, and the column is read as it comes.

GML declares no types in the file, and GDAL takes them from the values: it makes 4 of +4, and 0 of -
among integers. All its values are read as text (GML_FIELDTYPES), and this module finds the types.

Called by `ogr_profile.py` and `vector/read.py`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, TypedDict

import pyarrow as pa
import pyarrow.compute as pc

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.contracts.message import Finding
from geo_platform.contracts.vector import FieldOrigin, FieldType, SourceField
from geo_platform.source.openable import OpenableSource
from geo_platform.vector.field_types import published_type
from geo_platform.vector.sources.geojson_values import FeatureIds, numbers_as_text_finding
from geo_platform.vector.sources.geopackage import TableColumns
from geo_platform.vector.sources.loose_values import ColumnTally, Declared, to_array
from geo_platform.vector.sources.ogr import LayerStream
from geo_platform.vector.sources.text_types import ColumnTypes, text_findings

_ROWS = 65_536
_DECLARED = {
    FieldType.timestamp: Declared.timestamp,
    FieldType.date: Declared.date,
    FieldType.time: Declared.time,
}
# The names that GDAL gives to lists of numbers.
_LISTS = {FieldType.int64: "Integer64List", FieldType.float64: "RealList"}
_LIST_ITEMS = {"Integer64List": pa.int64(), "RealList": pa.float64()}


class FileColumns(Protocol):
    """Columns that are read from the file itself, in the order of its rows."""

    def next_rows(self, count: int, ids: pa.Array | None) -> list[pa.Array]:
        """Return the columns of the next `count` rows, which have these ids in the driver."""
        ...


class StreamOptions(TypedDict):
    """Options of `LayerStream` that follow from the fields."""

    columns: list[str] | None
    with_ids: bool
    times_as_text: bool


def stream_options(fields: Sequence[SourceField], source_format: SourceFormat) -> StreamOptions:
    """Return the options with which the driver returns the fields that come from it."""
    origins = {field.origin for field in fields}
    from_driver = (FieldOrigin.driver, FieldOrigin.driver_text)
    return StreamOptions(
        columns=[field.name for field in fields if field.origin in from_driver]
        if FieldOrigin.file in origins or source_format is SourceFormat.gml
        else None,
        with_ids=FieldOrigin.feature_id in origins,
        times_as_text=FieldOrigin.driver_text in origins,
    )


@contextmanager
def file_columns(
    source: OpenableSource, layer: str, id_column: str | None, fields: Sequence[SourceField]
) -> Iterator[FileColumns | None]:
    """Open the reader of the fields that are read without the driver, or None if there are none.

    Raises SourceUnreadable, SourceTruncated: the file cannot be read.
    """
    read_here = [field for field in fields if field.origin is FieldOrigin.file]
    if not read_here:
        yield None
        return
    if source.format is not SourceFormat.geopackage:
        yield FeatureIds(source, read_here[0])
        return
    with TableColumns(source, layer, id_column, read_here) as columns:
        yield columns


def combined_columns(
    fields: Sequence[SourceField],
    from_driver: Sequence[pa.Array],
    ids: pa.Array | None,
    columns: FileColumns | None,
    rows: int,
) -> pa.RecordBatch:
    """Return the columns in the order of the fields, which may have names that repeat.

    `from_driver` has the driver's columns in the order of their fields.
    """
    if not fields:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))
    driver = iter(from_driver)
    file = iter(() if columns is None else columns.next_rows(rows, ids))
    arrays = [_column(field, driver, file, ids) for field in fields]
    return pa.RecordBatch.from_arrays(arrays, names=[field.name for field in fields])


def values_from_text(column: pa.Array, field: SourceField) -> pa.Array:
    """Return values from the text of a driver. A list of texts keeps them, or has numbers.

    GDAL 3.12 pads some texts with zero bytes.
    """
    if pa.types.is_list(column.type):
        items = _LIST_ITEMS.get(field.source_type)
        return column if items is None else column.cast(pa.list_(items))
    text = pc.utf8_rtrim(column, "\0")
    if field.type is not FieldType.string:
        text = pc.utf8_trim_whitespace(text)
    try:
        return text.cast(published_type(field))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return to_array(text.to_pylist(), field)


def _column(
    field: SourceField,
    driver: Iterator[pa.Array],
    file: Iterator[pa.Array],
    ids: pa.Array | None,
) -> pa.Array:
    if field.origin is FieldOrigin.feature_id:
        return ids
    if field.origin is FieldOrigin.file:
        return next(file)
    column = next(driver)
    if field.origin is FieldOrigin.driver_text:
        return values_from_text(column, field)
    return column


@dataclass(frozen=True)
class DescribedFields:
    """All fields of the layer, and findings about columns whose values are not of one kind."""

    fields: tuple[SourceField, ...]
    findings: tuple[Finding, ...]


def describe_texts(
    source: OpenableSource,
    layer: str,
    fields: Sequence[SourceField],
    findings: dict[str, Finding],
) -> DescribedFields:
    """Return the fields, which the driver reads as text, with the types that all their values have.

    Raises SourceUnreadable, SourceTruncated: the file cannot be read.
    """
    types = {field.name: ColumnTypes.of_xml() for field in fields}
    if not types:
        return DescribedFields((), ())
    with LayerStream(
        source,
        layer,
        encoding=None,
        batch_rows=_ROWS,
        findings=findings,
        columns=list(types),
        with_geometry=False,
    ) as stream:
        for batch in stream:
            for name, column_types in types.items():
                column = batch.rows.column(name)
                values = column.flatten() if pa.types.is_list(column.type) else column
                column_types.add(pc.utf8_trim_whitespace(values))
    described = tuple(_described_text(field, types[field.name]) for field in fields)
    return DescribedFields(described, text_findings(list(types), list(types.values())))


def _described_text(field: SourceField, types: ColumnTypes) -> SourceField:
    described = types.described(field.name, field.source_type)
    if field.type is FieldType.json:
        source_type = _LISTS.get(described.type, field.source_type)
        described = field.model_copy(update={"source_type": source_type})
    return described.model_copy(update={"origin": FieldOrigin.driver_text})


def describe_unsigned(
    source: OpenableSource,
    layer: str,
    described: DescribedFields,
    unsigned: Collection[str],
    findings: dict[str, Finding],
) -> DescribedFields:
    """Return the fields; an unsigned integer with values that int64 does not hold is text.

    `unsigned` are the columns of unsigned integers of 64 bits, which the driver reads as signed.
    Raises SourceUnreadable, SourceTruncated: the file cannot be read.
    """
    if not unsigned:
        return described
    too_large: set[str] = set()
    with LayerStream(
        source,
        layer,
        encoding=None,
        batch_rows=_ROWS,
        findings=findings,
        columns=list(unsigned),
        with_geometry=False,
    ) as stream:
        for batch in stream:
            named = zip(batch.rows.schema.names, batch.rows.columns, strict=True)
            too_large |= {name for name, column in named if pc.any(pc.less(column, 0)).as_py()}
    if not too_large:
        return described
    fields = tuple(
        field.model_copy(update={"type": FieldType.string}) if field.name in too_large else field
        for field in described.fields
    )
    names = tuple(field.name for field in fields if field.name in too_large)
    return DescribedFields(fields, (*described.findings, numbers_as_text_finding(names)))


def describe_times(
    source: OpenableSource,
    layer: str,
    fields: Sequence[SourceField],
    schema: pa.Schema,
    findings: dict[str, Finding],
) -> DescribedFields:
    """Return the fields, with the types of dates and times that all their values have.

    A column with a zone in some rows only becomes text. `schema` is that of the driver's stream.
    Raises SourceUnreadable, SourceTruncated: the file cannot be read.
    """
    checked = [
        field
        for field in fields
        if field.name in schema.names and _has_to_be_checked(field, source.format)
    ]
    if not checked:
        return DescribedFields(tuple(fields), ())
    tallies = {
        field.name: ColumnTally(field.name, _DECLARED[field.type], field.source_type)
        for field in checked
    }
    with LayerStream(
        with_dates_as_text(source),
        layer,
        encoding=None,
        batch_rows=_ROWS,
        findings=findings,
        columns=list(tallies),
        with_geometry=False,
        times_as_text=True,
    ) as stream:
        for batch in stream:
            for name, tally in tallies.items():
                tally.add_times(pc.utf8_rtrim(batch.rows.column(name), "\0"))
    described = {name: tally.field() for name, tally in tallies.items()}
    if all(_is_as_read(field, *described[field.name], source.format) for field in checked):
        return DescribedFields(tuple(fields), ())
    return DescribedFields(
        tuple(_from_text(field, described) for field in fields),
        tuple(finding for _, finding in described.values() if finding is not None),
    )


def with_dates_as_text(source: OpenableSource) -> OpenableSource:
    """Return the source with the option of GeoJSON that returns dates as they are written.

    Without it, GDAL 3.12 makes 2020-03-01 of 2020-02-30, and cuts times to milliseconds.
    """
    if source.format is not SourceFormat.geojson:
        return source
    return replace(source, driver_options={**source.driver_options, "DATE_AS_STRING": "YES"})


def _has_to_be_checked(field: SourceField, source_format: SourceFormat) -> bool:
    if source_format is SourceFormat.geojson:
        return field.type in _DECLARED
    return field.type is FieldType.timestamp and not field.is_utc


def _is_as_read(
    field: SourceField,
    described: SourceField,
    finding: Finding | None,
    source_format: SourceFormat,
) -> bool:
    """Return whether the driver's column has the type and the values that were found."""
    if source_format is SourceFormat.geojson and field.type is not FieldType.date:
        return False
    is_same = (described.type, described.is_utc) == (field.type, field.is_utc)
    return is_same and finding is None


def _from_text(
    field: SourceField, described: Mapping[str, tuple[SourceField, Finding | None]]
) -> SourceField:
    if field.name in described:
        field = described[field.name][0]
    elif field.type is not FieldType.timestamp:
        return field
    return field.model_copy(update={"origin": FieldOrigin.driver_text})
