"""Recognise a GeoPackage: SQLite with a layer of features and a schema that runs no foreign code.

The rules are those of OGC 12-128r19 (GeoPackage 1.4) and of the SQLite file format. SQLite itself
reads the schema, read-only, immutable and with a limit on steps. Views and triggers are not run.

Called by `content_format.py` and `vector/sources/geopackage.py`.
"""

import os
import re
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.errors import NoGeometry, SourceTruncated, SourceUnreadable, UnsupportedFormat
from geo_platform.source.content import Content

_MAGIC = b"SQLite format 3\0"
_APPLICATION_IDS = (b"GPKG", b"GP10", b"GP11")
_MAX_STEPS = 2_000_000
# A row of a table needs some ten steps for each of its columns.
_MIN_ROW_STEPS = 50_000_000
_ROW_STEPS_PER_BYTE = 50
_LARGEST_STEPS = 2**31 - 1
# SQLite keeps this many kibibytes of pages. Each page is read once, so that more would not help.
_PAGE_CACHE_KIB = 256
_MAX_SCHEMA_ROWS = 100_000
_MAX_SCHEMA_CHARACTERS = 32 * 1024 * 1024
# Limit for a GeoPackage in an archive. The member is extracted once to read the schema. Later, GDAL
# reads pages in any order, and unpacks the member from the beginning for each of them.
_MAX_PACKED_BYTES = 1024**3

# Modules of virtual tables that keep their data in the same file. Others (VirtualOGR, VirtualShape,
# csv, dbstat) read other files.
_INDEX_MODULES = frozenset({"rtree", "rtree_i32", "fts3", "fts4", "fts5"})

# SQL functions of GDAL, SpatiaLite and the SQLite shell that access files, libraries or network.
_FOREIGN_FUNCTION = re.compile(
    r"\b(ogr_datasource_load_layers|ogr_geocode(_reverse)?|ogr_layer_\w+|gdal_get_\w+"
    r"|load_extension|readfile|writefile|edit|eval|fsdir"
    r"|blobfromfile|blobtofile|xb_loadxml|import\w+|export\w+)[\"'`\]]?\s*\(",
    re.IGNORECASE,
)

_VIRTUAL = re.compile(
    r"create\s+virtual\s+table\b.*?\busing\s+[\"'`\[]?(\w+)", re.IGNORECASE | re.DOTALL
)


def geopackage(content: Content, head: bytes) -> SourceFormat | None:
    """Recognise a GeoPackage with features.

    Raises SourceTruncated, SourceUnreadable: the file is cut short or damaged.
    Raises NoGeometry: the GeoPackage holds attribute tables only.
    Raises UnsupportedFormat: the file is another SQLite database, holds only raster tiles, is too
    large inside an archive, or has a schema that is too large or accesses other files.
    """
    if not head.startswith(_MAGIC):
        return None
    if len(head) < 100:
        raise SourceTruncated(
            f"{content.name!r} begins like a GeoPackage but ends inside its header."
        )
    _check_length(content, head)
    if content.is_packed and content.size_bytes > _MAX_PACKED_BYTES:
        raise UnsupportedFormat(
            f"The GeoPackage {content.name!r} unpacks to {content.size_bytes} bytes; "
            f"the limit inside an archive is {_MAX_PACKED_BYTES}.",
            remedy="Submit the GeoPackage itself.",
        )
    with content.as_file() as path, _opened(path, content.name) as database:
        schema = _schema(content, database)
        _check_schema(content, schema)
        tables = {str(name).lower() for kind, name, _ in schema if kind == "table"}
        if "gpkg_contents" not in tables:
            raise UnsupportedFormat(
                f"{content.name!r} is {_other_database(tables, head)}, not a GeoPackage."
            )
        _check_has_features(content, database, tables)
    return SourceFormat.geopackage


def _check_length(content: Content, head: bytes) -> None:
    page_bytes = struct.unpack_from(">H", head, 16)[0] or 65536
    page_bytes = 65536 if page_bytes == 1 else page_bytes
    pages, changes, valid_for = struct.unpack_from(">I", head, 28)[0], head[24:28], head[92:96]
    if changes == valid_for and pages * page_bytes > content.size_bytes:
        raise SourceTruncated(
            f"The GeoPackage {content.name!r} is {content.size_bytes} bytes long; "
            f"its header gives {pages * page_bytes}."
        )


