"""Geometry families: point, line, polygon, collection.

A layer whose rows belong to more than one family mixes geometry types. `geo_platform/wkb.py` reads
the types from WKB.

Used by `vector/sources` and `vector`.
"""

from enum import StrEnum

import numpy as np
import numpy.typing as npt
import shapely

from geo_platform.wkb import OGC_NAMES


class Family(StrEnum):
    """A group of geometry types: single and multi parts, straight and curved, are one family."""

    point = "point"
    line = "line"
    polygon = "polygon"
    collection = "collection"


# The geometry type of a dataset that has one family.
TYPE_OF: dict[Family, str] = {
    Family.point: "MultiPoint",
    Family.line: "MultiLineString",
    Family.polygon: "MultiPolygon",
    Family.collection: "GeometryCollection",
}

_CODES_OF_FAMILY = {
    Family.point: (1, 4),
    Family.line: (2, 5, 8, 9, 11, 13),
    Family.polygon: (3, 6, 10, 12, 14, 15, 16, 17),
    Family.collection: (7,),
}
_FAMILY_OF_NAME = {
    OGC_NAMES[code]: family for family, codes in _CODES_OF_FAMILY.items() for code in codes
} | {"LinearRing": Family.line}
# Indexed by Shapely's type id: Point, LineString, LinearRing, Polygon, their multis, collection.
_FAMILY_OF_TYPE_ID = np.array(
    [
        Family.point,
        Family.line,
        Family.line,
        Family.polygon,
        Family.point,
        Family.line,
        Family.polygon,
        Family.collection,
    ]
)


def family_of(ogc_name: str) -> Family | None:
    """Return the family of an OGC type name, with or without Z; None for Unknown or Geometry."""
    return _FAMILY_OF_NAME.get(ogc_name.split(" ")[0])


def families_of(geometries: npt.NDArray[np.object_]) -> npt.NDArray[np.str_]:
    """Return the family of each geometry. None of them may be missing."""
    families: npt.NDArray[np.str_] = _FAMILY_OF_TYPE_ID[shapely.get_type_id(geometries)]
    return families


def families_of_codes(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.str_]:
    """Return the family of each geometry type code of `wkb_types`; "" for an unknown code."""
    families = np.zeros(len(codes), dtype=_FAMILY_OF_TYPE_ID.dtype)
    for family, codes_of_family in _CODES_OF_FAMILY.items():
        families[np.isin(codes, codes_of_family)] = family
    return families


def has_z(ogc_name: str) -> bool:
    """Return whether an OGC or OGR type name, for example `2.5D Point`, has a Z coordinate."""
    return ogc_name.endswith((" Z", " ZM")) or ogc_name.startswith("2.5D")
