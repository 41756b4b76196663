"""Windows of COGs hold the right pixels, valid by the platform's rule, also beyond 180 degrees."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.warp import reproject, transform

from geo_platform.raster.validity import validity_of
from geo_platform.serving.raster.cogs import OpenCog
from geo_platform.serving.raster.grids import mercator_window
from geo_platform.serving.raster.reading import read_window
from geo_platform.serving.raster.valid_windows import read_valid_window
from geo_platform.serving.raster.windows import PixelWindow, moved_points
from geo_platform.storage.gdal_sources import GdalSource

ROWS, COLS = 300, 400
UTM = CRS.from_epsg(32633)
GRID = Affine(10, 0, 500_000, 0, -10, 5_200_000)


def write(
    path: Path,
    pixels: NDArray[Any],
    *,
    mask: NDArray[np.bool_] | None = None,
    colors: list[ColorInterp] | None = None,
    **more: Any,
) -> OpenCog:
    rows, cols = pixels.shape[1:]
    profile = {"crs": UTM, "transform": GRID, "nodata": None, **more}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"),
        rasterio.open(
            path,
            "w",
            driver="GTiff",
            width=cols,
            height=rows,
            count=len(pixels),
            dtype=pixels.dtype,
            tiled=True,
            blockxsize=64,
            blockysize=64,
            **profile,
        ) as target,
    ):
        if colors:
            target.colorinterp = colors
        target.write(pixels)
        if mask is not None:
            target.write_mask(mask)
    return OpenCog(GdalSource(str(path)))


def own_window(rows: int, cols: int) -> PixelWindow:
    """A window on the raster's pixels that begins 5 rows above and 7 columns left of it."""
    return PixelWindow(UTM, GRID @ Affine.translation(-7, -5), rows + 10, cols + 14)


def some_pixels(bands: int, dtype: str) -> NDArray[Any]:
    values = np.random.default_rng(7).integers(1, 120, (bands, ROWS, COLS))
    return values.astype(dtype)


SMALL = ["uint8", "int8", "int16", "uint16"]
DTYPES = [*SMALL, "int32", "uint32", "int64", "uint64", "float32", "float64"]


# GDAL takes alpha of 8 and 16 bits only.
ALPHA = [(dtype, "alpha") for dtype in ("uint8", "uint16")]


@pytest.mark.parametrize(
    ("dtype", "kind"), [*itertools.product(DTYPES, ["plain", "nodata", "mask"]), *ALPHA]
)
def test_each_kind_of_validity_is_read_exactly(tmp_path: Path, dtype: str, kind: str) -> None:
    bands = 4 if kind == "alpha" else 3
    pixels = some_pixels(bands, dtype)
    hole = np.zeros((ROWS, COLS), dtype=bool)
    hole[40:90, 100:200] = True
    more: dict[str, Any] = {}
    if kind == "nodata":
        pixels[1, hole] = 0  # of one band only
        more["nodata"] = 0
    elif kind == "mask":
        more["mask"] = ~hole
    elif kind == "alpha":
        pixels[3] = np.where(hole, 0, np.iinfo(dtype).max)
        red = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
        more |= {"photometric": "RGB", "colors": [*red, ColorInterp.alpha]}
    cog = write(tmp_path / "a.tif", pixels, **more)
    expected = validity_of(cog.full).of_bands(cog.full, cog.full.read())
    for bands_read in ([1, 2, 3], [3, 2], [2]):
        found = read_window(cog, own_window(ROWS, COLS), bands_read, Resampling.nearest)
        index = [band - 1 for band in bands_read]
        inside = (slice(None), slice(5, 5 + ROWS), slice(7, 7 + COLS))
        assert np.array_equal(found.valid[inside], expected[index])
        assert found.valid.sum() == expected[index].sum()
        where = expected[index]
        assert np.array_equal(found.values[inside][where], pixels[index][where])
        assert found.values.dtype == pixels.dtype
    cog.close()


def test_nan_is_no_value_beside_a_mask(tmp_path: Path) -> None:
    pixels = some_pixels(2, "float32")
    pixels[0, 10:20] = np.nan
    cog = write(tmp_path / "a.tif", pixels, mask=np.ones((ROWS, COLS), dtype=bool))
    found = read_window(cog, own_window(ROWS, COLS), [1, 2], Resampling.nearest)
    assert not found.valid[0, 15:25].any()
    assert found.valid[1, 15:25, 7 : 7 + COLS].all()
    cog.close()


