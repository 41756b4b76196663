"""Which coordinate reference system a source has: the file's, the user's, or the format's own rule; never a guess.

What belongs here: the choice and its refusals, pure. What stays out: reprojection (`reproject.py`).
"""

from pyproj import CRS
from pyproj.exceptions import CRSError

from geo_platform.contracts.message import Finding, SpatialReference
from geo_platform.errors import CrsMismatch, CrsMissing, ParameterInvalid, SourceUnreadable

FROM_FILE, FROM_USER, FROM_OVERRIDE, FROM_FORMAT = "file", "user", "user_override", "format"


def crs_of_user(text: str, parameter: str) -> CRS:
    """A CRS as a person names it: an authority's code, WKT, PROJJSON or a PROJ string. Raises ParameterInvalid."""
    try:
        if "init=" in text.lower():
            raise CRSError("+init= reads files; give the authority's code")
        crs = CRS.from_user_input(text)
    except CRSError as error:
        raise ParameterInvalid(
            f"{parameter}: {text[:80]!r} is no coordinate reference system that PROJ knows.",
            remedy="Give an authority's code, for example EPSG:4326.",
            parameter=parameter,
        ) from error
    return crs


def _crs_of_file(text: str, display_name: str) -> CRS | None:
    """None for GeoPackage's undefined systems (srs_id -1 and 0) and local grids. A system that is merely called unknown,
    as PROJ calls those made from its strings, has all its parameters and counts."""
    try:
        crs = CRS.from_user_input(text)
    except CRSError as error:
        raise SourceUnreadable(f"The coordinate reference system of {display_name} cannot be understood.", crs=text[:500]) from error
    says_nothing = crs.type_name.startswith("Engineering") or crs.name.lower().startswith("undefined")
    return None if says_nothing and crs.to_authority() is None else crs


def reference(crs: CRS, came_from: str) -> SpatialReference:
    authority = crs.to_authority()
    return SpatialReference(wkt=crs.to_wkt(), authority_code=":".join(authority) if authority else None, came_from=came_from)


def same_crs(one: CRS, other: CRS) -> bool:
    """Whether coordinates in x, y order mean the same in both."""
    if one.equals(other, ignore_axis_order=True):
        return True
    codes = one.to_authority(), other.to_authority()
    both_lon_lat = {("EPSG", "4326"), ("OGC", "CRS84")}
    return codes[0] is not None and (codes[0] == codes[1] or set(codes) <= both_lon_lat)


def settle_crs(
    found: str | None, *, input_crs: str | None, override_crs: bool, format_rule: str | None, display_name: str
) -> tuple[SpatialReference, tuple[Finding, ...]]:
    """The source's CRS and what is to be said about it.

    `found` is what the file says, `format_rule` the CRS that the format's specification gives to every file of it
    (GeoJSON, KML, OSM: WGS 84). Raises CrsMissing, CrsMismatch, ParameterInvalid.
    """
    wanted = crs_of_user(input_crs, "input_crs") if input_crs else None
    own = _crs_of_file(found, display_name) if found else None
    if own is None and format_rule:
        own = CRS.from_user_input(format_rule)
    if own is None:
        if wanted is None:
            raise CrsMissing(f"{display_name} does not say its coordinate reference system.")
        return reference(wanted, FROM_USER), ()
    came_from = FROM_FORMAT if format_rule and same_crs(own, CRS.from_user_input(format_rule)) else FROM_FILE
    if wanted is None or same_crs(own, wanted):
        return reference(own, came_from), ()
    if not override_crs:
        raise CrsMismatch(f"{display_name} says {_label(own)}, but input_crs says {_label(wanted)}.", file=_label(own), user=_label(wanted))
    said = Finding(code="CRS_OVERRIDDEN", message=f"The file says {_label(own)}; {_label(wanted)} was used, as asked.")
    return reference(wanted, FROM_OVERRIDE), (said,)


def _label(crs: CRS) -> str:
    authority = crs.to_authority()
    return ":".join(authority) if authority else crs.name


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
    return int(authority[1]) if authority and authority[0] == "EPSG" and authority[1].isdigit() else None
