"""Publish generated raster files and compare with the generator and with Debian's GDAL."""

import json
import math
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from shapely import contains_xy
from shapely.geometry import shape

from geo_platform.contracts.raster import CogStored, RasterProfiled
from geo_platform.errors import ParameterInvalid, RasterEmpty
from tests.differential.generated_raster_files import FORMATS, Drawn
from tests.differential.generated_rasters import PLACES, Raster
from tests.differential.raster_files import header_by_gdal, read_by_gdal, write
from tests.differential.warped import check_warped
from tests.unit.raster.conftest import Chain

_SETTINGS = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
# A tile of heights has 1201 x 1201 pixels, so there are few of them.
_FORMS = [*[form for form in sorted(FORMATS) if form != ".hgt"] * 4, *[".tif"] * 12, ".hgt"]
_IN_PLACE = st.sampled_from(_FORMS).flatmap(lambda form: FORMATS[form])


def _targets(drawn: Drawn) -> tuple[str, ...]:
    """Return the CRS to which the raster is reprojected."""
    return () if drawn.georeference == "points" else drawn.raster.place.fits


_FILES = _IN_PLACE.flatmap(
    lambda drawn: st.tuples(st.just(drawn), st.sampled_from([None, None, None, *_targets(drawn)]))
)


@given(file=_FILES)
@settings(_SETTINGS, max_examples=100, derandomize=True)
def test_pixels_masks_and_places_of_100_files(file: tuple[Drawn, str | None]) -> None:
    check(*file)


@pytest.mark.slow
@given(file=_FILES)
@settings(_SETTINGS, max_examples=2000)
def test_pixels_masks_and_places_of_2000_files(file: tuple[Drawn, str | None]) -> None:
    check(*file)


@pytest.mark.parametrize("size", [(1, 120), (120, 1)])
def test_a_rotated_strip_of_one_row_or_column_is_reprojected(size: tuple[int, int]) -> None:
    place = PLACES["utm"]
    turned = Affine.translation(place.west, place.north) @ Affine.rotation(45) @ Affine.scale(10)
    pixels = np.random.default_rng(1).integers(1, 250, (1, *size), dtype="uint8")
    drawn = Drawn(".tif", Raster(pixels, place, turned, nodata=0))
    check(drawn, "EPSG:3857")


def test_a_raster_placed_by_points_with_alpha_and_nodata_is_empty_beside_its_pixels() -> None:
    place = PLACES["utm"]
    turned = Affine.translation(place.west, place.north) @ Affine.rotation(20) @ Affine.scale(10)
    pixels = np.random.default_rng(1).integers(1, 250, (2, 4, 300), dtype="uint8")
    pixels[1] = np.where(pixels[1] < 60, 0, 255)
    raster = Raster(pixels, place, turned, nodata=7, alpha=2)
    check(Drawn(".tif", raster, georeference="points"), None)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("int64", 2**63 - 1), ("int64", -(2**63)), ("int64", 2**52), ("uint64", 2**64 - 1)],
)
def test_integers_that_a_warp_would_round_are_refused(
    dtype: str, value: int, tmp_path: Path
) -> None:
    place = PLACES["utm"]
    transform = Affine(10, 0, place.west, 0, -10, place.north)
    pixels = np.full((1, 9, 9), value, dtype=dtype)
    written = write(Drawn(".tif", Raster(pixels, place, transform)), tmp_path)
    chain = Chain(tmp_path / "chain")
    with pytest.raises(ParameterInvalid, match=r"of 2\^52") as refused:
        chain.cogs(chain.profile(written.path), target_crs="EPSG:4326")
    assert "gdal_translate -ot Float64" in refused.value.remedy
    rounded = tmp_path / "rounded.tif"
    command = ["gdal_translate", "-q", "-ot", "Float64", written.path, rounded]
    subprocess.run(command, check=True, capture_output=True)
    stored = chain.cogs(chain.profile(rounded), target_crs="EPSG:4326")
    found, where = read_by_gdal(chain.file(stored), "float64", masks=True)
    assert set(found[where].tolist()) == {float(value)}


