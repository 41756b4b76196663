"""Convert a CSV without geometry to Parquet: raw_table, table_profile, table_rows, table_item.

Holds the chain's core functions and its description. Copied to geo_platform/tables.py.
"""

import csv
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from geo_platform.catalog.naming import default_item_id, item_place
from geo_platform.chains.chain import (
    Chain,
    ChainOptions,
    Check,
    CheckResult,
    DefaultName,
    Place,
    Stage,
    StageCall,
)
from geo_platform.chains.shared import item_valid, receive_source
from geo_platform.contracts.arrival import ObjectArrived, SourceFormat, SourceKind
from geo_platform.contracts.message import Message, ObjectReference, Part
from geo_platform.contracts.publication import ItemPublished
from geo_platform.errors import FieldEncoding, NoFeatures, SourceNotFound, SourceUnreadable
from geo_platform.options import ArrivalOptions, ItemOptions, Options
from geo_platform.ports import SILVER, ObjectStore, StoredObject
from geo_platform.source.arrival import open_source
from geo_platform.source.sniff import DetectedSource

if TYPE_CHECKING:
    import pystac

    from geo_platform.catalog.provenance import Provenance

PARQUET = "application/vnd.apache.parquet"


class Compression(StrEnum):
    zstd = "zstd"
    snappy = "snappy"


class TableProfileOptions(Options):
    """table_profile"""

    table_delimiter: str = Field(
        ",", min_length=1, max_length=1, description="Character between two columns."
    )


class TableRowsOptions(Options):
    """table_rows"""

    table_compression: Compression = Field(Compression.zstd, description="Codec of the Parquet.")


class TableColumn(Part):
    """A column, and the type that fits all of its values."""

    name: str
    type: str = Field(description="integer | number | text")


class TableProfiled(Message):
    """What a table is."""

    source: ObjectArrived
    columns: tuple[TableColumn, ...]
    rows: int
    delimiter: str
    fingerprint: str


class TableStored(Message):
    """The rows are stored as Parquet, and were read back."""

    source: ObjectArrived
    columns: tuple[TableColumn, ...]
    read: int
    stored_rows: int
    stored: ObjectReference
    sha256: str
    was_reused: bool
    fingerprint: str


@contextmanager
def _table(call_path: str, name: str, delimiter: str) -> Iterator[Iterator[list[str]]]:
    try:
        with Path(call_path).open(encoding="utf-8-sig", newline="") as file:
            yield csv.reader(file, delimiter=delimiter, strict=True)
    except UnicodeDecodeError as error:
        raise FieldEncoding(f"{name} is not UTF-8: {error.reason}.") from error
    except csv.Error as error:
        raise SourceUnreadable(f"{name} is not a table: {error}.") from error


def _type_of(types: set[str]) -> str:
    for kind in ("text", "number", "integer"):
        if kind in types:
            return kind
    return "text"


def _value_type(text: str) -> str | None:
    """Return None for an empty cell, which fits every type."""
    if not text:
        return None
    for kind, parse in (("integer", int), ("number", float)):
        try:
            parse(text)
        except ValueError:
            continue
        return kind
    return "text"


def _profile(call: StageCall[ObjectArrived, TableProfileOptions]) -> TableProfiled:
    """Read all rows. Raises NoFeatures, FieldEncoding, SourceUnreadable."""
    delimiter = call.options.table_delimiter
    with (
        call.scratch_folder() as folder,
        open_source(call.objects, call.message, scratch=folder) as source,
        _table(source.gdal_path, source.display_name, delimiter) as rows,
    ):
        header = next(rows, [])
        types: list[set[str]] = [set() for _ in header]
        count = 0
        for row in rows:
            if len(row) != len(header):
                raise SourceUnreadable(
                    f"Row {count + 1} of {source.display_name} has {len(row)} columns, the header "
                    f"has {len(header)}.",
                    remedy="Mend the row, and upload the file again.",
                )
            for seen, text in zip(types, row, strict=True):
                seen.update(filter(None, [_value_type(text)]))
            count += 1
    if not count:
        raise NoFeatures(f"{call.message.key!r} has no rows.")
    call.notify(f"{count} rows read")
    columns = zip(header, map(_type_of, types), strict=True)
    return TableProfiled(
        source=call.message,
        columns=tuple(TableColumn(name=name, type=type_) for name, type_ in columns),
        rows=count,
        delimiter=delimiter,
        fingerprint=call.recipe.extend(
            call.message.fingerprint, call.options.model_dump(mode="json")
        ),
    )


def _store_rows(call: StageCall[TableProfiled, TableRowsOptions]) -> TableStored:
    """Write the rows as Parquet, put it into the store and read it back."""
    import pyarrow.parquet as pq

    profiled, objects = call.message, call.objects
    fingerprint = call.recipe.extend(profiled.fingerprint, call.options.model_dump(mode="json"))
    key = f"tables/{fingerprint}/rows.parquet"
    before = None if profiled.source.force else _stored_before(objects, key)
    if before is None:
        with call.scratch_folder() as folder:
            file = folder / "rows.parquet"
            table = _read(profiled, objects, folder)
            pq.write_table(table, file, compression=call.options.table_compression.value)
            sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
            metadata = {"run_id": call.run_id, "fingerprint": fingerprint, "sha256": sha256}
            stored = objects.put_file(SILVER, key, file, metadata=metadata)
            with objects.local_path(SILVER, key) as path:
                back = pq.read_table(path)
        if not back.equals(table):
            raise AssertionError(f"{key} reads back differently than it was written")
        rows = back.num_rows
    else:
        stored, sha256 = before, before.metadata["sha256"]
        with objects.local_path(SILVER, key) as path:
            rows = pq.read_metadata(path).num_rows
    return TableStored(
        source=profiled.source,
        columns=profiled.columns,
        read=profiled.rows,
        stored_rows=rows,
        stored=stored.reference,
        sha256=sha256,
        was_reused=before is not None,
        fingerprint=fingerprint,
    )


