"""Thumbnail, preview and footprint of real COGs."""

import json
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.io import MemoryFile
from shapely.geometry import box, shape

from geo_platform.contracts.raster import CogStored, DrawingStyle
from geo_platform.grid import GridShape, LonLatBounds
from geo_platform.ports import SILVER
from geo_platform.raster.footprint import footprint_geojson
from geo_platform.raster.lonlat import lonlat_bounds
from tests.unit.raster.conftest import Chain, WriteRaster, north_up, smooth


def picture(chain: Chain, key: str) -> tuple[str, NDArray[Any]]:
    content = chain.objects.read_bytes(SILVER, key)
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        MemoryFile(content) as memory,
        memory.open() as opened,
    ):
        return opened.driver, opened.read()


def pictures(chain: Chain, stored: CogStored) -> tuple[NDArray[Any], NDArray[Any]]:
    (small_driver, small), (large_driver, large) = (
        picture(chain, stored.thumbnail.key),
        picture(chain, stored.preview.key),
    )
    assert (small_driver, large_driver) == ("PNG", "WEBP")
    assert (stored.thumbnail_media_type, stored.preview_media_type) == ("image/png", "image/webp")
    assert max(small.shape[1:]) <= 256
    assert max(large.shape[1:]) <= 1024
    return small, large


