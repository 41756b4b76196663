"""Coordinate reference systems: what a person writes, whether two mean the same, and which one is believed.

What belongs here: the rules that rasters and vectors share, pure. What stays out: reading a file's CRS, which each does
in its own way, and transforming coordinates.
"""

from pyproj import CRS
from pyproj.exceptions import CRSError

from geo_platform.contracts.message import Finding, SpatialReference
from geo_platform.errors import BoundsImplausible, CrsMismatch, CrsMissing, ParameterInvalid

EARTH_SEMI_MAJOR_M = 6_378_137.0
FROM_FILE, FROM_USER, FROM_OVERRIDE, FROM_FORMAT = "file", "user", "user_override", "format"
# The same positions in another axis order; data is always x, y here.
_LON_LAT = frozenset({"EPSG:4326", "OGC:CRS84"})


def parse_crs(text: str, parameter: str) -> CRS:
    """What a person wrote: an authority's code, WKT, PROJJSON or a PROJ string. Raises ParameterInvalid, naming the parameter."""
    try:
        if "init=" in text.lower():
            raise CRSError("+init= reads files; give the authority's code")
        crs = CRS.from_user_input(text.strip())
    except CRSError as error:
        raise ParameterInvalid(
            f"{parameter} {text[:100]!r} is not a coordinate reference system that PROJ knows.",
            remedy="Give an authority's code, for example EPSG:32618.",
            parameter=parameter,
        ) from error
    if not is_on_earth(crs) or not has_earth_s_size(crs):
        raise ParameterInvalid(
            f"{parameter} {text[:100]!r} is not tied to the Earth.",
            remedy="Give a geographic or projected CRS.",
        )
    return crs


def is_on_earth(crs: CRS) -> bool:
    """Whether it says where on Earth a position lies, which a local engineering grid does not."""
    horizontal = crs.sub_crs_list[0] if crs.is_compound and crs.sub_crs_list else crs
    return (
        bool(horizontal.is_geographic or horizontal.is_projected or horizontal.is_derived)
        and horizontal.geodetic_crs is not None
    )


def has_earth_s_size(crs: CRS) -> bool:
    """Whether the ellipsoid is the Earth's and not that of another body. Within half a percent, as PROJ compares them."""
    ellipsoid = crs.ellipsoid
    return ellipsoid is None or abs(ellipsoid.semi_major_metre / EARTH_SEMI_MAJOR_M - 1) < 0.005


def believed_crs(
    own: CRS | None,
    *,
    own_came_from: str,
    input_crs: str | None,
    override_crs: bool,
    display_name: str,
) -> tuple[SpatialReference, tuple[Finding, ...]]:
    """The CRS of a source and what is to be said of it: the file's own, unless it has none or the user overrides it.

    Raises CrsMissing, CrsMismatch, BoundsImplausible, ParameterInvalid.
    """
    given = parse_crs(input_crs, "input_crs") if input_crs else None
    if own is None:
        if given is None:
            raise CrsMissing(f"{display_name!r} does not say its coordinate reference system.")
        return reference(given, FROM_USER), ()
    if given is None and not has_earth_s_size(own):
        raise BoundsImplausible(
            f"{display_name!r} does not lie on the Earth: its system is {describe(own)}, of a body of another size."
        )
    if given is None or same_crs(own, given):
        return reference(own, own_came_from), ()
    says = f"{describe(own)}, and input_crs says {describe(given)}"
    if not override_crs:
        raise CrsMismatch(
            f"{display_name!r} says {says}.", file=describe(own), given=describe(given)
        )
    return reference(given, FROM_OVERRIDE), (
        Finding(code="CRS_OVERRIDDEN", message=f"The file says {says}, which was used, as asked."),
    )


def reference(crs: CRS, came_from: str) -> SpatialReference:
    """The CRS as a message carries it."""
    return SpatialReference(
        wkt=crs.to_wkt("WKT2_2019"), authority_code=authority_code(crs), came_from=came_from
    )


def authority_code(crs: CRS) -> str | None:
    """For example EPSG:32618; None where no authority knows it."""
    epsg = crs.to_epsg(min_confidence=70)
    if epsg is not None:
        return f"EPSG:{epsg}"
    found = crs.to_authority(min_confidence=70)
    return ":".join(found) if found else None


def describe(crs: CRS) -> str:
    """For a person: code and name."""
    code = authority_code(crs)
    return f"{code} ({crs.name})" if code else crs.name


def same_crs(one: CRS, other: CRS) -> bool:
    """Whether x, y coordinates mean the same in both: axis order aside, and spelling aside (ESRI and OGC WKT)."""
    if one.equals(other, ignore_axis_order=True):
        return True
    codes = authority_code(one), authority_code(other)
    return codes[0] is not None and (codes[0] == codes[1] or set(codes) <= _LON_LAT)
