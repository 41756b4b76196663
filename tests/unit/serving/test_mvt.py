"""Layers of vector tiles are encoded as the specification says, and never larger than allowed."""

import numpy as np
import pytest
import shapely

from geo_platform.serving.features.mvt import (
    LINE,
    POINT,
    POLYGON,
    TileLayer,
    geometries,
    value_of,
)


def commands(content: bytes) -> list[int]:
    """Read varints."""
    numbers, number, shift = [], 0, 0
    for byte in content:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(number)
            number = shift = 0
    return numbers


def shapes(*wkt: str) -> "np.ndarray[tuple[int], np.dtype[np.object_]]":
    return np.array(shapely.from_wkt(list(wkt)), dtype=object)


# The examples of the specification, section 4.3.5.
@pytest.mark.parametrize(
    ("wkt", "kind", "expected"),
    [
        ("POINT(25 17)", POINT, [9, 50, 34]),
        ("MULTIPOINT(5 7, 3 2)", POINT, [17, 10, 14, 3, 9]),
        ("LINESTRING(2 2, 2 10, 10 10)", LINE, [9, 4, 4, 18, 0, 16, 16, 0]),
        (
            "MULTILINESTRING((2 2, 2 10, 10 10), (1 1, 3 5))",
            LINE,
            [9, 4, 4, 18, 0, 16, 16, 0, 9, 17, 17, 10, 4, 8],
        ),
        ("POLYGON((3 6, 8 12, 20 34, 3 6))", POLYGON, [9, 6, 12, 18, 10, 12, 24, 44, 15]),
        (
            "MULTIPOLYGON(((0 0, 10 0, 10 10, 0 10, 0 0)),"
            " ((11 11, 20 11, 20 20, 11 20, 11 11), (13 13, 13 17, 17 17, 17 13, 13 13)))",
            POLYGON,
            [9, 0, 0, 26, 20, 0, 0, 20, 19, 0, 15,
             9, 22, 2, 26, 18, 0, 0, 18, 17, 0, 15,
             9, 4, 13, 26, 0, 8, 8, 0, 0, 7, 15],
        ),
    ],
)  # fmt: skip
def test_commands_are_those_of_the_specification(wkt: str, kind: int, expected: list[int]) -> None:
    alone, again = geometries(shapes(wkt, wkt), kind)
    assert commands(alone) == expected
    assert alone == again


def test_rings_are_oriented() -> None:
    clockwise, counter = shapes("POLYGON((0 0, 0 9, 9 9, 0 0))", "POLYGON((0 0, 9 9, 0 9, 0 0))")
    first, second = geometries(np.array([clockwise, counter]), POLYGON)
    assert commands(first) == commands(second)


def test_values_have_the_types_of_the_specification() -> None:
    assert value_of(True) == b"\x38\x01"
    assert value_of(2**53 + 1) == b"\x28\x81\x80\x80\x80\x80\x80\x80\x10"
    assert value_of(-1) == b"\x30\x01"
    assert value_of("é") == b"\x0a\x02\xc3\xa9"
    assert value_of(1.5) == b"\x19\x00\x00\x00\x00\x00\x00\xf8\x3f"
    assert value_of(np.float32(1.5)) == b"\x15\x00\x00\xc0\x3f"


@pytest.mark.parametrize("max_bytes", [100, 500, 2_000, 50_000])
def test_a_layer_is_never_larger_than_allowed(max_bytes: int) -> None:
    random = np.random.default_rng(1)
    layer = TileLayer("roads", ["name", "n"], max_bytes)
    (point,) = geometries(shapes("POINT(1 2)"), POINT)
    taken = 0
    for number in range(1_000):
        text = "x" * int(random.integers(1, 60))
        is_in = layer.add(number, [value_of(text), value_of(number)], POINT, point)
        taken += is_in
        assert len(layer.encoded()) <= max_bytes
    assert layer.drawn == taken
    assert layer.free_bytes < 200 or taken == 1_000


def test_a_layer_without_features_is_left_out() -> None:
    assert TileLayer("roads", ["name"], 1_000).encoded() == b""
