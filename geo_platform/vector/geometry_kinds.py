"""Geometry types: OGC names, WKB type codes, and the families (point, line, polygon) that decide what is a mix.

What belongs here: reading types off names and off the first bytes of WKB, without parsing geometries.
Source: OGC 06-103r4 (Simple Features) 8.2.8 and table 4, ISO/IEC 13249-3 for curves; EWKB flags as PostGIS writes them.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa

OGC_NAMES = {
    1: "Point",
    2: "LineString",
    3: "Polygon",
    4: "MultiPoint",
    5: "MultiLineString",
    6: "MultiPolygon",
    7: "GeometryCollection",
    8: "CircularString",
    9: "CompoundCurve",
    10: "CurvePolygon",
    11: "MultiCurve",
    12: "MultiSurface",
    13: "Curve",
    14: "Surface",
    15: "PolyhedralSurface",
    16: "TIN",
    17: "Triangle",
}
CURVE_CODES = (8, 9, 10, 11, 12)
COLLECTION_CODE = 7


class Family(StrEnum):
    """What counts as one kind of geometry: single and multi parts together."""

    point = "point"
    line = "line"
    polygon = "polygon"
    collection = "collection"


MULTI_OF: dict[Family, str] = {Family.point: "MultiPoint", Family.line: "MultiLineString", Family.polygon: "MultiPolygon"}
_FAMILY_OF_CODE = {
    **dict.fromkeys((1, 4), Family.point),
    **dict.fromkeys((2, 5, 8, 9, 11, 13), Family.line),
    **dict.fromkeys((3, 6, 10, 12, 14, 15, 16, 17), Family.polygon),
    7: Family.collection,
}
_FAMILY_OF_NAME = {OGC_NAMES[code]: family for code, family in _FAMILY_OF_CODE.items()} | {"LinearRing": Family.line}


@dataclass(frozen=True)
class WkbKinds:
    """Per row of a WKB column: the OGC code (0: null or no WKB), and whether it has Z and M."""

    codes: npt.NDArray[np.uint32]
    has_z: npt.NDArray[np.bool_]
    has_m: npt.NDArray[np.bool_]

    @property
    def is_curve(self) -> npt.NDArray[np.bool_]:
        return np.isin(self.codes, CURVE_CODES)

    def names(self) -> tuple[str, ...]:
        """OGC names that occur, M left out since measures are always dropped, for example `MultiPolygon Z`."""
        pairs = {(int(code), bool(z)) for code, z in zip(self.codes, self.has_z, strict=True) if code in OGC_NAMES}
        return tuple(OGC_NAMES[code] + (" Z" if z else "") for code, z in sorted(pairs))


def wkb_kinds(wkb: pa.Array) -> WkbKinds:
    """Types of a binary Arrow column, read from its buffers at once."""
    array = wkb if pa.types.is_binary(wkb.type) else wkb.cast(pa.binary())
    rows = len(array)
    _, offsets_buffer, data_buffer = array.buffers()
    empty = np.zeros(rows, dtype=np.uint32)
    if rows == 0 or data_buffer is None or data_buffer.size < 5:
        return WkbKinds(empty, empty.astype(bool), empty.astype(bool))
    offsets = np.frombuffer(offsets_buffer, dtype=np.int32)[array.offset : array.offset + rows + 1].astype(np.int64)
    data = np.frombuffer(data_buffer, dtype=np.uint8)
    readable = (np.diff(offsets) >= 5) & ~array.is_null().to_numpy(zero_copy_only=False)
    start = np.where(readable, offsets[:-1], 0)
    four = data[start[:, None] + np.arange(1, 5)]
    little = four.astype(np.uint32) @ (np.uint32(256) ** np.arange(4, dtype=np.uint32))
    big = four.astype(np.uint32) @ (np.uint32(256) ** np.arange(3, -1, -1, dtype=np.uint32))
    raw = np.where(readable, np.where(data[start] == 1, little, big), 0).astype(np.uint32)
    iso = raw & np.uint32(0x0FFFFFFF)
    has_z = (raw & np.uint32(0x80000000) != 0) | np.isin(iso // 1000, (1, 3))
    has_m = (raw & np.uint32(0x40000000) != 0) | np.isin(iso // 1000, (2, 3))
    return WkbKinds(iso % 1000, has_z, has_m)


def family_of(ogc_name: str) -> Family | None:
    """The family of an OGC type name with or without Z; None for Unknown and Geometry."""
    return _FAMILY_OF_NAME.get(ogc_name.split(" ")[0])


def has_z(ogc_name: str) -> bool:
    return ogc_name.endswith((" Z", " ZM")) or ogc_name.startswith("2.5D")
