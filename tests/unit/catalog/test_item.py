"""Outlines, footprints and bounding boxes of items (RFC 7946)."""

import json
import math

import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st

from geo_platform.catalog.item import bounding_box, footprint, outline
from geo_platform.errors import CatalogRejected
from geo_platform.grid import LonLatBounds

LON = st.integers(-180, 180).map(float)
LAT = st.integers(-90, 90).map(float)


@st.composite
def bounds(draw: st.DrawFn) -> LonLatBounds:
    south, north = sorted([draw(LAT), draw(LAT)])
    return LonLatBounds(west=draw(LON), east=draw(LON), south=south, north=north)


@example(LonLatBounds(west=180, south=0, east=-180, north=0))
@example(LonLatBounds(west=-10, south=-5, east=-20, north=5))
@given(bounds())
def test_an_outline_is_valid_on_earth_and_as_wide_as_its_bounds(box: LonLatBounds) -> None:
    geometry = outline(box)
    assert geometry.is_valid
    assert not geometry.is_empty
    west, south, east, north = geometry.bounds
    assert -180 <= west <= east <= 180
    assert (south, north) == (box.south, box.north)
    width = box.east - box.west + (360 if box.crosses_antimeridian else 0)
    if width and north > south:
        assert math.isclose(geometry.area, width * (north - south))


@example(LonLatBounds(west=180, south=0, east=-180, north=0))
@example(LonLatBounds(west=-10, south=-5, east=-20, north=5))
@given(bounds())
def test_the_bounding_box_of_an_outline_equals_the_bounds(box: LonLatBounds) -> None:
    found = bounding_box(outline(box), box)
    if box.crosses_antimeridian and (box.west == 180 or box.east == -180):
        assert not found.crosses_antimeridian, "a side has no width: the other does not cross"
    else:
        assert found == box


@given(bounds())
def test_rings_are_wound_to_the_right(box: LonLatBounds) -> None:
    for part in shapely.get_parts(outline(box)):
        assert part.geom_type != "Polygon" or part.exterior.is_ccw


def test_a_footprint_across_the_antimeridian() -> None:
    around = LonLatBounds(west=176, south=-20, east=-177, north=-15)
    fiji = shapely.MultiPolygon(
        [shapely.box(177, -19, 180, -16), shapely.box(-180, -19, -178, -16)]
    )
    geometry = footprint(shapely.to_geojson(fiji))
    assert geometry.geom_type == "MultiPolygon"
    assert bounding_box(geometry, around).wsen == (177, -19, -178, -16)
    east_only = footprint(shapely.to_geojson(shapely.box(177, -19, 180, -16)))
    assert bounding_box(east_only, around).wsen == (177, -19, 180, -16)


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        '{"type": "Point"}',
        '{"type": "Elephant", "coordinates": []}',
        '{"type": "Polygon", "coordinates": []}',
        json.dumps({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 1], [1, 0], [0, 0]]]}),
        json.dumps({"type": "Polygon", "coordinates": [[[170, 0], [190, 0], [190, 1], [170, 0]]]}),
    ],
)
def test_an_invalid_footprint_is_refused(text: str) -> None:
    with pytest.raises(CatalogRejected, match="footprint"):
        footprint(text)