@pytest.mark.parametrize(
    ("bands", "dtype", "top"),
    [
        (1, "uint8", 250),
        (3, "uint8", 250),
        (3, "uint16", 9000),
        (6, "float32", 2),
        (1, "float32", 3000),
        (1, "int16", 9),
    ],
)
def test_each_kind_has_pictures_with_contrast(
    chain: Chain, write_raster: WriteRaster, bands: int, dtype: str, top: float
) -> None:
    pixels = smooth(bands, 1500, 900, dtype, top)
    pixels[:, :700] = 0
    stored = chain.cogs(chain.profile(write_raster("a.tif", pixels, nodata=0)))
    for found in pictures(chain, stored):
        assert found.shape[0] == 4
        valid = found[3] > 128
        assert valid.mean() == pytest.approx(800 / 1500, abs=0.03)
        assert not valid[: found.shape[1] // 3].any()
        assert np.ptp(found[:3][:, valid]) > 60


@pytest.mark.parametrize(
    ("bands", "dtype", "top", "more", "style", "ranges"),
    [
        (3, "uint8", 250, {"photometric": "RGB"}, DrawingStyle.natural, 0),
        (3, "uint16", 9000, {"photometric": "RGB"}, DrawingStyle.stretched, 3),
        (6, "float32", 2, {}, DrawingStyle.stretched, 3),
        (1, "float32", 3000, {}, DrawingStyle.relief, 1),
        (1, "int16", 9, {}, DrawingStyle.classes, 0),
        (1, "uint8", 250, {}, DrawingStyle.ramp, 1),
    ],
)
def test_each_kind_has_its_style(
    chain: Chain,
    write_raster: WriteRaster,
    bands: int,
    dtype: str,
    top: float,
    more: dict[str, Any],
    style: DrawingStyle,
    ranges: int,
) -> None:
    pixels = smooth(bands, 300, 400, dtype, top)
    drawing = chain.cogs(chain.profile(write_raster("a.tif", pixels, **more))).drawing
    assert drawing is not None
    assert (drawing.style, len(drawing.ranges)) == (style, ranges)
    assert drawing.bands == ((1, 2, 3) if bands > 1 else (1,))
    for (low, high), band in zip(drawing.ranges, pixels, strict=False):
        assert [low, high] == pytest.approx(np.percentile(band, [2, 98]), rel=0.01)
    assert [each.value for each in drawing.colors] == (
        np.unique(pixels).tolist() if style is DrawingStyle.classes else []
    )
    assert (drawing.typical_slope is not None) == (style is DrawingStyle.relief)


def test_categories_have_the_colours_of_the_colour_table(
    chain: Chain, write_raster: WriteRaster
) -> None:
    pixels = np.ones((1, 60, 60), dtype=np.uint8)
    pixels[0, 30:] = 2
    table = {1: (200, 30, 40, 255), 2: (10, 160, 70, 255)}
    stored = chain.cogs(
        chain.profile(
            write_raster("a.tif", pixels, change=lambda target: target.write_colormap(1, table))
        )
    )
    small, _ = pictures(chain, stored)
    assert small[:3, 10, 10].tolist() == [200, 30, 40]
    assert small[:3, 50, 50].tolist() == [10, 160, 70]


def test_classes_have_the_names_of_the_source(chain: Chain, write_raster: WriteRaster) -> None:
    pixels = np.arange(3600).reshape(1, 60, 60).astype(np.uint8) % 4
    table = {value: (60 * value, 30, 40, 255) for value in range(4)}
    path = write_raster("a.tif", pixels, change=lambda target: target.write_colormap(1, table))
    names = path.with_name("a.tif.aux.xml")
    names.write_text(
        '<PAMDataset><PAMRasterBand band="1"><CategoryNames><Category>none</Category>'
        "<Category>forest &amp; wood</Category><Category/><Category>water</Category>"
        "</CategoryNames></PAMRasterBand></PAMDataset>"
    )
    drawing = chain.cogs(chain.profile(path, names)).drawing
    assert drawing is not None
    found = {each.value: each.name for each in drawing.colors if each.name}
    assert found == {0: "none", 1: "forest & wood", 3: "water"}


@pytest.mark.parametrize("bands", [1, 6])
def test_values_near_the_largest_float_are_drawn_at_the_ends_of_the_range(
    chain: Chain, write_raster: WriteRaster, bands: int
) -> None:
    pixels = smooth(bands, 300, 400, "float64", 3000)
    usual = chain.cogs(chain.profile(write_raster("a.tif", pixels)))
    pixels[:, 100:104, 200] = [[1.7e308, -1.7e308, 1e300, -1e300]] * bands
    extreme = chain.cogs(chain.profile(write_raster("b.tif", pixels)))
    assert extreme.drawing is not None
    assert usual.drawing is not None
    ranges = [np.array(stored.ranges) for stored in (extreme.drawing, usual.drawing)]
    np.testing.assert_allclose(*ranges, rtol=0.01)
    (usual_small, _), (small, _) = pictures(chain, usual), pictures(chain, extreme)
    # The range is a little wider, so every pixel may differ a little.
    rows, cols = np.nonzero((np.abs(small.astype(int) - usual_small) > 12).any(axis=0))
    assert len(rows) > 0
    # The picture is at most 256 pixels wide: the four pixels and their neighbours are near here.
    scale = small.shape[2] / 400
    assert (np.abs(rows - 102 * scale) <= 3).all()
    assert (np.abs(cols - 200 * scale) <= 3).all()


def test_one_pixel_has_pictures_too(chain: Chain, write_raster: WriteRaster) -> None:
    stored = chain.cogs(
        chain.profile(write_raster("a.tif", np.full((1, 1, 1), 7.5, dtype=np.float32)))
    )
    small, _ = pictures(chain, stored)
    assert small.shape == (4, 1, 1)
    assert shape(json.loads(stored.footprint_geojson)).is_valid


def test_the_footprint_follows_the_data(chain: Chain, write_raster: WriteRaster) -> None:
    row, col = np.mgrid[0:500, 0:500]
    pixels = smooth(1, 500, 500)
    pixels[0, row + col < 500] = 0
    stored = chain.cogs(chain.profile(write_raster("half.tif", pixels, nodata=0)))
    found, bounds = (
        shape(json.loads(stored.footprint_geojson)),
        box(*stored.cogs[0].lonlat_bounds.wsen),
    )
    assert found.is_valid
    assert found.area / bounds.area == pytest.approx(0.5, abs=0.02)
    assert len(found.exterior.coords) < 40


MERCATOR = CRS.from_epsg(3857)


def test_a_footprint_across_the_antimeridian_is_split() -> None:
    place = north_up(19_900_000, 100_000, 1000, 1000)
    bounds = lonlat_bounds(place, GridShape(rows=200, cols=400), MERCATOR)
    assert bounds is not None
    found = shape(
        json.loads(footprint_geojson(np.ones((200, 400), dtype=bool), place, MERCATOR, bounds))
    )
    assert found.geom_type == "MultiPolygon"
    assert sorted((round(part.bounds[0]), round(part.bounds[2])) for part in found.geoms) == [
        (-180, -178),
        (179, 180),
    ]


def test_a_footprint_around_the_pole_spans_all_longitudes() -> None:
    polar = CRS.from_epsg(3413)
    place = north_up(-1_000_000, 1_000_000, 10_000, 10_000)
    bounds = lonlat_bounds(place, GridShape(rows=200, cols=200), polar)
    assert bounds is not None
    found = shape(
        json.loads(footprint_geojson(np.ones((200, 200), dtype=bool), place, polar, bounds))
    )
    assert found.bounds == pytest.approx((-180, bounds.south, 180, 90), abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 300),
    cols=st.integers(1, 300),
    part=st.floats(0.02, 1),
    turn=st.floats(0, 360),
)
def test_any_mask_gives_a_valid_bounded_footprint(
    seed: int, rows: int, cols: int, part: float, turn: float
) -> None:
    from affine import Affine

    place = Affine.translation(500_000, 4_500_000) @ Affine.rotation(turn) @ Affine.scale(30, -30)
    crs = CRS.from_epsg(32601)
    bounds = lonlat_bounds(place, GridShape(rows=rows, cols=cols), crs)
    assert isinstance(bounds, LonLatBounds)
    valid = np.random.default_rng(seed).random((rows, cols)) < part
    text = footprint_geojson(valid, place, crs, bounds)
    found = shape(json.loads(text))
    assert found.geom_type in ("Polygon", "MultiPolygon")
    assert found.is_valid
    assert not found.is_empty
    assert len(text) < 60_000
    slack = 2e-3
    assert box(
        bounds.west - slack, bounds.south - slack, bounds.east + slack, bounds.north + slack
    ).covers(found)