def _stored_before(objects: ObjectStore, key: str) -> StoredObject | None:
    try:
        return objects.stat(SILVER, key)
    except SourceNotFound:
        return None


def _read(profiled: TableProfiled, objects: ObjectStore, folder: Path) -> Any:
    import pyarrow as pa

    types = {"integer": (pa.int64(), int), "number": (pa.float64(), float)}
    with (
        open_source(objects, profiled.source, scratch=folder) as source,
        _table(source.gdal_path, source.display_name, profiled.delimiter) as rows,
    ):
        next(rows)
        columns = list(zip(*rows, strict=True))
    arrays = {}
    for column, values in zip(profiled.columns, columns, strict=True):
        arrow, parse = types.get(column.type, (pa.string(), str))
        arrays[column.name] = pa.array([parse(text) if text else None for text in values], arrow)
    return pa.table(arrays)


def _in_tables(options: ItemOptions) -> ItemOptions:
    return options.model_copy(update={"collection_id": options.collection_id or "tables"})


def _place(stored: TableStored, options: ItemOptions) -> Place:
    return item_place(stored.source, _in_tables(options))


def _place_ahead(arrived: ObjectArrived, options: ChainOptions) -> Place:
    return item_place(arrived, _in_tables(options.of(ItemOptions)))


def _publish(call: StageCall[TableStored, ItemOptions]) -> ItemPublished:
    from geo_platform.catalog.publish import ItemRequest, publish_item

    stored, options = call.message, call.options
    request = ItemRequest(
        source=stored.source,
        place=_place(stored, options),
        fingerprint=call.recipe.extend(stored.fingerprint, options.model_dump(mode="json")),
        run_id=call.run_id,
        outputs={stored.sha256},
    )

    def build(provenance: "Provenance") -> "pystac.Item":
        return _item(stored, _in_tables(options), provenance)

    return publish_item(request, build, call.catalog, call.objects)


def _item(stored: TableStored, options: ItemOptions, provenance: "Provenance") -> "pystac.Item":
    from pystac.extensions.table import Column, TableExtension

    from geo_platform.catalog.acquisition_time import acquisition_time
    from geo_platform.catalog.item import add_stored_asset, new_item, outline
    from geo_platform.grid import LonLatBounds

    source = stored.source
    when = acquisition_time(
        options.acquired_at,
        (None, None),
        [source.key.rpartition("/")[2]],
        last_modified_utc=source.last_modified_utc,
    )
    earth = LonLatBounds(west=-180, south=-90, east=180, north=90)
    item = new_item(
        source,
        options,
        provenance,
        when,
        outline(earth),
        within=earth,
        extensions=[TableExtension.get_schema_uri()],
    )
    item.geometry = item.bbox = None
    table = TableExtension.ext(item)
    table.columns = [
        Column({"name": column.name, "type": column.type}) for column in stored.columns
    ]
    table.row_count = stored.stored_rows
    item.properties["proj:code"] = None
    add_stored_asset(
        item, "data", stored.stored, PARQUET, ["data"], title="Rows", sha256=stored.sha256
    )
    return item


def rows_stored(stored: TableStored) -> CheckResult:
    """Pass if every row that was read is stored."""
    return CheckResult(
        stored.read == stored.stored_rows, {"read": stored.read, "stored": stored.stored_rows}
    )


def _is_table(detected: DetectedSource) -> bool:
    return detected.format is SourceFormat.csv and detected.archive_member is None


ARRIVAL = Stage(
    "raw_table", None, ObjectArrived, ArrivalOptions, 1, receive_source, "The table as it arrived."
)
PROFILE = Stage(
    "table_profile",
    ObjectArrived,
    TableProfiled,
    TableProfileOptions,
    1,
    _profile,
    "Its columns and rows.",
)
ROWS = Stage(
    "table_rows",
    TableProfiled,
    TableStored,
    TableRowsOptions,
    1,
    _store_rows,
    "The rows as Parquet, read back and compared.",
    checks=(Check("rows_stored", "Rows read = rows stored.", rows_stored),),
)
ITEM = Stage(
    "table_item",
    TableStored,
    ItemPublished,
    ItemOptions,
    1,
    _publish,
    "The STAC item, by which the table is found.",
    checks=(Check("table_item_valid", "The item is valid STAC.", item_valid, reads_catalog=True),),
)

TABLE = Chain(
    name="table",
    kind=SourceKind.vector,
    job="ingest_table",
    partitions_name="table_objects",
    description="A CSV without geometry becomes Parquet and a STAC item.",
    stages=(ARRIVAL, PROFILE, ROWS, ITEM),
    place=_place,
    place_ahead=_place_ahead,
    default_names=(DefaultName("item_id", default_item_id, default_item_id),),
    accepts_only=_is_table,
)
