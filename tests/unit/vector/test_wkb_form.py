"""WKB kept in the source's own bytes is just what writing the geometry anew would give."""

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geo_platform.vector.clean import promote_to_multi
from geo_platform.vector.wkb_form import as_multi, has_published_form

PLACE = st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
RING = st.lists(PLACE, min_size=3, max_size=6)
POLYGON = st.tuples(RING, st.lists(RING, max_size=3)).map(lambda rings: shapely.Polygon(*rings))
SHAPE = st.one_of(
    PLACE.map(shapely.Point),
    st.lists(PLACE, min_size=2, max_size=5).map(shapely.LineString),
    POLYGON,
    st.lists(PLACE, min_size=1, max_size=5).map(shapely.MultiPoint),
    st.lists(st.lists(PLACE, min_size=2, max_size=4), min_size=1, max_size=4).map(
        shapely.MultiLineString
    ),
    st.lists(POLYGON, min_size=1, max_size=3).map(shapely.MultiPolygon),
)
COLLECTION = st.lists(SHAPE, min_size=1, max_size=3).map(shapely.GeometryCollection)


def written(
    shapes: list[shapely.Geometry], *, flavor: str = "iso", byte_order: int = 1
) -> list[bytes]:
    return list(
        shapely.to_wkb(
            np.array(shapes, dtype=object), output_dimension=3, byte_order=byte_order, flavor=flavor
        )
    )


def promoted(shapes: list[shapely.Geometry]) -> list[bytes]:
    return written(list(promote_to_multi(np.array(shapes, dtype=object))))


@settings(max_examples=200)
@given(st.lists(SHAPE, min_size=1, max_size=10), st.booleans())
def test_what_has_the_form_becomes_what_writing_anew_gives(
    shapes: list[shapely.Geometry], is_high: bool
) -> None:
    dimension = "xyz" if is_high else "xy"
    shapes = [shapely.force_3d(shape, 4.0) for shape in shapes] if is_high else shapes
    wkb = pa.array(written(shapes), pa.binary())
    assert has_published_form(wkb, dimension).all()
    assert as_multi(wkb, dimension).to_pylist() == promoted(shapes)


@settings(max_examples=100)
@given(
    st.lists(st.one_of(SHAPE, COLLECTION), min_size=1, max_size=10),
    st.sampled_from(["big", "ewkb", "other dimension", "longer"]),
)
def test_no_other_form_is_taken_for_it(shapes: list[shapely.Geometry], how: str) -> None:
    high = [shapely.force_3d(shape) for shape in shapes]
    forms = {
        "big": written(shapes, byte_order=0),
        "ewkb": list(
            shapely.to_wkb(
                shapely.set_srid(np.array(shapes, dtype=object), 4326), include_srid=True
            )
        ),
        "other dimension": written(high),
        "longer": [wkb + b"\0" for wkb in written(shapes)],
    }
    assert not has_published_form(pa.array(forms[how], pa.binary()), "xy").any()


def test_parts_have_byte_orders_of_their_own() -> None:
    polygons = [shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(2, 2, 3, 3)])] * 2
    plain, meddled = (bytearray(wkb) for wkb in written(polygons))
    part = shapely.box(0, 0, 1, 1)
    meddled[9 : 9 + len(written([part])[0])] = written([part], byte_order=0)[0]
    assert shapely.equals(shapely.from_wkb(bytes(meddled)), polygons[0])
    assert has_published_form(
        pa.array([bytes(plain), bytes(meddled)], pa.binary()), "xy"
    ).tolist() == [True, False]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_nulls_slices_and_stumps_are_no_form(kind: pa.DataType) -> None:
    point = written([shapely.Point(1, 2)])[0]
    column = pa.array([point, None, b"", b"\x01", point[:9], point, point[:-1]], kind)
    assert has_published_form(column, "xy").tolist() == [
        True,
        False,
        False,
        False,
        False,
        True,
        False,
    ]
    assert has_published_form(column.slice(4, 2), "xy").tolist() == [False, True]
    assert as_multi(column.slice(5, 1), "xy").to_pylist() == promoted([shapely.Point(1, 2)])


def test_a_row_of_many_parts_is_left_to_be_written_anew() -> None:
    many = shapely.MultiPoint([(n, n) for n in range(1000)])
    assert not has_published_form(pa.array(written([many]), pa.binary()), "xy").any()
