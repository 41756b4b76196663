"""Boxes around longitudes on a circle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.longitudes import LongitudeArcs


def box(*arcs: tuple[float, float]) -> tuple[float, float] | None:
    collected = LongitudeArcs()
    for west, east in arcs:
        collected.add(np.array([west]), np.array([east]))
    return collected.box()


@pytest.mark.parametrize(
    ("arcs", "expected"),
    [
        ([(4.5, 7.25)], (4.5, 7.25)),
        ([(-75, -70), (5, 10)], (-75, 10)),
        ([(177.2, 180), (-180, -178.4)], (177.2, -178.4)),
        ([(177.2, 181.6)], (177.2, -178.4)),
        ([(190, 200)], (-170, -160)),
        ([(-190, -185)], (170, 175)),
        ([(0, 360)], (-180, 180)),
        ([(-180, 180), (3, 4)], (-180, 180)),
        ([(151, 151), (-157, -157)], (151, -157)),
        ([(172, 180), (-180, -66.9)], (172, -66.9)),
        # The gap at the antimeridian is nearly as wide as the widest one.
        ([(-170, -30), (-15, 175)], (-170, 175)),
        ([(180, 180)], (180, 180)),
        ([], None),
    ],
)
def test_box(arcs: list[tuple[float, float]], expected: tuple[float, float] | None) -> None:
    assert box(*arcs) == (None if expected is None else pytest.approx(expected))


ARCS = st.lists(
    st.tuples(st.floats(-360, 360), st.floats(0, 90)).map(lambda arc: (arc[0], arc[0] + arc[1])),
    min_size=1,
    max_size=12,
)


@given(ARCS)
def test_every_arc_lies_in_the_box(arcs: list[tuple[float, float]]) -> None:
    found = box(*arcs)
    assert found is not None
    west, east = found
    width = east - west if west <= east else east - west + 360
    for first, last in arcs:
        for longitude in (first, (first + last) / 2, last):
            assert (longitude - west + 1e-6) % 360 <= width + 2e-6
