"""Edges of large geometries keep their place; what a target tears or turns over is refused."""

import numpy as np
import pytest
import shapely
from pyproj import CRS

from geo_platform.vector.crs import reproject
from geo_platform.vector.long_edges import with_straight_edges
from geo_platform.vector.seam_cut import NotCutError


def straightened(geometry: shapely.Geometry, source: int, target: str) -> shapely.Geometry:
    wkt = CRS.from_epsg(source).to_wkt(), CRS.from_user_input(target).to_wkt()
    return with_straight_edges(geometry, reproject(np.array([geometry]), *wkt)[0], *wkt)


def test_a_box_round_antarctica_is_a_disc_in_a_polar_projection() -> None:
    disc = straightened(shapely.box(-180, -90, 180, -65), 4326, "EPSG:3031")
    radius = 2_758_502
    assert shapely.bounds(disc) == pytest.approx([-radius, -radius, radius, radius], abs=5_000)
    assert shapely.area(shapely.make_valid(disc)) == pytest.approx(np.pi * radius**2, rel=5e-3)


def test_a_parallel_is_an_arc_with_its_heights() -> None:
    line = shapely.LineString([(0, 60, 10), (90, 60, 20)])
    arc = straightened(line, 4326, "EPSG:3995")
    positions = shapely.get_coordinates(arc, include_z=True)
    radii = np.hypot(*positions[:, :2].T)
    assert np.ptp(radii) < 1
    middles = np.hypot(*((positions[1:, :2] + positions[:-1, :2]) / 2).T)
    assert middles.min() == pytest.approx(radii[0], rel=2e-3)
    assert (np.diff(positions[:, 2]) > 0).all()


def test_straight_edges_stay_as_they_are() -> None:
    world = shapely.box(-180, -80, 180, 80)
    assert shapely.get_num_coordinates(straightened(world, 4326, "EPSG:3857")) == 5


def test_the_edge_of_the_map_of_the_world_is_followed() -> None:
    world = straightened(shapely.box(-180, -90, 180, 90), 4326, "EPSG:8857")
    # Equal Earth keeps areas.
    assert shapely.area(world) == pytest.approx(510.0656e12, rel=2e-3)


@pytest.mark.parametrize(
    ("geometry", "source", "target"),
    [
        (shapely.box(-1e6, -1e6, 1e6, 1e6), 3031, "EPSG:3995"),
        (shapely.box(-180, -80, 180, 80), 4326, "EPSG:3035"),
        # Between two lobes of an interrupted projection.
        (shapely.LineString([(-110, -30), (-90, -30)]), 4326, "ESRI:54052"),
    ],
)
def test_what_the_target_tears_or_turns_inside_out_is_refused(
    geometry: shapely.Geometry, source: int, target: str
) -> None:
    with pytest.raises(NotCutError):
        straightened(geometry, source, target)