@contextmanager
def opened_geopackage(path: Path, name: str) -> Iterator[sqlite3.Connection]:
    """Open a GeoPackage read-only to read its rows, with a limit on steps that fits its size.

    A view can need more steps than its file has bytes, and even an infinite number. The file is not
    mapped into memory: a scan of all rows would make all of it part of the process.
    Raises SourceUnreadable: SQLite cannot read the rows, or the limit is reached.
    """
    steps = _MIN_ROW_STEPS + _ROW_STEPS_PER_BYTE * path.stat().st_size
    with _opened(path, name, max_steps=steps) as database:
        database.execute("PRAGMA mmap_size = 0")
        database.execute(f"PRAGMA cache_size = -{_PAGE_CACHE_KIB}")
        yield database


@contextmanager
def _opened(path: Path, name: str, *, max_steps: int = _MAX_STEPS) -> Iterator[sqlite3.Connection]:
    # The limit on steps stops a hostile schema that keeps SQLite busy.
    database = sqlite3.connect(
        f"file:{quote(os.fsencode(path.absolute()))}?mode=ro&immutable=1",
        uri=True,
        check_same_thread=False,
    )
    try:
        database.set_progress_handler(lambda: 1, min(max_steps, _LARGEST_STEPS))
        database.execute("PRAGMA trusted_schema = OFF")
        database.execute("PRAGMA cell_size_check = ON")
        yield database
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise SourceUnreadable(
            f"The GeoPackage {name!r} is damaged: its tables cannot be read.", sqlite=str(error)
        ) from error
    finally:
        database.close()


def _schema(content: Content, database: sqlite3.Connection) -> list[tuple[object, object, object]]:
    rows, characters = database.execute(
        "SELECT count(*), total(length(sql)) + total(length(name)) FROM sqlite_schema"
    ).fetchone()
    if rows > _MAX_SCHEMA_ROWS or characters > _MAX_SCHEMA_CHARACTERS:
        raise UnsupportedFormat(
            f"The GeoPackage {content.name!r} declares {rows} tables, views and indexes "
            f"in {characters:.0f} characters; the limits are {_MAX_SCHEMA_ROWS} and "
            f"{_MAX_SCHEMA_CHARACTERS}."
        )
    return database.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()


def _check_schema(content: Content, schema: list[tuple[object, object, object]]) -> None:
    for _, entry, sql in schema:
        text = str(sql or "")
        module = _VIRTUAL.match(_without_comments(text).strip())
        if module and module.group(1).lower() not in _INDEX_MODULES:
            raise UnsupportedFormat(
                f"The table {entry!r} of {content.name!r} is a virtual table of the module "
                f"{module.group(1)!r}, which reads other files.",
                remedy="Copy the layers into a new GeoPackage, for example with ogr2ogr.",
            )
        if _FOREIGN_FUNCTION.search(text):
            raise UnsupportedFormat(
                f"{entry!r} of {content.name!r} calls an SQL function that accesses other files.",
                remedy="Copy the layers into a new GeoPackage, for example with ogr2ogr.",
            )


def _without_comments(sql: str) -> str:
    return re.sub(r"/\*.*?\*/|--[^\n]*", " ", sql, flags=re.DOTALL)


def _other_database(tables: set[str], head: bytes) -> str:
    if head[68:72] in _APPLICATION_IDS:
        return "an SQLite database marked as a GeoPackage but without gpkg_contents"
    if {"tiles", "metadata"} <= tables:
        return "an MBTiles tile set"
    if "spatial_ref_sys" in tables:
        return "a SpatiaLite database"
    return "an SQLite database"


def _check_has_features(content: Content, database: sqlite3.Connection, tables: set[str]) -> None:
    kinds = {
        str(kind).lower()
        for (kind,) in database.execute("SELECT DISTINCT data_type FROM gpkg_contents LIMIT 100")
    }
    if "features" in kinds and "gpkg_geometry_columns" in tables:
        return
    if kinds & {"tiles", "2d-gridded-coverage"}:
        raise UnsupportedFormat(
            f"The GeoPackage {content.name!r} holds raster tiles but no features.",
            remedy="Export the raster as GeoTIFF and submit that.",
        )
    raise NoGeometry(
        f"The GeoPackage {content.name!r} has no layer with a geometry.",
        remedy="Export a layer with geometries, or submit the table as CSV.",
    )
