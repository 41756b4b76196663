"""Bounds in WGS 84: the antimeridian, the poles, units other than degrees."""

import numpy as np
import pytest
from pyproj import CRS, Transformer

from geo_platform.crs import same_crs
from geo_platform.errors import BoundsImplausible
from geo_platform.grid import Bounds
from geo_platform.vector.crs import horizontal, srid_of
from geo_platform.vector.extent import LonLatExtent, check_plausible, lonlat_bounds


def bounds(*xyxy: float) -> Bounds:
    return Bounds(xmin=xyxy[0], ymin=xyxy[1], xmax=xyxy[2], ymax=xyxy[3])


def test_whole_world_and_its_rounding() -> None:
    world = lonlat_bounds(bounds(-180, -90, 180.00000000000006, 83.6), CRS.from_epsg(4326))
    assert world.wsen == (-180, -90, 180, 83.6)


def test_across_the_antimeridian() -> None:
    fiji = lonlat_bounds(bounds(1_500_000, 3_500_000, 2_500_000, 4_500_000), CRS.from_epsg(3460))
    assert fiji.crosses_antimeridian
    pacific = lonlat_bounds(bounds(170, -20, 190, -10), CRS.from_epsg(4326))
    assert pacific.wsen == (170, -20, -170, -10)


def test_a_turn_too_much() -> None:
    denmark = bounds(368.056, 54.5482, 375.182, 57.7613)
    assert check_plausible(denmark, CRS.from_epsg(4326), "x") == ()
    found = lonlat_bounds(denmark, CRS.from_epsg(4326))
    assert found.wsen == pytest.approx((8.056, 54.5482, 15.182, 57.7613))


def test_around_a_pole() -> None:
    antarctica = lonlat_bounds(bounds(-3e6, -3e6, 3e6, 3e6), CRS.from_epsg(3031))
    assert antarctica.south == pytest.approx(-90)
    assert (antarctica.west, antarctica.east) == (-180, 180)


def test_grads_are_not_degrees() -> None:
    france = check_plausible(bounds(-5, 47, 6, 56), CRS.from_epsg(4807), "x")
    assert france == ()
    assert lonlat_bounds(bounds(0, 54, 1, 55), CRS.from_epsg(4807)).south == pytest.approx(
        48.6, abs=0.01
    )


@pytest.mark.parametrize(
    ("xyxy", "epsg"),
    [
        ((0, 0, 10, 91), 4326),
        ((-541, 0, 0, 1), 4326),
        ((1e30, 0, 2e30, 1), 3857),
        ((500_000, -9e6, 600_000, -8e6), 31370),
    ],
)
def test_impossible_bounds_are_refused(xyxy: tuple[float, float, float, float], epsg: int) -> None:
    with pytest.raises(BoundsImplausible):
        check_plausible(bounds(*xyxy), CRS.from_epsg(epsg), "x")


def test_degrees_in_a_projected_crs_are_suspected() -> None:
    assert [
        finding.code for finding in check_plausible(bounds(4, 50, 5, 51), CRS.from_epsg(3857), "x")
    ] == ["DEGREES_SUSPECTED"]


def test_the_vertical_part_is_removed_from_a_crs() -> None:
    assert srid_of(horizontal(CRS.from_user_input("EPSG:31370+5710"))) == 31370
    assert srid_of(horizontal(CRS.from_epsg(4979))) == 4326
    assert same_crs(CRS.from_user_input("OGC:CRS84"), CRS.from_epsg(4326))
    assert not same_crs(CRS.from_epsg(4326), CRS.from_epsg(4258))


def test_the_extent_of_the_world_in_a_conic_projection_is_the_world() -> None:
    extent = LonLatExtent(CRS.from_epsg(5070).to_wkt())
    box = (-16.8e6, -6.9e6, 16.8e6, 15.3e6)
    extent.add(np.array([box]))
    assert extent.bounds(bounds(*box)).wsen == pytest.approx((-180, -90, 180, 90), abs=8)


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:3395", "ESRI:54030", "EPSG:8857"])
def test_rows_at_both_edges_of_the_map_are_neighbours(crs: str) -> None:
    system = CRS.from_user_input(crs)
    moved = Transformer.from_crs(4326, system, always_xy=True)
    (east, low), (west, high) = (moved.transform(*at) for at in ((178, -18), (-179, -17)))
    extent = LonLatExtent(system.to_wkt())
    extent.add(np.array([[east, low, east, low], [west, high, west, high]]))
    assert extent.bounds(bounds(west, low, east, high)).wsen == pytest.approx(
        (178, -18, -179, -17), abs=0.01
    )
