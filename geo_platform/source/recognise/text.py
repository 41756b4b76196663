"""Decode text, and recognise the ESRI ASCII grid and CSV by their lines.

Called by `content_format.py`.
"""

import csv
import io
import re

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.errors import UnsupportedFormat
from geo_platform.source.content import HEAD_BYTES, Content

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1d\x1f]")
_GRID_KEYWORDS = frozenset(
    {
        "ncols",
        "nrows",
        "xllcorner",
        "yllcorner",
        "xllcenter",
        "yllcenter",
        "cellsize",
        "dx",
        "dy",
        "nodata_value",
    }
)
_DELIMITERS = (",", ";", "\t", "|")
_CSV_EXTENSIONS = (".csv", ".tsv")
# Names of a single column that holds geometry.
_GEOMETRY_NAMES = ("wkt", "ewkt", "wkb", "ewkb", "geometry", "geom", "the_geom", "wkb_geometry")
_SAMPLED_ROWS = 200
# The fraction of the sampled rows that must have as many columns as the first row. It is below 1,
# because real tables have some ragged lines, and near 1, because prose has no columns.
_MIN_EVEN_FRACTION = 0.9


def decode(head: bytes) -> str | None:
    """Decode the head as UTF-8, else as Latin-1; return None if it holds control characters.

    Up to three bytes at the end are dropped if the head ends inside a character. The record
    separator (0x1e) counts as text, because RFC 8142 uses it.
    """
    for cut in range(4):
        try:
            text = head[: len(head) - cut].decode("utf-8-sig")
            break
        except UnicodeDecodeError:
            continue
    else:
        text = head.decode("latin-1")
    return None if _CONTROL.search(text) else text


def esri_ascii_grid(content: Content, text: str) -> SourceFormat | None:
    """Recognise the header of an ESRI ASCII grid: keyword and number per line, in any order.

    The header must have ncols, nrows and a cell size (cellsize, or dx and dy).
    """
    keywords: set[str] = set()
    for line in text.lstrip().splitlines()[:12]:
        words = line.split()
        if len(words) != 2 or words[0].lower() not in _GRID_KEYWORDS:
            break
        keywords.add(words[0].lower())
    has_size = "cellsize" in keywords or {"dx", "dy"} <= keywords
    return SourceFormat.esri_ascii_grid if {"ncols", "nrows"} <= keywords and has_size else None


def delimited(content: Content, text: str) -> SourceFormat | None:
    """Recognise CSV: named .csv or .tsv, with one of four delimiters and an even number of columns.

    Raises UnsupportedFormat: the file has the name of a CSV file, but the lines are not a table.
    """
    if not content.name.lower().endswith(_CSV_EXTENSIONS):
        return None
    rows = max((_rows(text, delimiter, content) for delimiter in _DELIMITERS), key=_evenness)
    if _evenness(rows) >= _MIN_EVEN_FRACTION:
        return SourceFormat.csv
    raise UnsupportedFormat(
        f"{content.name!r} is text but not a table: its lines differ in the number of columns.",
        remedy="Write it with a header line, and with comma, semicolon, tab or vertical bar "
        "between the columns.",
    )


def _rows(text: str, delimiter: str, content: Content) -> list[list[str]]:
    rows: list[list[str]] = []
    # A cell with an outline is often longer than Python's default limit of 131,072 characters.
    csv.field_size_limit(HEAD_BYTES)
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            rows.append(row)
            if len(rows) > _SAMPLED_ROWS:
                break
    except csv.Error:
        return []
    cut_short = content.size_bytes > HEAD_BYTES and len(rows) <= _SAMPLED_ROWS and len(rows) > 1
    return [row for row in (rows[:-1] if cut_short else rows) if row]


def _evenness(rows: list[list[str]]) -> float:
    if not rows or not all(name.strip() for name in rows[0][:2]):
        return 0.0
    if len(rows[0]) < 2 and rows[0][0].strip().lower() not in _GEOMETRY_NAMES:
        return 0.0
    even = sum(len(row) == len(rows[0]) for row in rows)
    return even / len(rows) + len(rows[0]) * 1e-6
