"""The header of a CSV file: its delimiter, its columns, and which of them hold the geometry.

Rows are read in `csv_read.py`.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from geo_platform.errors import FieldEncoding, NoGeometry, ParameterInvalid, SourceUnreadable
from geo_platform.source.openable import OpenableSource
from geo_platform.vector.options import VectorProfileOptions
from geo_platform.vector.sources.source_file import open_bytes

_HEAD_BYTES = 256 * 1024
_DELIMITERS = (",", ";", "\t", "|")
# Words of a column's name that mark it as longitude or latitude in degrees.
_LONGITUDE_WORDS = {"lon", "long", "lng", "longitude"}
_LATITUDE_WORDS = {"lat", "latitude"}
# Names of columns that hold WKT.
_WKT_NAMES = {"wkt", "geometry", "geom", "the_geom", "wkt_geom", "shape"}


@dataclass(frozen=True)
class CsvDialect:
    """`columns` are the header's cells in order. Names may repeat: identify columns by position."""

    delimiter: str
    columns: tuple[str, ...]
    encoding: str


@dataclass(frozen=True)
class CsvGeometry:
    """Positions of the geometry columns: one of WKT, or two of coordinates (x, y)."""

    wkt: int | None = None
    lon_lat: tuple[int, int] | None = None


def read_dialect(source: OpenableSource, encoding: str | None) -> CsvDialect:
    """Read the header. The delimiter is the one that splits it into the most cells.

    Raises FieldEncoding: the first bytes are not text in `encoding` (None: UTF-8).
    Raises SourceUnreadable: there is no header, or lines end with carriage returns only.
    """
    with open_bytes(source) as stream:
        head = stream.read(_HEAD_BYTES)
    text = _decoded(head, encoding, source.display_name)
    lines = text.splitlines()
    if not lines or "\0" in lines[0]:
        raise SourceUnreadable(f"{source.display_name} has no header line.")
    if "\r" in text and "\n" not in text:
        raise SourceUnreadable(
            f"The lines of {source.display_name} end with carriage returns only.",
            remedy="Save it with line feeds (LF or CRLF).",
        )
    cells = {delimiter: _first_record(text, delimiter) for delimiter in _DELIMITERS}
    delimiter = max(_DELIMITERS, key=lambda candidate: len(cells[candidate]))
    return CsvDialect(
        delimiter, tuple(cell.strip() for cell in cells[delimiter]), encoding or "UTF-8"
    )


def find_geometry(
    columns: Sequence[str], options: VectorProfileOptions, display_name: str
) -> CsvGeometry:
    """Return the user's columns, else the one named like WKT, else one longitude and one latitude.

    Raises NoGeometry: none of these is found, or not unambiguously.
    Raises ParameterInvalid: the user names a column that the file does not have, or half a pair.
    """
    if options.wkt_column is not None:
        return CsvGeometry(wkt=_position(columns, options.wkt_column, "wkt_column", display_name))
    if options.lon_name is not None or options.lat_name is not None:
        if options.lon_name is None or options.lat_name is None:
            raise ParameterInvalid(
                "lon_name and lat_name must be given together.", parameter="lon_name"
            )
        x = _position(columns, options.lon_name, "lon_name", display_name)
        return CsvGeometry(
            lon_lat=(x, _position(columns, options.lat_name, "lat_name", display_name))
        )
    wkt = [position for position, name in enumerate(columns) if name.lower() in _WKT_NAMES]
    if len(wkt) == 1:
        return CsvGeometry(wkt=wkt[0])
    longitudes = [position for position, name in enumerate(columns) if is_longitude_name(name)]
    latitudes = [position for position, name in enumerate(columns) if is_latitude_name(name)]
    if len(longitudes) == len(latitudes) == 1:
        return CsvGeometry(lon_lat=(longitudes[0], latitudes[0]))
    raise NoGeometry(
        f"The columns of {display_name} do not show which of them hold the geometry. Its columns: "
        f"{', '.join(columns)}.",
        columns=list(columns[:100]),
    )


def is_longitude_name(name: str) -> bool:
    """Return whether a column's name marks it as longitude in degrees. x or easting do not."""
    return bool(_words(name) & _LONGITUDE_WORDS)


def is_latitude_name(name: str) -> bool:
    """Return whether a column's name marks it as latitude in degrees. y or northing do not."""
    return bool(_words(name) & _LATITUDE_WORDS)


def _decoded(head: bytes, encoding: str | None, display_name: str) -> str:
    try:
        return head.decode(
            encoding or "utf-8-sig", errors="strict" if len(head) < _HEAD_BYTES else "ignore"
        )
    except UnicodeDecodeError as error:
        line = head[: error.start].count(b"\n") + 1
        raise FieldEncoding(
            f"Line {line} of {display_name} cannot be decoded as {encoding or 'UTF-8'}.", line=line
        ) from error


def _first_record(text: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(text), delimiter=delimiter), [])
    except csv.Error:
        return []


def _position(columns: Sequence[str], name: str, parameter: str, display_name: str) -> int:
    if name not in columns:
        raise ParameterInvalid(
            f"{parameter}: {display_name} has no column {name!r}. Its columns: "
            f"{', '.join(columns)}.",
            parameter=parameter,
        )
    return list(columns).index(name)


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z]+", name.lower()))
