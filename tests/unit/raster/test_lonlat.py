"""Extents in degrees: poles, antimeridian, and agreement with PROJ's own bounds elsewhere."""

import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Transformer

from geo_platform.grid import GridShape
from geo_platform.raster.lonlat import lonlat_bounds
from tests.unit.raster.conftest import north_up

UTM_1, UTM_60 = CRS.from_epsg(32601), CRS.from_epsg(32660)
MERCATOR, POLAR_NORTH, POLAR_SOUTH = CRS.from_epsg(3857), CRS.from_epsg(3413), CRS.from_epsg(3031)


@pytest.mark.parametrize(("crs", "west_m"), [(UTM_1, 200_000), (UTM_60, 600_000)])
def test_utm_at_the_antimeridian_crosses_it(crs: CRS, west_m: float) -> None:
    found = lonlat_bounds(
        north_up(west_m, 7_000_000, 100, 100), GridShape(rows=1000, cols=1500), crs
    )
    assert found is not None
    assert found.crosses_antimeridian
    assert 175 < found.west < 180
    assert -180 < found.east < -175


def test_mercator_past_the_antimeridian_crosses_it() -> None:
    found = lonlat_bounds(
        north_up(19_900_000, 100_000, 1000, 1000), GridShape(rows=200, cols=400), MERCATOR
    )
    assert found is not None
    assert found.crosses_antimeridian
    assert found.west == pytest.approx(178.765, abs=1e-3)
    assert found.east == pytest.approx(-177.642, abs=1e-3)


def test_mercator_just_before_the_antimeridian_does_not_cross() -> None:
    found = lonlat_bounds(
        north_up(19_474_931.8, -4_794_130.4, 4, 4), GridShape(rows=1223, cols=1223), MERCATOR
    )
    assert found is not None
    assert not found.crosses_antimeridian
    assert found.west == pytest.approx(174.946, abs=1e-3)


@pytest.mark.parametrize(
    ("crs", "south", "north"), [(POLAR_NORTH, None, 90.0), (POLAR_SOUTH, -90.0, None)]
)
def test_a_pole_inside_spans_all_longitudes(
    crs: CRS, south: float | None, north: float | None
) -> None:
    found = lonlat_bounds(
        north_up(-1_000_000, 1_500_000, 5000, 5000), GridShape(rows=500, cols=500), crs
    )
    assert found is not None
    assert (found.west, found.east) == (-180, 180)
    assert found.south == pytest.approx(south, abs=1e-9) if south else found.south > 60
    assert found.north == pytest.approx(north, abs=1e-9) if north else found.north < -60


def test_polar_projection_without_the_pole_does_not_span_all_longitudes() -> None:
    found = lonlat_bounds(
        north_up(500_000, -500_000, 1000, 1000), GridShape(rows=300, cols=300), POLAR_NORTH
    )
    assert found is not None
    assert found.east - found.west < 60
    assert found.north < 84


@pytest.mark.parametrize("west", [0.0, -180.0])
def test_whole_earth_in_degrees(west: float) -> None:
    found = lonlat_bounds(
        north_up(west, 90, 1, 1), GridShape(rows=180, cols=360), CRS.from_epsg(4326)
    )
    assert found is not None
    assert found.wsen == (-180, -90, 180, 90)


def test_longitudes_from_zero_to_360_are_wrapped() -> None:
    found = lonlat_bounds(
        north_up(350, 10, 0.1, 0.1), GridShape(rows=10, cols=50), CRS.from_epsg(4326)
    )
    assert found is not None
    assert found.wsen == pytest.approx((-10, 9, -5, 10))


def test_a_full_disc_has_the_bounds_of_its_visible_part() -> None:
    disc = CRS.from_proj4("+proj=geos +h=35785831 +lon_0=-75 +sweep=x +ellps=GRS80")
    found = lonlat_bounds(
        north_up(-5_434_894, 5_434_894, 10_848, 10_848), GridShape(rows=1002, cols=1002), disc
    )
    assert found is not None
    assert -160 < found.west < -140
    assert -10 < found.east < 10
    assert found.north > 70
    assert found.south < -70


def test_a_raster_beyond_the_earth_has_no_bounds() -> None:
    disc = CRS.from_proj4("+proj=ortho +lat_0=0 +lon_0=0")
    assert lonlat_bounds(north_up(9e6, 9e6, 10, 10), GridShape(rows=10, cols=10), disc) is None


@settings(max_examples=60, deadline=None)
@given(
    zone=st.integers(5, 55),
    easting=st.floats(200_000, 700_000),
    northing=st.floats(100_000, 8_500_000),
    degrees=st.floats(0, 360),
    rows=st.integers(1, 3000),
    cols=st.integers(1, 3000),
)
def test_every_corner_and_edge_point_lies_inside(
    zone: int, easting: float, northing: float, degrees: float, rows: int, cols: int
) -> None:
    crs, shape = CRS.from_epsg(32600 + zone), GridShape(rows=rows, cols=cols)
    grid = Affine.translation(easting, northing) @ Affine.rotation(degrees) @ Affine.scale(30, -30)
    found = lonlat_bounds(grid, shape, crs)
    assert found is not None
    to_lonlat = Transformer.from_crs(crs, 4326, always_xy=True)
    for part in (0, 0.31, 0.5, 0.77, 1):
        for col, row in (
            (part * cols, 0),
            (cols, part * rows),
            (part * cols, rows),
            (0, part * rows),
        ):
            lon, lat = to_lonlat.transform(*(grid @ (col, row)))
            assert found.west - 1e-4 <= lon <= found.east + 1e-4
            assert found.south - 1e-4 <= lat <= found.north + 1e-4