@pytest.mark.parametrize("value", [2**52 - 1, -(2**52) + 1])
def test_integers_of_52_bits_keep_all_digits_in_a_warp(value: int) -> None:
    place = PLACES["utm"]
    transform = Affine(10, 0, place.west, 0, -10, place.north)
    pixels = value + np.arange(81, dtype="int64").reshape(1, 9, 9) * (-1 if value > 0 else 1)
    check(Drawn(".tif", Raster(pixels, place, transform)), "EPSG:4326")


@pytest.mark.parametrize(
    ("dtype", "nodata", "near"),
    [("uint32", 2**32 - 1, 2**32 - 2), ("int32", -(2**31), -(2**31) + 1), ("int64", 7, 8)],
)
def test_values_near_nodata_stay_valid_in_a_warp(dtype: str, nodata: int, near: int) -> None:
    place = PLACES["utm"]
    transform = Affine(10, 0, place.west, 0, -10, place.north)
    pixels = np.full((1, 9, 9), near, dtype=dtype)
    pixels[0, :4, :4] = nodata
    check(Drawn(".tif", Raster(pixels, place, transform, nodata=nodata)), "EPSG:4326")


@pytest.mark.parametrize("is_valid", [(True, True), (False, True)])
def test_masks_of_several_bands_are_one_mask(is_valid: tuple[bool, bool]) -> None:
    masks = np.stack([np.full((3, 3), each) for each in is_valid])
    transform = Affine(10, 0, PLACES["utm"].west, 0, -10, PLACES["utm"].north)
    pixels = np.arange(18, dtype="uint8").reshape(2, 3, 3)
    check(Drawn(".tif", Raster(pixels, PLACES["utm"], transform, masks=masks)), None)


def test_an_average_that_is_rounded_to_nodata_is_in_the_footprint() -> None:
    pixels = np.random.default_rng(1).integers(-3000, 3000, (1, 520, 2), dtype="int16")
    pixels[0, 80:130] = 0
    pixels[0, 104:106] = [[1, 0], [127, -127]]
    place = PLACES["utm"]
    transform = Affine(10, 0, place.west, 0, -10, place.north)
    check(Drawn(".tif", Raster(pixels, place, transform, nodata=0)), None)


@pytest.mark.parametrize("size", [(1, 2), (1, 3), (2, 1), (2, 2), (3, 9)])
@pytest.mark.parametrize("shear", [0.0, 0.0125])
def test_points_place_every_pixel_of_few_rows(
    size: tuple[int, int], shear: float, tmp_path: Path
) -> None:
    pixels = np.arange(1, 1 + size[0] * size[1], dtype="uint8").reshape(1, *size)
    transform = Affine(0.05, shear, 10.0, 0, -0.025, 20.0)
    drawn = Drawn(".tif", Raster(pixels, PLACES["degrees"], transform), georeference="points")
    written = write(drawn, tmp_path)
    chain = Chain(tmp_path / "chain")
    stored = chain.cogs(chain.profile(written.path, *written.sidecars, **written.options))
    found, valid = read_by_gdal(chain.file(stored), "uint8", masks=True)
    assert set(found[valid].tolist()) == set(pixels.ravel().tolist())


def test_a_reprojection_that_leaves_no_valid_pixel_is_refused_and_its_remedy_works(
    tmp_path: Path,
) -> None:
    pixels = np.zeros((1, 20, 20), dtype="uint8")
    pixels[0, 2, 0] = 9
    turned = Affine(10, 3, 500_000, -3, -10, 5_000_000)
    written = write(Drawn(".tif", Raster(pixels, PLACES["utm"], turned, nodata=0)), tmp_path)
    chain = Chain(tmp_path / "chain")
    profiled = chain.profile(written.path, *written.sidecars, **written.options)
    with pytest.raises(RasterEmpty) as refused:
        chain.cogs(profiled, target_crs="EPSG:4326", reproject_resampling="nearest")
    assert "average" in refused.value.remedy
    stored = chain.cogs(profiled, target_crs="EPSG:4326", reproject_resampling="average")
    found, valid = read_by_gdal(chain.file(stored), "uint8", masks=True)
    assert set(found[valid].tolist()) == {9}


