"""Read geometry from the cells of a CSV file: coordinates, WKT, EWKT and hexadecimal WKB.

An invalid cell is a fault of its own row, never an error.

Called by `csv_profile.py` and `csv_read.py`.
"""

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from geo_platform.vector.curves import (
    CURVE_IN_WKT,
    linearised_wkb,
    linearised_wkt,
    nests_too_deep,
)
from geo_platform.vector.sources.common import RowFault
from geo_platform.wkb import wkb_types

Coordinates = npt.NDArray[np.float64]

_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
# Degrees with a letter of the compass, a degree sign, or both; minutes and seconds may follow. A
# capital S is south, a small s means seconds.
_DEGREES = re.compile(
    r"""\s*(?P<before>[NSEW])?\s*(?P<sign>[-+−])?\s*(?P<degrees>\d{1,3}(?:[.,]\d+)?)
    (?:\s*[°º˚d:\s]\s*(?P<minutes>\d{1,2}(?:[.,]\d+)?)
      (?:\s*['′’´m:\s]\s*(?P<seconds>\d{1,2}(?:[.,]\d+)?)\s*(?:"|″|”|''|′′|s)?|\s*['′’´m])?
    |\s*[°º˚d])?
    \s*(?P<after>[NSEW])?\s*""",
    re.VERBOSE,
)
_SHOWS_DEGREES = re.compile(r"[°º˚NSEWd]")
_LETTERS = ("EW", "NS")
_MOST_DEGREES = (360.0, 90.0)

_EWKT = re.compile(r"^\s*SRID=(\d{1,9});", re.IGNORECASE)
_EWKT_SRID = r"(?i)^\s*SRID=(?P<srid>\d{1,9});"
_COLLECTION = r"(?i)^\s*(SRID=\d+;\s*)?GEOMETRYCOLLECTION"
# PostGIS writes hexadecimal EWKB, PostgreSQL's bytea begins with \x, SQL Server's binary with 0x.
_HEX = r"^\s*(\\x|0x)?0[01][0-9A-Fa-f]{8,}\s*$"
_HEX_PREFIX = re.compile(r"^\s*(\\x|0x)?", re.IGNORECASE)
_HEX_HEADER = r"^\s*(?:\\x|0x)?(?P<header>0[01][0-9A-Fa-f]{16})"
_EWKB_SRID = 0x20000000
_SURFACE = re.compile(r"\s*(TIN|TRIANGLE|POLYHEDRALSURFACE)\b", re.IGNORECASE)
# Maximum number of characters of a cell that a message quotes.
_MAX_QUOTED = 80


@dataclass(frozen=True)
class CellGeometries:
    """The geometries of a column as WKB; null for an empty cell and for a cell with a fault.

    `linearised` counts the geometries whose curves were replaced by line segments.
    """

    wkb: pa.Array
    faults: Mapping[int, RowFault]
    linearised: int


def coordinates(column: pa.Array, axis: int) -> tuple[Coordinates, int]:
    """Return the numbers of a text column, and how many were written in degrees and minutes.

    `axis` is 0 for longitudes and 1 for latitudes. A decimal comma is accepted. A cell that is
    empty or no number is NaN.
    """
    text = pc.replace_substring(column, ",", ".")
    is_number = pc.match_substring_regex(text, _NUMBER)
    numbers = pc.cast(pc.utf8_trim_whitespace(pc.if_else(is_number, text, None)), pa.float64())
    values = np.array(
        pc.fill_null(numbers, float("nan")).to_numpy(zero_copy_only=False), dtype=np.float64
    )
    if not np.isnan(values).any():
        return values, 0
    others = np.flatnonzero(pc.fill_null(pc.invert(is_number), False))
    cells = column.take(pa.array(others)).to_pylist()
    values[others] = [_decimal_degrees(cell, axis) for cell in cells]
    return values, int(np.isfinite(values[others]).sum())


def points(x_cells: pa.Array, y_cells: pa.Array) -> CellGeometries:
    """Return the points of two columns. A row with two empty cells is null and has no fault."""
    x, _ = coordinates(x_cells, 0)
    y, _ = coordinates(y_cells, 1)
    good = np.isfinite(x) & np.isfinite(y)
    geometries = np.full(len(x), None, dtype=object)
    geometries[good] = shapely.points(x[good], y[good])
    faults = {}
    for row in np.flatnonzero(~good).tolist():
        cells = x_cells[row].as_py(), y_cells[row].as_py()
        if cells != (None, None):
            faults[row] = RowFault(
                "COORDINATE_UNREADABLE",
                f"{quoted(cells[0])}, {quoted(cells[1])} are not two numbers",
            )
    return CellGeometries(pa.array(shapely.to_wkb(geometries), pa.binary()), faults, 0)


