"""Coordinates of requests for features: axes, windows, heights."""

from dataclasses import replace

import numpy as np
import pytest
import shapely
from pyproj import Transformer

from geo_platform.errors import QueryInvalid
from geo_platform.serving.features.positions import (
    CRS84,
    CRS84H,
    crs_uris,
    default_crs,
    named_crs,
    storage_crs,
    to_named,
    window,
)
from tests.support.feature_collections import collection

EPSG = "http://www.opengis.net/def/crs/EPSG/0/"


UTM = collection("EPSG:32632", (8.0, 47.0, 10.0, 49.0))
FIJI = collection("EPSG:3832", (176.0, -20.0, -178.0, -15.0))


@pytest.mark.parametrize(
    ("code", "is_swapped"),
    [(4326, True), (3857, False), (25832, False), (2180, True), (3031, False), (32661, True)],
)
def test_the_order_of_axes_is_the_authoritys(code: int, is_swapped: bool) -> None:
    there = collection(f"EPSG:{code}", (0.0, 0.0, 1.0, 1.0))
    assert named_crs(f"{EPSG}{code}", there, "crs").is_swapped is is_swapped


def test_a_collection_offers_degrees_the_map_and_its_own_crs() -> None:
    assert crs_uris(UTM) == (CRS84, f"{EPSG}4326", f"{EPSG}3857", f"{EPSG}32632")
    high = replace(UTM, has_heights=True)
    assert (default_crs(high), crs_uris(high)[:2]) == (CRS84H, (CRS84H, CRS84))
    wkt = collection(UTM.crs.to_wkt().replace("Transverse Mercator", "TM").replace(
        'ID["EPSG",32632]', ""), UTM.lonlat_bounds)  # fmt: skip
    assert storage_crs(UTM) == f"{EPSG}32632"
    assert storage_crs(wkt) in (None, f"{EPSG}32632")
    with pytest.raises(QueryInvalid) as refused:
        named_crs("EPSG:4326", UTM, "crs")
    assert f"{EPSG}4326" in refused.value.remedy


def test_a_window_in_degrees_is_that_of_the_rows_only() -> None:
    lonlat = named_crs(CRS84, UTM, "crs")
    world = window((-180.0, -90.0, 180.0, 90.0), lonlat, UTM)
    assert world is not None
    to_utm = Transformer.from_crs(4326, 32632, always_xy=True).transform
    assert world.contains(shapely.Point(to_utm(8.0, 47.0)))
    assert world.contains(shapely.Point(to_utm(9.0, 49.0)))
    assert world.area < 1.1 * 2 * 2 * 111_000 * 78_000
    assert window((20.0, 47.0, 21.0, 48.0), lonlat, UTM) is None


def test_an_edge_of_a_window_follows_the_parallel() -> None:
    lonlat = named_crs(CRS84, UTM, "crs")
    area = window((8.0, 47.5, 10.0, 48.0), lonlat, UTM)
    to_utm = Transformer.from_crs(4326, 32632, always_xy=True).transform
    for lon in np.linspace(8.001, 9.999, 37):
        assert area.contains(shapely.Point(to_utm(lon, 47.99999)))
        assert not area.contains(shapely.Point(to_utm(lon, 48.00001)))


def test_a_window_crosses_the_antimeridian() -> None:
    lonlat = named_crs(CRS84, FIJI, "crs")
    there = Transformer.from_crs(4326, 3832, always_xy=True).transform
    inside = [shapely.Point(there(lon, -17.0)) for lon in (178.0, 179.9, -179.9, -179.0)]
    area = window((177.0, -18.0, -178.5, -16.0), lonlat, FIJI)
    assert all(area.contains(point) for point in inside)
    west = window((177.0, -18.0, 180.0, -16.0), lonlat, FIJI)
    assert [west.contains(point) for point in inside] == [True, True, False, False]
    with pytest.raises(QueryInvalid, match="minimum"):
        window((0.0, 5.0, 1.0, 4.0), lonlat, FIJI)


def test_rows_drawn_past_180_are_found_where_they_are() -> None:
    far = replace(
        collection("EPSG:4326", (170.0, -10.0, -170.0, 10.0)),
        native_bounds=(170.0, -10.0, 190.0, 10.0),
    )
    area = window((-180.0, -5.0, -175.0, 5.0), named_crs(CRS84, far, "crs"), far)
    assert area.contains(shapely.Point(183.0, 0.0))
    assert area.contains(shapely.Point(-177.0, 0.0))
    assert not area.contains(shapely.Point(178.0, 0.0))


def test_heights_stay_with_their_points() -> None:
    shapes = shapely.from_wkt(
        ["POINT Z (500000 5400000 7.5)", "POINT (500000 5400000)", "POINT EMPTY"]
    )
    in_degrees = to_named(shapes, UTM, named_crs(CRS84, UTM, "crs"))
    x, y, z = shapely.get_coordinates(in_degrees[:1], include_z=True)[0]
    assert (x, z) == (pytest.approx(9.0), 7.5)
    assert not in_degrees[1].has_z
    swapped = to_named(shapes, UTM, named_crs(f"{EPSG}4326", UTM, "crs"))
    assert shapely.get_coordinates(swapped[:1], include_z=True)[0].tolist() == [y, x, 7.5]
    as_xy = to_named(shapes, UTM, named_crs(f"{EPSG}4326", UTM, "crs"), as_xy=True)
    assert shapely.get_coordinates(as_xy[:1])[0].tolist() == [x, y]


def test_a_row_without_a_position_in_the_crs_is_said() -> None:
    globe = collection("EPSG:4326", (-180.0, -90.0, 180.0, 90.0))
    with pytest.raises(QueryInvalid, match="has no position"):
        to_named(
            np.array([shapely.Point(0, 90.0), shapely.Point(float("inf"), 0)]),
            globe,
            named_crs(f"{EPSG}3857", globe, "crs"),
        )
