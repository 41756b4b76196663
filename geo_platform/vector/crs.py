"""The CRS of a vector source, and reprojection of geometries.

A CRS is never guessed from coordinates. `geo_platform/crs.py` has the rules that rasters share.

Used by `vector`.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from geo_platform.contracts.message import Finding, SpatialReference
from geo_platform.crs import FROM_FILE, FROM_FORMAT, resolve_crs, same_crs
from geo_platform.errors import SourceUnreadable


def determine_crs(
    declared: str | None,
    *,
    input_crs: str | None,
    override_crs: bool,
    format_rule: str | None,
    display_name: str,
) -> tuple[SpatialReference, tuple[Finding, ...]]:
    """Return the CRS of the source, and warnings.

    `declared` is the CRS that the file states, or None. `format_rule` is the CRS that the
    specification of the format gives to every file (GeoJSON, KML, OSM: WGS 84), or None.
    Raises CrsMissing: neither the file, nor the format, nor the user gives a CRS.
    Raises CrsMismatch: `input_crs` differs from the CRS of the file, and `override_crs` is not set.
    Raises BoundsImplausible: the CRS of the file is of another body than the Earth.
    Raises ParameterInvalid: `input_crs` is not a CRS.
    Raises SourceUnreadable: the CRS of the file is invalid.
    """
    file_crs = _crs_of_file(declared, display_name) if declared else None
    format_crs = CRS.from_user_input(format_rule) if format_rule else None
    source_crs = file_crs or format_crs
    is_of_format = (
        source_crs is not None and format_crs is not None and same_crs(source_crs, format_crs)
    )
    came_from = FROM_FORMAT if is_of_format else FROM_FILE
    return resolve_crs(
        source_crs,
        file_crs_origin=came_from,
        input_crs=input_crs,
        override_crs=override_crs,
        display_name=display_name,
    )


def horizontal(crs: CRS) -> CRS:
    """Return the CRS without its vertical part."""
    if crs.is_compound:
        return horizontal(crs.sub_crs_list[0])
    return crs.to_2d() if len(crs.axis_info) == 3 else crs


def srid_of(crs: CRS) -> int | None:
    """Return the EPSG code, or None if the CRS has none."""
    authority = crs.to_authority()
    # OGC:CRS84 is EPSG:4326 in x, y order.
    if authority == ("OGC", "CRS84"):
        return 4326
    return (
        int(authority[1])
        if authority and authority[0] == "EPSG" and authority[1].isdigit()
        else None
    )


def reproject(
    geometries: npt.NDArray[np.object_], source_wkt: str, target_wkt: str
) -> npt.NDArray[np.object_]:
    """Return the geometries in the target CRS, in x, y order, with Z unchanged.

    A coordinate that has no position in the target CRS becomes infinite. Only the vertices are
    transformed; no vertices are added to long edges.
    """
    transformer = _transformer(source_wkt, target_wkt)

    def transform(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.column_stack(transformer.transform(xy[:, 0], xy[:, 1], errcheck=False))

    moved = shapely.transform(geometries, transform)
    if not shapely.has_z(geometries).any():
        return np.asarray(moved, dtype=object)
    coordinates = shapely.get_coordinates(geometries, include_z=True)
    coordinates[:, :2] = shapely.get_coordinates(moved)
    return np.asarray(shapely.set_coordinates(geometries.copy(), coordinates), dtype=object)


def _crs_of_file(text: str, display_name: str) -> CRS | None:
    """Return the CRS that the file states.

    Return None for the undefined systems of GeoPackage (srs_id -1 and 0) and for local grids. A CRS
    named "unknown" is valid: PROJ gives this name to every CRS made from a PROJ string.
    """
    try:
        crs = CRS.from_user_input(text)
    except CRSError as error:
        raise SourceUnreadable(
            f"The coordinate reference system of {display_name} is invalid.",
            crs=text[:500],
        ) from error
    is_undefined = crs.type_name.startswith("Engineering") or crs.name.lower().startswith(
        "undefined"
    )
    return None if is_undefined and crs.to_authority() is None else crs


@lru_cache(maxsize=8)
def _transformer(source_wkt: str, target_wkt: str) -> Transformer:
    return Transformer.from_crs(source_wkt, target_wkt, always_xy=True)
