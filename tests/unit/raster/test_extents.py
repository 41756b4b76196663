"""Extents against a slow reference: every pixel centre is transformed by itself."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from geo_platform.contracts.raster import GeoreferenceNote, RasterProfiled
from geo_platform.crs import reference
from geo_platform.errors import ParameterInvalid
from geo_platform.grid import GridShape
from geo_platform.raster.georeference import corner_bounds
from geo_platform.raster.lonlat import lonlat_bounds
from geo_platform.raster.target import decide_grid

GEOS = "+proj=geos +h=35785831 +lon_0=-75 +sweep=x +ellps=GRS80"
# The part of each CRS from which grids are drawn: xmin, ymin, xmax, ymax.
DOMAINS = {
    "EPSG:4326": (-180.5, -90.5, 400, 90.5),
    "EPSG:3857": (-2.5e7, -2e7, 2.5e7, 2e7),
    "EPSG:6933": (-2e7, -7.3e6, 2e7, 7.3e6),
    "ESRI:54009": (-1.81e7, -9.1e6, 1.81e7, 9.1e6),
    "ESRI:54030": (-1.71e7, -8.7e6, 1.71e7, 8.7e6),
    "EPSG:8857": (-1.73e7, -8.4e6, 1.73e7, 8.4e6),
    "ESRI:54008": (-2.01e7, -1e7, 2.01e7, 1e7),
    GEOS: (-5.5e6, -5.5e6, 5.5e6, 5.5e6),
    "EPSG:3413": (-5e6, -5e6, 5e6, 5e6),
    "EPSG:3031": (-5e6, -5e6, 5e6, 5e6),
    "EPSG:32660": (1e5, 1e5, 1.1e6, 9.3e6),
    "EPSG:32701": (-1e5, 1e6, 9e5, 9.9e6),
    "EPSG:3035": (-6e6, -8e6, 1.4e7, 1.4e7),
}
MERCATOR_PERIOD = 2 * 20_037_508.342789244

Coordinates = NDArray[np.float64]
part = st.floats(0, 1, allow_nan=False)


@st.composite
def grids(draw: st.DrawFn) -> tuple[CRS, Affine, GridShape]:
    name = draw(st.sampled_from(sorted(DOMAINS)))
    xmin, ymin, xmax, ymax = DOMAINS[name]
    (left, right), (low, high) = (sorted((draw(part), draw(part))) for _ in range(2))
    assume(right - left > 0.01 and high - low > 0.01)
    rows, cols = draw(st.integers(2, 40)), draw(st.integers(2, 40))
    width, height = (right - left) * (xmax - xmin), (high - low) * (ymax - ymin)
    if name == "EPSG:4326":
        width = min(width, 361.0)
    west, north = xmin + left * (xmax - xmin), ymin + high * (ymax - ymin)
    return (
        CRS(name),
        Affine(width / cols, 0, west, 0, -height / rows, north),
        GridShape(rows=rows, cols=cols),
    )


def centres(
    crs: CRS, transform: Affine, shape: GridShape
) -> tuple[Coordinates, Coordinates, Coordinates, Coordinates]:
    """Return x, y, lon, lat of each pixel centre that is on the Earth."""
    rows, cols = np.mgrid[0 : shape.rows, 0 : shape.cols] + 0.5
    x, y = transform @ (cols.ravel(), rows.ravel())
    there = Transformer.from_crs(crs, 4326, always_xy=True)
    lon, lat = there.transform(x, y)
    back_x, back_y = there.transform(lon, lat, direction="INVERSE")
    wraps = crs.is_geographic or crs.to_epsg() in (3857, 6933)
    tolerance = 0.01 if crs.is_geographic else 1000
    with np.errstate(invalid="ignore"):
        is_real = np.isfinite(lon) & (np.abs(back_y - y) < tolerance)
        is_real &= np.full(x.shape, wraps) | (np.abs(back_x - x) < tolerance)
    lat = np.clip(lat, -90, 90)
    return x[is_real], y[is_real], lon[is_real], lat[is_real]


@settings(max_examples=30, deadline=None)
@given(grids())
def test_every_pixel_centre_is_in_the_bounds(grid: tuple[CRS, Affine, GridShape]) -> None:
    crs, transform, shape = grid
    _, _, lon, lat = centres(crs, transform, shape)
    found = lonlat_bounds(transform, shape, crs)
    if found is None:
        assert not lon.size
        return
    width = (found.east - found.west) % 360 or 360.0
    assert lon.size == 0 or ((lon - found.west + 1e-6) % 360).max() <= width + 2e-6
    assert lon.size == 0 or found.south - 1e-6 <= lat.min()
    assert lon.size == 0 or lat.max() <= found.north + 1e-6
    corners = (
        transform @ Affine.translation(-0.5, -0.5),
        GridShape(rows=shape.rows + 1, cols=shape.cols + 1),
    )
    lat_of_corners = centres(crs, *corners)[3]
    # Near a pole, the edge of a large pixel reaches over many more longitudes than its centre.
    is_far_from_poles = lon.size == shape.pixels and np.abs(lat_of_corners).max() < 75
    if lon.size >= 400 and is_far_from_poles:
        ordered = np.sort(lon % 360)
        gap = np.diff(np.append(ordered, ordered[0] + 360)).max()
        slack = 6 / min(shape.rows, shape.cols)
        assert width <= (360 - gap) * (1 + slack) + 1e-6
        assert found.north - found.south <= np.ptp(lat) * (1 + slack) + 1e-6


def profiled(crs: CRS, transform: Affine, shape: GridShape) -> RasterProfiled:
    note = GeoreferenceNote(
        transform=tuple(transform)[:6],
        is_rotated=False,
        is_south_up=False,
        ground_control_points=0,
        has_rpcs=False,
        pixel_is_point=False,
    )
    fields: dict[str, Any] = {
        "source": SimpleNamespace(key="a.tif"),
        "crs": reference(crs, "file"),
        "shape": shape,
        "georeference": note,
        "bounds": corner_bounds(transform, shape),
        "lonlat_bounds": lonlat_bounds(transform, shape, crs),
    }
    return RasterProfiled.model_construct(**fields)


@settings(max_examples=30, deadline=None)
@given(grids(), st.sampled_from(sorted(DOMAINS)))
def test_every_pixel_centre_is_in_the_target_grid(
    grid: tuple[CRS, Affine, GridShape], target: str
) -> None:
    crs, transform, shape = grid
    assume(crs != CRS(target))
    _, _, lon, lat = centres(crs, transform, shape)
    assume(lon.size > 0)
    try:
        planned = decide_grid(profiled(crs, transform, shape), target)
    except ParameterInvalid:
        assume(False)
    there = Transformer.from_crs(4326, target, always_xy=True)
    x, y = there.transform(lon, lat)
    back_lon, back_lat = there.transform(x, y, direction="INVERSE")
    with np.errstate(invalid="ignore"):
        moved = np.abs((back_lon - lon + 180) % 360 - 180) * np.cos(np.radians(lat))
        is_real = np.isfinite(x) & (moved < 0.005) & (np.abs(back_lat - lat) < 0.005)
    if target == "EPSG:3857":
        is_real &= np.abs(y) < MERCATOR_PERIOD / 2
    x, y = x[is_real], y[is_real]
    periods = {"EPSG:4326": 360.0, "EPSG:3857": MERCATOR_PERIOD, "EPSG:6933": 34_735_060.890322745}
    bounds, pixel = planned.bounds, abs(planned.transform[0])
    if target in periods:
        x = (x - bounds.xmin + 1e-6 * pixel) % periods[target] + bounds.xmin
    slack = 0.01 * pixel
    assert (x <= bounds.xmax + slack).all()
    assert (x >= bounds.xmin - slack).all()
    assert (y <= bounds.ymax + slack).all()
    assert (y >= bounds.ymin - slack).all()


@pytest.mark.parametrize(
    ("west", "lon"), [(-0.5, (-180, 180)), (0.0, (-180, 180)), (-180.0, (-180, 180))]
)
def test_the_whole_earth_has_no_gap(west: float, lon: tuple[float, float]) -> None:
    found = lonlat_bounds(
        Affine(1, 0, west, 0, -1, 90.5), GridShape(rows=181, cols=360), CRS.from_epsg(4326)
    )
    assert found is not None
    assert found.wsen == (lon[0], -90, lon[1], 90)
