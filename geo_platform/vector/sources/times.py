"""Find out whether the times of a layer have zones, with every row.

GDAL's Arrow stream gives a column one zone, which the driver takes from its first rows, from all or
from none (GDAL 3.12). Its text of a time has the zone of that time. If the stream has a zone for a
column, the driver has seen one in every row, and the column is read as it comes.

Called by `ogr_profile.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from geo_platform.contracts.message import Finding
from geo_platform.contracts.vector import FieldOrigin, FieldType, SourceField
from geo_platform.source.openable import OpenableSource
from geo_platform.vector.sources.ogr import LayerStream

_ROWS = 65_536
_ZONE = r"(Z|[+-]\d\d(:?\d\d)?)$"


@dataclass(frozen=True)
class DescribedTimes:
    """All fields of the layer, and a finding for each column that mixes times of both kinds."""

    fields: tuple[SourceField, ...]
    findings: tuple[Finding, ...]


def describe_times(
    source: OpenableSource,
    layer: str,
    fields: Sequence[SourceField],
    schema: pa.Schema,
    findings: dict[str, Finding],
) -> DescribedTimes:
    """Return the fields, with the types of times that all their values have.

    A column with a zone in some rows only becomes text. `schema` is that of the driver's stream.
    Raises SourceUnreadable, SourceTruncated: the file cannot be read.
    """
    unsure = [
        field.name
        for field in fields
        if field.type is FieldType.timestamp and not field.is_utc and field.name in schema.names
    ]
    if not unsure:
        return DescribedTimes(tuple(fields), ())
    zoned, local = dict.fromkeys(unsure, 0), dict.fromkeys(unsure, 0)
    with LayerStream(
        source,
        layer,
        encoding=None,
        batch_rows=_ROWS,
        findings=findings,
        columns=unsure,
        with_geometry=False,
        times_as_text=True,
    ) as stream:
        for batch in stream:
            for name in unsure:
                column = pc.utf8_rtrim(batch.rows.column(name), "\0")
                with_zone = pc.sum(pc.match_substring_regex(column, _ZONE)).as_py() or 0
                zoned[name] += with_zone
                local[name] += len(column) - column.null_count - with_zone
    if not any(zoned.values()):
        return DescribedTimes(tuple(fields), ())
    described, mixed = [], []
    for field in fields:
        if field.type is not FieldType.timestamp:
            described.append(field)
            continue
        is_mixed = bool(zoned.get(field.name)) and bool(local.get(field.name))
        if is_mixed:
            mixed.append(_finding(field, zoned[field.name], local[field.name]))
        changes = {
            "origin": FieldOrigin.driver_text,
            "type": FieldType.string if is_mixed else FieldType.timestamp,
            "is_utc": not is_mixed and (field.is_utc or bool(zoned.get(field.name))),
        }
        described.append(field.model_copy(update=changes))
    return DescribedTimes(tuple(described), tuple(mixed))


def _finding(field: SourceField, zoned: int, local: int) -> Finding:
    return Finding(
        code="TIMES_MIXED",
        message=f"Column {field.name!r} ({field.source_type}) has {zoned:,} times with a zone and "
        f"{local:,} without; it is published as text, unchanged.",
    )