@pytest.mark.parametrize(("tall", "is_told"), [(10, True), (-10, False)])
def test_two_places_of_a_jpeg_2000_that_contradict_each_other_are_told(
    tall: int, is_told: bool, tmp_path: Path
) -> None:
    place = PLACES["utm"]
    transform = Affine(10, 0, place.west, 0, tall, place.north)
    pixels = np.arange(81, dtype="uint8").reshape(1, 9, 9)
    written = write(Drawn(".jp2", Raster(pixels, place, transform)), tmp_path)
    profiled = Chain(tmp_path / "chain").profile(written.path)
    codes = [finding.code for finding in profiled.warnings]
    assert ("PLACE_CONTRADICTED" in codes) == is_told
    assert header_by_gdal(written.path)["geoTransform"][5] == -10


def check(drawn: Drawn, target: str | None) -> None:
    if target and has_faint_alpha(drawn.raster):
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "in"
        source.mkdir()
        written = write(drawn, source)
        raster = written.raster
        chain = Chain(folder / "chain")
        valid = raster.valid()
        if not valid[raster.data_bands].any():
            with pytest.raises(RasterEmpty):
                chain.profile(written.path, *written.sidecars, **written.options)
            return
        profiled = chain.profile(written.path, *written.sidecars, **written.options)
        check_figures(profiled, raster, valid)
        has_masks_by_band = raster.masks is not None and len(raster.masks) > 1
        codes = {finding.code for finding in profiled.warnings}
        assert ("MASKS_JOINED" in codes) == has_masks_by_band
        try:
            stored = chain.cogs(profiled, target_crs=target, reproject_resampling="nearest")
        except ParameterInvalid:
            assert holds_large_integers(raster, valid)
            return
        except RasterEmpty:
            # Nearest may leave out a pixel that stands alone. The remedy keeps it.
            assert target
            assert valid[raster.data_bands].any(axis=0).sum() <= 3
            stored = chain.cogs(profiled, target_crs=target, reproject_resampling="average")
            places_in(chain.file(stored), raster)
            return
        cog = chain.file(stored)
        if target:
            check_warped(cog, raster, target, valid)
            return
        if profiled.georeference.placed_by_ground_control_points:
            # On a grid of other pixels: nearest may leave out single pixels of the source.
            check_footprint(stored, *places_in(cog, raster))
            return
        check_header(cog, raster)
        check_pixels(cog, raster, valid)
        rows, cols = np.nonzero(valid[raster.data_bands].any(axis=0))
        check_footprint(stored, raster.transform, rows, cols, raster.place.crs)


def has_faint_alpha(raster: Raster) -> bool:
    """Return whether 16-bit alpha has a value that GDAL's warper takes for 0: one of 1 to 6."""
    if not raster.alpha or raster.pixels.dtype != np.uint16:
        return False
    alpha = raster.pixels[raster.alpha - 1]
    return bool(((alpha > 0) & (alpha < 7)).any())


def holds_large_integers(raster: Raster, valid: NDArray[np.bool_]) -> bool:
    pixels = raster.pixels[valid]
    if pixels.dtype not in (np.dtype("int64"), np.dtype("uint64")):
        return False
    return any(abs(int(value)) >= 2**52 for value in np.unique(pixels))


