"""The number by which PostGIS knows a CRS. One that it does not know is written into `spatial_ref_sys`, once.

What belongs here: which number, and what is written beside it. What stays out: what a CRS means (`geo_platform/crs.py`).

An authority's code that PostGIS has is its SRID. Any other CRS gets a number of the users' range that is made of its own
WKT, so that the same CRS has the same number in every database, unless another one holds that already.
"""

import hashlib

import psycopg
from pyproj import CRS
from pyproj.exceptions import CRSError

from geo_platform.contracts.message import SpatialReference
from geo_platform.errors import ParameterInvalid
from geo_platform.sql import statement

# Above what GDAL and QGIS number by themselves, below PostGIS' own reserve, which begins at
# 999,000.
FIRST_OWN_SRID = 910_000

OWN_SRIDS = 88_000
_LOCK = "geo_platform spatial_ref_sys"
_MOST_CHARACTERS = 2048
_LON_LAT = "OGC:CRS84"


def srid_of(connection: psycopg.Connection, crs: SpatialReference) -> int:
    """Inside the caller's transaction, which must be ready to write. Raises ParameterInvalid for a CRS with too long a description."""
    authority, _, code = (
        "EPSG:4326" if crs.authority_code == _LON_LAT else crs.authority_code or ""
    ).partition(":")
    known = _known(connection, authority, code)
    return known if known is not None else _own(connection, describing_text(crs))


def describing_text(crs: SpatialReference) -> str:
    """WKT 1, which every client reads, where it says all that there is to say; otherwise WKT 2. Raises ParameterInvalid."""
    meant = CRS.from_wkt(crs.wkt)
    for version in ("WKT1_GDAL", "WKT2_2019_SIMPLIFIED", "WKT2_2019"):
        try:
            text = meant.to_wkt(version)
        except CRSError:
            continue
        if len(text) <= _MOST_CHARACTERS and CRS.from_wkt(text).equals(
            meant, ignore_axis_order=True
        ):
            return text
    raise ParameterInvalid(
        f"The CRS {meant.name!r} has no authority's code and a description that does not fit PostGIS' {_MOST_CHARACTERS:,} characters.",
        remedy="Reproject to a CRS that has a code, with target_crs.",
        parameter="target_crs",
    )


def _known(connection: psycopg.Connection, authority: str, code: str) -> int | None:
    if not code.isdigit():
        return None
    row = connection.execute(
        statement("postgis_srid_known"), {"authority": authority, "code": int(code)}
    ).fetchone()
    return None if row is None else int(row[0])


def _own(connection: psycopg.Connection, text: str) -> int:
    present = _written(connection, text)
    if present is not None:
        return present
    # Others who need a number wait here, and then see this one.
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [_LOCK])
    present = _written(connection, text)
    if present is not None:
        return present
    wanted = (
        FIRST_OWN_SRID
        + int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % OWN_SRIDS
    )
    parameters = {"wanted": wanted, "first": FIRST_OWN_SRID, "numbers": OWN_SRIDS, "text": text}
    row = connection.execute(statement("postgis_srid_add"), parameters).fetchone()
    if row is None:
        raise ParameterInvalid(
            "PostGIS has no number left for another CRS.",
            remedy="Remove what nobody uses from spatial_ref_sys.",
        )
    return int(row[0])


def _written(connection: psycopg.Connection, text: str) -> int | None:
    row = connection.execute(
        statement("postgis_srid_own"), {"text": text, "first": FIRST_OWN_SRID}
    ).fetchone()
    return None if row is None else int(row[0])
