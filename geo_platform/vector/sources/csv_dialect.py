"""What a CSV file is like before its rows are read: delimiter, header, and which columns hold the geometry.

What belongs here: rules on the header, pure but for reading the first bytes. What stays out: rows (`csv_rows.py`).
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
_LONGITUDE = {"lon", "long", "lng", "longitude"}
_LATITUDE = {"lat", "latitude"}
_WKT = {"wkt", "geometry", "geom", "the_geom", "wkt_geom", "shape"}


@dataclass(frozen=True)
class CsvDialect:
    """Header cells in order; they may repeat, so columns are meant by position."""

    delimiter: str
    columns: tuple[str, ...]
    encoding: str


@dataclass(frozen=True)
class CsvGeometry:
    """Where the geometry is, by position: one column of WKT, or two of coordinates (x, y)."""

    wkt: int | None = None
    lon_lat: tuple[int, int] | None = None


def read_dialect(source: OpenableSource, encoding: str | None) -> CsvDialect:
    """Delimiter (the one that cuts the header into most cells) and header. Raises FieldEncoding, SourceUnreadable."""
    with open_bytes(source) as stream:
        head = stream.read(_HEAD_BYTES)
    text = _decoded(head, encoding, source.display_name)
    lines = text.splitlines()
    if not lines or "\0" in lines[0]:
        raise SourceUnreadable(f"{source.display_name} has no header line.")
    if "\r" in text and "\n" not in text:
        raise SourceUnreadable(
            f"The lines of {source.display_name} end with carriage returns alone.",
            remedy="Save it with line feeds, as spreadsheets do today.",
        )
    cells = {delimiter: _first_record(text, delimiter) for delimiter in _DELIMITERS}
    delimiter = max(_DELIMITERS, key=lambda candidate: len(cells[candidate]))
    return CsvDialect(
        delimiter, tuple(cell.strip() for cell in cells[delimiter]), encoding or "UTF-8"
    )


def _decoded(head: bytes, encoding: str | None, display_name: str) -> str:
    try:
        return head.decode(
            encoding or "utf-8-sig", errors="strict" if len(head) < _HEAD_BYTES else "ignore"
        )
    except UnicodeDecodeError as error:
        line = head[: error.start].count(b"\n") + 1
        raise FieldEncoding(
            f"Line {line} of {display_name} is not text in {encoding or 'UTF-8'}.", line=line
        ) from error


def _first_record(text: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(text), delimiter=delimiter), [])
    except csv.Error:
        return []


def find_geometry(
    columns: Sequence[str], options: VectorProfileOptions, display_name: str
) -> CsvGeometry:
    """The user's columns, else a column named like WKT, else one longitude and one latitude. Raises NoGeometry, ParameterInvalid."""
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
    wkt = [position for position, name in enumerate(columns) if name.lower() in _WKT]
    if len(wkt) == 1:
        return CsvGeometry(wkt=wkt[0])
    longitudes = [position for position, name in enumerate(columns) if says_longitude(name)]
    latitudes = [position for position, name in enumerate(columns) if says_latitude(name)]
    if len(longitudes) == len(latitudes) == 1:
        return CsvGeometry(lon_lat=(longitudes[0], latitudes[0]))
    raise NoGeometry(
        f"No columns of {display_name} are plainly its geometry. It has: {', '.join(columns)}.",
        columns=list(columns[:100]),
    )


def _position(columns: Sequence[str], name: str, parameter: str, display_name: str) -> int:
    if name not in columns:
        raise ParameterInvalid(
            f"{parameter}: {display_name} has no column {name!r}. It has: {', '.join(columns)}.",
            parameter=parameter,
        )
    return list(columns).index(name)


def says_longitude(name: str) -> bool:
    """Whether a column's name says that it holds degrees of longitude: x, east or easting do not."""
    return bool(_words(name) & _LONGITUDE)


def says_latitude(name: str) -> bool:
    return bool(_words(name) & _LATITUDE)


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z]+", name.lower()))
