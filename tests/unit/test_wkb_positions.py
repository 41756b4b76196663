"""Positions and bounds read from bytes are those that GEOS finds."""

import numpy as np
import pyarrow as pa
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geo_platform.wkb import first_positions, total_bounds

PLACE = st.tuples(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False),
)
RING = st.lists(PLACE, min_size=3, max_size=6)
SHAPE = st.one_of(
    st.lists(PLACE, min_size=1, max_size=700).map(shapely.MultiPoint),
    st.lists(st.lists(PLACE, min_size=2, max_size=400), min_size=1, max_size=3).map(
        shapely.MultiLineString
    ),
    st.lists(st.tuples(RING, st.lists(RING, max_size=2)), min_size=1, max_size=3).map(
        shapely.MultiPolygon
    ),
    PLACE.map(shapely.Point),
    RING.map(shapely.Polygon),
    st.lists(PLACE, min_size=2, max_size=9).map(
        lambda line: shapely.GeometryCollection([shapely.LineString(line)])
    ),
)


def column(shapes: list[shapely.Geometry]) -> pa.Array:
    return pa.array(
        list(
            shapely.to_wkb(
                np.array(shapes, dtype=object), output_dimension=3, byte_order=1, flavor="iso"
            )
        ),
        pa.binary(),
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(SHAPE, st.booleans()), min_size=1, max_size=12), st.integers(0, 3))
def test_positions_and_bounds_are_those_of_the_geometries(
    drawn: list[tuple[shapely.Geometry, bool]], skipped: int
) -> None:
    shapes = [shapely.force_3d(shape, -9e99) if is_high else shape for shape, is_high in drawn]
    wkb = column([*[shapely.MultiPoint([(0, 0)])] * skipped, *shapes]).slice(skipped)
    assert (
        total_bounds(wkb).tolist() == shapely.total_bounds(np.array(shapes, dtype=object)).tolist()
    )
    found = first_positions(wkb)
    for shape, position in zip(shapes, found, strict=True):
        first = shapely.get_coordinates(shape)[0]
        assert position.tolist() == first.tolist() or (
            shape.geom_type == "GeometryCollection" and np.isnan(position).all()
        )


def test_an_empty_first_part_has_no_position() -> None:
    shape = shapely.from_wkt("MULTIPOLYGON (EMPTY, ((1 1, 2 1, 2 2, 1 1)))")
    assert total_bounds(column([shape])).tolist() == [1, 1, 2, 2]
