"""The CRS of a vector source, and reprojection of geometries.

A CRS is never guessed from coordinates. `geo_platform/crs.py` has the rules that rasters share.

Used by `vector/sources` and `vector`.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from geo_platform.contracts.message import Finding, SpatialReference
from geo_platform.crs import (
    FROM_FILE,
    FROM_FORMAT,
    FROM_OVERRIDE,
    FROM_USER,
    describe,
    names_file,
    parse_crs,
    reference,
    resolve_crs,
    same_crs,
)
from geo_platform.errors import CrsMismatch, CrsMissing

# Maximum number of CRSs listed in a message.
_MAX_NAMED = 10


def determine_crs(
    declared: str | None,
    *,
    stated: Sequence[str] = (),
    input_crs: str | None,
    override_crs: bool,
    format_rule: str | None,
    display_name: str,
) -> tuple[SpatialReference, tuple[Finding, ...]]:
    """Return the CRS of the source, and warnings.

    `declared` is the CRS that the file states, or None. `stated` has every CRS that rows state, if
    the reader of the format knows them, and "" if some rows state none; it takes the place of
    `declared`. `format_rule` is the CRS
    that the specification of the format gives to every file (GeoJSON, KML, OSM: WGS 84), or None.
    Raises CrsMissing: neither the file, nor the format, nor the user gives a CRS; or PROJ does not
    know the CRS that the file states, and the user gives none.
    Raises CrsMismatch: rows state different CRSs, or `input_crs` differs from the CRS of the file,
    and `override_crs` is not set.
    Raises BoundsImplausible: the CRS of the file is of another body than the Earth.
    Raises ParameterInvalid: `input_crs` is not a CRS.
    """
    texts = distinct_crs(stated or ([declared] if declared else []))
    if "" in texts and input_crs and len(texts) == 2:
        # Some rows state no CRS: the user's counts for them.
        texts.remove("")
    if len(texts) > 1:
        return _overridden(texts, input_crs if override_crs else None, display_name)
    if texts and _parsed(texts[0]) is None:
        return _replaced(texts[0], input_crs, display_name)
    file_crs = _crs_of_file(texts[0]) if texts else None
    format_crs = CRS.from_user_input(format_rule) if format_rule else None
    source_crs = file_crs if texts else format_crs
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


def distinct_crs(texts: Iterable[str]) -> list[str]:
    """Return one text for each different CRS, in the order of the texts."""
    distinct: dict[str, CRS | None] = {}
    for text in dict.fromkeys(texts):
        crs = _parsed(text)
        if crs is None or not any(other and same_crs(crs, other) for other in distinct.values()):
            distinct[text] = crs
    return list(distinct)


def is_known(text: str) -> bool:
    """Return whether PROJ knows the CRS. A text that names a file counts as unknown."""
    return _parsed(text) is not None


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
    moved = shapely.transform(
        geometries, lambda xy: reproject_positions(xy, source_wkt, target_wkt)
    )
    if not shapely.has_z(geometries).any():
        return np.asarray(moved, dtype=object)
    coordinates = shapely.get_coordinates(geometries, include_z=True)
    coordinates[:, :2] = shapely.get_coordinates(moved)
    return np.asarray(shapely.set_coordinates(geometries.copy(), coordinates), dtype=object)


def reproject_positions(
    xy: npt.NDArray[np.float64], source_wkt: str, target_wkt: str
) -> npt.NDArray[np.float64]:
    """Return positions, shape (n, 2), in the target CRS; infinite where they have none."""
    transformer = _transformer(source_wkt, target_wkt)
    return np.column_stack(transformer.transform(xy[:, 0], xy[:, 1], errcheck=False))


def _overridden(
    texts: Sequence[str], user_crs: str | None, display_name: str
) -> tuple[SpatialReference, tuple[Finding, ...]]:
    names = ", ".join(map(_label, texts[:_MAX_NAMED]))
    names += f" and {len(texts) - _MAX_NAMED} more" if len(texts) > _MAX_NAMED else ""
    if user_crs is None:
        raise CrsMismatch(
            f"The rows of {display_name!r} are in {len(texts)} coordinate reference systems: "
            f"{names}.",
            remedy="Transform all rows to one of them, or send a file for each. If all "
            "coordinates are in one system, give it with input_crs and set override_crs=true.",
            stated=list(texts[:_MAX_NAMED]),
        )
    crs = parse_crs(user_crs, "input_crs")
    message = f"The rows state {names}, but input_crs is {describe(crs)}, which is used."
    return reference(crs, FROM_OVERRIDE), (Finding(code="CRS_OVERRIDDEN", message=message),)


def _replaced(
    text: str, user_crs: str | None, display_name: str
) -> tuple[SpatialReference, tuple[Finding, ...]]:
    if user_crs is None:
        raise CrsMissing(
            f"{display_name!r} states the coordinate reference system {text[:200]!r}, which "
            f"{'names a file' if names_file(text) else 'PROJ does not know'}.",
            crs=text[:500],
        )
    crs = parse_crs(user_crs, "input_crs")
    message = f"The file states the CRS {text[:200]!r}, which is unknown; input_crs is used."
    return reference(crs, FROM_USER), (Finding(code="CRS_UNKNOWN", message=message),)


def _label(text: str) -> str:
    crs = _parsed(text)
    if not text:
        return "none stated"
    return repr(text[:100]) if crs is None else describe(crs)


def _parsed(text: str) -> CRS | None:
    """Return the CRS, or None if PROJ does not know it or if the text names a file."""
    if names_file(text):
        return None
    try:
        return CRS.from_user_input(text)
    except CRSError:
        return None


def _crs_of_file(text: str) -> CRS | None:
    """Return the CRS that the file states.

    Return None for the undefined systems of GeoPackage (srs_id -1 and 0) and for local grids. A CRS
    named "unknown" is valid: PROJ gives this name to every CRS made from a PROJ string.
    """
    crs = CRS.from_user_input(text)
    is_undefined = crs.type_name.startswith("Engineering") or crs.name.lower().startswith(
        "undefined"
    )
    return None if is_undefined and crs.to_authority() is None else crs


@lru_cache(maxsize=8)
def _transformer(source_wkt: str, target_wkt: str) -> Transformer:
    return Transformer.from_crs(source_wkt, target_wkt, always_xy=True)