def test_the_fitting_overview_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write(path, np.zeros((1, 512, 512), dtype=np.uint8)).close()
    with rasterio.open(path, "r+") as target:
        target.build_overviews([2, 4], Resampling.nearest)
    cog = OpenCog(GdalSource(str(path)))
    read: list[int] = []
    at = cog.at
    cog.at = lambda factor: read.append(factor) or at(factor)  # type: ignore[method-assign,func-returns-value]
    for scale in (0.5, 1, 1.9, 2, 3.9, 4, 100):
        size = max(round(512 / scale), 1)
        step = Affine.scale(512 / size)
        read_window(cog, PixelWindow(UTM, GRID @ step, size, size), [1], Resampling.nearest)
    assert read == [0, 0, 0, 2, 2, 4, 4]
    cog.close()


@pytest.mark.parametrize("crs", [4326, 3857])
def test_a_raster_that_continues_past_180_degrees_is_on_both_sides(
    tmp_path: Path, crs: int
) -> None:
    pixels = some_pixels(1, "uint8")
    # 170 to 190 degrees, 300 rows of 400 columns.
    half_m = 20037508.342789244
    transform = (
        Affine(20 / COLS, 0, 170, 0, -20 / COLS, 5)
        if crs == 4326
        else Affine(half_m / 9 / COLS, 0, half_m * 17 / 18, 0, -half_m / 9 / COLS, half_m / 36)
    )
    cog = write(tmp_path / "a.tif", pixels, crs=CRS.from_epsg(crs), transform=transform)
    zoom = 5
    count = 2**zoom
    for x, west in ((0, -180.0), (count - 1, 180 - 360 / count)):
        found = read_window(cog, mercator_window(zoom, x, 15, 256), [1], Resampling.nearest)
        lons = west + (np.arange(256) + 0.5) * 360 / count / 256
        cols = (np.where(lons < 0, lons + 360, lons) - 170) / 20 * COLS
        inside = (cols >= 0) & (cols < COLS)
        assert inside.sum() > 200
        # The equator, the last row of tile 15, is a row of the raster.
        row = found.values[0, 255]
        assert np.array_equal(found.valid[0, 255], inside)
        near = [
            index
            for index in range(ROWS)
            if np.array_equal(pixels[0, index, cols[inside].astype(int)], row[inside])
        ]
        assert len(near) == 1
    middle = read_window(cog, mercator_window(zoom, 16, 15, 256), [1], Resampling.nearest)
    assert not middle.valid.any()
    cog.close()


def test_a_place_that_the_raster_does_not_touch_is_not_read(tmp_path: Path) -> None:
    cog = write(tmp_path / "a.tif", some_pixels(1, "uint8"))
    for zoom, x, y in ((5, 0, 0), (24, 5, 2**23), (0, 0, 0)):
        found = read_window(cog, mercator_window(zoom, x, y, 256), [1], Resampling.bilinear)
        assert found.valid.sum() <= 1
    cog.close()


def test_a_tile_of_the_whole_earth_shows_a_raster_in_utm(tmp_path: Path) -> None:
    # Its corners have no place in UTM. 512 px of 1 km are 3 px of this tile.
    pixels = some_pixels(1, "uint8")
    large = Affine(1000, 0, 300_000, 0, -1000, 5_200_000)
    cog = write(tmp_path / "a.tif", pixels, transform=large)
    found = [
        read_window(cog, mercator_window(0, 0, 0, 256), [1], Resampling.nearest) for _ in range(3)
    ]
    rows, cols = np.nonzero(found[0].valid[0])
    # 12.4 to 17.7 degrees east, 44.2 to 46.9 degrees north.
    assert set(cols) <= {136, 137, 138, 139, 140}
    assert set(rows) <= {89, 90, 91, 92}
    assert 6 <= found[0].valid.sum() <= 16
    for again in found[1:]:
        assert np.array_equal(again.values, found[0].values)
        assert np.array_equal(again.valid, found[0].valid)
    cog.close()


