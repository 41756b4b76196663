"""Look up the SRID of a CRS in PostGIS, or add the CRS to PostGIS' table `spatial_ref_sys`.

PostGIS has an SRID for the codes of authorities, such as EPSG:4326. For any other CRS the platform
adds a custom SRID that is computed from the CRS's WKT. So the CRS has the same SRID in every
database, unless another CRS uses the number already.

Called by `postgis.py`.
"""

import hashlib

import psycopg
from pyproj import CRS
from pyproj.exceptions import CRSError

from geo_platform.contracts.message import SpatialReference
from geo_platform.errors import ParameterInvalid
from geo_platform.sql import statement

# Custom SRIDs are above the numbers that GDAL and QGIS assign. They are below 999,000, where the
# numbers that PostGIS reserves begin.
FIRST_CUSTOM_SRID = 910_000

CUSTOM_SRIDS = 88_000
_LOCK = "geo_platform spatial_ref_sys"
_MAX_CHARACTERS = 2048
_LON_LAT = "OGC:CRS84"


def srid_of(connection: psycopg.Connection, crs: SpatialReference) -> int:
    """Return the SRID of a CRS. Add the CRS to `spatial_ref_sys` if PostGIS has no SRID for it.

    The caller's transaction must be allowed to write to `spatial_ref_sys`.
    Raises ParameterInvalid: the WKT is too long, or there is no free number. psycopg.Error: a
    statement fails.
    """
    authority, _, code = (
        "EPSG:4326" if crs.authority_code == _LON_LAT else crs.authority_code or ""
    ).partition(":")
    existing = _find_known(connection, authority, code)
    return existing if existing is not None else _custom_srid(connection, crs_definition(crs))


def crs_definition(crs: SpatialReference) -> str:
    """Return the WKT for `spatial_ref_sys`.

    It is WKT 1, which every client reads, if that describes the CRS completely; otherwise WKT 2.
    Raises ParameterInvalid: the WKT has more than 2,048 characters.
    """
    pyproj_crs = CRS.from_wkt(crs.wkt)
    for version in ("WKT1_GDAL", "WKT2_2019_SIMPLIFIED", "WKT2_2019"):
        try:
            text = pyproj_crs.to_wkt(version)
        except CRSError:
            continue
        if len(text) <= _MAX_CHARACTERS and CRS.from_wkt(text).equals(
            pyproj_crs, ignore_axis_order=True
        ):
            return text
    raise ParameterInvalid(
        f"The CRS {pyproj_crs.name!r} has no code of an authority, and its WKT is longer than "
        f"PostGIS' {_MAX_CHARACTERS:,} characters.",
        remedy="Reproject to a CRS that has a code, with target_crs.",
        parameter="target_crs",
    )


def _find_known(connection: psycopg.Connection, authority: str, code: str) -> int | None:
    if not code.isdigit():
        return None
    row = connection.execute(
        statement("postgis_srid_known"), {"authority": authority, "code": int(code)}
    ).fetchone()
    return None if row is None else int(row[0])


def _custom_srid(connection: psycopg.Connection, text: str) -> int:
    existing = _find_custom(connection, text)
    if existing is not None:
        return existing
    # Other loads that add a CRS wait here. They then find the CRS that this load added.
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [_LOCK])
    existing = _find_custom(connection, text)
    if existing is not None:
        return existing
    preferred_srid = (
        FIRST_CUSTOM_SRID
        + int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % CUSTOM_SRIDS
    )
    parameters = {
        "wanted": preferred_srid,
        "first": FIRST_CUSTOM_SRID,
        "numbers": CUSTOM_SRIDS,
        "text": text,
    }
    row = connection.execute(statement("postgis_srid_add"), parameters).fetchone()
    if row is None:
        raise ParameterInvalid(
            "PostGIS has no free number for another CRS.",
            remedy="Remove unused rows from spatial_ref_sys.",
        )
    return int(row[0])


def _find_custom(connection: psycopg.Connection, text: str) -> int | None:
    row = connection.execute(
        statement("postgis_srid_custom"), {"text": text, "first": FIRST_CUSTOM_SRID}
    ).fetchone()
    return None if row is None else int(row[0])
