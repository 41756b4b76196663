"""Which coordinate reference system a vector file has: its own words, or its format's rule; never a guess.

What belongs here: what only vector formats have. What stays out: the rules shared with rasters (`geo_platform/crs.py`)
and reprojection (`reproject.py`).

Coordinates from one CRS to another, x and y, by PROJ.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from geo_platform.contracts.message import Finding, SpatialReference
from geo_platform.crs import FROM_FILE, FROM_FORMAT, believed_crs, same_crs
from geo_platform.errors import SourceUnreadable


@lru_cache(maxsize=8)
def _transformer(source_wkt: str, target_wkt: str) -> Transformer:
    return Transformer.from_crs(source_wkt, target_wkt, always_xy=True)


def reproject(
    geometries: npt.NDArray[np.object_], source_wkt: str, target_wkt: str
) -> npt.NDArray[np.object_]:
    """The geometries in the target CRS; coordinates that have no place there are infinite. Z is kept as it is.

    Vertices are moved, edges stay straight: a long edge is not densified.
    """
    transformer = _transformer(source_wkt, target_wkt)

    def move(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.column_stack(transformer.transform(xy[:, 0], xy[:, 1], errcheck=False))

    moved = shapely.transform(geometries, move)
    if not shapely.has_z(geometries).any():
        return np.asarray(moved, dtype=object)
    coordinates = shapely.get_coordinates(geometries, include_z=True)
    coordinates[:, :2] = shapely.get_coordinates(moved)
    return np.asarray(shapely.set_coordinates(geometries.copy(), coordinates), dtype=object)


def _crs_of_file(text: str, display_name: str) -> CRS | None:
    """None for GeoPackage's undefined systems (srs_id -1 and 0) and local grids. A system that is merely called unknown,
    as PROJ calls those made from its strings, has all its parameters and counts."""
    try:
        crs = CRS.from_user_input(text)
    except CRSError as error:
        raise SourceUnreadable(
            f"The coordinate reference system of {display_name} cannot be understood.",
            crs=text[:500],
        ) from error
    says_nothing = crs.type_name.startswith("Engineering") or crs.name.lower().startswith(
        "undefined"
    )
    return None if says_nothing and crs.to_authority() is None else crs


def settle_crs(
    found: str | None,
    *,
    input_crs: str | None,
    override_crs: bool,
    format_rule: str | None,
    display_name: str,
) -> tuple[SpatialReference, tuple[Finding, ...]]:
    """The source's CRS and what is to be said about it.

    `found` is what the file says, `format_rule` the CRS that the format's specification gives to every file of it
    (GeoJSON, KML, OSM: WGS 84). Raises CrsMissing, CrsMismatch, ParameterInvalid.
    """
    own = _crs_of_file(found, display_name) if found else None
    rule = CRS.from_user_input(format_rule) if format_rule else None
    own = own or rule
    came_from = (
        FROM_FORMAT if own is not None and rule is not None and same_crs(own, rule) else FROM_FILE
    )
    return believed_crs(
        own,
        own_came_from=came_from,
        input_crs=input_crs,
        override_crs=override_crs,
        display_name=display_name,
    )


def horizontal(crs: CRS) -> CRS:
    """The CRS without its height, for coordinates that lost theirs."""
    if crs.is_compound:
        return horizontal(crs.sub_crs_list[0])
    return crs.to_2d() if len(crs.axis_info) == 3 else crs


def srid_of(crs: CRS) -> int | None:
    """EPSG code, or None. OGC:CRS84 is EPSG:4326 in x, y order."""
    authority = crs.to_authority()
    if authority == ("OGC", "CRS84"):
        return 4326
    return (
        int(authority[1])
        if authority and authority[0] == "EPSG" and authority[1].isdigit()
        else None
    )