def test_points_without_an_image_are_infinite_and_the_others_right() -> None:
    xs, ys = moved_points(CRS.from_epsg(4326), UTM, [15.0, 105.0, 15.0], [47.0, 0.0, 0.0])
    expected = transform(CRS.from_epsg(4326), UTM, [15.0, 15.0], [47.0, 0.0])
    assert np.allclose([xs[[0, 2]], ys[[0, 2]]], expected, atol=1e-6)
    assert np.isinf(xs[1])


def shifted(scale: float, size: int = 90) -> PixelWindow:
    """A window of size x size inside the raster whose pixels are so much larger, and lie between.

    It begins at row 20.3, column 30.6.
    """
    return PixelWindow(UTM, GRID @ Affine.translation(30.6, 20.3) @ Affine.scale(scale), size, size)


def mercator(size: int = 90) -> PixelWindow:
    """A window of size x size in EPSG:3857 inside the raster, in the same resolution, about."""
    east, north = moved_points(UTM, CRS.from_epsg(3857), [500_000 + 600], [5_200_000 - 500])
    step = Affine.translation(east[0], north[0]) @ Affine.scale(15, -15)
    return PixelWindow(CRS.from_epsg(3857), step, size, size)


WINDOWS = {
    "finer": shifted(0.3),
    "same": shifted(1),
    "coarser": shifted(1.9),
    "mercator": mercator(),
}


@pytest.mark.parametrize("resampling", [Resampling.bilinear, Resampling.cubic])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
@pytest.mark.parametrize("name", list(WINDOWS))
def test_a_window_without_invalid_pixels_is_what_the_warper_makes(
    tmp_path: Path, name: str, dtype: str, resampling: Resampling
) -> None:
    window = WINDOWS[name]
    cog = write(tmp_path / "a.tif", some_pixels(3, dtype), nodata=0)
    expected = np.zeros((2, window.rows, window.cols), dtype=dtype)
    reproject(
        rasterio.band(cog.full, [3, 1]),
        expected,
        src_nodata=0,
        dst_transform=window.transform,
        dst_crs=window.crs,
        resampling=resampling,
    )
    assert (expected != 0).all()
    assert read_valid_window(cog.full, cog.validity, window, [3, 1], resampling) is not None
    found = read_window(cog, window, [3, 1], resampling)
    assert found.valid.all()
    assert found.values.dtype == dtype
    difference = np.abs(found.values.astype(float) - expected)
    # GDAL's warper interpolates places between the rows and columns that it computes.
    assert difference.max() <= (1 if dtype != "float32" else 0.05)
    # Halves are rounded up or down.
    assert difference.mean() < 0.02
    cog.close()


@pytest.mark.parametrize("kind", ["nodata", "mask", "alpha", "nan"])
def test_a_window_beside_an_invalid_pixel_is_left_to_the_warper(tmp_path: Path, kind: str) -> None:
    pixels = some_pixels(4 if kind == "alpha" else 1, "float32" if kind == "nan" else "uint8")
    hole = np.zeros((ROWS, COLS), dtype=bool)
    # In the last row and column that the window touches.
    hole[20 + 90 - 1, 30 + 90 - 1] = True
    more: dict[str, Any] = {}
    if kind == "nodata":
        pixels[0, hole], more["nodata"] = 0, 0
    elif kind == "mask":
        more["mask"] = ~hole
    elif kind == "alpha":
        # Partly transparent: it weighs less.
        pixels[3] = np.where(hole, 100, 255)
        red = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
        more |= {"photometric": "RGB", "colors": [*red, ColorInterp.alpha]}
    elif kind == "nan":
        pixels[0, hole] = np.nan
    cog = write(tmp_path / "a.tif", pixels, **more)
    args = (cog.full, cog.validity, shifted(1), [1], Resampling.bilinear)
    assert read_valid_window(*args) is None
    away = (cog.full, cog.validity, shifted(1, 80), [1], Resampling.bilinear)
    assert read_valid_window(*away) is not None
    cog.close()


def test_a_window_at_the_edge_of_the_raster_is_left_to_the_warper(tmp_path: Path) -> None:
    cog = write(tmp_path / "a.tif", some_pixels(1, "uint8"))
    for window in (own_window(ROWS, COLS), shifted(1, 280), shifted(100)):
        args = (cog.full, cog.validity, window, [1], Resampling.bilinear)
        assert read_valid_window(*args) is None
    found = read_window(cog, own_window(ROWS, COLS), [1], Resampling.bilinear)
    assert found.valid.sum() == ROWS * COLS
    cog.close()
