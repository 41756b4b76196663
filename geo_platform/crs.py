"""Coordinate reference systems: parse what a user writes, compare two, choose that of a source.

Rasters and vectors share these rules. Each reads the CRS of its files by itself: see
`raster/georeference.py` and `vector/crs.py`.
"""

from pyproj import CRS
from pyproj.exceptions import CRSError

from geo_platform.contracts.message import Finding, SpatialReference
from geo_platform.errors import BoundsImplausible, CrsMismatch, CrsMissing, ParameterInvalid

EARTH_SEMI_MAJOR_M = 6_378_137.0
# Values of SpatialReference.came_from.
FROM_FILE, FROM_USER, FROM_OVERRIDE, FROM_FORMAT = "file", "user", "user_override", "format"
# They differ in axis order only, and coordinates are always x, y here.
_LON_LAT = frozenset({"EPSG:4326", "OGC:CRS84"})


def parse_crs(text: str, parameter: str) -> CRS:
    """Parse an authority's code, WKT, PROJJSON or a PROJ string that a user wrote.

    Raises ParameterInvalid: if PROJ does not know it, or if it does not locate positions on Earth.
    """
    try:
        if "init=" in text.lower():
            raise CRSError("+init= reads files; use the authority's code")
        crs = CRS.from_user_input(text.strip())
    except CRSError as error:
        raise ParameterInvalid(
            f"{parameter} {text[:100]!r} is not a coordinate reference system that PROJ knows.",
            remedy="Use an authority's code, for example EPSG:32618.",
            parameter=parameter,
        ) from error
    if not is_on_earth(crs) or not has_earth_size(crs):
        raise ParameterInvalid(
            f"{parameter} {text[:100]!r} is not tied to the Earth.",
            remedy="Use a geographic or projected CRS of the Earth.",
        )
    return crs


def is_on_earth(crs: CRS) -> bool:
    """Return whether the CRS locates positions on a globe. A local engineering CRS does not."""
    horizontal = crs.sub_crs_list[0] if crs.is_compound and crs.sub_crs_list else crs
    return (
        bool(horizontal.is_geographic or horizontal.is_projected or horizontal.is_derived)
        and horizontal.geodetic_crs is not None
    )


def has_earth_size(crs: CRS) -> bool:
    """Return whether the ellipsoid is the Earth's, within half a percent as PROJ compares them."""
    ellipsoid = crs.ellipsoid
    return ellipsoid is None or abs(ellipsoid.semi_major_metre / EARTH_SEMI_MAJOR_M - 1) < 0.005


def resolve_crs(
    own: CRS | None,
    *,
    own_came_from: str,
    input_crs: str | None,
    override_crs: bool,
    display_name: str,
) -> tuple[SpatialReference, tuple[Finding, ...]]:
    """Return the CRS of a source, and warnings about it.

    It is the file's own CRS, unless the file has none or the user overrides it.
    Raises CrsMissing: if neither the file nor the user gives one.
    Raises CrsMismatch: if both do and they differ, without `override_crs`.
    Raises BoundsImplausible: if the file's CRS is of another body than the Earth.
    Raises ParameterInvalid: if `input_crs` is not a usable CRS.
    """
    given = parse_crs(input_crs, "input_crs") if input_crs else None
    if own is None:
        if given is None:
            raise CrsMissing(f"{display_name!r} has no coordinate reference system.")
        return reference(given, FROM_USER), ()
    if given is None and not has_earth_size(own):
        raise BoundsImplausible(
            f"{display_name!r} is not on the Earth: its CRS is {describe(own)}, of a body of "
            "another size."
        )
    if given is None or same_crs(own, given):
        return reference(own, own_came_from), ()
    difference = f"{describe(own)}, but input_crs is {describe(given)}"
    if not override_crs:
        raise CrsMismatch(
            f"The CRS of {display_name!r} is {difference}.",
            file=describe(own),
            given=describe(given),
        )
    return reference(given, FROM_OVERRIDE), (
        Finding(
            code="CRS_OVERRIDDEN", message=f"The CRS of the file is {difference}, which is used."
        ),
    )


def reference(crs: CRS, came_from: str) -> SpatialReference:
    """Return the CRS as messages carry it."""
    return SpatialReference(
        wkt=crs.to_wkt("WKT2_2019"), authority_code=authority_code(crs), came_from=came_from
    )


def authority_code(crs: CRS) -> str | None:
    """Return the code, for example EPSG:32618, or None if no authority defines the CRS."""
    epsg = crs.to_epsg(min_confidence=70)
    if epsg is not None:
        return f"EPSG:{epsg}"
    found = crs.to_authority(min_confidence=70)
    return ":".join(found) if found else None


def describe(crs: CRS) -> str:
    """Return code and name for a message."""
    code = authority_code(crs)
    return f"{code} ({crs.name})" if code else crs.name


def same_crs(one: CRS, other: CRS) -> bool:
    """Return whether x, y coordinates mean the same in both.

    Axis order and spelling (ESRI or OGC WKT) make no difference.
    """
    if one.equals(other, ignore_axis_order=True):
        return True
    codes = authority_code(one), authority_code(other)
    return codes[0] is not None and (codes[0] == codes[1] or set(codes) <= _LON_LAT)
