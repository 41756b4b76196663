"""Geometries over the seam of a target: parts, area, length, heights; targets of every kind."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Transformer

from geo_platform.vector.crs import reproject
from geo_platform.vector.seam import seam_of
from geo_platform.vector.seam_cut import CutGeometry, NotCutError, seam_cutter


def cut(geometry: shapely.Geometry, source: str | int, target: str | int) -> CutGeometry | None:
    """Return the result of the cutter, None if the row does not come near the seam."""
    source_wkt, target_wkt = (CRS.from_user_input(crs).to_wkt() for crs in (source, target))
    cutter = seam_cutter(source_wkt, target_wkt)
    assert cutter is not None
    rows = np.array([geometry], dtype=object)
    vertices = reproject(rows, source_wkt, target_wkt)
    if not cutter.may_touch(shapely.bounds(rows), shapely.bounds(vertices))[0]:
        return None
    return cutter.cut(geometry, vertices[0])


# Systems that show areas as they are. Mollweide takes the ellipsoid for a sphere, which changes
# areas by up to one percent.
EQUAL_AREA = {"EPSG:8857": 1.0, "ESRI:54009": (6_371_007.2 / 6_378_137) ** 2}
TOLERANCES = {"ESRI:54009": 0.015}


def area(geometry: shapely.Geometry, crs: str | int, at: tuple[float, float]) -> float:
    """Return the area in square metres, of a geometry within 90 degrees of a longitude, latitude.

    Points along the edges are put into an equal-area projection centred there. The edges of a
    result in a projection of the world are straight in degrees.
    """
    if str(crs) in EQUAL_AREA:
        return float(shapely.area(geometry)) * EQUAL_AREA[str(crs)]
    system = CRS.from_user_input(crs)
    if system.is_projected and str(crs) not in ("3031", "3995", "3832"):
        # Just within the map: positions on its edge have two longitudes.
        geometry = moved(geometry, crs, 4326, lambda xy: xy * np.array([1 - 1e-9, 1]))
        crs, system = 4326, CRS.from_epsg(4326)
    dense = shapely.segmentize(geometry, 0.05 if system.is_geographic else 5_000)
    equal_area = f"+proj=laea +lon_0={at[0]} +lat_0={at[1]} +ellps=WGS84"
    return float(shapely.area(moved(dense, crs, equal_area, lambda xy: xy)))


def moved(
    geometry: shapely.Geometry,
    source: str | int,
    target: str | int,
    change: Callable[[np.ndarray], np.ndarray],
) -> shapely.Geometry:
    transformer = Transformer.from_crs(source, target, always_xy=True)
    return shapely.transform(
        geometry, lambda xy: np.column_stack(transformer.transform(*change(xy).T))
    )


@pytest.mark.parametrize(
    ("target", "has_seam"),
    [
        ("EPSG:4326", True),
        ("EPSG:4807", True),
        ("EPSG:3857", True),
        ("EPSG:3832", True),
        ("ESRI:54030", True),
        ("ESRI:54009", True),
        ("EPSG:8857", True),
        ("EPSG:2154", True),
        ("EPSG:5070", True),
        ("EPSG:3031", False),
        ("EPSG:3995", False),
        ("EPSG:3035", False),
        ("EPSG:32660", False),
        ("EPSG:3460", False),
        # Half of the Earth has no position.
        ("+proj=geos +h=35785831", False),
        ("+proj=ortho +lat_0=40", False),
        # PROJ has no inverse of Wagner VII.
        ("ESRI:54076", False),
    ],
)
def test_which_systems_have_a_seam(target: str, has_seam: bool) -> None:
    assert (seam_of(CRS.from_user_input(target).to_wkt()) is not None) is has_seam


@pytest.mark.parametrize(
    "target", ["EPSG:4326", "EPSG:4258", "EPSG:3857", "ESRI:54030", "ESRI:54009", "EPSG:8857"]
)
def test_a_polygon_over_the_antimeridian_keeps_its_area(target: str) -> None:
    hole = shapely.box(179.5, -17.5, 180.5, -17)
    polygon = shapely.box(177, -19, 183, -16).difference(hole)
    found = cut(polygon, 4326, target)
    assert found is not None
    assert found.is_cut
    assert shapely.is_valid(found.geometry)
    assert len(shapely.get_parts(found.geometry)) == 2
    fiji = (180, -17)
    expected = area(polygon, 4326, fiji)
    assert area(found.geometry, target, fiji) == pytest.approx(
        expected, rel=TOLERANCES.get(target, 1e-3)
    )


def test_the_seam_of_a_system_that_is_centred_elsewhere() -> None:
    found = cut(shapely.box(-40, 10, -20, 20), 4326, 3832)
    assert found is not None
    assert found.is_cut
    west, _, east, _ = shapely.bounds(found.geometry)
    assert (west, east) == pytest.approx((-20037508.34, 20037508.34), abs=0.01)
    expected = area(shapely.box(-40, 10, -20, 20), 4326, (-30, 15))
    assert area(found.geometry, 3832, (-30, 15)) == pytest.approx(expected, rel=1e-3)
    assert cut(shapely.box(170, -10, 190, 10), 4326, 3832) is None


def test_a_long_edge_goes_the_way_that_it_has_in_the_source() -> None:
    # 180 degrees of longitude eastwards, over the antimeridian, with two vertices.
    found = cut(shapely.LineString([(-1e7, 0), (1e7, 1e6)]), 3832, 4326)
    assert found is not None
    east, west = shapely.get_parts(found.geometry)
    assert shapely.bounds(east)[[0, 2]] == pytest.approx([60.17, 180], abs=0.01)
    assert shapely.bounds(west)[[0, 2]] == pytest.approx([-180, -120.17], abs=0.01)


SQUARE = shapely.box(-1e6, -1e6, 1e6, 1e6)


@pytest.mark.parametrize("target", ["EPSG:4326", "ESRI:54030", "ESRI:54009", "EPSG:8857"])
@pytest.mark.parametrize(
    "polygon",
    [
        SQUARE,
        SQUARE.difference(shapely.box(-1e5, -1e5, 1e5, 2e5)),
        shapely.box(0, 0, 1e6, 1e6),
        shapely.box(-1e6, 0, 1e6, 1e6),
        SQUARE.difference(shapely.box(0, -2e6, 2e6, 0)),
    ],
    ids=["round the pole", "ring", "corner on the pole", "edge over the pole", "three quarters"],
)
@pytest.mark.parametrize("source", [3031, 3995])
def test_polygons_at_a_pole(polygon: shapely.Geometry, source: int, target: str) -> None:
    found = cut(polygon, source, target)
    assert found is not None
    assert shapely.is_valid(found.geometry)
    pole = (0, -90 if source == 3031 else 90)
    expected = area(polygon, source, pole)
    assert area(found.geometry, target, pole) == pytest.approx(
        expected, rel=TOLERANCES.get(target, 3e-3)
    )


def test_mercator_has_no_place_for_a_pole() -> None:
    with pytest.raises(NotCutError, match="pole"):
        cut(SQUARE, 3031, 3857)


def test_a_line_through_a_pole_is_two_lines() -> None:
    found = cut(shapely.LineString([(-1e6, -1e6), (1e6, 1e6)]), 3031, 4326)
    assert found is not None
    parts = shapely.get_parts(found.geometry)
    assert [set(shapely.get_coordinates(part)[:, 0]) for part in parts] == [{-135.0}, {45.0}]


def test_heights_are_kept_and_interpolated() -> None:
    line = cut(shapely.LineString([(178, 0, 1), (182, 1, 3), (178, 2, 5)]), 4326, 4326)
    assert line is not None
    assert [
        shapely.get_coordinates(part, include_z=True).tolist()
        for part in shapely.get_parts(line.geometry)
    ] == [
        [[178, 0, 1], [180, 0.5, 2]],
        [[-180, 0.5, 2], [-178, 1, 3], [-180, 1.5, 4]],
        [[180, 1.5, 4], [178, 2, 5]],
    ]
    square = shapely.Polygon([(178, 0, 1), (182, 0, 1), (182, 1, 3), (178, 1, 3)])
    polygon = cut(square, 4326, 4326)
    assert polygon is not None
    positions = shapely.get_coordinates(polygon.geometry, include_z=True)
    assert positions[:, 2] == pytest.approx(1 + 2 * positions[:, 1])


def test_longitudes_past_180_are_brought_back() -> None:
    assert [
        shapely.bounds(found.geometry).tolist()
        for geometry in (
            shapely.Point(190, 5),
            shapely.MultiPoint([(190, 5), (170, 6)]),
            shapely.box(190, 0, 200, 1),
            shapely.LineString([(-190, 0), (-185, 1)]),
        )
        if (found := cut(geometry, 4326, 4326)) is not None and not found.is_cut
    ] == [[-170, 5, -170, 5], [-170, 5, 170, 6], [-170, 0, -160, 1], [170, 0, 175, 1]]


def test_the_world_from_0_to_360_is_the_world() -> None:
    found = cut(shapely.box(0, -80, 360, 80), 4326, 4326)
    assert found is not None
    assert shapely.equals(found.geometry, shapely.box(-180, -80, 180, 80))


def test_a_geometry_that_touches_the_seam_stays_as_it_is() -> None:
    for polygon in (shapely.box(179, 0, 180, 1), shapely.box(-180, 0, -179, 1)):
        found = cut(polygon, 4326, 3857)
        assert found is not None
        assert not found.is_cut
        west, _, east, _ = shapely.bounds(found.geometry)
        assert east - west == pytest.approx(111_319.49, abs=0.01)


def test_every_part_of_a_collection_is_cut() -> None:
    mixed = shapely.GeometryCollection(
        [
            shapely.Point(185, 0),
            shapely.box(179, 0, 181, 1),
            shapely.LineString([(170, 0), (190, 5)]),
        ]
    )
    found = cut(mixed, 4326, 4326)
    assert found is not None
    assert found.is_cut
    assert [part.geom_type for part in shapely.get_parts(found.geometry)] == [
        "Point",
        "MultiPolygon",
        "MultiLineString",
    ]


ANGLES = st.lists(st.floats(0, 2 * math.pi), min_size=3, max_size=9, unique=True)


@given(
    angles=ANGLES,
    radius=st.floats(1e3, 2e6),
    centre=st.tuples(st.floats(-5e6, 5e6), st.floats(-2e6, 2e6)),
    source=st.sampled_from([3031, 3995, 3832]),
    target=st.sampled_from(["EPSG:4326", "ESRI:54030", "EPSG:8857"]),
)
def test_areas_of_generated_polygons(
    angles: list[float], radius: float, centre: tuple[float, float], source: int, target: str
) -> None:
    corners = [
        (centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle))
        for angle in sorted(angles)
    ]
    polygon = shapely.Polygon(corners)
    if polygon.area < 0.01 * radius**2:
        return
    found = cut(polygon, source, target)
    if found is None or not found.is_cut:
        return
    assert shapely.is_valid(found.geometry)
    middle = {3031: (0, -90), 3995: (0, 90), 3832: (150, 0)}[source]
    expected = area(polygon, source, middle)
    assert area(found.geometry, target, middle) == pytest.approx(expected, rel=5e-3)
