"""Samples are spread over the whole extent, inside the grid, and bounded."""

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from geo_platform.grid import GridShape
from geo_platform.raster.sample import (
    MAXIMUM_WINDOWS,
    MINIMUM_WINDOWS,
    BandSample,
    all_windows,
    find_valid_windows,
    read_sample,
    spread_windows,
    statistics,
)
from tests.unit.raster.conftest import WriteRaster, smooth

shapes = st.builds(GridShape, rows=st.integers(1, 20_000), cols=st.integers(1, 20_000))
blocks = st.one_of(
    st.builds(
        GridShape, rows=st.sampled_from([1, 16, 256, 512]), cols=st.sampled_from([256, 512, 20_000])
    )
)


@settings(max_examples=200, deadline=None)
@given(shape=shapes, block=blocks, pixel=st.integers(1, 80))
def test_windows_are_inside_and_bounded(shape: GridShape, block: GridShape, pixel: int) -> None:
    budget = 8 * 1024**2
    windows = spread_windows(shape, block, pixel, budget)
    assert windows
    for window in windows:
        assert 0 <= window.col_off < window.col_off + window.width <= shape.cols
        assert 0 <= window.row_off < window.row_off + window.height <= shape.rows
    total = sum(window.width * window.height * pixel for window in windows)
    assert total <= budget + len(windows) * pixel
    if shape.pixels * pixel <= budget:
        assert total == shape.pixels * pixel
    else:
        assert len(windows) <= MAXIMUM_WINDOWS


def test_a_large_grid_is_sampled_everywhere() -> None:
    shape = GridShape(rows=12_000, cols=12_000)
    windows = spread_windows(shape, GridShape(rows=512, cols=512), 3)
    assert len(windows) >= MINIMUM_WINDOWS
    middles = {
        (int(window.row_off * 3 / shape.rows), int(window.col_off * 3 / shape.cols))
        for window in windows
    }
    assert middles == {(row, col) for row in range(3) for col in range(3)}


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 300), cols=st.integers(1, 300), block=blocks, limit=st.integers(1, 20_000)
)
def test_all_windows_cover_every_pixel_once(
    rows: int, cols: int, block: GridShape, limit: int
) -> None:
    seen = np.zeros((rows, cols), dtype=np.uint8)
    for window in all_windows(GridShape(rows=rows, cols=cols), block, max(limit, 200)):
        seen[
            window.row_off : window.row_off + window.height,
            window.col_off : window.col_off + window.width,
        ] += 1
    assert (seen == 1).all()


def test_the_last_band_and_the_last_corner_are_sampled(write_raster: WriteRaster) -> None:
    pixels = smooth(3, 40, 50, "uint16")
    pixels[2, 39, 49] = 60_000
    with rasterio.open(write_raster("corner.tif", pixels)) as dataset:
        windows = spread_windows(GridShape(rows=40, cols=50), GridShape(rows=40, cols=50), 6)
        figures = [
            statistics(sample) for sample in read_sample(dataset, windows, (None, None, None))
        ]
    assert [found.maximum for found in figures if found] == [
        pixels[0].max(),
        pixels[1].max(),
        60_000,
    ]
    assert all(found.sampled_pixels == 2000 for found in figures if found)


def test_one_valid_pixel_far_from_the_sample_is_found(write_raster: WriteRaster) -> None:
    pixels = np.zeros((1, 700, 700), dtype=np.uint8)
    pixels[0, 699, 3] = 7
    path = write_raster("needle.tif", pixels, nodata=0, tiled=True, blockxsize=256, blockysize=256)
    with rasterio.open(path) as dataset:
        windows = find_valid_windows(
            dataset,
            GridShape(rows=700, cols=700),
            GridShape(rows=256, cols=256),
            (0.0,),
            budget_bytes=256 * 256,
        )
        assert len(windows) == 1
        assert read_sample(dataset, windows, (0.0,))[0].values.tolist() == [7]


def test_infinite_values_count_as_invalid(write_raster: WriteRaster) -> None:
    pixels = np.array([[[1.0, np.inf, np.nan, 3.0]]], dtype=np.float32)
    with rasterio.open(write_raster("inf.tif", pixels)) as dataset:
        found = statistics(
            read_sample(
                dataset,
                spread_windows(GridShape(rows=1, cols=4), GridShape(rows=1, cols=4), 4),
                (None,),
            )[0]
        )
    assert found is not None
    assert (found.minimum, found.maximum, found.valid_percent) == (1, 3, 50)


@pytest.mark.parametrize("values", [[1e300, 5.0, -3.0], [1.7e308, 1.7e308, -1.7e308]])
def test_figures_of_numbers_whose_squares_are_infinite(values: list[float]) -> None:
    found = statistics(BandSample(np.array(values), 3))
    assert found is not None
    small = np.array(values) / 1e300
    assert found.mean == pytest.approx(small.mean() * 1e300)
    assert found.standard_deviation == pytest.approx(small.std() * 1e300)
