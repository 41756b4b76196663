"""Geometries on the map of Mercator, and what vector tiles say about their place."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import shapely
from pyproj import Transformer

from geo_platform.serving.features.mercator import over_the_edges, whole_in_mercator
from geo_platform.serving.features.tile_documents import style, tilejson
from tests.support.feature_collections import collection

PACIFIC = "EPSG:3832"  # Mercator with its middle at 150 degrees
ARCTIC = "EPSG:3995"
ROBINSON = "ESRI:54030"
METRES = math.pi * 6_378_137.0 / 180


def drawn(lonlat: shapely.Geometry, crs: str) -> shapely.Geometry:
    """Return where a geometry of degrees is on the map, in degrees of longitude, if stored so."""
    move = Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform
    stored = (
        lonlat
        if crs == "EPSG:4326"
        else shapely.transform(lonlat, lambda xy: np.column_stack(move(xy[:, 0], xy[:, 1])))
    )
    (moved,) = whole_in_mercator(np.array([stored]), collection(crs))
    return shapely.transform(moved, lambda xy: xy / METRES)


ACROSS = shapely.box(170, -20, 190, 0) - shapely.box(182, -15, 185, -5)


@pytest.mark.parametrize("crs", ["EPSG:4326", PACIFIC])
@pytest.mark.parametrize(
    "shape",
    [
        ACROSS,
        shapely.MultiPolygon([ACROSS, shapely.box(150, 0, 160, 10)]),
        shapely.LineString([(170, 0), (190, 10), (175, 20)]),
    ],
    ids=["polygon", "polygons", "line"],
)
def test_a_geometry_across_the_antimeridian_is_whole(crs: str, shape: shapely.Geometry) -> None:
    found = drawn(shape, crs)
    assert found.geom_type == shape.geom_type
    assert found.is_valid
    west, _, east, _ = found.bounds
    assert (west, east) == pytest.approx((shape.bounds[0], shape.bounds[2]))
    first = shapely.get_coordinates(found)[:, 0]
    assert first == pytest.approx(shapely.get_coordinates(shape)[:, 0])


def test_a_point_beyond_180_degrees_is_drawn_there_and_a_turn_before() -> None:
    moved = whole_in_mercator(np.array([shapely.Point(184, 0), shapely.Point(10, 0)]), collection())
    places = [
        (list(rows), shapely.get_x(shapes) / METRES) for rows, shapes in over_the_edges(moved)
    ]
    assert [rows for rows, _ in places] == [[0, 1], [0]]
    assert places[0][1] == pytest.approx([184, 10])
    assert places[1][1] == pytest.approx([-176])


def test_what_is_on_the_map_is_moved_once() -> None:
    world = shapely.box(-180, -80, 180, 80)
    moved = whole_in_mercator(np.array([world, shapely.Point(180, 0)]), collection())
    assert shapely.bounds(moved)[:, [0, 2]] / METRES == pytest.approx(
        np.array([[-180, 180], [180, 180]])
    )
    assert len(list(over_the_edges(moved))) == 1


def test_an_edge_round_the_earth_stays_one() -> None:
    """The southern edge of a land at the south of a map of the world is one long edge."""
    north = [(lon, -70.0) for lon in range(179, -180, -1)]
    land = shapely.Polygon([(-179, -80), (179, -80), *north])
    found = drawn(land, ROBINSON)
    assert found.is_valid
    assert found.bounds[0::2] == pytest.approx((-179, 179))
    assert found.covers(shapely.Point(0, -120))  # between -70 and -80 degrees of latitude


def test_a_polygon_round_the_pole_is_filled_up_to_it() -> None:
    ring = shapely.Polygon([(lon, 70.0) for lon in range(-180, 180, 5)])
    found = drawn(ring, ARCTIC)
    west, _, east, north = found.bounds
    assert east - west == pytest.approx(360)
    assert north > 180  # The map ends there.
    south = math.degrees(math.asinh(math.tan(math.radians(70))))
    on_both_sides = [shapely.Point(west + 1, south + 5), shapely.Point(east - 1, south + 5)]
    assert shapely.covers(found, on_both_sides).all()


def described(lonlat: tuple[float, float, float, float]) -> tuple[dict[str, Any], dict[str, Any]]:
    def address(*parts: str) -> str:
        return "/".join(["https://here", *parts])

    there = replace(collection(), lonlat_bounds=lonlat)
    return tilejson(there, [], address, ""), style(there, address, "")


def test_bounds_reach_past_the_rows() -> None:
    document, drawing = described((0.0, 0.0, 0.0, 0.0))
    west, south, east, north = document["bounds"]
    assert west < 0 < east
    assert south < 0 < north
    assert document["bounds"] == pytest.approx([0, 0, 0, 0], abs=1e-5)
    assert drawing["sources"]["features"]["bounds"] == document["bounds"]
    assert (drawing["center"], drawing["zoom"]) == ([0, 0], 14)


def test_the_centre_lies_in_the_rows_across_the_antimeridian() -> None:
    document, drawing = described((174.0, -20.0, -178.0, -10.0))
    assert document["bounds"][0::2] == [-180, 180]
    assert document["center"] == [178, -15, 0]
    assert drawing["center"] == [178, -15]
    assert 4 < drawing["zoom"] < 5  # 10 degrees are half of 512 px at zoom 4.2
    document, _ = described((176.0, -20.0, -170.0, -10.0))
    assert document["center"] == [-177, -15, 0]


def test_the_world_opens_at_zoom_0() -> None:
    document, drawing = described((-180.0, -90.0, 180.0, 90.0))
    assert document["bounds"] == [-180, -90, 180, 90]
    assert (drawing["center"], drawing["zoom"]) == ([0, 0], 0)