def check_figures(profiled: RasterProfiled, raster: Raster, valid: NDArray[np.bool_]) -> None:
    for index in raster.data_bands:
        figures = profiled.bands[index].statistics
        values = raster.pixels[index][valid[index]]
        if profiled.bands[index].dtype == "float32":
            values = values.astype(np.float32)  # a grid of text whose numbers have few digits
        values = values.astype(np.float64)
        values = values[np.isfinite(values)]
        assert (figures is None) == (values.size == 0)
        if figures is not None:
            assert (figures.minimum, figures.maximum) == (values.min(), values.max())
            largest = np.abs(values).max()
            mean = (values / (largest or 1)).mean() * largest
            assert figures.mean == pytest.approx(mean, abs=1e-9 * largest), (figures.mean, mean)
            assert math.isfinite(figures.standard_deviation)
            share = 100 * values.size / valid[index].size
            assert figures.valid_percent == pytest.approx(share, abs=0.01)


def check_header(cog: Path, raster: Raster) -> None:
    header = header_by_gdal(cog)
    *_, rows, cols = raster.pixels.shape
    assert header["size"] == [cols, rows]
    found = Affine.from_gdal(*header["geoTransform"])
    corners = [(0, 0), (cols, 0), (0, rows), (cols, rows)]
    pixel = math.sqrt(abs(raster.transform.determinant))
    for corner in corners:
        assert np.hypot(*np.subtract(found @ corner, raster.transform @ corner)) < 1e-6 * pixel
    crs = CRS.from_wkt(header["coordinateSystem"]["wkt"])
    assert places(crs, found, corners) == pytest.approx(
        places(CRS(raster.place.crs), raster.transform, corners), abs=1e-7
    )
    for band in header["bands"]:
        assert band.get("scale", 1.0) == raster.scale
        assert band.get("offset", 0.0) == raster.offset


def places(crs: CRS, transform: Affine, corners: Any) -> NDArray[np.float64]:
    x, y = np.array([transform @ corner for corner in corners]).T
    lonlat = Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    return np.nan_to_num(np.concatenate(lonlat), posinf=999)


def check_pixels(cog: Path, raster: Raster, valid: NDArray[np.bool_]) -> None:
    pixels, found = read_by_gdal(cog, raster.pixels.dtype.name, masks=True)
    data = raster.data_bands
    np.testing.assert_array_equal(found[data].any(axis=0), valid[data].any(axis=0))
    is_by_band = not (found == found[0]).all()
    if is_by_band:
        np.testing.assert_array_equal(found[data], valid[data])
    for actual, expected, where in zip(pixels, raster.pixels, valid, strict=True):
        if (actual.dtype, expected.dtype) == (np.float32, np.float64):
            # A grid of text has no type, and no number in this one has more digits than 32 bits.
            assert [float(str(value)) for value in actual[where]] == expected[where].tolist()
            continue
        np.testing.assert_array_equal(actual[where], expected[where])


def places_in(cog: Path, raster: Raster) -> tuple[Affine, NDArray[np.intp], NDArray[np.intp], str]:
    """Return the grid of a COG, the rows and columns of its valid pixels, and its CRS."""
    with rasterio.open(cog) as opened:
        valid = opened.read_masks([band + 1 for band in raster.data_bands]) > 0
        pixels = opened.read([band + 1 for band in raster.data_bands])
        valid &= pixels == pixels  # not NaN
        rows, cols = np.nonzero(valid.any(axis=0))
        assert rows.size
        return opened.transform, rows, cols, opened.crs.to_wkt()


def check_footprint(
    stored: CogStored,
    transform: Affine,
    rows: NDArray[np.intp],
    cols: NDArray[np.intp],
    crs: str,
) -> None:
    """Assert that the footprint covers the centres of these pixels."""
    footprint = shape(json.loads(stored.footprint_geojson))
    assert footprint.is_valid
    x, y = transform @ (cols + 0.5, rows + 0.5)
    there = Transformer.from_crs(CRS(crs), 4326, always_xy=True)
    lon, lat = there.transform(np.atleast_1d(x), np.atleast_1d(y))
    is_on_earth = np.isfinite(lon) & np.isfinite(lat)
    lon, lat = (lon[is_on_earth] + 180) % 360 - 180, np.clip(lat[is_on_earth], -90, 90)
    assert contains_xy(footprint.buffer(1e-6), lon, lat).all()