def geometries(cells: pa.Array) -> CellGeometries:
    """Return the geometries of a column of WKT, EWKT or hexadecimal WKB, each cell by itself."""
    is_hex = _mask(pc.match_substring_regex(cells, _HEX))
    has_curve = _mask(pc.match_substring_regex(cells, CURVE_IN_WKT)) & ~is_hex
    texts = _without_srid(cells)
    for row in np.flatnonzero(_mask(pc.match_substring_regex(cells, _COLLECTION))):
        texts[row] = "" if nests_too_deep(texts[row]) else texts[row]
    if not is_hex.any() and not has_curve.any():
        wkb, linearised = _wkb_of_wkt(texts), 0
    else:
        is_plain = ~is_hex & ~has_curve
        wkb = np.full(len(texts), None, dtype=object)
        wkb[is_plain] = _wkb_of_wkt(texts[is_plain])
        wkb[has_curve] = [_written(linearised_wkt(text)) for text in texts[has_curve]]
        wkb[is_hex], curves_in_hex = _bytes_of_hex(texts[is_hex])
        linearised = curves_in_hex + sum(value is not None for value in wkb[has_curve])
    column = pa.array(wkb, pa.binary())
    unread = column.is_null().to_numpy(zero_copy_only=False) & _mask(cells.is_valid())
    faults = {int(row): _fault(cells[int(row)].as_py()) for row in np.flatnonzero(unread)}
    return CellGeometries(column, faults, linearised)


def srids_of(cells: pa.Array) -> set[int | None]:
    """Return the SRIDs that the cells state; None stands for cells without one.

    The SRID 0 counts as none, as in PostGIS.
    """
    filled = cells.drop_null()
    in_text = pc.match_substring_regex(filled, _EWKT_SRID)
    found: set[int | None] = set()
    if pc.any(in_text).as_py():
        stated = pc.struct_field(pc.extract_regex(filled.filter(in_text), _EWKT_SRID), "srid")
        found = {int(srid) or None for srid in pc.unique(stated).to_pylist()}
    others = filled.filter(pc.invert(in_text))
    if not len(others):
        return found
    is_hex = pc.match_substring_regex(others, _HEX)
    if pc.any(is_hex).as_py():
        stated = pc.struct_field(pc.extract_regex(others.filter(is_hex), _HEX_HEADER), "header")
        found |= {_srid_of_header(header) for header in pc.unique(stated).to_pylist()}
    return found if pc.all(is_hex).as_py() else found | {None}


def quoted(cell: object) -> str:
    """Return the beginning of a cell, quoted, for a message."""
    return repr(str(cell)[:_MAX_QUOTED])


def _fault(text: str) -> RowFault:
    if _SURFACE.match(text):
        return RowFault("GEOMETRY_UNSUPPORTED", "surfaces of this type cannot be published")
    return RowFault("WKT_UNREADABLE", f"{quoted(text)} is not WKT or hexadecimal WKB")


def _decimal_degrees(cell: str, axis: int) -> float:
    match = _DEGREES.fullmatch(cell)
    if match is None or not _SHOWS_DEGREES.search(cell):
        return float("nan")
    before, after = match["before"] or "", match["after"] or ""
    letter = before or after
    if (before and after) or (letter and letter not in _LETTERS[axis]):
        return float("nan")
    degrees, minutes, seconds = (
        float((match[part] or "0").replace(",", ".")) for part in ("degrees", "minutes", "seconds")
    )
    value = degrees + minutes / 60 + seconds / 3600
    is_negative = match["sign"] in ("-", "−")
    if minutes >= 60 or seconds >= 60 or value > _MOST_DEGREES[axis]:
        return float("nan")
    if letter in ("S", "W"):
        return float("nan") if match["sign"] else -value
    return -value if is_negative else value


def _without_srid(cells: pa.Array) -> npt.NDArray[np.object_]:
    texts: Sequence[str | None] = cells.to_pylist()
    if pc.any(pc.match_substring_regex(cells, _EWKT_SRID)).as_py():
        texts = [text and _EWKT.sub("", text) for text in texts]
    return np.asarray(texts, dtype=object)


def _wkb_of_wkt(texts: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    # A number beyond the range of a double becomes infinite; `clean.py` rejects the row.
    with np.errstate(all="ignore"):
        read = shapely.from_wkt(texts, on_invalid="ignore")
    return np.asarray(shapely.to_wkb(read), dtype=object)


def _bytes_of_hex(texts: npt.NDArray[np.object_]) -> tuple[list[bytes | None], int]:
    """Return the bytes of hexadecimal WKB, without curves, and the number of replaced curves."""
    wkb = [_bytes_or_none(text) for text in texts]
    wkb = [None if value is None or nests_too_deep(value) else value for value in wkb]
    curved = np.flatnonzero(wkb_types(pa.array(wkb, pa.binary())).is_curve)
    for row in curved:
        wkb[row] = _written(linearised_wkb(wkb[row] or b""))
    return wkb, sum(wkb[row] is not None for row in curved)


def _bytes_or_none(text: str) -> bytes | None:
    try:
        return bytes.fromhex(_HEX_PREFIX.sub("", text, count=1))
    except ValueError:
        return None


def _written(geometry: shapely.Geometry | None) -> bytes | None:
    return None if geometry is None else bytes(shapely.to_wkb(geometry))


def _srid_of_header(header: str | None) -> int | None:
    if header is None:
        return None
    data = bytes.fromhex(header)
    order = "<" if data[0] == 1 else ">"
    code, srid = struct.unpack_from(order + "II", data, 1)
    return (srid or None) if code & _EWKB_SRID else None


def _mask(values: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), dtype=bool)
