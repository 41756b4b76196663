"""Read the area of a search: a box of 4 or 6 numbers, or a GeoJSON geometry.

Used by `serving/stac`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import shapely

from geo_platform.errors import QueryInvalid

MAX_VERTICES = 20_000


def area_of(value: Any, parameter: str) -> shapely.Geometry:
    """Return the valid geometry, in longitudes and latitudes, of a box or a GeoJSON geometry.

    A box whose west is greater than its east crosses the antimeridian (RFC 7946, section 5.2); it
    becomes two parts. Heights are dropped. `parameter` names the parameter in messages.
    Raises QueryInvalid: it is neither, or is outside of the Earth.
    """
    area = _geometry(value, parameter) if isinstance(value, Mapping) else _box(value, parameter)
    west, south, east, north = shapely.bounds(area)
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise _invalid(parameter, "it is not in longitudes and latitudes")
    return area


def geometry_document(area: shapely.Geometry) -> dict[str, Any]:
    """Return the geometry as GeoJSON."""
    document: dict[str, Any] = json.loads(shapely.to_geojson(area))
    return document


def _box(value: Any, parameter: str) -> shapely.Geometry:
    if (
        not isinstance(value, Sequence)
        or isinstance(value, str)
        or len(value) not in (4, 6)
        or not all(isinstance(side, int | float) and abs(side) < 1e9 for side in value)
    ):
        raise _invalid(parameter, "a box has 4 or 6 numbers: west, south, east, north")
    half = len(value) // 2
    (west, south), (east, north) = value[:2], value[half : half + 2]
    if south > north:
        raise _invalid(parameter, "the box's south is greater than its north")
    if west <= east:
        return shapely.box(west, south, east, north)
    return shapely.union_all(
        [shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)]
    )


def _geometry(value: Mapping[str, Any], parameter: str) -> shapely.Geometry:
    try:
        geometry = shapely.from_geojson(json.dumps(value, allow_nan=False))
    except (shapely.errors.ShapelyError, ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise _invalid(parameter, f"it is not a GeoJSON geometry ({reason})") from error
    if value.get("type") in ("Feature", "FeatureCollection") or geometry.is_empty:
        raise _invalid(parameter, "it is not a GeoJSON geometry, or is empty")
    if shapely.get_num_coordinates(geometry) > MAX_VERTICES:
        raise _invalid(parameter, f"it has more than {MAX_VERTICES} vertices")
    flat = shapely.force_2d(geometry)
    return flat if flat.is_valid else shapely.make_valid(flat)


def _invalid(parameter: str, reason: str) -> QueryInvalid:
    return QueryInvalid(
        f"{parameter}: {reason}.",
        remedy="Give a box as west,south,east,north, or a GeoJSON geometry in WGS 84.",
    )
