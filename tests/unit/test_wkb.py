"""What is read from the bytes of WKB equals what GEOS reads, writes and computes."""

import struct

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geo_platform.vector.clean import promote_to_multi
from geo_platform.wkb import (
    first_positions,
    float64_at,
    is_canonical,
    total_bounds,
    uint32_at,
    wkb_types,
    wrap_as_multi,
)

ANY_POSITION = st.tuples(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False),
)
ANY_RING = st.lists(ANY_POSITION, min_size=3, max_size=6)
ANY_SHAPE = st.one_of(
    st.lists(ANY_POSITION, min_size=1, max_size=700).map(shapely.MultiPoint),
    st.lists(st.lists(ANY_POSITION, min_size=2, max_size=400), min_size=1, max_size=3).map(
        shapely.MultiLineString
    ),
    st.lists(st.tuples(ANY_RING, st.lists(ANY_RING, max_size=2)), min_size=1, max_size=3).map(
        shapely.MultiPolygon
    ),
    ANY_POSITION.map(shapely.Point),
    ANY_RING.map(shapely.Polygon),
    st.lists(ANY_POSITION, min_size=2, max_size=9).map(
        lambda line: shapely.GeometryCollection([shapely.LineString(line)])
    ),
)

POSITION = st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
RING = st.lists(POSITION, min_size=3, max_size=6)
POLYGON = st.tuples(RING, st.lists(RING, max_size=3)).map(lambda rings: shapely.Polygon(*rings))
SHAPE = st.one_of(
    POSITION.map(shapely.Point),
    st.lists(POSITION, min_size=2, max_size=5).map(shapely.LineString),
    POLYGON,
    st.lists(POSITION, min_size=1, max_size=5).map(shapely.MultiPoint),
    st.lists(st.lists(POSITION, min_size=2, max_size=4), min_size=1, max_size=4).map(
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


def column(shapes: list[shapely.Geometry]) -> pa.Array:
    return pa.array(written(shapes), pa.binary())


def promoted(shapes: list[shapely.Geometry]) -> list[bytes]:
    return written(list(promote_to_multi(np.array(shapes, dtype=object))))


@given(st.binary(min_size=8, max_size=64), st.data())
def test_numbers_are_read_at_any_offset(data: bytes, choices: st.DataObject) -> None:
    at = choices.draw(st.lists(st.integers(0, len(data) - 8), max_size=5))
    offsets, array = np.array(at, dtype=np.int64), np.frombuffer(data, dtype=np.uint8)
    assert uint32_at(array, offsets).tolist() == [
        struct.unpack_from("<I", data, offset)[0] for offset in at
    ]
    expected = b"".join(data[offset : offset + 8] for offset in at)
    assert float64_at(array, offsets).tobytes() == expected


@pytest.mark.parametrize("size", [0, 3, 7])
def test_a_number_that_ends_after_the_data_is_refused(size: int) -> None:
    with pytest.raises(IndexError):
        float64_at(np.zeros(size, dtype=np.uint8), np.array([0]))


def test_no_offsets_give_no_numbers_even_without_data() -> None:
    assert uint32_at(np.zeros(0, dtype=np.uint8), np.zeros(0, dtype=np.int64)).size == 0


def test_types_are_read_in_any_flavour_and_byte_order() -> None:
    shapes = shapely.from_wkt(
        [
            "POINT (1 2)",
            "POINT Z (1 2 3)",
            "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 0)))",
            "LINESTRING M (0 0 1, 1 1 1)",
        ]
    )
    for flavor in ("iso", "extended"):
        for byte_order in (0, 1):
            wkb = [
                shapely.to_wkb(shape, flavor=flavor, byte_order=byte_order, output_dimension=4)
                for shape in shapes
            ]
            types = wkb_types(pa.array([None, *wkb, b"", b"\x01"], pa.binary()).slice(1))
            assert types.codes.tolist() == [1, 1, 6, 2, 0, 0]
            assert types.has_z.tolist() == [False, True, False, False, False, False]
            assert types.has_m.tolist() == [False, False, False, True, False, False]
            assert types.names() == ("Point", "Point Z", "LineString", "MultiPolygon")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(ANY_SHAPE, st.booleans()), min_size=1, max_size=12), st.integers(0, 3))
def test_positions_and_bounds_equal_those_of_the_geometries(
    drawn: list[tuple[shapely.Geometry, bool]], skipped: int
) -> None:
    shapes = [shapely.force_3d(shape, -9e99) if has_z else shape for shape, has_z in drawn]
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


def test_nulls_and_short_rows_have_no_position_and_add_nothing_to_the_bounds() -> None:
    wkb = pa.array([*written([shapely.Point(1, 2)]), None], pa.binary())
    assert total_bounds(wkb).tolist() == [1, 2, 1, 2]
    assert np.isnan(first_positions(wkb)).tolist() == [[False, False], [True, True]]
    assert np.isnan(first_positions(pa.array([b"", b"\x01"], pa.binary()))).all()


@settings(max_examples=200)
@given(st.lists(SHAPE, min_size=1, max_size=10), st.booleans())
def test_canonical_rows_wrapped_equal_promoted_geometries(
    shapes: list[shapely.Geometry], has_z: bool
) -> None:
    dimension = "xyz" if has_z else "xy"
    shapes = [shapely.force_3d(shape, 4.0) for shape in shapes] if has_z else shapes
    wkb = column(shapes)
    assert is_canonical(wkb, dimension).all()
    assert wrap_as_multi(wkb, dimension).to_pylist() == promoted(shapes)


@settings(max_examples=100)
@given(
    st.lists(st.one_of(SHAPE, COLLECTION), min_size=1, max_size=10),
    st.sampled_from(["big", "ewkb", "other dimension", "longer"]),
)
def test_no_other_form_is_canonical(shapes: list[shapely.Geometry], how: str) -> None:
    with_z = [shapely.force_3d(shape) for shape in shapes]
    forms = {
        "big": written(shapes, byte_order=0),
        "ewkb": list(
            shapely.to_wkb(
                shapely.set_srid(np.array(shapes, dtype=object), 4326), include_srid=True
            )
        ),
        "other dimension": written(with_z),
        "longer": [wkb + b"\0" for wkb in written(shapes)],
    }
    assert not is_canonical(pa.array(forms[how], pa.binary()), "xy").any()


def test_the_byte_order_of_each_part_is_checked() -> None:
    polygons = [shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(2, 2, 3, 3)])] * 2
    plain, changed = (bytearray(wkb) for wkb in written(polygons))
    part = shapely.box(0, 0, 1, 1)
    changed[9 : 9 + len(written([part])[0])] = written([part], byte_order=0)[0]
    assert shapely.equals(shapely.from_wkb(bytes(changed)), polygons[0])
    assert is_canonical(pa.array([bytes(plain), bytes(changed)], pa.binary()), "xy").tolist() == [
        True,
        False,
    ]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_nulls_and_cut_rows_are_not_canonical(kind: pa.DataType) -> None:
    point = written([shapely.Point(1, 2)])[0]
    rows = pa.array([point, None, b"", b"\x01", point[:9], point, point[:-1]], kind)
    assert is_canonical(rows, "xy").tolist() == [True, False, False, False, False, True, False]
    assert is_canonical(rows.slice(4, 2), "xy").tolist() == [False, True]
    assert wrap_as_multi(rows.slice(5, 1), "xy").to_pylist() == promoted([shapely.Point(1, 2)])


def test_a_row_of_many_parts_counts_as_not_canonical() -> None:
    many = shapely.MultiPoint([(n, n) for n in range(1000)])
    assert not is_canonical(column([many]), "xy").any()
