"""Geometry from the text of CSV cells: coordinates and WKT. Pure."""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from geo_platform.vector.batch import RowFault

_EWKT = re.compile(r"^\s*SRID=(\d{1,9});", re.IGNORECASE)
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
_SHOWN = 80


def coordinates(column: pa.Array) -> npt.NDArray[np.float64]:
    """Numbers of a text column; NaN where a cell is empty or no number. A decimal comma counts as a point."""
    text = pc.replace_substring(column, ",", ".")
    is_number = pc.match_substring_regex(text, _NUMBER)
    numbers = pc.cast(pc.utf8_trim_whitespace(pc.if_else(is_number, text, None)), pa.float64())
    return np.asarray(pc.fill_null(numbers, float("nan")).to_numpy(zero_copy_only=False), dtype=np.float64)


def points(x_cells: pa.Array, y_cells: pa.Array) -> tuple[pa.Array, dict[int, RowFault]]:
    """Points as WKB, null with a fault where a cell holds no number. Rows with both cells empty are null without one."""
    x, y = coordinates(x_cells), coordinates(y_cells)
    good = np.isfinite(x) & np.isfinite(y)
    geometries = np.full(len(x), None, dtype=object)
    geometries[good] = shapely.points(x[good], y[good])
    faults = {}
    for row in np.flatnonzero(~good).tolist():
        cells = x_cells[row].as_py(), y_cells[row].as_py()
        if cells != (None, None):
            faults[row] = RowFault("COORDINATE_UNREADABLE", f"{str(cells[0])[:_SHOWN]!r}, {str(cells[1])[:_SHOWN]!r} are no two numbers")
    return pa.array(shapely.to_wkb(geometries), pa.binary()), faults


def split_srid(cells: pa.Array) -> tuple[set[int], Sequence[str | None]]:
    """The SRIDs that cells of EWKT say, and the cells without them."""
    texts: list[str | None] = cells.to_pylist()
    if not pc.any(pc.match_substring(cells, "SRID=", ignore_case=True)).as_py():
        return set(), texts
    found = {int(match.group(1)) for text in texts if text and (match := _EWKT.match(text))}
    return found, [text and _EWKT.sub("", text) for text in texts]


def geometries_of_wkt(cells: pa.Array) -> tuple[pa.Array, dict[int, RowFault]]:
    """WKT as WKB, null with a fault where the text is no WKT."""
    _, texts = split_srid(cells)
    geometries = shapely.from_wkt(np.asarray(texts, dtype=object), on_invalid="ignore")
    unread = np.flatnonzero(shapely.is_missing(geometries) & cells.is_valid().to_numpy(zero_copy_only=False))
    faults = {row: RowFault("WKT_UNREADABLE", f"{str(texts[row])[:_SHOWN]!r} is no WKT") for row in unread.tolist()}
    return pa.array(shapely.to_wkb(geometries), pa.binary()), faults
