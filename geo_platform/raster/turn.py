"""Grids that run on past the antimeridian, said in a way that GDAL's warper understands.

What belongs here: choosing another meridian to count from. What stays out: target grids (`target.py`), warping (`stage.py`).
"""

from typing import Any

from affine import Affine
from pyproj import CRS
from pyproj.exceptions import CRSError

from geo_platform.grid import GridShape
from geo_platform.raster.georeference import corner_bounds

MERCATOR_END_M = 20_037_508.342789244
"""Half the equator of EPSG:3857: web maps end there, at 85.06 degrees, and the projection itself never does."""

_NATURAL_ORIGIN_LONGITUDE = 8802
"""EPSG's code of that parameter."""


def whole_turn(crs: CRS) -> float | None:
    """What once round the Earth measures along x, where x runs on past the antimeridian; None in systems that are cut there."""
    if crs.is_geographic:
        return 360.0
    return 2 * MERCATOR_END_M if is_web_mercator(crs) else None


def is_web_mercator(crs: CRS) -> bool:
    return crs.coordinate_operation is not None and "Pseudo Mercator" in crs.coordinate_operation.method_name


def counted_from_middle(transform: Affine, shape: GridShape, crs: CRS) -> tuple[CRS, Affine] | None:
    """The same grid in the same system, with the meridian of its middle as 0; None where it keeps within half a turn of 0 as it is.

    PROJ hands every longitude back between -180 and 180, and GDAL then finds nothing in the part of a source that was
    written beyond. None too where the system has no such variant (rotated poles, other units than degrees).
    """
    turn = whole_turn(crs)
    bounds = corner_bounds(transform, shape)
    if turn is None or (bounds.xmin >= -turn / 2 * (1 + 1e-12) and bounds.xmax <= turn / 2 * (1 + 1e-12)):
        return None
    middle = (bounds.xmin + bounds.xmax) / 2
    moved = _with_meridian(crs, middle * 360.0 / turn)
    return None if moved is None else (moved, Affine.translation(-middle, 0) @ transform)


def _with_meridian(crs: CRS, degrees: float) -> CRS | None:
    """The system with its meridian moved east; None where it is of another kind than the two that run on."""
    system = crs.to_2d().to_json_dict()
    for name in ("id", "scope", "area", "bbox", "usages"):
        system.pop(name, None)
    system["name"] = f"{system['name']}, counted from {degrees:.9g} degrees further east"
    if system["type"] == "ProjectedCRS":
        for parameter in system["conversion"]["parameters"]:
            if parameter.get("id", {}).get("code") == _NATURAL_ORIGIN_LONGITUDE:
                parameter["value"] += degrees
    elif system["type"] == "GeographicCRS" and crs.axis_info[0].unit_name == "degree":
        datum = system.pop("datum", None) or _one_datum(system.pop("datum_ensemble"))
        if "prime_meridian" in datum:
            return None
        system["datum"] = datum | {"prime_meridian": {"name": "moved", "longitude": degrees}}
    else:
        return None
    try:
        return CRS.from_json_dict(system)
    except CRSError:
        return None


def _one_datum(ensemble: dict[str, Any]) -> dict[str, Any]:
    """PROJJSON has no meridian for an ensemble; PROJ takes the datum of its name for the same."""
    name = ensemble["name"].removesuffix(" ensemble")
    return {"type": "GeodeticReferenceFrame", "name": name, "ellipsoid": ensemble["ellipsoid"]}
