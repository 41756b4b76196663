"""Geometry types: OGC names, WKB type codes, and the families (point, line, polygon) that decide what is a mix.

What belongs here: reading types off names and off the first bytes of WKB, without parsing geometries.
Source: OGC 06-103r4 (Simple Features) 8.2.8 and table 4, ISO/IEC 13249-3 for curves; EWKB flags as PostGIS writes them.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from geo_platform.wkb import uint32_at

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


MULTI_OF: dict[Family, str] = {
    Family.point: "MultiPoint",
    Family.line: "MultiLineString",
    Family.polygon: "MultiPolygon",
}
_FAMILY_OF_CODE = {
    **dict.fromkeys((1, 4), Family.point),
    **dict.fromkeys((2, 5, 8, 9, 11, 13), Family.line),
    **dict.fromkeys((3, 6, 10, 12, 14, 15, 16, 17), Family.polygon),
    7: Family.collection,
}
_FAMILY_OF_NAME = {OGC_NAMES[code]: family for code, family in _FAMILY_OF_CODE.items()} | {
    "LinearRing": Family.line
}


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
        pairs = {
            (int(code), bool(z))
            for code, z in zip(self.codes, self.has_z, strict=True)
            if code in OGC_NAMES
        }
        return tuple(OGC_NAMES[code] + (" Z" if z else "") for code, z in sorted(pairs))


def wkb_buffers(
    wkb: pa.Array,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """All bytes of a binary Arrow column, and where each row's begin and end in them; a null's end where they begin."""
    array = wkb if pa.types.is_binary(wkb.type) else wkb.cast(pa.binary())
    rows = len(array)
    _, offsets_buffer, data_buffer = array.buffers()
    if rows == 0 or data_buffer is None:
        nowhere = np.zeros(rows, dtype=np.int64)
        return np.zeros(0, dtype=np.uint8), nowhere, nowhere
    offsets = np.frombuffer(offsets_buffer, dtype=np.int32)[
        array.offset : array.offset + rows + 1
    ].astype(np.int64)
    starts, ends = offsets[:-1], offsets[1:]
    if array.null_count:
        ends = np.where(array.is_null().to_numpy(zero_copy_only=False), starts, ends)
    return np.frombuffer(data_buffer, dtype=np.uint8), starts, ends


def wkb_kinds(wkb: pa.Array) -> WkbKinds:
    """Types of a binary Arrow column, read from its buffers at once."""
    data, starts, ends = wkb_buffers(wkb)
    raw = np.zeros(len(starts), dtype=np.uint32)
    readable = np.flatnonzero(ends - starts >= 5)
    little = uint32_at(data, starts[readable] + 1).astype(np.uint32)
    raw[readable] = np.where(data[starts[readable]] == 1, little, little.byteswap())
    iso = raw & np.uint32(0x0FFFFFFF)
    thousands = iso // 1000
    has_z = (raw & np.uint32(0x80000000) != 0) | (thousands == 1) | (thousands == 3)
    has_m = (raw & np.uint32(0x40000000) != 0) | (thousands == 2) | (thousands == 3)
    return WkbKinds(iso - thousands * 1000, has_z, has_m)


def family_of(ogc_name: str) -> Family | None:
    """The family of an OGC type name with or without Z; None for Unknown and Geometry."""
    return _FAMILY_OF_NAME.get(ogc_name.split(" ")[0])


def has_z(ogc_name: str) -> bool:
    return ogc_name.endswith((" Z", " ZM")) or ogc_name.startswith("2.5D")
