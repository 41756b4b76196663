"""Read the header of a CSV file: delimiter, columns, and the columns that hold the geometry.

`csv_read.py` reads the rows.

Called by `csv_profile.py` and `csv_read.py`.
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
# Words in a column name that mean longitude or latitude in degrees.
_LONGITUDE_WORDS = {"lon", "long", "lng", "longitude"}
_LATITUDE_WORDS = {"lat", "latitude"}
# Names of columns that hold the geometry as WKT or as hexadecimal WKB.
_WKT_NAMES = {
    "wkt",
    "ewkt",
    "wkb",
    "ewkb",
    "geometry",
    "geom",
    "the_geom",
    "geog",
    "geography",
    "wkt_geom",
    "geom_wkt",
    "wkt_geometry",
    "geometry_wkt",
    "wkb_geometry",
    "shape",
}


@dataclass(frozen=True)
class CsvDialect:
    """`columns` are the cells of the header. Identify columns by position: names may repeat.

    `header_lines` is the number of lines of the header: a quoted name can contain line ends.
    """

    delimiter: str
    columns: tuple[str, ...]
    encoding: str
    header_lines: int


@dataclass(frozen=True)
class CsvGeometry:
    """Positions of the geometry columns: either the WKT column, or the x and y columns."""

    wkt: int | None = None
    lon_lat: tuple[int, int] | None = None


def read_dialect(source: OpenableSource, encoding: str | None) -> CsvDialect:
    """Read the header. The delimiter is the character that splits the header into the most cells.

    `encoding` None means UTF-8.
    Raises FieldEncoding: the first bytes cannot be decoded with the encoding.
    Raises SourceUnreadable, SourceTruncated: the file cannot be read or has no header.
    """
    with open_bytes(source) as stream:
        head = stream.read(_HEAD_BYTES)
    text = _decoded(head, encoding, source.display_name)
    lines = text.splitlines()
    if not lines or "\0" in lines[0]:
        raise SourceUnreadable(f"{source.display_name} has no header line.")
    headers = {delimiter: _header(text, delimiter) for delimiter in _DELIMITERS}
    delimiter = max(_DELIMITERS, key=lambda candidate: len(headers[candidate][0]))
    cells, lines_of_header = headers[delimiter]
    return CsvDialect(
        delimiter, tuple(cell.strip() for cell in cells), encoding or "UTF-8", lines_of_header
    )


def find_geometry(
    columns: Sequence[str], options: VectorProfileOptions, display_name: str
) -> CsvGeometry:
    """Return the positions of the geometry columns.

    Columns that the options name come first, then the only column with a name of WKT or WKB, then
    the only pair of columns named longitude and latitude.
    Raises NoGeometry: no such column exists, or several columns fit.
    Raises ParameterInvalid: an option names a column that the file does not have, or only one of
    `lon_name` and `lat_name` is set.
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
    """Return whether the name means longitude in degrees. The names x and easting do not."""
    return bool(_words(name) & _LONGITUDE_WORDS)


def is_latitude_name(name: str) -> bool:
    """Return whether the name means latitude in degrees. The names y and northing do not."""
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


def _header(text: str, delimiter: str) -> tuple[list[str], int]:
    """Return the cells of the first record, and the number of lines that it takes."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return next(reader, []), reader.line_num
    except csv.Error:
        return [], 1


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
