"""Value types name their axes and refuse impossible bounds."""

import pytest
from pydantic import ValidationError

from geo_platform.grid import Bounds, GridShape, LonLatBounds


def test_a_shape_is_rows_then_cols_and_wh_is_width_first() -> None:
    shape = GridShape(rows=2, cols=3)
    assert shape.wh == (3, 2)
    assert shape.pixels == 6


def test_bounds_keep_their_order() -> None:
    assert Bounds(xmin=0, ymin=1, xmax=2, ymax=3).xyxy == (0, 1, 2, 3)
    with pytest.raises(ValidationError, match="not in ascending order"):
        Bounds(xmin=2, ymin=0, xmax=1, ymax=1)


def test_west_of_east_means_across_the_antimeridian() -> None:
    assert LonLatBounds(west=170, south=-20, east=-170, north=-10).crosses_antimeridian
    assert not LonLatBounds(west=-170, south=-20, east=170, north=-10).crosses_antimeridian


@pytest.mark.parametrize("bounds", [(-181, 0, 0, 1), (0, -91, 0, 1), (0, 1, 1, 0), (0, 0, 181, 1)])
def test_coordinates_off_the_earth_are_refused(bounds: tuple[float, float, float, float]) -> None:
    west, south, east, north = bounds
    with pytest.raises(ValidationError, match="not valid longitudes"):
        LonLatBounds(west=west, south=south, east=east, north=north)
